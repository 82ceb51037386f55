package core

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// An exec that the end of the run cuts off, while it is judged or waits for it, has not
// been denied, nor killed because of what it became.
func TestExecsThatAreCutOff(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/echo became\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	judged := func(e *Event) bool { return e.Argv[0] == script }
	became := func(e *Event) bool { return slices.Contains(e.Argv, "became") }
	for name, c := range map[string]struct {
		stops func(*Event) bool
		end   func(*Sandbox)
		argv  []string
	}{
		"judged, killed":           {judged, func(s *Sandbox) { s.Kill() }, []string{"sh", "-c", script + "; :"}},
		"judged, timed out":        {judged, func(s *Sandbox) { s.Wait(time.Nanosecond) }, []string{"sh", "-c", script + "; :"}},
		"became, killed":           {became, func(s *Sandbox) { s.Kill() }, []string{"sh", "-c", script + "; :"}},
		"became, timed out":        {became, func(s *Sandbox) { s.Wait(time.Nanosecond) }, []string{"sh", "-c", script + "; :"}},
		"became, the command":      {became, func(s *Sandbox) { s.Kill() }, []string{script}},
		"became, warden killed":    {became, func(s *Sandbox) { unix.Kill(s.warden.PID(), unix.SIGKILL) }, []string{script}},
		"became, and many waiting": {became, func(s *Sandbox) { s.Kill() }, []string{"sh", "-c", strings.Repeat(script+" & ", 16) + "wait"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := policy()
			p.FSReadable = append(p.FSReadable, filepath.Dir(script))
			p.RecordExecs, p.PolicyTimeout = true, 0
			stopped, goOn := make(chan struct{}), make(chan struct{})
			p.PolicyFn = func(e *Event, _ *Context) Verdict {
				if c.stops(e) {
					close(stopped)
					<-goOn // and never asked again, or the close would panic
				}
				return Allow
			}
			s, err := mustCompile(t, p).Create(Command{Argv: c.argv, Stdin: -1})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			defer close(goOn)
			s.Start()
			<-stopped
			c.end(s)
			r, err := s.Wait(0)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Log) != 0 || r.Reason == Exited {
				t.Errorf("%+v", r)
			}
			outcomes := map[ExecOutcome]int{}
			for _, e := range r.Execs {
				outcomes[e.Outcome]++
			}
			last := r.Execs[len(r.Execs)-1]
			if outcomes[ExecEnded] == 0 || outcomes[ExecDenied]+outcomes[ExecKilled]+outcomes[ExecFailed] != 0 || last.Outcome != ExecEnded {
				t.Errorf("%+v", r.Execs)
			}
			// What became something has that as another record.
			if names := slices.IndexFunc(r.Execs, func(e ExecRecord) bool { return slices.Contains(e.Argv, "became") }); outcomes[ExecBecame] > 1 || (names >= 0) != (outcomes[ExecBecame] == 1) {
				t.Errorf("%+v", r.Execs)
			}
		})
	}
}

// Why the command itself was denied is part of the error, also when there was no time to
// read what it is.
func TestWhyTheCommandIsDenied(t *testing.T) {
	p := policy()
	p.PolicyTimeout = time.Microsecond
	over := make(chan struct{})
	defer close(over)
	p.PolicyFn = func(*Event, *Context) Verdict { <-over; return Allow }
	plan := mustCompile(t, p)
	for range 50 {
		if _, err := plan.Run(Command{Argv: []string{"/bin/true"}, Stdin: -1}, 0); err == nil || !strings.Contains(err.Error(), "which denies") {
			t.Fatal(err)
		}
	}
}

// A denial is still one, however the policy function takes part in it.
func TestExecsThatAreDenied(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/echo became\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	p := policy()
	p.FSReadable = append(p.FSReadable, filepath.Dir(script))
	p.RecordExecs, p.PolicyTimeout = true, 500*time.Millisecond
	goOn := make(chan struct{})
	defer close(goOn)
	p.PolicyFn = func(e *Event, _ *Context) Verdict {
		if slices.Contains(e.Argv, "became") {
			<-goOn
		}
		return Allow
	}
	r := run(t, p, "sh", "-c", script+"; "+script+"; :")
	want := []ExecOutcome{ExecRan, ExecBecame, ExecKilled}
	var got []ExecOutcome
	for _, e := range r.Execs {
		got = append(got, e.Outcome)
	}
	// The second is not asked about, since the function is still busy.
	if !slices.Equal(got, want) || len(r.Log) != 2 || !strings.Contains(r.Log[0], "has not answered") || !strings.Contains(r.Log[1], "became") {
		t.Errorf("%v, %q", got, r.Log)
	}
}
