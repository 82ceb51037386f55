package broker

import (
	"errors"
	"fmt"

	"github.com/sandlock/sandlock/core/internal/audit"
	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// Open is a call of the open(2) family.
type Open struct {
	Dir   int // AT_FDCWD, or a descriptor of the caller
	Path  string
	Flags int
	Mode  uint32
}

const (
	// What the kernel leaves of the flags, VALID_OPEN_FLAGS, but O_PATH.
	openFlags = unix.O_ACCMODE | unix.O_CREAT | unix.O_EXCL | unix.O_NOCTTY | unix.O_TRUNC | unix.O_APPEND |
		unix.O_NONBLOCK | unix.O_SYNC | unix.O_ASYNC | unix.O_DIRECT | unix.O_LARGEFILE | unix.O_DIRECTORY |
		unix.O_NOFOLLOW | unix.O_NOATIME | unix.O_CLOEXEC | tmpfile
	tmpfile = unix.O_TMPFILE &^ unix.O_DIRECTORY

	// again is how often something that has changed under an open is looked for again.
	again = 16
)

var errChanged = errors.New("the object has changed meanwhile")

// Open opens what a caller wants, and has use give it the descriptor, on a confined thread, and
// close it. The error is the errno of the call.
func (b *Broker) Open(c *Caller, d *Denials, o Open, use func(fd int)) error {
	o.Flags &= openFlags
	if o.Flags&tmpfile != 0 && o.Flags&unix.O_CREAT != 0 {
		return unix.EINVAL
	}
	id, err := b.identity(c)
	if err != nil {
		return err
	}
	for range again {
		if err := b.openOnce(id, c, d, o, use); err != errChanged {
			return err
		}
	}
	return unix.EAGAIN
}

func (b *Broker) openOnce(id *identity, c *Caller, d *Denials, o Open, use func(fd int)) error {
	create := o.Flags&unix.O_CREAT != 0
	if create || o.Flags&tmpfile != 0 { // which the umask is for
		if err := c.whole(); err != nil {
			return err
		}
	}
	exclusive := create && o.Flags&unix.O_EXCL != 0
	w := walker{caller: c, asker: &c.Asker, id: id, denied: d.now.Load(), create: create, follow: o.Flags&unix.O_NOFOLLOW == 0 && !exclusive}
	p, err := w.walk(o.Dir, o.Path)
	if err != nil {
		return err
	}
	defer p.close()
	// Before the caller has it: with that it may end, and the run with it.
	told := func(fd int) { b.observeOpen(&p, o.Flags); use(fd) }
	switch {
	case o.Flags&tmpfile != 0: // in the directory that the path leads to
		if p.obj < 0 {
			return unix.ENOENT
		}
	case p.obj < 0 && !create:
		if v := b.absent(o.Path); v != nil && o.Flags&notForReading == 0 {
			return b.show(id, c, &Sight{v, -1}, o.Flags, false, use)
		}
		return unix.ENOENT
	case p.obj < 0:
		err = give(id.quick.do, c, func() (int, error) {
			// What has come there meanwhile was not looked at.
			fd, err := unix.Openat(p.dir, p.name, o.Flags|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_NOCTTY, o.Mode)
			if err == unix.EEXIST && !exclusive {
				err = errChanged
			}
			return fd, err
		}, told)
		id.blameOpen(c, err, &p, o.Flags)
		return err
	case exclusive:
		return unix.EEXIST
	case create && p.kind() == unix.S_IFDIR:
		return unix.EISDIR
	case o.Flags&unix.O_DIRECTORY != 0 && p.kind() != unix.S_IFDIR:
		return unix.ENOTDIR
	case p.kind() == unix.S_IFLNK:
		return unix.ELOOP
	}
	if o.Flags&notForReading == 0 {
		if v := b.viewOf(&p.st); v != nil {
			err = b.show(id, c, &Sight{v, p.obj}, o.Flags, false, told)
			id.blameOpen(c, err, &p, o.Flags)
			return err
		}
	}
	if err := b.notOthers(c, &p); err != nil {
		if err == unix.EACCES {
			c.refused(audit.ByForeign, unix.EACCES, p.obj, "")
		}
		return err
	}
	patient := false
	switch p.kind() {
	case unix.S_IFIFO:
		b.forget()
		patient = o.Flags&unix.O_ACCMODE != unix.O_RDWR && o.Flags&unix.O_NONBLOCK == 0
	case unix.S_IFCHR:
		if p.st.Rdev_major == 5 && p.st.Rdev_minor == 0 {
			if err := sameTerminal(c); err != nil {
				return err
			}
		}
		patient = p.st.Rdev_major != 1 // a terminal can wait for its line
	}
	// The object itself, whatever has its name by now. What is left out does nothing here,
	// and O_NOCTTY keeps a terminal from becoming the host's.
	flags := o.Flags&^(unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW) | unix.O_NOCTTY
	reopen := func() (int, error) { return unix.Open(self(p.obj), flags, o.Mode) }
	switch {
	case !patient:
		err = give(id.quick.do, c, reopen, told)
	case p.kind() == unix.S_IFIFO && flags&unix.O_ACCMODE == unix.O_WRONLY:
		// Readers that wait must not keep a writer from them, however many they are.
		if err = give(id.quick.do, c, func() (int, error) { return openWaited(self(p.obj), flags) }, told); err != unix.ENXIO {
			break
		}
		fallthrough
	default:
		err = b.openPatiently(id, c, &p, flags, o.Mode, told)
	}
	if (err == unix.EACCES || err == unix.EPERM) && id.base && id.ownProc(c, &p, flags) {
		var fd int
		if fd, err = reopen(); err == nil {
			defer unix.Close(fd)
			err = give(id.quick.do, c, func() (int, error) { return dup(fd) }, told)
		}
	}
	id.blameOpen(c, err, &p, o.Flags)
	return err
}

// give has open called, and use with what it returns, on a confined thread. use closes that.
func give(do func(func()) error, c *Caller, open func() (int, error), use func(int)) (err error) {
	if broken := do(func() {
		if !c.Valid() {
			err = unix.EPERM // nobody is there to hear it
			return
		}
		unix.Umask(int(c.Task.Umask))
		var fd int
		if fd, err = retryFD(open); err != nil {
			return
		}
		sys.Opened(fd)
		use(fd)
	}); broken != nil {
		return unix.EPERM
	}
	return err
}

func retryFD(open func() (int, error)) (fd int, err error) {
	err = sys.Retry(func() error { fd, err = open(); return err })
	return fd, err
}

// sameTerminal lets /dev/tty be opened where it is the same for this process as for the
// caller; ENXIO is what a task without a terminal gets, tty(4).
func sameTerminal(c *Caller) error {
	theirs, err := controllingTerminal(fmt.Sprintf("/proc/%d/stat", c.TID))
	if err != nil {
		return unix.EACCES
	}
	ours, err := controllingTerminal("/proc/self/stat")
	switch {
	case theirs == "0":
		return unix.ENXIO
	case err != nil || ours != theirs:
		return unix.EACCES
	}
	return nil
}

// controllingTerminal is the field tty_nr of proc_pid_stat(5).
func controllingTerminal(path string) (string, error) {
	f, err := sys.ReadStat(path, 5)
	if err != nil {
		return "", err
	}
	return string(f[4]), nil
}

// ownFiles are those of a process in /proc that the kernel shows to who may trace it, which
// a confined thread may not, and the process itself may. None of them tells an opener with
// more capabilities more than the process would be told.
var ownFiles = map[string]bool{"environ": true, "auxv": true, "maps": true, "smaps": true, "smaps_rollup": true,
	"numa_maps": true, "mem": true, "io": true, "syscall": true, "personality": true}

// ownProc reports whether a place is a file of the caller's own in /proc, to be read, where
// the file rules let files be read.
func (id *identity) ownProc(c *Caller, p *place, flags int) bool {
	if p.dir < 0 || !ownFiles[p.name] || flags&(unix.O_ACCMODE|unix.O_TRUNC) != unix.O_RDONLY {
		return false
	}
	var fs unix.Statfs_t
	if unix.Fstatfs(p.dir, &fs) != nil || fs.Type != unix.PROC_SUPER_MAGIC {
		return false
	}
	owner, depth, err := procOwner(p.dir)
	if err != nil || c.whole() != nil || owner != c.Task.TGID || depth != 0 {
		return false
	}
	readable := false
	// A file beside it that no such check is made for.
	_ = id.quick.do(func() {
		fd, err := unix.Openat(p.dir, "stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if readable = err == nil; readable {
			unix.Close(fd)
		}
	})
	return readable
}
