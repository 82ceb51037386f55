package attacks

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/sandlock/sandlock/core"
	"golang.org/x/sys/unix"
)

// TestDescriptors looks for descriptors that a command was not given: the host's, which may
// be inherited by a bare child, those of the library, and what lies in the gaps between the
// numbers that it was given.
func TestDescriptors(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	fd := int(w.Fd())
	cmd := exec.Command(victim("descriptors"))
	for len(cmd.ExtraFiles) < 40 {
		cmd.ExtraFiles = append(cmd.ExtraFiles, w)
	}
	if out, err := cmd.Output(); err != nil || !strings.Contains(string(out), " 41 42") {
		t.Fatalf("outside: %q, %v", out, err)
	}
	// One that a bare child would inherit.
	leaky, err := unix.Dup(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leaky)
	for _, notified := range []bool{false, true} {
		p := policy()
		if notified {
			p.PolicyFn = func(*core.Event, *core.Context) core.Verdict { return core.Allow }
		}
		plan, err := p.Compile()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			files []core.File
			want  string
		}{
			{nil, "0 1 2"},
			{[]core.File{{FD: fd, As: 3}, {FD: fd, As: 9}, {FD: fd, As: 40}}, "0 1 2 3 9 40"},
			{[]core.File{{FD: -1, As: 0}, {FD: fd, As: 300}}, "1 2 300"},
		} {
			for _, watched := range []bool{false, true} {
				s, err := plan.Create(core.Command{Argv: []string{victim("descriptors")}, Stdin: -1, Files: c.files, WatchExec: watched})
				if err != nil {
					t.Fatal(err)
				}
				s.Start()
				r, err := s.Wait(0)
				s.Close()
				if err != nil || strings.TrimSpace(string(r.Stdout)) != c.want {
					t.Errorf("%v, notified %v, watched %v: %+v, %v", c.files, notified, watched, r, err)
				}
			}
		}
	}
	// Nor can it come to more by a name: what /proc shows of its own is its own.
	res := inside(t, policy(), "/bin/sh", "-c", fmt.Sprintf("echo x >/proc/self/fd/%d || echo no", leaky))
	if strings.TrimSpace(string(res.Stdout)) != "no" {
		t.Errorf("%+v", res)
	}
}

// TestOwnTerminal: what a command finds as /dev/tty is the terminal that was made for it, on
// which it can't type either; without one it finds none.
func TestOwnTerminal(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	cmd := exec.Command(victim("descriptors"))
	cmd.Stdin, cmd.SysProcAttr = slave, &unix.SysProcAttr{Setsid: true, Setctty: true}
	if out, err := cmd.Output(); err != nil || !strings.Contains(string(out), "tty") {
		t.Fatalf("outside: %q, %v", out, err)
	}
	p := policy()
	p.FSWritable = []string{"/dev/tty"}
	plan, err := p.Compile()
	if err != nil {
		t.Fatal(err)
	}
	for terminal, want := range map[bool]string{true: "0 1 2 tty", false: "0 1 2"} {
		r, err := plan.Run(core.Command{Argv: []string{victim("descriptors")}, Stdin: int(slave.Fd()), Terminal: terminal}, 0)
		if err != nil || strings.TrimSpace(string(r.Stdout)) != want {
			t.Errorf("with a terminal of its own %v: %+v, %v", terminal, r, err)
		}
	}
}
