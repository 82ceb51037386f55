package core

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/sandlock/sandlock/core/internal/sys"
	"github.com/sandlock/sandlock/core/internal/warden"
	"golang.org/x/sys/unix"
)

// abandoned ends a run whose warden was killed by somebody outside. When that was its
// parent task alone, the killer has seen it and ended the sandbox; when it was both, the
// kernel has ended what the warden traced and the command, which has its parent's death
// signal, and the rest is who is in its cgroup, or, where it has none, whom the host still
// finds.
func (s *Sandbox) abandoned(why error) {
	s.warden.Kill()
	text := why.Error()
	s.patience = endPatience
	if !s.warden.AwaitKiller() && (s.cgroup == nil || !s.cgroup.Kill()) {
		s.killLeftovers()
		if s.plan.maxProcesses == nil { // else the kernel ends all tasks: PTRACE_O_EXITKILL
			text += "; tasks of the sandbox may have been left behind"
			s.patience = leftoverPatience
		}
	}
	s.out.drain()
	s.errs.drain()
	s.finish(s.outcome(unix.WaitStatus(unix.SIGKILL), warden.Message{}, text), nil)
}

const (
	// endPatience bounds the wait for the receiving thread when all tasks are dead, or as
	// good as dead; leftoverPatience when some may live, unknown.
	endPatience      = 10 * time.Second
	leftoverPatience = time.Second
)

// holdCommand keeps a pidfd of the command, so that its number can be told from
// somebody else's later. To be called while the command has not been reaped for sure:
// the warden has just said that it is confined, and lives.
func (s *Sandbox) holdCommand() {
	fd, err := unix.PidfdOpen(s.PID(), 0)
	if err != nil {
		return
	}
	// A warden that was killed since, and whose command was reaped, is no parent of it.
	if st, ok := readStat(s.PID()); !ok || st.ppid != s.warden.PID() && st.ppid != s.killer {
		unix.Close(fd)
		return
	}
	s.command = sys.Opened(fd)
}

func (s *Sandbox) dropCommand() {
	s.mu.Lock()
	defer s.mu.Unlock()
	sys.Close(s.command)
	s.command = -1
}

// killLeftovers kills the command, what is in its session, and what descends from these.
// Those that have made a session of their own and lost their parents are not found.
func (s *Sandbox) killLeftovers() {
	if s.command < 0 {
		return
	}
	deadline := time.Now().Add(leftoverPatience)
	_ = unix.PidfdSendSignal(s.command, unix.SIGSTOP, nil, 0) // it makes no others meanwhile
	// Again until there are none: others may be made.
	for left := s.leftovers(); len(left) > 0; left = s.leftovers() {
		for _, fd := range left {
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		}
		for _, fd := range left {
			pollUntil([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, deadline)
			unix.Close(fd)
		}
		if time.Now().After(deadline) {
			return
		}
	}
}

// leftovers returns pidfds of what killLeftovers kills, the caller's to close.
//
// A number stays taken for as long as it is a session's, whatever became of the leader:
// __change_pid() of the kernel's kernel/pid.c. So with members in it the session is the
// command's, unless the number was free and came around since the warden died; then its
// new leader would be there, which the pidfd tells from the command.
func (s *Sandbox) leftovers() (pidfds []int) {
	command := s.PID()
	session := func() bool {
		_, there := readStat(command)
		return !there || unix.PidfdSendSignal(s.command, 0, nil, 0) == nil
	}
	found := map[int]bool{command: true}
	if st, there := readStat(command); there && !st.dead() && session() {
		if fd, err := unix.Dup(s.command); err == nil {
			pidfds = append(pidfds, fd)
		}
	}
	// A child may have a smaller number than its parent, so more than one round.
	for grown := true; grown; {
		grown = false
		for _, pid := range processes() {
			st, ok := readStat(pid)
			if !ok || found[pid] || st.dead() || st.session != command && !found[st.ppid] || !session() {
				continue
			}
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				continue
			}
			// Still the one that was looked at: it has its start.
			if again, ok := readStat(pid); !ok || again.start != st.start {
				unix.Close(fd)
				continue
			}
			found[pid], grown = true, true
			pidfds = append(pidfds, fd)
		}
	}
	return pidfds
}

// stat is a part of proc_pid_stat(5).
type stat struct {
	state         byte
	ppid, session int
	flags         uint64 // PF_*
	start         string // clock ticks since the boot
}

// dead: it has ended, or is about to, and makes no others.
func (s stat) dead() bool { return s.state == 'Z' || s.state == 'X' }

func readStat(pid int) (s stat, ok bool) {
	f, err := sys.ReadStat(fmt.Sprintf("/proc/%d/stat", pid), 20)
	if err != nil {
		return s, false
	}
	s.state, s.start = f[0][0], string(f[19])
	var err1, err2, err3 error
	s.ppid, err1 = strconv.Atoi(string(f[1]))
	s.session, err2 = strconv.Atoi(string(f[3]))
	s.flags, err3 = strconv.ParseUint(string(f[6]), 10, 64)
	return s, err1 == nil && err2 == nil && err3 == nil
}

// processes lists the numbers of all that there are.
func processes() (pids []int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}
