package warden

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// newCgroup makes a cgroup beneath the v2 hierarchy, wherever that is mounted.
func newCgroup(t *testing.T) (dir string, fd int) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if f[2] != "cgroup2" {
			continue
		}
		dir, err = os.MkdirTemp(f[1], "sandlock-test-")
		if err != nil {
			t.Skip("takes a cgroup v2 hierarchy that may be written to:", err)
		}
		t.Cleanup(func() { os.Remove(dir) })
		fd, err = unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return dir, fd
	}
	t.Skip("takes a cgroup v2 hierarchy that may be written to: there is none")
	return "", -1
}

// cgroupOf is the line of the v2 hierarchy in a process's file, without its line end.
func cgroupOf(t *testing.T, pid int) string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "0::") {
			return strings.TrimSpace(line)
		}
	}
	t.Fatalf("no v2 hierarchy: %q", text)
	return ""
}

// The command is born in the cgroup, both as the killer's child and as the parent's; the
// warden and the host are not. With the last task the cgroup goes.
func TestBornInCgroup(t *testing.T) {
	for name, scope := range map[string]uint32{"domain": scopeSignal, "walk": 0} {
		dir, fd := newCgroup(t)
		s := spec("sh", "-c", "exit 3")
		s.Park, s.KillerScope, s.Cgroup = true, scope, fd
		w := start(t, s)
		m := receive(t, w, Created)
		if got := cgroupOf(t, int(m.PID)); filepath.Base(got) != filepath.Base(dir) || m.CgroupErrno != 0 {
			t.Errorf("%s: the command is in %q: %+v", name, got, m)
		}
		for _, pid := range []int{os.Getpid(), w.PID(), int(m.Killer)} {
			if got := cgroupOf(t, pid); filepath.Base(got) == filepath.Base(dir) {
				t.Errorf("%s: process %d is in it too", name, pid)
			}
		}
		if err := w.Go(); err != nil {
			t.Fatal(err)
		}
		if m := receive(t, w, End); unix.WaitStatus(m.Status).ExitStatus() != 3 || m.CgroupErrno != 0 {
			t.Errorf("%s: %+v", name, m)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the cgroup at the end: %v", name, err)
		}
	}
}

// Where the command can't be born in the cgroup, it is born outside, and the reason comes back.
func TestCgroupThatTakesNobody(t *testing.T) {
	dir, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dir)
	s := spec("sh", "-c", "exit 3")
	s.Cgroup = dir
	if m := receive(t, start(t, s), End); unix.WaitStatus(m.Status).ExitStatus() != 3 || unix.Errno(m.CgroupErrno) != unix.EBADF {
		t.Errorf("%+v", m)
	}
}
