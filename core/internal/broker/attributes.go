package broker

import (
	"github.com/sandlock/sandlock/core/internal/audit"
	"golang.org/x/sys/unix"
)

// Object is a path of a call that changes something of what it leads to.
type Object struct {
	Name
	Follow bool // a symbolic link at the end is followed
	Empty  bool // an empty path is the descriptor, or the working directory, itself
}

// owned is objects for what may be written to alone, and says so of what else there is.
func (b *Broker) owned(c *Caller, d *Denials, o Object, act func(p *place) error) error {
	return b.objects(c, d, o, func(p *place) error {
		if b.Writable != nil {
			if err := b.Writable.hold(p); err != nil {
				return c.refused(audit.ByWrite, unix.EACCES, p.obj, "")
			}
		}
		b.observe(Access{Write: true}, p.obj, "")
		return act(p)
	})
}

// Chmod is fchmodat2(2). Symbolic links have no mode.
func (b *Broker) Chmod(c *Caller, d *Denials, o Object, mode uint32) error {
	return b.owned(c, d, o, func(p *place) error {
		if p.kind() == unix.S_IFLNK {
			return unix.EOPNOTSUPP
		}
		return b.act(c, func() error { return unix.Chmod(self(p.obj), mode) })
	})
}

// Chown is fchownat(2).
func (b *Broker) Chown(c *Caller, d *Denials, o Object, uid, gid int) error {
	return b.owned(c, d, o, func(p *place) error {
		return b.act(c, func() error { return unix.Fchownat(p.obj, "", uid, gid, unix.AT_EMPTY_PATH) })
	})
}

// Utimes is utimensat(2) with times, which may be UTIME_NOW and UTIME_OMIT.
func (b *Broker) Utimes(c *Caller, d *Denials, o Object, times [2]unix.Timespec) error {
	return b.owned(c, d, o, func(p *place) error {
		return b.act(c, func() error { return unix.UtimesNanoAt(p.obj, "", times[:], unix.AT_EMPTY_PATH) })
	})
}

// Setxattr is setxattr(2) and lsetxattr(2).
func (b *Broker) Setxattr(c *Caller, d *Denials, o Object, name string, value []byte, flags int) error {
	return b.attribute(c, d, o, func(path string, link bool) error {
		if link {
			return unix.Lsetxattr(path, name, value, flags)
		}
		return unix.Setxattr(path, name, value, flags)
	})
}

// Removexattr is removexattr(2) and lremovexattr(2).
func (b *Broker) Removexattr(c *Caller, d *Denials, o Object, name string) error {
	return b.attribute(c, d, o, func(path string, link bool) error {
		if link {
			return unix.Lremovexattr(path, name)
		}
		return unix.Removexattr(path, name)
	})
}

// attribute calls act with a path that leads to the object: of a symbolic link that was not
// followed, its own, as there is none of a descriptor.
func (b *Broker) attribute(c *Caller, d *Denials, o Object, act func(path string, link bool) error) error {
	return b.owned(c, d, o, func(p *place) error {
		path, link := self(p.obj), p.kind() == unix.S_IFLNK
		if link {
			if p.dir < 0 {
				return unix.EOPNOTSUPP
			}
			path = self(p.dir) + "/" + p.name
		}
		return b.act(c, func() error { return act(path, link) })
	})
}
