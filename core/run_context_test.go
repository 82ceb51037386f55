package core

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"
)

func TestRunContext(t *testing.T) {
	plan := mustCompile(t, policy())
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	p := policy()
	p.PolicyFn = func(e *Event, _ *Context) Verdict {
		if e.Argv[0] == "sleep" {
			cancel(cause) // for each directory of PATH, of which the first counts
		}
		return Allow
	}
	r, err := mustCompile(t, p).RunContext(ctx, Command{Argv: []string{"sh", "-c", "echo out; exec sleep 1000"}, Stdin: -1})
	if !errors.Is(err, cause) || r.Reason != Killed || string(r.Stdout) != "out\n" {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := plan.RunContext(ctx, Command{Argv: []string{"true"}, Stdin: -1}); r != nil || !errors.Is(err, cause) {
		t.Errorf("%+v, %v", r, err)
	}
	ctx, stop := context.WithTimeout(context.Background(), time.Millisecond)
	defer stop()
	if r, err := plan.RunContext(ctx, Command{Argv: []string{"sleep", "1000"}, Stdin: -1}); err == nil || r != nil && r.Reason != TimedOut {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := plan.RunContext(context.Background(), Command{Argv: []string{"true"}, Stdin: -1}); err != nil || !r.Success() {
		t.Errorf("%+v, %v", r, err)
	}
}

// Whenever it is cancelled, a run is over when RunContext returns, and was either ended by
// that or came to its own end before.
func TestRunContextCancelledEarly(t *testing.T) {
	cause := errors.New("enough")
	judged := policy()
	judged.PolicyFn = func(*Event, *Context) Verdict { return Allow }
	for name, plan := range map[string]*Plan{"plain": mustCompile(t, policy()), "judged": mustCompile(t, judged)} {
		ended := 0
		for i := range 200 {
			ctx, cancel := context.WithCancelCause(context.Background())
			closed := make(chan struct{}) // once, or the second close panics
			cmd := Command{Argv: []string{"/bin/sh", "-c", "echo out"}, Stdin: -1, OnClose: func() { close(closed) }}
			cancelled := make(chan struct{})
			go func() {
				if i > 0 {
					time.Sleep(rand.N(4 * time.Millisecond))
				}
				cancel(cause)
				close(cancelled)
			}()
			if i == 0 {
				<-cancelled // before the start
			}
			r, err := plan.RunContext(ctx, cmd)
			<-cancelled
			switch {
			case errors.Is(err, cause) && (r == nil || r.Reason == Killed):
				ended++
			case err != nil || r.Reason != Exited || string(r.Stdout) != "out\n":
				t.Errorf("%s: %+v, %v", name, r, err)
			}
			<-closed
		}
		if ended == 0 {
			t.Errorf("%s: none was ended", name)
		}
	}
}

// What nobody steps asks nobody, also when it is killed and closed.
func TestUnsteppedRunsAskNothing(t *testing.T) {
	p := policy()
	var asked atomic.Int32
	p.PolicyFn = func(*Event, *Context) Verdict { asked.Add(1); return Allow }
	plan := mustCompile(t, p)
	for i := range 100 {
		closed := make(chan struct{})
		s, err := plan.Spawn(Command{Argv: []string{"/bin/true"}, Stdin: -1, OnClose: func() { close(closed) }})
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			s.Kill()
		}
		s.Close()
		<-closed
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("asked %d times", n)
	}
}
