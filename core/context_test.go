package core

import (
	"context"
	"errors"
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
