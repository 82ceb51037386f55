package broker

import (
	"bytes"
	"os"
	"sync"

	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// View is what is shown in the place of a file to who opens that for reading. It shows no
// more than the file to who may read that, and else nothing but Bare.
type View struct {
	Path  string // of the file, as this process sees it
	Fixed bool   // Path leads to the same file for ever, as one of the kernel's does
	// Make makes the contents of those of the file, again for each open if Live.
	Make func(own []byte) []byte
	Live bool
	// Bare is shown to who may not read the file, and where there is none; nil: nothing is.
	Bare []byte

	once sync.Once // of what follows
	file object    // Fixed

	mu         sync.Mutex // guards what follows
	full, bare sheet
	over       bool
}

// sheet is contents that are shown, in a memfd that can't be changed. Each sandbox has its
// own, as whoever has a descriptor of one can lock it, or change its mode.
type sheet struct {
	text []byte
	fd   int // 0: none
}

// maxView bounds what is read of a file that has a view.
const maxView = 16 << 20

// notForReading are the flags of an open that is no plain one for reading. The real file is
// what it is about.
const notForReading = unix.O_ACCMODE | unix.O_CREAT | unix.O_TRUNC | unix.O_DIRECTORY | unix.O_PATH | tmpfile

// Sight is a view that an open leads to.
type Sight struct {
	*View
	obj int // O_PATH of the file, which is the Sight's; -1: there is none
}

func (s *Sight) Close() {
	if s.obj >= 0 {
		unix.Close(s.obj)
	}
}

// viewOf returns what stands for an object, nil for none.
func (b *Broker) viewOf(st *unix.Statx_t) *View {
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	for _, v := range b.Views {
		if v.now() == idOf(st) {
			return v
		}
	}
	return nil
}

// now is the object that Path leads to, the zero one for none.
func (v *View) now() object {
	find := func() (o object) {
		var st unix.Statx_t
		if sys.Retry(func() error { return unix.Statx(unix.AT_FDCWD, v.Path, 0, wantStatx, &st) }) == nil {
			o = idOf(&st)
		}
		return o
	}
	if !v.Fixed {
		return find()
	}
	v.once.Do(func() { v.file = find() })
	return v.file
}

// absent returns the view of a file that is not there, by its path.
func (b *Broker) absent(path string) *View {
	for _, v := range b.Views {
		if v.Path == path && v.Bare != nil {
			return v
		}
	}
	return nil
}

// follow has the kernel follow a path for an open, and returns an O_PATH descriptor of what it
// leads to; ELOOP, if there is a door of /proc on the way.
func follow(dir int, path string, flags int, resolve uint64) (int, error) {
	how := unix.OpenHow{Flags: uint64(unix.O_PATH | unix.O_CLOEXEC | flags&unix.O_NOFOLLOW), Resolve: resolve | unix.RESOLVE_NO_MAGICLINKS}
	return retryFD(func() (int, error) { return unix.Openat2(dir, path, &how) })
}

// MayHaveView reports whether an open may lead to what has a view, of which Sight can tell
// more. It may be called on a confined thread.
func (b *Broker) MayHaveView(dir int, path string, flags int) bool {
	if flags&notForReading != 0 {
		return false
	}
	switch fd, err := follow(dir, path, flags, 0); err {
	case nil:
		var st unix.Statx_t
		err := statFD(fd, &st)
		unix.Close(fd)
		return err != nil || b.viewOf(&st) != nil
	case unix.ENOENT:
		return b.absent(path) != nil
	case unix.ENOTDIR:
		return false
	}
	return true // with EACCES too: a confined thread may not go by way of /proc/PID/root
}

// Sight returns what an open of a caller leads to that has a view, nil for what has none,
// or can't be found. resolve are flags of openat2(2).
//
// The kernel follows the path, as this process: where that may be another way than the
// caller's, at a door of /proc, the path is walked. No more is decided by it than what is
// shown: what has no view is for the kernel to open.
func (b *Broker) Sight(c *Caller, o Open, resolve uint64) *Sight {
	if o.Flags&notForReading != 0 || o.Path == "" {
		return nil
	}
	dir := unix.AT_FDCWD
	if o.Path[0] != '/' {
		var err error
		if dir, err = c.dir(o.Dir); err != nil {
			return nil
		}
		defer unix.Close(dir)
	}
	fd, err := follow(dir, o.Path, o.Flags, resolve)
	p := place{dir: -1, obj: -1}
	switch {
	case err == nil:
		if p.obj = fd; statFD(fd, &p.st) != nil {
			p.close()
			return nil
		}
	case err == unix.ENOENT:
		if v := b.absent(o.Path); v != nil {
			return &Sight{v, -1}
		}
		return nil
	case resolve != 0:
		return nil
	case err == unix.ELOOP, err == unix.ENOSYS, err == unix.EPERM: // a door, or no openat2(2) here
		if c.all() != nil {
			return nil
		}
		w := walker{caller: c, denied: &denied{}, follow: o.Flags&unix.O_NOFOLLOW == 0}
		if p, err = w.walk(o.Dir, o.Path); err != nil || p.obj < 0 {
			p.close()
			return nil
		}
	default:
		return nil
	}
	v := b.viewOf(&p.st)
	if v == nil {
		p.close()
		return nil
	}
	s := &Sight{v, p.obj}
	p.obj = -1
	p.close()
	return s
}

// Show gives a caller a descriptor of what it sees, valid during the call of use, as
// [Broker.Open] does. Bare: it is shown that alone.
func (b *Broker) Show(c *Caller, s *Sight, flags int, bare bool, use func(fd int)) error {
	if err := c.all(); err != nil {
		return unix.EACCES
	}
	id, err := b.identity(c)
	if err != nil {
		return err
	}
	return b.show(id, c, s, flags, bare, use)
}

func (b *Broker) show(id *identity, c *Caller, s *Sight, flags int, bare bool, use func(fd int)) error {
	err := error(unix.ENOENT)
	if bare {
		err = unix.EACCES
	} else if s.obj >= 0 {
		// Whether the caller may read it, the kernel says.
		if broken := id.quick.do(func() {
			var fd int
			if fd, err = retryFD(func() (int, error) { return unix.Open(self(s.obj), flags&openFlags&^unix.O_NOFOLLOW|unix.O_CLOEXEC, 0) }); err == nil {
				unix.Close(fd)
			}
		}); broken != nil {
			return unix.EACCES
		}
	}
	if err != nil && s.Bare == nil {
		return err
	}
	fd, err := s.open(err != nil, flags)
	if err != nil {
		return err
	}
	defer sys.Close(sys.Opened(fd))
	return give(id.quick.do, c, func() (int, error) { return dup(fd) }, use)
}

// open returns a descriptor of its own of what is shown, which is the caller's.
func (v *View) open(bare bool, flags int) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.over {
		return -1, errClosed
	}
	now, text := &v.full, v.Bare
	switch {
	case bare:
		now = &v.bare
	case v.full.fd == 0 || v.Live:
		own, err := sys.ReadFile(v.Path, maxView)
		switch {
		case err == nil:
			text = v.Make(own)
		case v.Bare != nil: // it is too large, or gone by now
			now = &v.bare
		default:
			return -1, err
		}
	default:
		text = v.full.text
	}
	if now.fd == 0 || !bytes.Equal(now.text, text) {
		if err := now.write(text); err != nil {
			return -1, err
		}
	}
	fd, err := now.reopen(flags)
	if err == unix.EACCES { // somebody has changed its mode
		if err = now.write(text); err == nil {
			fd, err = now.reopen(flags)
		}
	}
	return fd, err
}

