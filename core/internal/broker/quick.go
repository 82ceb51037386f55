package broker

import (
	"errors"
	"strings"
	"sync"

	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// quickThreads bounds the threads of one sandbox that take work from Quickly. What finds all
// of them busy goes the long way.
const quickThreads = 4

// quick is threads that wait for work by themselves: one that waits for the Go scheduler is
// locked to its goroutine, and so woken through another one.
type quick struct {
	mu      sync.Mutex // guards what follows
	threads int
	idle    []*quickThread // who has come last goes first
	closed  bool
}

type quickThread struct {
	bell sys.Bell
	work func() (last func()) // nil is the end
}

// Quickly has f called on a confined thread with the credentials that the sandbox started
// with, and then what f returns, after which the thread has nothing left to do. It does not
// wait. False: no such thread is free.
func (b *Broker) Quickly(f func() (last func())) bool {
	q := &b.quick
	q.mu.Lock()
	last := len(q.idle) - 1
	if last < 0 {
		defer q.mu.Unlock()
		if !q.closed && q.threads < quickThreads {
			q.threads++
			sys.OwnThread(b.serveQuickly)
		}
		return false
	}
	t := q.idle[last]
	q.idle = q.idle[:last]
	q.mu.Unlock() // first, as who has to wait for it is woken by way of others
	t.work = f
	t.bell.HandOver()
	return true
}

func (b *Broker) serveQuickly() {
	if b.confine() != nil {
		return
	}
	t := &quickThread{}
	for last := func() {}; last != nil; last = t.work() {
		t.work = nil
		stays := b.quick.rest(t)
		last()
		if !stays {
			return
		}
		if t.bell.WaitLocked(); t.work == nil {
			return
		}
	}
}

func (q *quick) rest(t *quickThread) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.idle = append(q.idle, t)
	}
	return !q.closed
}

func (q *quick) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, t := range q.idle {
		t.bell.Ring()
	}
	q.idle = nil
}

// quickFlags are those of the opens that OpenQuickly is for.
const (
	quickFlags = unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_LARGEFILE | unix.O_NOCTTY
	writeFlags = unix.O_ACCMODE | unix.O_APPEND | unix.O_CREAT | unix.O_TRUNC
)

// IsQuick reports whether OpenQuickly is for an open with these flags.
func IsQuick(flags int) bool {
	switch flags & unix.O_ACCMODE {
	case unix.O_RDONLY:
		return flags&^quickFlags == 0
	case unix.O_WRONLY, unix.O_RDWR:
		return flags&^(quickFlags|writeFlags) == 0
	}
	return false
}

// ErrNotQuick: the open is none for OpenQuickly.
var ErrNotQuick = errors.New("an open that takes the long way")

// OpenQuickly is Open, on the calling thread, which is one of Quickly's, for an open that
// needs no second look: with such flags, of a file or directory, by a path without dots. A
// path that is not from the root counts from dir, -1: it is not known. All else is
// ErrNotQuick, and nothing has been done. The descriptor is the caller's to close. What is not
// there is not made: that takes the caller's umask.
//
// What is opened is what was looked at last, and each directory of the path was looked at
// before: a sandbox can't have put what is denied, or what lies beneath, in the place of one
// of them meanwhile, as it can rename neither it nor what holds it, and the kernel follows no
// link then.
func (b *Broker) OpenQuickly(d *Denials, dir int, path string, flags int) (fd int, err error) {
	l := look{denied: d.now.Load(), dir: dir, path: path, follow: flags&unix.O_NOFOLLOW == 0}
	resolve := uint64(unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS)
	if flags&unix.O_CREAT == 0 && l.atOnce() {
		resolve = unix.RESOLVE_NO_MAGICLINKS
	} else {
		flags &^= unix.O_NOFOLLOW
		err = l.along()
	}
	switch {
	case err == unix.ENOENT && flags&unix.O_CREAT == 0 && b.absent(path) == nil:
		return -1, err
	case err != nil, b.viewOf(&l.st) != nil:
		return -1, ErrNotQuick
	case flags&unix.O_CREAT != 0 && l.in.Mode&(unix.S_IWOTH|unix.S_IWGRP) != 0 && l.in.Mode&unix.S_ISVTX != 0:
		return -1, ErrNotQuick // the kernel may say no: protected_regular, proc_sys_fs(5)
	}
	kind := l.st.Mode & unix.S_IFMT
	if kind != unix.S_IFREG && kind != unix.S_IFDIR {
		return -1, ErrNotQuick
	}
	how := unix.OpenHow{
		// O_NONBLOCK, as a FIFO may stand there by now.
		Flags:   uint64(flags&^(unix.O_CREAT|unix.O_TRUNC) | unix.O_CLOEXEC | unix.O_NOCTTY | unix.O_NONBLOCK),
		Resolve: resolve,
	}
	if fd, err = retryFD(func() (int, error) { return unix.Openat2(l.dir, l.path, &how) }); err != nil {
		return -1, ErrNotQuick
	}
	var opened unix.Statx_t
	err = statFD(fd, &opened)
	if err == nil && flags&unix.O_NONBLOCK == 0 {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags&unix.O_APPEND)
	}
	if err != nil || !sameDir(&opened, &l.st) || opened.Mode&unix.S_IFMT != kind || mayBeProc(fd, &opened) ||
		flags&unix.O_TRUNC != 0 && unix.Ftruncate(fd, 0) != nil {
		unix.Close(fd)
		return -1, ErrNotQuick
	}
	return fd, nil
}

