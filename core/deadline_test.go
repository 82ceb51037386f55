package core

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"
)

// Each way to give a run a deadline has SIGTERM first, for all tasks, when the policy says
// so; what comes then, the command's own exit too, is the end of a run whose time was over.
func TestTermGrace(t *testing.T) {
	const script = `trap 'wait $!; echo parent; exit 0' TERM
		(trap 'echo child; exit' TERM; echo ready >&2; while :; do sleep 1000 & wait; done) & wait`
	for _, scoped := range []bool{true, false} {
		p := policy()
		p.TermGrace = 20 * time.Second // SIGTERM is lost where it comes before the traps are set
		if !scoped {
			p.Disable = []Protection{SignalScope}
		}
		plan, err := p.Compile()
		if err != nil {
			t.Fatal(err)
		}
		var within time.Duration
		ways := map[string]func(Command) (*Result, error){
			"Run": func(c Command) (*Result, error) { return plan.Run(c, within) },
			"RunContext": func(c Command) (*Result, error) {
				ctx, cancel := context.WithTimeout(context.Background(), within)
				defer cancel()
				r, err := plan.RunContext(ctx, c)
				if errors.Is(err, context.DeadlineExceeded) {
					err = nil
				}
				return r, err
			},
			"Create": func(c Command) (*Result, error) {
				s, err := plan.Create(c)
				if err != nil {
					return nil, err
				}
				defer s.Close()
				s.Start()
				return s.Wait(within)
			},
			"Spawn": func(c Command) (*Result, error) {
				s, err := plan.Spawn(c)
				if err != nil {
					return nil, err
				}
				defer s.Close()
				return s.Wait(within)
			},
		}
		for name, way := range ways {
			for within = 200 * time.Millisecond; ; within *= 4 {
				r, err := way(Command{Argv: []string{"sh", "-c", script}, Environ: os.Environ(), Stdin: -1})
				if err != nil || r.Reason != TimedOut || r.ExitCode != -1 || r.Limits&LimitTime == 0 {
					t.Errorf("%s, scoped %v: %+v, %v", name, scoped, r, err)
				} else if string(r.Stdout) != "child\nparent\n" {
					if within < 10*time.Second {
						continue // its time was over before it was ready
					}
					t.Errorf("%s, scoped %v: %q, %q", name, scoped, r.Stdout, r.Stderr)
				}
				break
			}
		}
	}
}

// Who takes no notice of SIGTERM is killed when the grace is over, and all others when the
// command has ended.
func TestTermGraceEnds(t *testing.T) {
	p := policy()
	p.TermGrace = time.Millisecond
	plan, err := p.Compile()
	if err != nil {
		t.Fatal(err)
	}
	r, err := plan.Run(Command{Argv: []string{"sh", "-c", "trap '' TERM; while :; do sleep 1000; done"}, Stdin: -1}, time.Millisecond)
	if err != nil || r.Reason != TimedOut {
		t.Errorf("%+v, %v", r, err)
	}
	p.TermGrace = time.Hour
	if plan, err = p.Compile(); err != nil {
		t.Fatal(err)
	}
	r, err = plan.Run(Command{Argv: []string{"sh", "-c", "(trap '' TERM; while :; do sleep 1000; done) & wait"}, Stdin: -1}, time.Millisecond)
	if err != nil || r.Reason != TimedOut {
		t.Errorf("%+v, %v", r, err)
	}
	// In time, it has exited as ever.
	if r, err = plan.Run(Command{Argv: []string{"sh", "-c", "exit 3"}, Stdin: -1}, time.Hour); err != nil || r.Reason != Exited || r.ExitCode != 3 {
		t.Errorf("%+v, %v", r, err)
	}
}
