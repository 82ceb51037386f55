package handler

import (
	"fmt"
	"os"

	"github.com/sandlock/sandlock/core/internal/audit"
	"github.com/sandlock/sandlock/core/internal/notify"
	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// whoAsks looks at the task of a request that is not answered yet; nil: it is gone. What is
// read of /proc here waits for nothing that the task can hold up.
func whoAsks(r *notify.Request) *audit.Who {
	w := whoIs(r.TID)
	if !r.Valid() {
		return nil
	}
	return w
}

// whoIs looks at a task whose number can't become another's meanwhile.
func whoIs(tid uint32) *audit.Who {
	status, err := sys.ReadStatus(statusOf(tid), 1<<20)
	if err != nil {
		return nil
	}
	w := &audit.Who{PID: uint32(status.Number("Tgid", 10, 32)), Command: status.Name()}
	// Of a process that nobody may look into it stays unknown.
	w.Exe, _ = os.Readlink(fmt.Sprintf("/proc/%d/exe", tid))
	return w
}

// Who looks at the process that made a request, see whoAsks.
func Who(r *notify.Request) func() *audit.Who { return func() *audit.Who { return whoAsks(r) } }

// refused tells of an exec that was denied since its arguments can't be judged.
func (e *Exec) refused(a *approval) {
	if a.r.Valid() {
		refuse(e.Audit, a.r, audit.Refusal{Syscall: a.syscall, Errno: unix.EPERM, By: audit.ByCheck})
	}
}

// refusedImage tells of a program that is stopped after its exec, and denied.
func (e *Exec) refusedImage(a *approval) {
	if e.Audit == nil || !e.Audit.Wants() {
		return
	}
	who := whoIs(uint32(a.pid))
	x := audit.Refusal{Syscall: a.syscall, Errno: unix.EACCES, By: audit.ByDenied}
	if who != nil {
		x.Path = who.Exe
	}
	e.Audit.Refused(func() *audit.Who { return who }, x)
}

// refuse tells a log, if there is one, what the task of a request is refused.
func refuse(log audit.Log, r *notify.Request, x audit.Refusal) {
	if log != nil && log.Wants() {
		log.Refused(Who(r), x)
	}
}
