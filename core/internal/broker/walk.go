package broker

import (
	"errors"
	"strconv"
	"strings"

	"github.com/sandlock/sandlock/core/internal/audit"
	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// caller is whose root, working directory and descriptors a path counts from.
type caller interface {
	// root and dir return O_PATH descriptors, which the walker closes. fd of dir may be
	// AT_FDCWD.
	root() (int, error)
	dir(fd int) (int, error)
	// ids of the thread group and the thread, for /proc/self and /proc/thread-self.
	ids() (tgid, tid uint32)
}

// place is where a path leads. Of what is not there, a descriptor is -1.
type place struct {
	dir   int // O_PATH of the directory of the last component; none, where the path ends in no name
	dirID object
	name  string // the last component
	obj   int    // O_PATH and O_NOFOLLOW of the object, unless nothing is there
	st    unix.Statx_t
	slash bool // a slash follows the name
	door  bool // a link of /proc that is no name was passed on the way
}

func (p *place) close() {
	for _, fd := range []*int{&p.dir, &p.obj} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}

func (p *place) id() object   { return idOf(&p.st) }
func (p *place) kind() uint16 { return p.st.Mode & unix.S_IFMT }

func idOf(st *unix.Statx_t) object {
	return object{uint64(st.Dev_major)<<32 | uint64(st.Dev_minor), st.Ino}
}

// walker follows a path as the kernel does, path_resolution(7), but one component at a
// time, so that it sees each directory on the way. The kernel's permissions hold at each
// step.
type walker struct {
	caller caller
	id     *identity // whose permissions hold on the way; nil: this thread's
	denied *denied
	follow bool // a symbolic link at the end is followed
	// parent: a name is wanted, as for making, removing and renaming: the last component is
	// one whatever it is, and a slash behind it does not follow a link.
	parent bool
	create bool   // the last component may be made: with a slash behind it, it is EISDIR
	asker  *Asker // who is told of a refusal; nil: nobody

	rootFD int
	rootSt unix.Statx_t
	links  int
	door   bool
}

const (
	openDir   = unix.O_PATH | unix.O_CLOEXEC | unix.O_DIRECTORY
	openObj   = unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW
	maxLinks  = 40 // MAXSYMLINKS of the kernel
	maxClimb  = 4096
	wantStatx = unix.STATX_TYPE | unix.STATX_MODE | unix.STATX_INO | unix.STATX_UID | unix.STATX_NLINK | unix.STATX_MNT_ID
)

func statFD(fd int, st *unix.Statx_t) error {
	return sys.Retry(func() error {
		return unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, wantStatx, st)
	})
}

// openAt opens what does not block: directories and O_PATH.
func openAt(dir int, name string, flags int) (fd int, err error) {
	err = sys.Retry(func() error { fd, err = unix.Openat(dir, name, flags, 0); return err })
	return fd, err
}

func (w *walker) open(dir int, name string, flags int) (int, error) {
	if w.id == nil {
		return openAt(dir, name, flags)
	}
	return w.id.open(dir, name, flags)
}

