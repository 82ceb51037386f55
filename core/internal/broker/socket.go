package broker

import (
	"github.com/sandlock/sandlock/core/internal/audit"
	"golang.org/x/sys/unix"
)

// Socket has use called with a path that leads to the very socket that a path of the caller
// leads to, whatever stands there by then: on a thread with the caller's credentials, which
// the kernel looks at once more, and the socket's peer sees. EACCES for one that is denied or
// not among Sockets.
func (b *Broker) Socket(c *Caller, d *Denials, path string, use func(path string) error) error {
	id, err := b.identity(c)
	if err != nil {
		return err
	}
	w := walker{caller: c, asker: &c.Asker, id: id, denied: d.now.Load(), follow: true}
	p, err := w.walk(unix.AT_FDCWD, path)
	if err != nil {
		return err
	}
	defer p.close()
	switch {
	case p.obj < 0:
		return unix.ENOENT
	case b.Sockets != nil && !b.Sockets.reach(&p):
		return c.refused(audit.ByUnix, unix.EACCES, p.obj, "")
	}
	return b.As(c, func() error { return use(self(p.obj)) })
}

// As has f called on a thread with the caller's credentials.
func (b *Broker) As(c *Caller, f func() error) error { return b.act(c, f) }
