package core

import (
	"runtime"

	"github.com/sandlock/sandlock/core/internal/warden"
	"golang.org/x/sys/unix"
)

// terminal is the host's terminal while an interactive command has it.
type terminal struct {
	fd, pgrp int
	modes    *unix.Termios
}

// openTerminal finds the terminal among the standard streams and tells the
// warden to hand it over. A host in the background has none to give.
func openTerminal(spec *warden.Spec) *terminal {
	for fd := range spec.Files {
		pgrp, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
		if err != nil || pgrp != unix.Getpgrp() {
			continue
		}
		modes, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			continue
		}
		spec.TTY, spec.TTYPgrp = fd, pgrp
		return &terminal{fd, pgrp, modes}
	}
	return nil
}

// restore takes the terminal back, modes included. The warden has already given
// it to the host's process group, unless it was killed; until then setting it is
// an act from the background, which needs SIGTTOU blocked: tcsetpgrp(3).
func (t *terminal) restore() {
	restoreMask := blockSignal(unix.SIGTTOU)
	defer restoreMask()
	_ = unix.IoctlSetPointerInt(t.fd, unix.TIOCSPGRP, t.pgrp)
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
