// Package cgroup limits the memory of a sandbox by a cgroup of its own, cgroups(7) and
// Documentation/admin-guide/cgroup-v2.rst. It makes them beside the host's cgroup, whose parent
// has to be delegated; the host is not moved.
package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// Mount is where the hierarchy has to be, file-hierarchy(7).
const Mount = "/sys/fs/cgroup"

// Parent returns the directory that the cgroups of sandboxes can be made in. The error says
// why there is none.
func Parent() (string, error) {
	text, err := sys.ReadFile("/proc/self/cgroup", maxFile)
	if err != nil {
		return "", err
	}
	own, err := ownPath(string(text))
	if err != nil {
		return "", err
	}
	var st unix.Statfs_t
	if err := sys.Retry(func() error { return unix.Statfs(Mount+own, &st) }); err != nil {
		return "", fmt.Errorf("%s, this process's cgroup: %w", Mount+own, err)
	}
	if st.Type != unix.CGROUP2_SUPER_MAGIC {
		return "", fmt.Errorf("%s is not of cgroup v2", Mount)
	}
	if own == "/" {
		return "", errors.New("this process is in the topmost cgroup, which has no parent")
	}
	parent := Mount + path.Dir(own)
	if !delegated(parent) {
		return "", fmt.Errorf("%s is not marked as delegated (extended attribute user.delegate or trusted.delegate: 1)", parent)
	}
	has, err := controls(parent + "/cgroup.controllers")
	if err != nil {
		return "", err
	}
	if !has {
		return "", fmt.Errorf("%s has no memory controller", parent)
	}
	for _, name := range []string{parent, parent + "/cgroup.procs"} {
		if err := unix.Faccessat(unix.AT_FDCWD, name, unix.W_OK, unix.AT_EACCESS); err != nil {
			return "", fmt.Errorf("%s can't be written: %w", name, err)
		}
	}
	return parent, nil
}

const maxFile = 1 << 20

// ownPath finds the v2 hierarchy in /proc/self/cgroup.
func ownPath(text string) (string, error) {
	for line := range strings.Lines(text) {
		own, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::/")
		if !ok {
			continue
		}
		if slices.Contains(strings.Split(own, "/"), "..") {
			return "", fmt.Errorf("this process's cgroup is not in its cgroup namespace: /%s", own)
		}
		return "/" + own, nil
	}
	return "", errors.New("this process is in no cgroup of v2")
}

// delegated: systemd marks so what it leaves to others, since version 251 in a way that
// everybody can read, and elsewhere the owner can. Without the mark somebody else manages what
// lies in the directory, and may switch the controller off again.
func delegated(dir string) bool {
	for _, name := range []string{"user.delegate", "trusted.delegate"} {
		var value [8]byte
		if n, err := unix.Getxattr(dir, name, value[:]); err == nil && string(value[:n]) == "1" {
			return true
		}
	}
	return false
}

// controls reports whether the memory controller is in a file that lists controllers.
func controls(name string) (bool, error) {
	text, err := sys.ReadFile(name, maxFile)
	return slices.Contains(strings.Fields(string(text)), "memory"), err
}

// Cgroup is one that has a limit of its memory. Its methods may be called from any goroutine,
// until Close. The warden removes it with the last task; and Close, should the warden have been
// killed.
type Cgroup struct {
	dir string
	fd  int
}

// prefix of the names. A lock, flock(2), is held on each for as long as its host or its warden
// lives; one that can be had is nobody's any more.
const prefix = "sandlock-"

var (
	tidy   sync.Once
	serial atomic.Uint64
)

// New makes a cgroup in a directory that Parent has returned. The first in a process removes
// what others have left behind there.
func New(parent string, bytes uint64) (*Cgroup, error) {
	if err := countsAll(); err != nil {
		return nil, err
	}
	switch on, err := controls(parent + "/cgroup.subtree_control"); {
	case err != nil:
		return nil, err
	case !on:
		if err := write(parent+"/cgroup.subtree_control", "+memory"); err != nil {
			return nil, err
		}
	}
	tidy.Do(func() { removeLeftovers(parent) })
	for {
		c := &Cgroup{dir: fmt.Sprintf("%s/%s%d-%d", parent, prefix, os.Getpid(), serial.Add(1))}
		err := unix.Mkdir(c.dir, 0o755)
		if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EINTR) {
			continue // of a dead process of that number, or of another PID namespace
		}
		if err != nil {
			return nil, fmt.Errorf("mkdir %s: %w", c.dir, err)
		}
		c.fd, err = lock(c.dir)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EWOULDBLOCK) {
			continue // somebody takes it for left behind
		}
		if err != nil {
			unix.Rmdir(c.dir)
			return nil, err
		}
		sys.Opened(c.fd)
		if err = write(c.dir+"/memory.swap.max", "0"); err == nil {
			err = write(c.dir+"/memory.max", strconv.FormatUint(bytes, 10))
		}
		if err != nil {
			c.Close()
			return nil, err
		}
		return c, nil
	}
}

