package broker

import (
	"github.com/sandlock/sandlock/core/internal/audit"
	"golang.org/x/sys/unix"
)

// Name is a path of a call that makes, removes or renames.
type Name struct {
	Dir  int // AT_FDCWD, or a descriptor of the caller
	Path string
}

// names finds the names, and has act called with them on a confined thread.
func (b *Broker) names(c *Caller, d *Denials, names []Name, act func(p []place) error) error {
	b.naming.RLock()
	defer b.naming.RUnlock()
	return b.namesAlone(c, d, names, act)
}

func (b *Broker) namesAlone(c *Caller, d *Denials, names []Name, act func(p []place) error) error {
	id, err := b.identity(c)
	if err != nil {
		return err
	}
	places := make([]place, len(names))
	for i, n := range names {
		w := walker{caller: c, asker: &c.Asker, id: id, denied: d.now.Load(), parent: true}
		p, err := w.walk(n.Dir, n.Path)
		if err != nil {
			return err
		}
		defer p.close()
		places[i] = p
	}
	err = b.act(c, func() error { return act(places) })
	if err == nil {
		b.observeNames(places)
	} else {
		b.blameNames(id, c, err, places)
	}
	return err
}

// act calls f on a confined thread, with the caller's umask.
func (b *Broker) act(c *Caller, f func() error) (err error) {
	id, err := b.identity(c)
	if err != nil {
		return err
	}
	if err := c.whole(); err != nil {
		return err
	}
	if broken := id.quick.do(func() {
		if !c.Valid() {
			err = unix.EPERM // nobody is there to hear it
			return
		}
		unix.Umask(int(c.Task.Umask))
		err = f()
	}); broken != nil {
		return unix.EPERM
	}
	return err
}

// at is the directory and the name for a call, with the slash that was behind it.
func (p *place) at() (dir int, name string) {
	switch {
	case p.dir < 0:
		return unix.AT_FDCWD, "/"
	case p.slash:
		return p.dir, p.name + "/"
	}
	return p.dir, p.name
}

// Mkdir is mkdirat(2).
func (b *Broker) Mkdir(c *Caller, d *Denials, n Name, mode uint32) error {
	return b.names(c, d, []Name{n}, func(p []place) error {
		dir, name := p[0].at()
		return unix.Mkdirat(dir, name, mode)
	})
}

// Mknod is mknodat(2).
func (b *Broker) Mknod(c *Caller, d *Denials, n Name, mode uint32, dev int) error {
	return b.names(c, d, []Name{n}, func(p []place) error {
		dir, name := p[0].at()
		return unix.Mknodat(dir, name, mode, dev)
	})
}

// Symlink is symlinkat(2).
func (b *Broker) Symlink(c *Caller, d *Denials, target string, n Name) error {
	return b.names(c, d, []Name{n}, func(p []place) error {
		dir, name := p[0].at()
		return unix.Symlinkat(target, dir, name)
	})
}

// Unlink is unlinkat(2).
func (b *Broker) Unlink(c *Caller, d *Denials, n Name, flags int) error {
	return b.names(c, d, []Name{n}, func(p []place) error {
		dir, name := p[0].at()
		return unix.Unlinkat(dir, name, flags)
	})
}

// Rename is renameat2(2). A directory that holds something denied stays where it is, so
// that the way to that is the same for the whole run.
func (b *Broker) Rename(c *Caller, d *Denials, from, to Name, flags uint) error {
	return b.names(c, d, []Name{from, to}, func(p []place) error {
		for i := range p {
			if p[i].obj >= 0 && p[i].kind() == unix.S_IFDIR && d.holds(p[i].id()) {
				return c.refused(audit.ByDenied, unix.EACCES, p[i].obj, "")
			}
		}
		fromDir, fromName := p[0].at()
		toDir, toName := p[1].at()
		return unix.Renameat2(fromDir, fromName, toDir, toName, flags)
	})
}

// Link is linkat(2).
func (b *Broker) Link(c *Caller, d *Denials, from, to Name, flags int) error {
	if flags&^(unix.AT_SYMLINK_FOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return unix.EINVAL
	}
	source := Object{from, flags&unix.AT_SYMLINK_FOLLOW != 0, flags&unix.AT_EMPTY_PATH != 0}
	return b.objects(c, d, source, func(old *place) error {
		b.observeNames([]place{*old}) // of a link to another directory the rules of both are asked
		return b.names(c, d, []Name{to}, func(p []place) error {
			dir, name := p[0].at()
			if old.kind() == unix.S_IFLNK {
				// By its name, which the kernel does not follow; a descriptor of it can't be
				// linked without a privilege.
				if old.dir < 0 {
					return unix.ENOENT
				}
				return unix.Linkat(old.dir, old.name, dir, name, 0)
			}
			return unix.Linkat(unix.AT_FDCWD, self(old.obj), dir, name, unix.AT_SYMLINK_FOLLOW)
		})
	})
}

// Truncate is truncate(2).
func (b *Broker) Truncate(c *Caller, d *Denials, path string, length int64) error {
	return b.objects(c, d, Object{Name: Name{unix.AT_FDCWD, path}, Follow: true}, func(p *place) error {
		b.observe(Access{Write: true}, p.obj, "")
		err := b.act(c, func() error {
			if err := mayGrow(c, p.obj, length); err != nil {
				return err
			}
			return unix.Truncate(self(p.obj), length)
		})
		b.blameObject(c, err, p)
		return err
	})
}

// mayGrow holds a caller to its own RLIMIT_FSIZE, setrlimit(2): the kernel looks at that of
// this process.
func mayGrow(c *Caller, file int, length int64) error {
	var limit unix.Rlimit
	if err := unix.Prlimit(int(c.TID), unix.RLIMIT_FSIZE, nil, &limit); err != nil {
		return unix.EPERM
	}
	if length < 0 || uint64(length) <= limit.Cur {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(file, &st); err != nil || length > st.Size {
		return unix.EFBIG
	}
	return nil
}

// objects finds the object that a path leads to.
func (b *Broker) objects(c *Caller, d *Denials, o Object, act func(p *place) error) error {
	id, err := b.identity(c)
	if err != nil {
		return err
	}
	w := walker{caller: c, asker: &c.Asker, id: id, denied: d.now.Load(), follow: o.Follow}
	var p place
	if o.Path == "" && o.Empty {
		p, err = w.descriptor(o.Dir)
	} else {
		p, err = w.walk(o.Dir, o.Path)
	}
	defer p.close()
	switch {
	case err != nil:
		return err
	case p.obj < 0:
		return unix.ENOENT
	}
	return act(&p)
}

// Find reports with what a call fails that leads to what is denied, and nil for any other.
// It tells of what may not be executed by the ruleset, too, which the kernel refuses.
func (b *Broker) Find(c *Caller, d *Denials, o Object) error {
	err := b.objects(c, d, o, func(p *place) error { b.blameExec(c, d, p); return nil })
	if err == unix.EACCES {
		return err
	}
	return nil
}
