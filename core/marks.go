package core

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A process that has a list of addresses of its own is marked in the kernel, with a
// resource limit: a child has its parent's, an exec keeps it, and a hard limit can't be
// raised again, for the capability is not in a sandbox. That the process itself lowers it
// the filter refuses (bpf.Spec, KeepMarks). So a mark can neither be shed, by a fork whose
// parent ends for instance, nor exchanged for another's, and nobody has to follow forks.
//
// RLIMIT_LOCKS limits nothing since Linux 2.4.25, getrlimit(2).
const markLimit = 10

// topMark is above every mark; limits from there on, and those far below, are none. A
// process gets a stricter mark by a lower limit.
const topMark = 1 << 40

// readMark returns the mark of a thread's process.
func readMark(tid int) (listMark, error) {
	var now unix.Rlimit
	if err := unix.Prlimit(tid, markLimit, nil, &now); err != nil {
		return 0, fmt.Errorf("prlimit: %w", err)
	}
	return markOf(now.Max), nil
}

func markOf(limit uint64) listMark {
	if limit >= topMark || limit < topMark-maxLists {
		return 0
	}
	return listMark(topMark - limit)
}

// markProcess marks a process of the sandbox.
func (s *Sandbox) markProcess(pid uint32, choose func(now listMark) (listMark, error)) error {
	if s.plan.marksOpen {
		return errors.New(`extra_allow_syscalls has "prlimit64", with which a process could go around it; leave that out`)
	}
	pidfd, err := unix.PidfdOpen(int(pid), 0)
	if err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	defer unix.Close(pidfd)
	if !descends(int(pid), s.warden.PID()) {
		return fmt.Errorf("%d is not a process of this sandbox", pid)
	}
	now, err := readMark(int(pid))
	if err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	mark, err := choose(now)
	if err != nil {
		return err
	}
	// While the pidfd tells of no end, the number is still that process's. One that has
	// ended may not have been reaped: then so is the number, and nothing runs any more.
	if err := unix.PidfdSendSignal(pidfd, 0, nil, 0); err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	limit := unix.Rlimit{Cur: topMark - uint64(mark), Max: topMark - uint64(mark)}
	if err := unix.Prlimit(int(pid), markLimit, &limit, nil); err != nil {
		return fmt.Errorf("process %d: prlimit: %w", pid, err)
	}
	return nil
}

// maxAncestors is far more than a sandbox nests.
const maxAncestors = 1 << 16

// descends reports whether ancestor is one of the process.
func descends(pid, ancestor int) bool {
	for range maxAncestors {
		st, ok := readStat(pid)
		switch {
		case !ok || st.ppid <= 1:
			return false
		case st.ppid == ancestor:
			return true
		}
		pid = st.ppid
	}
	return false
}

// networkJudged says why what may be reached can't be restricted in this run; nil: it can.
func (s *Sandbox) networkJudged() error {
	if n := &s.plan.net; !n.onBehalf && (n.tcp || n.udp || n.icmp) {
		return fmt.Errorf("calls that name an address are not trapped in this run; leave policy_events out, or name %q in it", "connect")
	}
	return nil
}

// permits reports whether a thread may reach an address, by the rules and what a PolicyFn
// has left of them.
func (s *Sandbox) permits(p netProtocol, to netip.AddrPort, tid uint32) bool {
	if !s.reach.permits(p, to.Addr(), to.Port()) {
		return false
	}
	state := s.verdicts.live.state.Load()
	var mark listMark
	if len(state.lists) > 0 {
		var err error
		if mark, err = readMark(int(tid)); err != nil {
			return false
		}
		state = s.verdicts.live.state.Load() // which has the list of that mark
	}
	return state.reaches(mark, to.Addr())
}
