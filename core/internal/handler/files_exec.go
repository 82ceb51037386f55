package handler

import (
	"github.com/sandlock/sandlock/core/internal/broker"
	"github.com/sandlock/sandlock/core/internal/notify"
	"golang.org/x/sys/unix"
)

// ExecGuard keeps what is denied from being executed: before the exec by the path, which is
// the errno that an honest caller sees, and at the exec stop by what the kernel has loaded,
// which is final.
type ExecGuard interface {
	// Active reports whether anything is denied.
	Active() bool
	// State is another value, once what is denied has changed.
	State() any
	// Before may block in the caller's memory.
	Before(r *notify.Request) unix.Errno
	// After returns why a process may not run what it has become; errEnded, when it has ended.
	After(pid int32) error
}

// admit asks the guard about an exec that has not happened, and answers it if it may not.
// To be called on a goroutine of its own, as it reads the caller's memory.
func (e *Exec) admit(a *approval) bool {
	if e.Guard == nil {
		return true
	}
	cancel := a.r.Listener().After(e.FreezeTimeout, func() { a.r.Errno(unix.EPERM) })
	errno := e.Guard.Before(a.r)
	cancel()
	if errno == 0 {
		return true
	}
	a.entry.settle(ExecDenied)
	a.r.Errno(errno)
	a.r.Listener().Release()
	return false
}

// Active is that of [ExecGuard].
func (f *Files) Active() bool { return f.Denials.Any() }

// State is that of [ExecGuard].
func (f *Files) State() any { return f.Denials.State() }

// Before is that of [ExecGuard].
func (f *Files) Before(r *notify.Request) unix.Errno {
	if !f.Denials.Any() && !f.Record {
		return 0
	}
	task, err := broker.ReadTask(statusOf(r.TID))
	if err != nil {
		return unix.EPERM
	}
	req := &fileRequest{Request: r, caller: broker.Caller{TID: r.TID, Task: task, Valid: r.Valid, Asker: f.asker(r, execName(r))}}
	o := broker.Object{Follow: true}
	if r.Data.Nr == unix.SYS_EXECVEAT {
		o, err = flagged(0, 1, 4, true)(req)
	} else {
		o.Name, err = req.name(-1, 0)
	}
	if err != nil {
		return errnoOf(err)
	}
	if err := f.Broker.Find(&req.caller, f.Denials, o); err != nil {
		return errnoOf(err)
	}
	return 0
}

func execName(r *notify.Request) string {
	if r.Data.Nr == unix.SYS_EXECVEAT {
		return "execveat"
	}
	return "execve"
}

// After is that of [ExecGuard].
func (f *Files) After(pid int32) error {
	f.Broker.ObserveExec(pid)
	if !f.Denials.Any() {
		return nil
	}
	err := f.Denials.Runs(pid)
	if err == broker.ErrEnded {
		return errEnded
	}
	return err
}
