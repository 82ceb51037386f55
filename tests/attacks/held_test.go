package attacks

import (
	"testing"
	"time"

	"github.com/sandlock/sandlock/core"
	"golang.org/x/sys/unix"
)

// awaitHeld waits until a task that always runs does not: its state is that of a stop, for
// so long that it is none on the way of something else.
func awaitHeld(t *testing.T, pid int) {
	t.Helper()
	for since := time.Now(); time.Since(since) < 5*time.Millisecond; {
		if s := statOf(t, pid).state; s != 'T' && s != 't' {
			since = time.Now()
		}
	}
}

// Held by its limit, a sandbox ends as it does otherwise, at once and whole; with the
// parent stopped by somebody, it is held all the same.
func TestHeldEnds(t *testing.T) {
	endings := map[string]func(*testing.T, *core.Sandbox){
		"kill":    func(t *testing.T, s *core.Sandbox) { s.Kill() },
		"timeout": func(t *testing.T, s *core.Sandbox) { s.Wait(time.Millisecond) },
		"close":   func(t *testing.T, s *core.Sandbox) { s.Close() },
		"pause, kill": func(t *testing.T, s *core.Sandbox) {
			if err := s.Pause(); err != nil {
				t.Error(err)
			}
			s.Kill()
		},
		"end of the command": func(t *testing.T, s *core.Sandbox) { unix.Kill(s.PID(), unix.SIGKILL) },
		"parent killed":      func(t *testing.T, s *core.Sandbox) { unix.Kill(parentOf(t, s.PID()), unix.SIGKILL) },
		"killer killed": func(t *testing.T, s *core.Sandbox) {
			unix.Kill(killerOf(t, parentOf(t, s.PID()), s.PID()), unix.SIGKILL)
		},
	}
	bothUsers(t, func(t *testing.T) {
		reap := reapAll(t)
		ways := heldWays(10)
		for _, name := range brief([]string{"traced", "untraced", "untraced, walk", "traced, walk"}) {
			p := ways[name]
			for ending, end := range endings {
				for _, parentStopped := range []bool{false, true} {
					if parentStopped && (ending == "killer killed" || ending == "end of the command") {
						continue // TestWardenStopped has them
					}
					t.Run(name+", "+ending, func(t *testing.T) {
						l := newLife(t)
						s := l.create(t, p, "burning", "3")
						s.Start()
						l.await(t, 4)
						if parentStopped {
							parent := parentOf(t, s.PID())
							stop(t, "parent", parent, 0)
						}
						awaitHeld(t, s.PID())
						end(t, s)
						l.awaitEnd(t)
						s.Close()
						reap()
					})
				}
			}
		}
		t.Run("death of the host", func(t *testing.T) {
			l := newLife(t)
			cmd, command := startHost(t, l, "held", "burning")
			awaitHeld(t, command)
			cmd.Process.Kill()
			cmd.Wait()
			l.awaitEnd(t)
			reap()
		})
	})
}

// A child that is born while its parent is being stopped goes on with it, however soon that
// is. signal(7) has nothing of it: the kernel hands a stop to the child, and what takes it
// back from the parent does not take it from a child that is not there yet.
func TestForksThatAreHeld(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for name, p := range map[string]*core.Policy{"traced": traced(policy()), "untraced": untraced(policy())} {
			plan, err := p.Compile()
			if err != nil {
				t.Fatal(err)
			}
			s, err := plan.Create(core.Command{Argv: []string{victim("cpu"), "forks", "1500"}, Stdin: -1})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			s.Start()
			over := make(chan struct{})
			paused := make(chan int)
			go func() {
				n := 0
				for {
					select {
					case <-over:
						paused <- n
						return
					default:
						if s.Pause() == nil && s.Resume() == nil {
							n++
						}
						time.Sleep(2 * time.Millisecond) // for it to get on
					}
				}
			}()
			r, err := s.Wait(time.Minute)
			close(over)
			if err != nil || !r.Success() {
				t.Errorf("%s: %+v, %v", name, r, err)
			}
			if n := <-paused; n < 10 {
				t.Errorf("%s: paused %d times", name, n)
			} else {
				t.Logf("%s: paused %d times", name, n)
			}
		}
	})
}