func (s *sheet) reopen(flags int) (int, error) {
	return retryFD(func() (int, error) {
		return unix.Open(self(s.fd), unix.O_RDONLY|unix.O_CLOEXEC|flags&(unix.O_NONBLOCK|unix.O_APPEND|unix.O_LARGEFILE), 0)
	})
}

func (s *sheet) write(text []byte) error {
	fd, err := seal(text)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	kept, err := keep(fd)
	if err == nil {
		s.close()
		s.fd, s.text = kept, text
	}
	return err
}

func (s *sheet) close() {
	if s.fd != 0 {
		sys.Close(s.fd)
	}
	*s = sheet{}
}

// close gives back what the view holds.
func (v *View) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.over = true
	v.full.close()
	v.bare.close()
}

// seal makes a memfd that nobody can change, memfd_create(2).
func seal(text []byte) (fd int, err error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err = unix.MemfdCreate("sandlock", flags|unix.MFD_NOEXEC_SEAL) // Linux 6.3
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate("sandlock", flags)
	}
	if err != nil {
		return -1, os.NewSyscallError("memfd_create", err)
	}
	for rest := text; err == nil && len(rest) > 0; {
		var n int
		if err = sys.Retry(func() (err error) { n, err = unix.Write(fd, rest); return err }); err == nil {
			rest = rest[n:]
		}
	}
	if err == nil {
		err = unix.Fchmod(fd, 0o444)
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
