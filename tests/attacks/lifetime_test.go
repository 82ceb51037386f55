package attacks

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sandlock/sandlock/core"
	"golang.org/x/sys/unix"
)

// life is a pipe whose write end every task of a sandbox holds as its descriptor 0: at
// its end none of them lives.
type life struct{ r, w *os.File }

func newLife(t *testing.T) *life {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return &life{r, w}
}

func (l *life) close() { l.r.Close(); l.w.Close() }

// await reads until n tasks have said that they are ready.
func (l *life) await(t *testing.T, n int) {
	t.Helper()
	l.r.SetReadDeadline(time.Now().Add(time.Minute))
	buf := make([]byte, 1)
	for range n {
		if _, err := l.r.Read(buf); err != nil || buf[0] != 'r' {
			t.Fatalf("%q, %v", buf, err)
		}
	}
}

// ended reports whether nobody holds the pipe any more, now.
func (l *life) ended(t *testing.T) bool {
	t.Helper()
	l.w.Close()
	var n int
	var err error
	buf := make([]byte, 512)
	c, _ := l.r.SyscallConn()
	c.Read(func(fd uintptr) bool {
		for n, err = unix.Read(int(fd), buf); n > 0; {
			n, err = unix.Read(int(fd), buf)
		}
		return true
	})
	if err != nil && err != unix.EAGAIN {
		t.Fatal(err)
	}
	return err == nil
}

// awaitEnd waits until nobody holds the pipe any more.
func (l *life) awaitEnd(t *testing.T) {
	t.Helper()
	if !l.endsBy(time.Now().Add(time.Minute)) {
		t.Fatal("a task has survived")
	}
}

// endsBy waits, and reports whether nobody held the pipe any more before the deadline.
func (l *life) endsBy(deadline time.Time) bool {
	l.w.Close()
	l.r.SetReadDeadline(deadline)
	buf := make([]byte, 512)
	for {
		if n, err := l.r.Read(buf); n == 0 {
			return !errors.Is(err, os.ErrDeadlineExceeded)
		}
	}
}

// create starts the victim of lifetime.c with the pipe, by hand.
func (l *life) create(t *testing.T, p *core.Policy, args ...string) *core.Sandbox {
	t.Helper()
	plan, err := p.Compile()
	if err != nil {
		t.Fatal(err)
	}
	s, err := plan.Create(core.Command{Argv: append([]string{victim("lifetime")}, args...), Stdin: int(l.w.Fd())})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	l.w.Close()
	return s
}

// judged is a policy whose function allows all, so that the command is traced.
func judged() *core.Policy {
	p := policy()
	p.PolicyFn = func(*core.Event, *core.Context) core.Verdict { return core.Allow }
	return p
}

// walked is a policy for which the sandbox is ended by a walk, as on kernels that have no
// signal scope.
func walked() *core.Policy {
	p := judged()
	p.Disable = []core.Protection{core.SignalScope}
	return p
}

// reapAll makes this process inherit what its descendants leave behind, and returns a
// function that waits until there is nothing: no task of any sandbox, of the library's
// own included, and no zombie.
func reapAll(t *testing.T) func() {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) })
	return func() {
		t.Helper()
		watchdog := time.AfterFunc(time.Minute, func() { panic("a child is left: " + fmt.Sprint(children(os.Getpid()))) })
		defer watchdog.Stop()
		for {
			if _, err := unix.Wait4(-1, nil, unix.WALL, nil); err == unix.ECHILD {
				return
			} else if err != nil && err != unix.EINTR {
				t.Fatal(err)
			}
		}
	}
}

// families are the processes by their parents, dead ones that nobody has reaped included.
func families() map[int][]int {
	entries, _ := os.ReadDir("/proc")
	of := map[int][]int{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, _ := os.ReadFile("/proc/" + e.Name() + "/stat")
		f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(f) > 1 {
			parent, _ := strconv.Atoi(f[1])
			of[parent] = append(of[parent], pid)
		}
	}
	return of
}

// children are the processes whose parent is pid.
func children(pid int) []int { return families()[pid] }

