package core

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// calls are the seven methods with what they take.
var calls = map[string]func(*Context) error{
	"restrict_network":       func(c *Context) error { return c.RestrictNetwork([]string{"10.0.0.1"}) },
	"grant_network":          func(c *Context) error { return c.GrantNetwork([]string{"10.0.0.1"}) },
	"restrict_pid_network":   func(c *Context) error { return c.RestrictPIDNetwork(7, []string{"10.0.0.1"}) },
	"restrict_max_memory":    func(c *Context) error { return c.RestrictMaxMemory(50) },
	"restrict_max_processes": func(c *Context) error { return c.RestrictMaxProcesses(50) },
	"deny_path":              func(c *Context) error { return c.DenyPath("/a") },
	"allow_path":             func(c *Context) error { return c.AllowPath("/b") },
}

// journal is a log.
type journal []string

func (j *journal) logf(format string, args ...any) { *j = append(*j, fmt.Sprintf(format, args...)) }

func withLimits() *dynamic {
	return newDynamic(ceilings{enforcers: processTable{}.enforcers(), addrs: everywhere, memory: limit{100, true}, processes: limit{100, true}})
}

func TestContextWithEffects(t *testing.T) {
	live := withLimits()
	if err := live.denyPath("/b"); err != nil {
		t.Fatal(err)
	}
	var log journal
	c := &Context{live: live, logf: log.logf, open: true}
	for name, call := range calls {
		if err := call(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	want := withLimits()
	for _, err := range []error{want.restrictNetwork([]string{"10.0.0.1"}), want.restrictPIDNetwork(7, []string{"10.0.0.1"}),
		want.restrictMaxMemory(50), want.restrictMaxProcesses(50), want.denyPath("/a")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got, want := live.state.Load(), want.state.Load(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if v := c.close(Audit); v != Audit || log != nil {
		t.Errorf("the verdict is %d, the log %q", v, log)
	}
}

func TestContextVerdicts(t *testing.T) {
	bad := func(c *Context) { _ = c.DenyPath("relative") }
	good := func(c *Context) { _ = c.DenyPath("/a") }
	for _, c := range []struct {
		call     func(*Context)
		in, want Verdict
	}{
		{good, Allow, Allow}, {good, Audit, Audit}, {good, 13, 13}, {good, -7, -7},
		{bad, Allow, Deny}, {bad, Audit, Deny}, {bad, 13, 13}, {bad, Deny, Deny}, {bad, -7, -7},
		{func(c *Context) { bad(c); good(c) }, Allow, Deny},
		{func(c *Context) { c.Fail(errors.New("why")) }, Allow, Deny},
	} {
		ctx := &Context{live: withLimits(), logf: new(journal).logf, open: true}
		c.call(ctx)
		if got := ctx.close(c.in); got != c.want {
			t.Errorf("%d became %d, want %d", c.in, got, c.want)
		}
	}
}

func TestContextAfterTheCall(t *testing.T) {
	var log journal
	closed := &Context{live: withLimits(), logf: log.logf, open: true}
	live := closed.live
	before := live.state.Load()
	closed.close(Allow)
	for name, call := range calls {
		for _, c := range []*Context{closed, {}} {
			if err := call(c); err == nil || !strings.HasPrefix(err.Error(), name) || !strings.Contains(err.Error(), "has returned") {
				t.Errorf("%s: %v", name, err)
			}
			c.Fail(errors.New("why"))
		}
	}
	if live.state.Load() != before || len(log) != 2*len(calls) || slices.ContainsFunc(log, func(line string) bool { return strings.Contains(line, "denies") }) {
		t.Errorf("%+v, %q", live.state.Load(), log)
	}
}

// In a run: the call is an error, and the event is denied whatever the function returns,
// by itself only.
func TestFailedCallDenies(t *testing.T) {
	var kept []*Context
	var errs []error
	p := policy()
	p.PolicyFn = func(ev *Event, ctx *Context) Verdict {
		for _, old := range kept {
			if err := old.DenyPath("/"); !errors.Is(err, ErrReturned) {
				t.Errorf("a context of an event before: %v", err)
			}
		}
		kept = append(kept, ctx)
		if ev.Argv[0] == "/bin/echo" {
			errs = append(errs, ctx.DenyPath("relative")) // wrong, also when it is built
			if ev.Argv[1] == "panics" {
				panic("now")
			}
		}
		return Allow
	}
	r := run(t, p, "sh", "-c", "/bin/echo denied || /bin/echo panics || /bin/cat /dev/null && echo allowed")
	if string(r.Stdout) != "allowed\n" || len(errs) != 2 || errs[0] == nil || errs[1] == nil {
		t.Errorf("%q, %q, %v", r.Stdout, r.Stderr, errs)
	}
	denials := 0
	for _, line := range r.Log {
		if strings.HasPrefix(line, "deny_path: ") && strings.HasSuffix(line, "denies the event") {
			denials++
		} else if !strings.HasSuffix(line, ErrReturned.Error()) && !strings.Contains(line, "panicked") {
			t.Errorf("%q", line)
		}
	}
	if denials != 2 {
		t.Errorf("%q", r.Log)
	}
	if err := kept[0].DenyPath("/"); err == nil {
		t.Error("a context outlives its run")
	}
}
