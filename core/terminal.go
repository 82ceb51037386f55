package core

import (
	"runtime"
	"slices"

	"github.com/sandlock/sandlock/core/internal/sys"
	"github.com/sandlock/sandlock/core/internal/warden"
	"golang.org/x/sys/unix"
)

// terminal is the host's terminal, for an interactive command to have.
type terminal struct {
	fd, pgrp int
	modes    *unix.Termios // the host's, when the command got it
	given    bool          // the command has it
}

// openTerminal finds the terminal among the standard streams and tells the
// warden to hand it over. A host in the background has none to give, until it is in the
// foreground: see suspend.
func openTerminal(spec *warden.Spec) *terminal {
	for fd := range spec.Files {
		pgrp, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
		if err != nil {
			continue
		}
		t := &terminal{fd: fd, pgrp: unix.Getpgrp()}
		if pgrp == t.pgrp {
			if t.modes, err = unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
				continue
			}
			spec.TTY, spec.TTYPgrp, t.given = fd, pgrp, true
		}
		spec.Jobs = true
		return t
	}
	return nil
}

// suspend stops the host's process group, as the terminal would have if the command, which
// was stopped by sig, were in it; so the host's shell has its prompt back. When the host has
// been continued it calls goOn, which continues the command, with whether that has the terminal
// again: a host in the background gives it none. Where nobody would continue the host, as its
// process group is orphaned or it ignores the signal, Ctrl-Z stops nothing: signal(7). A
// command that needs the terminal then stays stopped, as it would stop again at once.
//
// The modes stay as they are: a shell sets its own when a job has stopped, and a program that
// can be stopped sets its own when it goes on.
func (t *terminal) suspend(command int, sig unix.Signal, goOn func(given bool)) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if (sig == unix.SIGTTIN || sig == unix.SIGTTOU) && !stops(t.pgrp, sig) {
		return
	}
	if t.given {
		t.move(t.pgrp)
		t.given = false
	}
	if sig == unix.SIGSTOP {
		sig = unix.SIGTSTP // which stops no orphan
	}
	stopOthers(t.pgrp, sig)
	// To this thread, which so stands still before it does anything else. A signal to the
	// whole group would be taken by another one, and this would go on for a while.
	_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), sig)
	if pgrp, err := unix.IoctlGetInt(t.fd, unix.TIOCGPGRP); err == nil && pgrp == t.pgrp {
		modes, err := unix.IoctlGetTermios(t.fd, unix.TCGETS)
		if err == nil && t.move(command) == nil {
			t.modes, t.given = modes, true
		}
	}
	goOn(t.given)
}

// move makes a process group the terminal's. It may be an act from the background, which needs
// SIGTTOU blocked: tcsetpgrp(3).
func (t *terminal) move(pgrp int) error {
	restoreMask := blockSignal(unix.SIGTTOU)
	defer restoreMask()
	return unix.IoctlSetPointerInt(t.fd, unix.TIOCSPGRP, pgrp)
}

// restore takes the terminal back, modes included, if the command has it. The warden has already given it to
// the host's process group, unless it was killed.
func (t *terminal) restore() {
	if !t.given {
		return
	}
	restoreMask := blockSignal(unix.SIGTTOU)
	defer restoreMask()
	_ = t.move(t.pgrp)
	_ = unix.IoctlSetTermios(t.fd, unix.TCSETSW, t.modes)
}

// blockSignal blocks sig on the calling thread until the returned function is
// called, on the same goroutine.
func blockSignal(sig unix.Signal) (restore func()) {
	runtime.LockOSThread()
	var set, old unix.Sigset_t
	set.Val[(sig-1)/64] |= 1 << ((sig - 1) % 64)
	_ = unix.PthreadSigmask(unix.SIG_BLOCK, &set, &old)
	return func() {
		_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
		runtime.UnlockOSThread()
	}
}

// stopOthers sends sig to the other processes of the host's process group: the rest of a
// pipeline, which a shell takes for one job.
func stopOthers(pgrp int, sig unix.Signal) {
	for _, pid := range processes() {
		if pid == unix.Getpid() || !inGroup(pid, pgrp) {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		if inGroup(pid, pgrp) { // still, so the descriptor is of the one that was meant
			_ = unix.PidfdSendSignal(fd, sig, nil, 0)
		}
		unix.Close(fd)
	}
}

func inGroup(pid, pgrp int) bool {
	got, err := unix.Getpgid(pid)
	return err == nil && got == pgrp
}

// stops reports whether sig stops the calling thread, which is on its own.
func stops(pgrp int, sig unix.Signal) bool {
	status, err := sys.ReadStatus("/proc/thread-self/status", 1<<16)
	if err != nil {
		return false
	}
	for _, set := range []string{"SigBlk", "SigIgn", "SigCgt"} {
		if status.Number(set, 16, 64)>>(sig-1)&1 != 0 {
			return false
		}
	}
	// Not if the group is orphaned: no member's parent is of the session and in another group.
	session, err := unix.Getsid(0)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(processes(), func(pid int) bool {
		if !inGroup(pid, pgrp) {
			return false
		}
		member, ok := readStat(pid)
		if !ok {
			return false
		}
		of, err := unix.Getsid(member.ppid)
		return err == nil && of == session && !inGroup(member.ppid, pgrp)
	})
}