func open(name string, flags int) (fd int, err error) {
	err = sys.Retry(func() (err error) {
		fd, err = unix.Open(name, flags|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", name, err)
	}
	return fd, nil
}

// lock opens a directory and locks it.
func lock(dir string) (int, error) {
	fd, err := open(dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("flock %s: %w", dir, err)
	}
	return fd, nil
}

// removeLeftovers removes the cgroups of hosts that were killed together with their wardens.
// One that still has tasks, which nothing could end, stays.
func removeLeftovers(parent string) {
	names, err := sys.NamesIn(parent)
	if err != nil {
		return
	}
	for _, name := range names {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		if fd, err := lock(parent + "/" + name); err == nil {
			unix.Rmdir(parent + "/" + name)
			unix.Close(fd)
		}
	}
}

// countsAll says what memory the controller would not count here, or not act on.
func countsAll() error {
	// Huge pages of a pool are the hugetlb controller's, but with an option of the mount.
	const pools = "/sys/kernel/mm/hugepages"
	sizes, err := sys.NamesIn(pools)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	for _, size := range sizes {
		for _, name := range []string{"nr_hugepages", "nr_overcommit_hugepages"} {
			name = pools + "/" + size + "/" + name
			text, err := sys.ReadFile(name, maxFile)
			if err != nil && !errors.Is(err, unix.ENOENT) { // no overcommitting of gigantic ones
				return err
			}
			if n := strings.TrimSpace(string(text)); n != "" && n != "0" {
				return fmt.Errorf("%s is %s, and the controller does not count huge pages", name, n)
			}
		}
	}
	text, err := sys.ReadFile("/proc/self/oom_score_adj", maxFile)
	if err == nil && strings.TrimSpace(string(text)) == "-1000" {
		err = errors.New("/proc/self/oom_score_adj is -1000, and the command would inherit that nobody kills it")
	}
	return err
}

func write(name, value string) error {
	fd, err := open(name, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := sys.Retry(func() error { _, err := unix.Write(fd, []byte(value)); return err }); err != nil {
		return fmt.Errorf("write %q to %s: %w", value, name, err)
	}
	return nil
}

// FD is a descriptor of the directory, valid until Close.
func (c *Cgroup) FD() int { return c.fd }

// parseEvents reads "KEY NUMBER" lines.
func parseEvents(text string) map[string]uint64 {
	events := map[string]uint64{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			events[key] = n
		}
	}
	return events
}

// Kill ends every task in the cgroup, for when the warden was killed and can't. It reports
// whether none is left.
func (c *Cgroup) Kill() bool {
	_ = write(c.dir+"/cgroup.kill", "1") // Linux 5.14
	return c.awaitEmpty(time.Now().Add(patience))
}

// Close removes the cgroup, unless the warden has.
func (c *Cgroup) Close() {
	if errors.Is(unix.Rmdir(c.dir), unix.EBUSY) && c.Kill() {
		_ = unix.Rmdir(c.dir)
	}
	sys.Close(c.fd)
	c.fd = -1
}

const patience = 10 * time.Second

// awaitEmpty waits until no task is left in it, at most until the deadline, and reports whether
// none is. Since Linux 6.19
// (d245698d727a) one that was waited for may be there for a moment.
func (c *Cgroup) awaitEmpty(deadline time.Time) bool {
	fd, err := open(c.dir+"/cgroup.events", unix.O_RDONLY)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	for {
		var buf [512]byte
		n, err := unix.Pread(fd, buf[:], 0)
		if err == nil && parseEvents(string(buf[:n]))["populated"] == 0 {
			return true
		}
		left := time.Until(deadline).Milliseconds()
		if err != nil && !errors.Is(err, unix.EINTR) || left <= 0 {
			return false
		}
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}}, int(left))
	}
}