// walk returns the place that the path leads to, or the errno of the kernel; EACCES for what
// is denied. The caller closes the place.
func (w *walker) walk(dirfd int, path string) (p place, err error) {
	p = place{dir: -1, obj: -1}
	defer func() {
		if err == errUnknown {
			err = unix.EACCES
		}
		p.door = w.door
	}()
	switch {
	case path == "":
		return p, unix.ENOENT
	case len(path) >= unix.PathMax:
		return p, unix.ENAMETOOLONG
	}
	if w.rootFD, err = w.caller.root(); err != nil {
		return p, err
	}
	defer unix.Close(w.rootFD)
	if err := statFD(w.rootFD, &w.rootSt); err != nil {
		return p, err
	}
	cur := -1
	var st unix.Statx_t
	defer func() { unix.Close(cur) }() // whatever it is by then; -1 is none
	if path[0] == '/' {
		if cur, err = dup(w.rootFD); err != nil {
			return p, err
		}
		st = w.rootSt
	} else {
		if cur, err = w.caller.dir(dirfd); err != nil {
			return p, err
		}
		if err := statFD(cur, &st); err != nil {
			return p, err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return p, unix.ENOTDIR
		}
		if err := w.start(cur, &st); err != nil {
			return p, err
		}
	}
	rest := path
	for {
		rest = strings.TrimLeft(rest, "/")
		if w.denied.has(&st) {
			return p, w.refuse(audit.ByDenied, cur, "")
		}
		if rest == "" {
			p.obj, p.st, cur = cur, st, -1
			if w.parent { // "/" alone, which each call refuses in its own way
				p.name = "/"
			}
			return p, nil
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return p, unix.ENOTDIR
		}
		name, after, slash := strings.Cut(rest, "/")
		after = strings.TrimLeft(after, "/")
		last := after == ""
		if name == "." || name == ".." {
			if last && w.parent {
				p.dir, p.dirID, p.name, cur = cur, idOf(&st), name, -1
				return p, nil
			}
			if cur, err = w.step(cur, &st, name); err != nil {
				return p, err
			}
			rest = after
			continue
		}
		if w.denied.slots[slot{idOf(&st), name}] {
			return p, w.refuse(audit.ByDenied, cur, name)
		}
		next, err := w.open(cur, name, openObj)
		if err == unix.ENOENT && last {
			if w.create && slash {
				return p, unix.EISDIR
			}
			p.dir, p.dirID, p.name, p.slash, cur = cur, idOf(&st), name, slash, -1
			return p, nil
		}
		if err == unix.EACCES {
			return p, w.refuse(audit.ByMode, cur, name)
		}
		if err != nil {
			return p, err
		}
		var nextSt unix.Statx_t
		if err := statFD(next, &nextSt); err != nil {
			unix.Close(next)
			return p, err
		}
		if w.denied.has(&nextSt) {
			err := w.refuse(audit.ByDenied, next, "")
			unix.Close(next)
			return p, err
		}
		if w.create && last && slash {
			unix.Close(next)
			return p, unix.EISDIR
		}
		link := nextSt.Mode&unix.S_IFMT == unix.S_IFLNK
		if link && (!last || (w.follow || slash) && !w.parent) {
			target, jumped, err := w.followLink(cur, &st, name, next, &nextSt)
			unix.Close(next)
			if err != nil {
				return p, err
			}
			if jumped >= 0 {
				unix.Close(cur)
				cur = jumped
				if err := w.start(cur, &st); err != nil {
					return p, err
				}
				if last && slash && st.Mode&unix.S_IFMT != unix.S_IFDIR {
					return p, unix.ENOTDIR
				}
				rest = after
				continue
			}
			if target[0] == '/' {
				unix.Close(cur)
				if cur, err = dup(w.rootFD); err != nil {
					return p, err
				}
				st = w.rootSt
			}
			if rest = target; slash {
				rest += "/" + after
			}
			continue
		}
		if last {
			p.dir, p.dirID, p.name, p.slash = cur, idOf(&st), name, slash
			p.obj, p.st, cur = next, nextSt, -1
			if slash && !w.parent && p.kind() != unix.S_IFDIR {
				p.close()
				return p, unix.ENOTDIR
			}
			return p, nil
		}
		unix.Close(cur)
		cur, st, rest = next, nextSt, after
	}
}

// descriptor is the place of one of the caller's, or of its working directory.
func (w *walker) descriptor(fd int) (p place, err error) {
	p = place{dir: -1, obj: -1}
	defer func() {
		if err == errUnknown {
			err = unix.EACCES
		}
	}()
	if w.rootFD, err = w.caller.root(); err != nil {
		return p, err
	}
	defer unix.Close(w.rootFD)
	if err := statFD(w.rootFD, &w.rootSt); err != nil {
		return p, err
	}
	if p.obj, err = w.caller.dir(fd); err != nil {
		return p, err
	}
	return p, w.start(p.obj, &p.st)
}

// errUnknown: it can't be told.
var errUnknown = errors.New("where it lies can't be told")

// descends returns EACCES for what is, or lies in, one of the objects that are denied.
func (w *walker) descends(fd int) error {
	var err error
	if w.rootFD, err = w.caller.root(); err != nil {
		return errUnknown
	}
	defer unix.Close(w.rootFD)
	var st unix.Statx_t
	if statFD(w.rootFD, &w.rootSt) != nil {
		return errUnknown
	}
	return w.start(fd, &st)
}

// refuse tells of a refusal on the way.
func (w *walker) refuse(by audit.Rule, fd int, name string) error {
	if w.asker == nil {
		return unix.EACCES
	}
	return w.asker.refused(by, unix.EACCES, fd, name)
}

// start takes a descriptor that no path led to for the place where one starts.
func (w *walker) start(fd int, st *unix.Statx_t) error {
	err := w.startAt(fd, st)
	if err == unix.EACCES {
		return w.refuse(audit.ByDenied, fd, "")
	}
	return err
}

func (w *walker) startAt(fd int, st *unix.Statx_t) error {
	if err := statFD(fd, st); err != nil {
		return err
	}
	if w.denied.has(st) {
		return unix.EACCES
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
	case st.Nlink == 0:
		return nil // it was removed: nothing is in it, and nothing can be made there
	default:
		return w.above(fd, st)
	}
	return w.confirm(fd, st)
}