// mayBeProc reports whether an object is one of a proc file system, or whether that can't be
// told. Those have no device.
func mayBeProc(fd int, st *unix.Statx_t) bool {
	var fs unix.Statfs_t
	return st.Dev_major == 0 && (unix.Fstatfs(fd, &fs) != nil || fs.Type == unix.PROC_SUPER_MAGIC)
}

// look is a way to a file, along which it is looked for what is denied. Each component is
// looked at by its path, which takes one call.
type look struct {
	denied *denied
	dir    int    // where path counts from, if not from the root
	path   string // with the links that were met followed
	follow bool   // one at the end, too
	st     unix.Statx_t
	in     unix.Statx_t // of the directory that holds that
	links  int
}

const (
	maxQuickLinks = 8
	maxQuickClimb = 16
)

// atOnce leaves the look at the end of the path where nothing is denied: then nothing has to
// be looked at on the way, and the kernel may follow links. It leads nowhere else than the
// caller's own but by a link of /proc, to what is of /proc again, or to nothing, or by one that
// an open does not follow then.
func (l *look) atOnce() bool {
	if !l.denied.empty() || l.path == "" || l.path[0] != '/' && l.dir < 0 {
		return false
	}
	flags := unix.AT_STATX_DONT_SYNC
	if !l.follow {
		flags |= unix.AT_SYMLINK_NOFOLLOW
	}
	return sys.Retry(func() error { return unix.Statx(l.dir, l.path, flags, wantStatx, &l.st) }) == nil
}

// along leaves the look at the end of the path. What is denied is ErrNotQuick as well: who
// refuses it says so.
func (l *look) along() error {
	dir := &l.in
	for at, start := 0, 0; ; {
		if l.path == "" || len(l.path) >= unix.PathMax {
			return ErrNotQuick
		}
		if at == 0 && l.path[0] != '/' {
			if err := l.above(); err != nil {
				return err
			}
		} else if err := l.see(l.path[:max(at, 1)]); err != nil {
			return err
		}
		switch kind := l.st.Mode & unix.S_IFMT; {
		case kind == unix.S_IFLNK:
			if at == len(l.path) && !l.follow {
				return ErrNotQuick
			}
			var err error
			if at, err = l.through(dir, start, at); err != nil {
				return err
			}
			continue
		case at == len(l.path):
			return nil
		case kind != unix.S_IFDIR:
			return ErrNotQuick
		}
		*dir = l.st
		if start = at; at > 0 || l.path[0] == '/' {
			start++
		}
		name, _, _ := strings.Cut(l.path[start:], "/")
		switch {
		case name == "" || name == "." || name == "..":
			return ErrNotQuick
		case l.denied.slots[slot{idOf(dir), name}]:
			return ErrNotQuick
		}
		at = start + len(name)
	}
}

// see looks at one place.
func (l *look) see(path string) error {
	switch err := statBy(l.dir, path, &l.st); {
	case err == unix.ENOENT:
		return err
	case err != nil:
		return ErrNotQuick
	case l.denied.mayHave(&l.st):
		return ErrNotQuick
	}
	return nil
}

func statBy(dir int, path string, st *unix.Statx_t) error {
	return sys.Retry(func() error {
		return unix.Statx(dir, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_STATX_DONT_SYNC, wantStatx, st)
	})
}

// above looks at where the path starts and at the directories that hold that, each of which
// the sandbox can't move out of what is denied.
func (l *look) above() error {
	var root, held, before unix.Statx_t
	if l.dir < 0 || statFD(l.dir, &l.st) != nil || l.st.Mode&unix.S_IFMT != unix.S_IFDIR || l.st.Nlink == 0 ||
		statBy(l.dir, "/", &root) != nil {
		return ErrNotQuick
	}
	held = l.st
	for up := ".."; ; up += "/.." {
		switch {
		case l.denied.mayHave(&held):
			return ErrNotQuick
		case sameDir(&held, &root), sameDir(&held, &before): // which is a root of its own
			return nil
		case len(up) > 3*maxQuickClimb:
			return ErrNotQuick
		}
		before = held
		if statBy(l.dir, up, &held) != nil || l.denied.inSlot(l.dir, up, &held, &before) != nil {
			return ErrNotQuick
		}
	}
}

// through follows the link at the first at bytes of the path, whose name begins at start, in
// dir. It returns how far the way to where the link leads from has been looked at.
func (l *look) through(dir *unix.Statx_t, start, at int) (int, error) {
	const shared = unix.S_ISVTX | unix.S_IWOTH // see mayFollow
	if l.links++; l.links > maxQuickLinks || dir.Mode&shared == shared {
		return 0, ErrNotQuick
	}
	fd, err := openAt(l.dir, l.path[:at], openObj)
	if err != nil {
		return 0, ErrNotQuick
	}
	defer unix.Close(fd)
	var st unix.Statx_t
	if statFD(fd, &st) != nil || !sameDir(&st, &l.st) || mayBeProc(fd, &st) {
		return 0, ErrNotQuick
	}
	target, err := readlinkAt(fd, "")
	if err != nil {
		return 0, ErrNotQuick
	}
	if target[0] == '/' {
		l.path = target + l.path[at:]
		return 0, nil
	}
	l.path = l.path[:start] + target + l.path[at:]
	return max(start-1, 0), nil
}
