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

// Bind has use called with a path at which a socket may be made, on a thread that makes it
// as the caller would. That path is the caller's own, as it becomes the name of the socket,
// unix(7): so the kernel follows it again, and meanwhile nobody in the sandbox may change a
// name on the way. Only where a link of /proc has led to the directory it is another, as
// those lead elsewhere here.
func (b *Broker) Bind(c *Caller, d *Denials, path string, use func(path string) error) error {
	b.naming.Lock()
	defer b.naming.Unlock()
	cwd := -1
	if path != "" && path[0] != '/' {
		var err error
		if cwd, err = c.dir(unix.AT_FDCWD); err != nil {
			return err
		}
		defer unix.Close(cwd)
		c.From = &cwd // once, as other threads may change it
	}
	return b.namesAlone(c, d, []Name{{unix.AT_FDCWD, path}}, func(places []place) error {
		p := &places[0]
		switch {
		case p.dir < 0, p.obj >= 0, p.name == ".", p.name == "..":
			return unix.EADDRINUSE
		case p.slash:
			return unix.ENOENT
		case p.door:
			return use(self(p.dir) + "/" + p.name)
		case cwd >= 0:
			if err := unix.Fchdir(cwd); err != nil {
				return err
			}
			defer unix.Chdir("/")
		}
		return use(path)
	})
}

// As has f called on a thread with the caller's credentials.
func (b *Broker) As(c *Caller, f func() error) error { return b.act(c, f) }
