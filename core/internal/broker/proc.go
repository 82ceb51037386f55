package broker

import (
	"bytes"
	"errors"
	"strconv"
	"sync"

	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// protectedSymlinks is the sysctl, read once.
var protectedSymlinks = sync.OnceValue(func() bool {
	text, err := sys.ReadFile("/proc/sys/fs/protected_symlinks", 64)
	return err != nil || string(bytes.TrimSpace(text)) != "0"
})

// procRoot is the inode number of a proc file system's root, PROC_ROOT_INO of the kernel.
const procRoot = 1

// followProc follows a symbolic link of a proc file system, proc(5). self and thread-self
// are the caller's. What stands in a process's directory leads to an object and not to a
// name: the caller's own are followed, those of another process not, as the kernel's check
// of who may look at whom would fall on this process and not on the caller.
func (w *walker) followProc(dir int, dirSt *unix.Statx_t, name string, link int) (target string, jumped int, err error) {
	tgid, tid := w.caller.ids()
	if !isOurProc(dirSt) {
		return "", -1, unix.EACCES
	}
	if dirSt.Ino == procRoot {
		switch name {
		case "self":
			return strconv.Itoa(int(tgid)), -1, nil
		case "thread-self":
			return strconv.Itoa(int(tgid)) + "/task/" + strconv.Itoa(int(tid)), -1, nil
		}
		target, err = readlinkAt(link, "")
		return target, -1, err
	}
	owner, depth, err := procOwner(dir)
	switch {
	case err != nil:
		return "", -1, err
	case owner == 0:
		target, err = readlinkAt(link, "")
		return target, -1, err
	case owner != tgid || !isDoor(dir, dirSt, name, depth):
		return "", -1, unix.EACCES
	}
	fd, err := openAt(dir, name, unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return "", -1, err
	}
	return "", fd, nil
}

// isDoor reports whether a link in a directory of a process, so many levels beneath it, is
// one that the process itself may follow. Those of map_files are for administrators alone.
func isDoor(dir int, dirSt *unix.Statx_t, name string, depth int) bool {
	switch {
	case depth == 0:
		return name == "cwd" || name == "root" || name == "exe"
	case depth != 1:
		return false
	}
	for _, sub := range []string{"../fd", "../ns"} {
		fd, err := openAt(dir, sub, openDir)
		if err != nil {
			continue
		}
		var st unix.Statx_t
		err = statFD(fd, &st)
		unix.Close(fd)
		if err == nil && sameDir(&st, dirSt) {
			return true
		}
	}
	return false
}

// procOwner returns the thread group whose directory of /proc holds dir, depth levels above
// it; 0 for none.
func procOwner(dir int) (tgid uint32, depth int, err error) {
	fd, err := dup(dir)
	if err != nil {
		return 0, 0, err
	}
	defer func() { unix.Close(fd) }()
	for depth = range 8 {
		var st unix.Statx_t
		if err := statFD(fd, &st); err != nil {
			return 0, 0, err
		}
		if st.Ino == procRoot {
			return 0, 0, nil
		}
		t, err := ReadTask("/proc/self/fd/" + strconv.Itoa(fd) + "/status")
		switch {
		case err == nil:
			return t.TGID, depth, nil
		case !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ESRCH):
			return 0, 0, err // it can't be told
		}
		up, err := openAt(fd, "..", openDir)
		if err != nil {
			return 0, 0, err
		}
		unix.Close(fd)
		fd = up
	}
	return 0, 0, unix.EACCES
}

// shown are the files of a process that the kernel shows to everybody.
var shown = map[string]bool{"stat": true, "statm": true, "status": true, "cmdline": true, "comm": true,
	"limits": true, "cgroup": true, "cpuset": true, "mounts": true, "mountinfo": true, "sched": true, "schedstat": true,
	"wchan": true, "oom_score": true, "oom_adj": true, "oom_score_adj": true, "loginuid": true, "sessionid": true}

// machine are files that tell of the kernel itself, of its keys and its log.
var machine = map[string]bool{"kcore": true, "kallsyms": true, "keys": true, "key-users": true, "kmsg": true,
	"kpagecount": true, "kpageflags": true, "kpagecgroup": true, "vmallocinfo": true, "timer_list": true,
	"iomem": true, "sysrq-trigger": true}

