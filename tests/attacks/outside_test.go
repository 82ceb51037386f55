package attacks

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// bystander is a process outside of every sandbox, that says which signals it gets.
type bystander struct {
	*exec.Cmd
	out *bufio.Reader
}

func startBystander(t *testing.T) *bystander {
	t.Helper()
	cmd := exec.Command(victim("bystander"))
	// A group of its own, so that killpg in the control meets nobody else.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	started, over := make(chan error), make(chan struct{})
	go func() { // Pdeathsig is about the thread, and those of a run end with it
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		started <- cmd.Start()
		<-over
	}()
	t.Cleanup(func() { close(over) })
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	b := &bystander{cmd, bufio.NewReader(pipe)}
	t.Cleanup(func() { b.Process.Kill(); b.Wait() })
	if line, err := b.out.ReadString('\n'); line != "ready\n" {
		t.Fatal(line, err)
	}
	return b
}

// signals ends the bystander and returns what it got before.
func (b *bystander) signals(t *testing.T) []string {
	t.Helper()
	b.Process.Signal(syscall.Signal(64)) // SIGRTMAX
	var all []string
	for {
		line, err := b.out.ReadString('\n')
		if err != nil {
			break
		}
		all = append(all, strings.TrimSpace(line))
	}
	if err := b.Wait(); err != nil {
		t.Errorf("the bystander ended otherwise: %v", err)
	}
	return all
}

// state is what an attack could have changed of a process.
func state(t *testing.T, pid int) string {
	t.Helper()
	var s strings.Builder
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	fmt.Fprintf(&s, "stopped %v, ids %v, nice %s, policy %s, ", f[0] == "T" || f[0] == "t", f[1:4], f[16], f[38])
	for _, name := range []string{"limits", "oom_score_adj", "comm", "coredump_filter"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		if err != nil {
			t.Fatal(err)
		}
		s.Write(b)
	}
	var cpus unix.CPUSet
	if err := unix.SchedGetaffinity(pid, &cpus); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(&s, cpus)
	return s.String()
}

// Section 21: whatever is tried on a process outside, nothing of it changes. Root is
// the user who may most; an ordinary user tries it on processes of their own.
func TestProcessesOutside(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		p := policy()
		p.FSReadable = append(p.FSReadable, "/proc")
		// What the kernel shows of a stranger's process by its listing, to root, is
		// no content of it.
		shown := []string{"prlimit-read", "proc-fd", "proc-map_files", "proc-syscall", "proc-stack", "proc-io"}
		check := func(t *testing.T, pid string) {
			r := inside(t, p, victim("outside"), pid, "and its end")
			got := attempts(string(r.Stdout))
			if len(got) != 70 || r.ExitCode != 0 {
				t.Errorf("%d attempts, %+v", len(got), r)
			}
			for name, a := range got {
				if slices.Contains(shown, name) || strings.HasPrefix(name, "setown") || name == "kill-all" {
					continue // judged by their effect
				}
				if a.result != -1 || a.errno != syscall.EPERM && a.errno != syscall.EACCES {
					t.Errorf("%s: %+v", name, a)
				}
			}
		}
		t.Run("bystander", func(t *testing.T) {
			b := startBystander(t)
			before := state(t, b.Process.Pid)
			check(t, fmt.Sprint(b.Process.Pid))
			if after := state(t, b.Process.Pid); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
			if got := b.signals(t); len(got) != 0 {
				t.Errorf("the bystander got %q", got)
			}
		})
		// The run's own machinery. That it ends as it should is the effect.
		t.Run("warden", func(t *testing.T) { check(t, "0") })
		t.Run("host", func(t *testing.T) {
			before := state(t, os.Getpid())
			check(t, fmt.Sprint(os.Getpid()))
			if after := state(t, os.Getpid()); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
		t.Run("control", func(t *testing.T) {
			b := startBystander(t)
			before := state(t, b.Process.Pid)
			got := attempts(outside(t, victim("outside"), fmt.Sprint(b.Process.Pid)))
			for _, name := range []string{"kill-usr1", "killpg-usr1", "tkill-usr1", "tgkill-usr1", "pidfd_send_signal-usr1",
				"rt_sigqueueinfo-usr1", "rt_tgsigqueueinfo-usr1", "setown", "prlimit", "setpriority", "sched_setaffinity",
				"sched_setscheduler", "sched_setattr", "ioprio_set", "ptrace-seize"} {
				if got[name].result != 0 {
					t.Errorf("%s: %+v", name, got[name])
				}
			}
			if after := state(t, b.Process.Pid); after == before {
				t.Error("nothing has changed")
			}
			if got := b.signals(t); !slices.Contains(got, "signal 10") || !slices.Contains(got, "signal 12") || !slices.Contains(got, "io priority") {
				t.Errorf("the bystander got %q", got)
			}
		})
	})
}

// A terminal of another session stays with it, though it may be opened.
func TestForeignTerminal(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: to take a terminal away, as the control")
	}
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprintf("/dev/pts/%d", n)
	slave, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	owner := exec.Command(victim("bystander"))
	owner.Stdin = slave
	owner.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { owner.Process.Kill(); owner.Wait() }()
	ids := func() (ids [2]int) {
		ids[0], _ = unix.IoctlGetInt(fd, unix.TIOCGSID)
		ids[1], _ = unix.IoctlGetInt(fd, unix.TIOCGPGRP)
		return ids
	}
	want := [2]int{owner.Process.Pid, owner.Process.Pid}
	if got := ids(); got != want {
		t.Fatalf("session and group %v, want %v", got, want)
	}
	p := policy()
	p.FSWritable = []string{path, "/dev/tty"}
	got := attempts(string(inside(t, p, victim("outside"), path).Stdout))
	refused(t, got, []string{"TIOCSPGRP", "TIOCSCTTY", "TIOCSPGRP-after", "open-tty"}, syscall.EPERM, syscall.ENOTTY, syscall.ENXIO)
	if got["open"].result < 0 || ids() != want {
		t.Errorf("%+v, session and group %v, want %v", got, ids(), want)
	}
	if control := attempts(outside(t, victim("outside"), path)); control["TIOCSCTTY"].result != 0 {
		t.Errorf("control %+v", control)
	}
}
