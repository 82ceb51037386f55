package handler

import (
	"github.com/sandlock/sandlock/core/internal/audit"
	"github.com/sandlock/sandlock/core/internal/notify"
	"golang.org/x/sys/unix"
)

// Filter answers the calls that the system call filter would refuse by itself, as it would,
// and tells of them.
type Filter struct {
	// Refuses returns what a call fails with, 0 for one that is somebody else's to answer.
	Refuses func(nr int32, arch uint32, args [6]uint64) unix.Errno
	// Tell makes a refusal of a call.
	Tell  func(nr int32, args [6]uint64) audit.Refusal
	Audit audit.Log
}

// Before returns the [notify.Handler] of a call that is next's where it is not refused.
func (f *Filter) Before(next notify.Handler) notify.Handler {
	return func(r *notify.Request) {
		errno := f.Refuses(r.Data.Nr, r.Data.Arch, r.Data.Args)
		switch {
		case errno == 0 && next != nil:
			next(r)
		case errno == 0:
			r.Errno(unix.EPERM)
		case !f.Audit.Wants():
			r.Errno(errno)
		default:
			l := r.Listener()
			l.Hold()
			// Not on the receiving thread, although nothing that is read here waits for the
			// caller. There are never more of these than tasks.
			go func() {
				defer l.Release()
				x := f.Tell(r.Data.Nr, r.Data.Args)
				x.Errno = errno
				f.Audit.Refused(Who(r), x)
				r.Errno(errno)
			}()
		}
	}
}