// notOthers refuses what a process other than the caller has in /proc, unless it is of the
// sandbox and the file is shown to everybody; and the machine's files. The kernel would not always: a process may look at itself, and the thread that
// opens is one of this; and at whatever has the same memory, as a child of this process has
// between vfork(2) and its exec (mm_access() of the kernel).
func (b *Broker) notOthers(c *Caller, p *place) error {
	if p.st.Dev_major != 0 {
		return nil
	}
	var fs unix.Statfs_t
	if err := sys.Retry(func() error { return unix.Fstatfs(p.obj, &fs) }); err != nil {
		return err
	}
	if fs.Type != unix.PROC_SUPER_MAGIC || p.kind() == unix.S_IFDIR && p.st.Ino == procRoot {
		return nil
	}
	at, isDir := p.dir, p.kind() == unix.S_IFDIR
	if isDir {
		at = p.obj
	}
	if at < 0 {
		return unix.EACCES
	}
	owner, depth, err := procOwner(at)
	if err == nil {
		err = c.whole() // who it is
	}
	switch {
	case err != nil, owner == 0 && p.dirID.ino == procRoot && machine[p.name]:
		return unix.EACCES
	case owner == 0, owner == c.Task.TGID && isOurProc(&p.st):
		return nil
	case b.Inside != nil && !b.Inside(owner):
	case depth == 0 && (isDir || shown[p.name]):
		return nil
	case depth == 1 && isDir && isThreads(at, &p.st):
		return nil
	}
	return unix.EACCES
}

// isThreads reports whether a directory of a process is the one of its threads.
func isThreads(dir int, dirSt *unix.Statx_t) bool {
	fd, err := openAt(dir, "../task", openDir)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var st unix.Statx_t
	return statFD(fd, &st) == nil && sameDir(&st, dirSt)
}

// isOurProc reports whether an object of a proc file system is one of /proc, whose numbers
// are those that this process knows. Another one may be mounted elsewhere, of another
// namespace of processes.
func isOurProc(st *unix.Statx_t) bool {
	var ours unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, "/proc", 0, wantStatx, &ours)
	return err == nil && ours.Ino == procRoot && idOf(&ours).dev == idOf(st).dev
}

// hostCaller is this process.
type hostCaller struct{}

func (hostCaller) root() (int, error) { return openAt(unix.AT_FDCWD, "/", openDir) }

func (hostCaller) dir(fd int) (int, error) {
	if fd == unix.AT_FDCWD {
		return openAt(unix.AT_FDCWD, ".", openDir)
	}
	return dup(fd)
}

func (hostCaller) ids() (tgid, tid uint32) { return uint32(unix.Getpid()), uint32(unix.Gettid()) }

// Caller is a thread of the sandbox that waits in a call. Root of all of them is the host's,
// as no call that changes it is allowed inside.
type Caller struct {
	TID  uint32
	Task Task
	// Load, if not nil, reads the rest of Task, of which the Credentials alone are there.
	Load func() (Task, error)
	// Valid reports whether the thread still waits, so that what was opened by its number is
	// its own.
	Valid func() bool
	// From, if not nil, is what AT_FDCWD is.
	From *int
	// Waits, if not nil, is told when the call is about to wait for what may never come.
	Waits func()
	Asker
}

func (c *Caller) root() (int, error) { return hostCaller{}.root() }

func (c *Caller) dir(fd int) (int, error) {
	if fd == unix.AT_FDCWD && c.From != nil {
		return dup(*c.From)
	}
	path := "/proc/" + strconv.Itoa(int(c.TID)) + "/cwd"
	if fd != unix.AT_FDCWD {
		if fd < 0 {
			return -1, unix.EBADF
		}
		path = "/proc/" + strconv.Itoa(int(c.TID)) + "/fd/" + strconv.Itoa(fd)
	}
	got, err := openAt(unix.AT_FDCWD, path, unix.O_PATH|unix.O_CLOEXEC)
	switch {
	case err == unix.ENOENT && fd != unix.AT_FDCWD:
		return -1, unix.EBADF
	case err != nil:
		return -1, unix.EACCES
	case !c.Valid():
		unix.Close(got)
		return -1, unix.EACCES
	}
	return got, nil
}

// whole makes sure that all of Task is there.
func (c *Caller) whole() error {
	if c.Load == nil {
		return nil
	}
	t, err := c.Load()
	if err != nil || t.Credentials != c.Task.Credentials {
		return unix.EPERM
	}
	c.Task, c.Load = t, nil
	return nil
}

// all makes Task whole where not even the Credentials are there.
func (c *Caller) all() error {
	if c.Load == nil {
		return nil
	}
	t, err := c.Load()
	if err == nil {
		c.Task, c.Load = t, nil
	}
	return err
}

func (c *Caller) ids() (tgid, tid uint32) {
	if c.whole() != nil {
		return 0, 0 // no process
	}
	return c.Task.TGID, c.TID
}
