package broker

import (
	"strings"

	"github.com/sandlock/sandlock/core/internal/audit"
	"golang.org/x/sys/unix"
)

// Asker is who is told what a caller is refused.
type Asker struct {
	Log  audit.Log         // nil: nobody
	Call string            // the system call
	Who  func() *audit.Who // makes it
}

// refused tells what a caller is refused at an object, or at a name in it, and returns the
// errno.
func (a *Asker) refused(by audit.Rule, errno unix.Errno, fd int, name string) unix.Errno {
	if a.Log == nil || !a.Log.Wants() {
		return errno
	}
	x := audit.Refusal{Syscall: a.Call, Errno: errno, By: by}
	if path, ok := pathOf(fd, name); ok {
		if x.Path = path; name != "" && by == audit.ByWrite {
			x.Grant, _ = pathOf(fd, "")
		}
	}
	a.Log.Refused(a.Who, x)
	return errno
}

// pathOf is the path of an object, or of a name in it, as the host sees it; false: it has
// none, as a pipe.
func pathOf(fd int, name string) (string, bool) {
	path, err := readlink(self(fd))
	if err != nil || path[0] != '/' {
		return "", false
	}
	if name != "" {
		path = strings.TrimSuffix(path, "/") + "/" + name
	}
	return path, true
}

// blame tells what kept a call from an object, or with a name from what may be done to names
// in it: its own permissions, when they are not enough for mode, else the ruleset. access(2)
// asks the former alone.
func (id *identity) blame(c *Caller, by audit.Rule, err error, fd int, name string, mode uint32) {
	if c.Log == nil || err != unix.EACCES || !c.Log.Wants() {
		return
	}
	_ = id.quick.do(func() {
		if unix.Faccessat(fd, "", mode, unix.AT_EMPTY_PATH|unix.AT_EACCESS) == unix.EACCES {
			by = audit.ByMode
		}
	})
	c.refused(by, unix.EACCES, fd, name)
}

// blameOpen does so for an open that has failed.
func (id *identity) blameOpen(c *Caller, err error, p *place, flags int) {
	switch read, write := flags&unix.O_ACCMODE != unix.O_WRONLY, flags&unix.O_ACCMODE != unix.O_RDONLY || flags&unix.O_TRUNC != 0; {
	case p.obj < 0:
		id.blame(c, audit.ByWrite, err, p.dir, p.name, unix.W_OK|unix.X_OK)
	case flags&tmpfile != 0:
		id.blame(c, audit.ByWrite, err, p.obj, "", unix.W_OK|unix.X_OK)
	case write && read:
		id.blame(c, audit.ByWrite, err, p.obj, "", unix.R_OK|unix.W_OK)
	case write:
		id.blame(c, audit.ByWrite, err, p.obj, "", unix.W_OK)
	default:
		id.blame(c, audit.ByRead, err, p.obj, "", unix.R_OK)
	}
}

// blameNames does so for a call that makes, removes or changes names. Between directories
// that are not granted alike the kernel says EXDEV.
func (b *Broker) blameNames(id *identity, c *Caller, err error, places []place) {
	if err == unix.EXDEV && len(places) == 2 && places[0].dirID.dev == places[1].dirID.dev {
		err = unix.EACCES
	}
	for i := range places {
		if p := &places[i]; p.dir >= 0 && !b.mayWriteIn(p.dir) {
			id.blame(c, audit.ByWrite, err, p.dir, p.name, unix.W_OK|unix.X_OK)
		}
	}
}

// blameObject does so for a call that changes an object.
func (b *Broker) blameObject(c *Caller, err error, p *place) {
	if id, broken := b.identity(c); broken == nil {
		id.blame(c, audit.ByWrite, err, p.obj, "", unix.W_OK)
	}
}

// mayWriteIn reports whether a directory lies beneath what may be written to.
func (b *Broker) mayWriteIn(dir int) bool {
	return b.Writable != nil && b.Writable.hasAbove(dir)
}
