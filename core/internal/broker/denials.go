package broker

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"sync"
	"sync/atomic"

	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// object is what a path leads to, whatever the path: a file system's number and an inode's.
// A number can't come to mean another object while a descriptor of its own is open.
type object struct {
	dev, ino uint64
}

// slot is a name in a directory, whatever stands there.
type slot struct {
	dir  object
	name string
}

// Denials are the objects and names that nothing may be done to, nor to what lies beneath.
// Both, since an object can have other names, and a name can get another object, as when
// an editor outside saves the file. Its methods may be called from any goroutine.
type Denials struct {
	now atomic.Pointer[denied]

	mu    sync.Mutex         // guards what follows
	paths map[string]*denial // by the path, or the policy's own
	fixed []*denial
}

// denied is a state of the Denials that never changes.
type denied struct {
	objects map[object]bool
	slots   map[slot]bool
	names   map[object][]string // those of slots, by the directory
	// named reports whether a file that has several names has one beneath the objects.
	named func(o object, confined bool) bool
}

// has reports whether an object is denied itself, whatever it lies in.
func (d *denied) has(st *unix.Statx_t) bool { return d.holds(st, false) }

// mayHave is has for a confined thread, which can't list what is denied: until that was
// listed, any file that has several names may be denied.
func (d *denied) mayHave(st *unix.Statx_t) bool { return d.holds(st, true) }

func (d *denied) holds(st *unix.Statx_t, confined bool) bool {
	if len(d.objects) == 0 {
		return false
	}
	o := idOf(st)
	return d.objects[o] || d.named != nil && st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR && d.named(o, confined)
}

func (d *denied) empty() bool { return len(d.objects) == 0 && len(d.slots) == 0 }

// inSlot returns EACCES for a directory that has a denied name in the one that holds it, which
// is at the path up from dir. The name may be one that it got later.
func (d *denied) inSlot(dir int, up string, upSt, st *unix.Statx_t) error {
	for _, name := range d.names[idOf(upSt)] {
		var at unix.Statx_t
		switch err := statBy(dir, up+"/"+name, &at); {
		case err == nil && idOf(&at) == idOf(st):
			return unix.EACCES
		case err != nil && err != unix.ENOENT:
			return errUnknown
		}
	}
	return nil
}

type denial struct {
	object  object
	isDir   bool
	beneath *beneath // nil before it is asked for
	fd      int      // O_PATH of the object, -1 for none
	slot    slot
	dirFD   int // … of the slot's directory, -1 for none
}

// NewDenials makes an empty one.
func NewDenials() *Denials {
	d := &Denials{paths: map[string]*denial{}}
	d.now.Store(&denied{})
	return d
}

// Any reports whether anything is denied.
func (d *Denials) Any() bool { return !d.now.Load().empty() }

// State is another value for each change.
func (d *Denials) State() any { return d.now.Load() }

// Fix adds what the path leads to from this process, for good. The last component need not
// exist yet; what comes before it must.
func (d *Denials) Fix(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := resolveDenial(path)
	if err != nil {
		return err
	}
	d.fixed = append(d.fixed, n)
	d.publish()
	return nil
}

// Deny is Fix, but it can be taken back.
func (d *Denials) Deny(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := resolveDenial(path)
	if err != nil {
		return err
	}
	if old := d.paths[path]; old != nil {
		old.close() // what it led to before is not what the path means now
	}
	d.paths[path] = n
	d.publish()
	return nil
}

// Allow takes back a Deny of the same path.
func (d *Denials) Allow(path string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.paths[path]; n != nil {
		delete(d.paths, path)
		d.publish()
		n.close()
	}
}

// Close closes what the Denials hold.
func (d *Denials) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for n := range d.all() {
		n.close()
	}
	d.fixed = nil
	clear(d.paths)
}

// all of them. d.mu is held.
func (d *Denials) all() iter.Seq[*denial] {
	return func(yield func(*denial) bool) {
		for _, n := range d.fixed {
			if !yield(n) {
				return
			}
		}
		for _, n := range d.paths {
			if !yield(n) {
				return
			}
		}
	}
}

// holds reports whether something denied lies beneath a directory.
func (d *Denials) holds(dir object) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for n := range d.all() {
		w := walker{caller: hostCaller{}, denied: &denied{objects: map[object]bool{dir: true}}}
		if n.dirFD >= 0 && w.descends(n.dirFD) != nil {
			return true
		}
	}
	return false
}

// publish makes the state of the paths the one that counts. d.mu is held.
func (d *Denials) publish() {
	s := &denied{objects: map[object]bool{}, slots: map[slot]bool{}, names: map[object][]string{}, named: d.named}
	for n := range d.all() {
		if n.fd >= 0 {
			s.objects[n.object] = true
		}
		if n.dirFD >= 0 && !s.slots[n.slot] {
			s.slots[n.slot] = true
			s.names[n.slot.dir] = append(s.names[n.slot.dir], n.slot.name)
		}
	}
	d.now.Store(s)
}

func (n *denial) close() {
	sys.Close(n.fd)
	sys.Close(n.dirFD)
}

// resolveDenial follows the path as this process sees it, with nothing denied.
func resolveDenial(path string) (*denial, error) {
	w := &walker{caller: hostCaller{}, denied: &denied{}, follow: true}
	p, err := w.walk(unix.AT_FDCWD, path)
	if errors.Is(err, unix.ENOENT) {
		err = fmt.Errorf("%w: of a path that is denied the last component alone may be missing", err)
	}
	if err != nil {
		return nil, err
	}
	defer p.close()
	n := &denial{fd: -1, dirFD: -1}
	if p.obj >= 0 {
		if n.fd, err = keep(p.obj); err != nil {
			return nil, err
		}
		n.object, n.isDir = p.id(), p.kind() == unix.S_IFDIR
	}
	if p.dir >= 0 {
		if n.dirFD, err = keep(p.dir); err != nil {
			n.close()
			return nil, err
		}
		n.slot = slot{p.dirID, p.name}
	}
	return n, nil
}

// keep duplicates a descriptor for as long as the sandbox lives.
func keep(fd int) (int, error) {
	kept, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return -1, os.NewSyscallError("fcntl", err)
	}
	return sys.Opened(kept), nil
}