// step goes to "." or "..", and never above the root.
func (w *walker) step(cur int, st *unix.Statx_t, name string) (int, error) {
	if name == ".." && sameDir(st, &w.rootSt) {
		name = "."
	}
	next, err := w.open(cur, name, openDir)
	if err != nil {
		return cur, err
	}
	unix.Close(cur)
	if err := statFD(next, st); err != nil {
		return next, err
	}
	if name == ".." {
		err = w.above(next, st) // it may have been moved since it was passed
		if err == unix.EACCES {
			err = w.refuse(audit.ByDenied, next, "")
		}
		return next, err
	}
	return next, nil
}

func sameDir(a, b *unix.Statx_t) bool { return idOf(a) == idOf(b) && a.Mnt_id == b.Mnt_id }

// above looks for what is denied among the directories that hold a directory.
func (w *walker) above(dir int, st *unix.Statx_t) error {
	if w.denied.empty() {
		return nil
	}
	fd, at := dir, *st
	defer func() {
		if fd != dir {
			unix.Close(fd)
		}
	}()
	for range maxClimb {
		if sameDir(&at, &w.rootSt) {
			return nil
		}
		up, err := openAt(fd, "..", openDir)
		if err != nil {
			return errUnknown
		}
		if fd != dir {
			unix.Close(fd)
		}
		fd = up
		before := at
		if err := statFD(fd, &at); err != nil {
			return errUnknown
		}
		if w.denied.has(&at) {
			return unix.EACCES
		}
		if sameDir(&before, &at) {
			return nil // a root of its own
		}
		if err := w.denied.inSlot(fd, ".", &at, &before); err != nil {
			return err
		}
	}
	return errUnknown
}

// deletedSuffix is what the kernel puts behind the name of a file that has none any more.
const deletedSuffix = " (deleted)"

// confirm looks for what is denied among the directories that hold a file which was reached
// by its descriptor: by the name that the kernel has for it. Of one that was removed it is
// the last: what it held is as secret as before, when an editor outside has saved the file.
func (w *walker) confirm(fd int, st *unix.Statx_t) error {
	if w.denied.empty() {
		return nil
	}
	// Again, when it was renamed in between.
	for range 3 {
		name, err := readlink("/proc/self/fd/" + strconv.Itoa(fd))
		if err != nil {
			return errUnknown
		}
		if name[0] != '/' {
			return nil // an anonymous inode
		}
		again := walker{caller: hostCaller{}, denied: w.denied, parent: true}
		if before, ok := strings.CutSuffix(name, deletedSuffix); ok && st.Nlink == 0 {
			p, err := again.walk(unix.AT_FDCWD, before)
			p.close()
			if err == unix.EACCES {
				return err
			}
			return nil
		}
		p, err := again.walk(unix.AT_FDCWD, name)
		found := err == nil && p.obj >= 0 && p.id() == idOf(st)
		p.close()
		if found {
			return nil
		}
		if err == unix.EACCES {
			return err
		}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFCHR {
		return nil // a terminal of another mount namespace, as a container's is
	}
	return errUnknown
}

// followLink returns what a symbolic link says, or for one of /proc that is a door to an
// object rather than a name, the object.
func (w *walker) followLink(dir int, dirSt *unix.Statx_t, name string, link int, st *unix.Statx_t) (target string, jumped int, err error) {
	if w.links++; w.links > maxLinks {
		return "", -1, unix.ELOOP
	}
	if st.Dev_major == 0 { // as every file system without a device
		var fs unix.Statfs_t
		if err := sys.Retry(func() error { return unix.Fstatfs(link, &fs) }); err != nil {
			return "", -1, err
		}
		if fs.Type == unix.PROC_SUPER_MAGIC {
			w.door = true
			return w.followProc(dir, dirSt, name, link)
		}
	}
	if err := w.mayFollow(dirSt, st); err != nil {
		return "", -1, err
	}
	target, err = readlinkAt(link, "")
	return target, -1, err
}

// mayFollow is the kernel's /proc/sys/fs/protected_symlinks, proc_sys_fs(5): in a sticky
// directory that everybody may write to, a link is followed only for its owner, and when the
// directory's owner made it.
func (w *walker) mayFollow(dir, link *unix.Statx_t) error {
	const shared = unix.S_ISVTX | unix.S_IWOTH
	if dir.Mode&shared != shared || !protectedSymlinks() ||
		link.Uid == dir.Uid || w.id != nil && link.Uid == w.id.fsuid {
		return nil
	}
	return unix.EACCES
}

func readlink(path string) (string, error) { return readlinkAt(unix.AT_FDCWD, path) }

// readlinkAt: "" is the link that dir is itself.
func readlinkAt(dir int, path string) (string, error) {
	buf := make([]byte, unix.PathMax)
	var n int
	err := sys.Retry(func() (err error) { n, err = unix.Readlinkat(dir, path, buf); return err })
	switch {
	case err != nil:
		return "", err
	case n == 0:
		return "", unix.ENOENT
	case n == len(buf):
		return "", unix.ENAMETOOLONG
	}
	return string(buf[:n]), nil
}

func dup(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3) }