// The command's end is the sandbox's, though nobody can reap the command, as its own child
// traces it, and though it leaves tasks that make others for ever.
func TestEndThatIsHardToSee(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for name, p := range map[string]*core.Policy{"plain": policy(), "traced": judged(), "walked": walked()} {
			t.Run(name, func(t *testing.T) {
				l := newLife(t)
				s := l.create(t, p, "leaving", "10")
				s.Start()
				if r, err := s.Wait(time.Minute); err != nil || r.ExitCode != 0 || r.Reason != core.Exited {
					t.Errorf("leaving: %+v, %v", r, err)
				}
				if !l.ended(t) {
					t.Error("a task has survived")
				}
				p.ExtraAllowSyscalls, p.ArgvSafety, p.MaxProcesses = []string{"debug"}, core.ArgvLandlock, nil
				l = newLife(t)
				began := time.Now()
				s = l.create(t, p, "traced")
				s.Start()
				r, err := s.Wait(time.Minute)
				if err != nil || r.ExitCode != 7 || r.Reason != core.Exited || time.Since(began) > time.Minute {
					t.Errorf("traced: %+v after %v, %v", r, time.Since(began), err)
				}
				if !l.ended(t) {
					t.Error("the tracer has survived")
				}
			})
		}
	})
}

// When run has returned, nothing is alive.
func TestDaemons(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for name, p := range map[string]*core.Policy{"plain": policy(), "traced": judged(), "walked": walked()} {
			t.Run(name, func(t *testing.T) {
				l := newLife(t)
				s := l.create(t, p, "daemons", "100")
				s.Start()
				r, err := s.Wait(0)
				if err != nil || r.ExitCode != 0 {
					t.Fatalf("%+v, %v", r, err)
				}
				if !l.ended(t) {
					t.Error("a daemon has survived")
				}
			})
		}
		// The control: they do survive outside.
		l := newLife(t)
		cmd := exec.Command(victim("lifetime"), "daemons", "3")
		cmd.Stdin = l.w
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		if l.ended(t) {
			t.Error("control: no daemon has survived")
		}
		for _, pid := range children(os.Getpid()) {
			unix.Kill(pid, unix.SIGKILL)
			unix.Wait4(pid, nil, 0, nil)
		}
		unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	})
}

// Every way to end a sandbox early ends all of it.
func TestEndings(t *testing.T) {
	endings := map[string]func(*testing.T, *core.Sandbox){
		"kill": func(t *testing.T, s *core.Sandbox) {
			s.Kill()
			if r, err := s.Wait(0); err != nil || r.Reason != core.Killed {
				t.Errorf("%+v, %v", r, err)
			}
		},
		"timeout": func(t *testing.T, s *core.Sandbox) {
			if r, err := s.Wait(time.Millisecond); err != nil || r.Reason != core.TimedOut {
				t.Errorf("%+v, %v", r, err)
			}
		},
		"close": func(t *testing.T, s *core.Sandbox) { s.Close() },
		"pause, kill": func(t *testing.T, s *core.Sandbox) {
			if err := s.Pause(); err != nil {
				t.Error(err)
			}
			s.Kill()
			s.Wait(0)
		},
	}
	bothUsers(t, func(t *testing.T) {
		reap := reapAll(t)
		for _, mode := range []string{"stay", "stopped", "moving"} {
			for name, end := range endings {
				for _, p := range []*core.Policy{policy(), judged(), walked()} {
					t.Run(mode+", "+name, func(t *testing.T) {
						l := newLife(t)
						s := l.create(t, p, mode, "10")
						s.Start()
						l.await(t, 11)
						end(t, s)
						if !l.ended(t) {
							t.Error("a task has survived")
						}
						s.Close()
						reap()
					})
				}
			}
		}
		t.Run("parked", func(t *testing.T) {
			l := newLife(t)
			s := l.create(t, judged(), "stay", "10")
			s.Kill()
			s.Wait(0)
			if !l.ended(t) {
				t.Error("a task has survived")
			}
			s.Close()
			reap()
		})
	})
}
