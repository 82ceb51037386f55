package cgroup

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOwnPath(t *testing.T) {
	for text, want := range map[string]string{
		"0::/\n": "/",
		"9:name=systemd:/a\n4:memory:/b\n0::/system.slice/x.service/host\n": "/system.slice/x.service/host",
		"0::/a::b\n":  "/a::b",
		"0::/../..\n": "", "0::/../a\n": "", "4:memory:/b\n": "", "": "",
	} {
		if got, err := ownPath(text); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

func TestParseEvents(t *testing.T) {
	got := parseEvents("low 0\noom 3\noom_kill 12\nnonsense\n")
	if len(got) != 3 || got["oom"] != 3 || got["oom_kill"] != 12 {
		t.Errorf("%v", got)
	}
}

// writable is a cgroup beneath the v2 hierarchy, wherever that is mounted, with whatever
// controllers. What is left in it at the end is removed.
func writable(t *testing.T) string {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if f[2] != "cgroup2" {
			continue
		}
		dir, err := os.MkdirTemp(f[1], "sandlock-test-")
		if err != nil {
			t.Skip("takes a cgroup v2 hierarchy that may be written to:", err)
		}
		t.Cleanup(func() {
			entries, _ := os.ReadDir(dir)
			for _, e := range entries {
				if e.IsDir() {
					os.Remove(dir + "/" + e.Name())
				}
			}
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		})
		return dir
	}
	t.Skip("takes a cgroup v2 hierarchy that may be written to: there is none")
	return ""
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// What a living host holds stays, what nobody holds goes, and so does no other's.
func TestLeftovers(t *testing.T) {
	parent := writable(t)
	for _, name := range []string{"sandlock-1-1", "sandlock-1-2", "other"} {
		if err := os.Mkdir(parent+"/"+name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := lock(parent + "/sandlock-1-2")
	if err != nil {
		t.Fatal(err)
	}
	if other, err := lock(parent + "/sandlock-1-2"); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Fatalf("locked twice: %d, %v", other, err)
	}
	removeLeftovers(parent)
	if exists(parent+"/sandlock-1-1") || !exists(parent+"/sandlock-1-2") || !exists(parent+"/other") {
		t.Error("the wrong ones were removed")
	}
	unix.Close(fd)
	removeLeftovers(parent)
	if exists(parent+"/sandlock-1-2") || !exists(parent+"/other") {
		t.Error("the wrong ones were removed")
	}
}

// A cgroup that has tasks is removed with these.
func TestCloseEndsWhoIsLeft(t *testing.T) {
	dir := writable(t) + "/sandlock-1-1"
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	fd, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	(&Cgroup{dir, fd}).Close()
	var exit *exec.ExitError
	if err := <-ended; !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("sleep: %v", err)
	}
	if exists(dir) {
		t.Error("the cgroup is still there")
	}
}

// Where the controller can't be had, nothing is left behind.
func TestNewWithoutController(t *testing.T) {
	parent := writable(t)
	if on, err := controls(parent + "/cgroup.controllers"); err != nil || on {
		t.Skip("the controller can be had: make test-vm has the tests with it: ", err)
	}
	if c, err := New(parent, 1<<20); err == nil {
		c.Close()
		t.Error("it is there all the same")
	}
	entries, err := os.ReadDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			t.Errorf("%s is left", e.Name())
		}
	}
}
