package attacks

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sandlock/sandlock/core"
)

// judge keeps what a policy function saw, and denies what holds the word "evil".
type judge struct {
	mu     sync.Mutex
	events []core.Event
}

func (j *judge) decide(e *core.Event, _ *core.Context) core.Verdict {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, *e)
	for _, a := range e.Argv {
		if strings.Contains(a, "evil") {
			return core.Deny
		}
	}
	return core.Allow
}

func (j *judge) policy() *core.Policy {
	p := policy()
	p.PolicyFn = j.decide
	return p
}

// saw reports whether an event had this command line.
func (j *judge) saw(argv ...string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.ContainsFunc(j.events, func(e core.Event) bool { return slices.Equal(e.Argv, argv) })
}

// lines counts the lines of an output.
func lines(out string) map[string]int {
	n := map[string]int{}
	for line := range strings.Lines(out) {
		n[strings.TrimSuffix(line, "\n")]++
	}
	return n
}

// Section 2: what the kernel makes of a script is judged too, before it runs.
func TestScripts(t *testing.T) {
	judgeWithout(t, open)
	bothUsers(t, func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		interpreter := victim("argv")
		write := func(name, text string) string {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
			return path
		}
		one := write("one", "#!"+interpreter+" say\n")
		two := write("two", "#!"+one+" ignored\n")
		cheat := write("cheat", "#!"+victim("race")+" evil\n")
		run := func(argv ...string) (*core.Result, *judge) {
			j := &judge{}
			p := j.policy()
			p.FSReadable = append(p.FSReadable, dir)
			return inside(t, p, argv...), j
		}
		r, j := run(one, "good")
		if r.ExitCode != 7 || string(r.Stdout) != one+"\n" || !j.saw(one, "good") || !j.saw(interpreter, "say", one, "good") {
			t.Errorf("%+v, %q, events %v", r, r.Stdout, j.events)
		}
		if r, j = run(two, "good"); r.ExitCode != 7 || !j.saw(two, "good") || !j.saw(interpreter, "say", one, "ignored", two, "good") {
			t.Errorf("%+v, %q, events %v", r, r.Stdout, j.events)
		}
		// Approved by its own name, it would run an interpreter that is not, although the
		// tail of that one's arguments is what was approved.
		if r, j = run(cheat, "good"); r.Reason != core.Killed || len(r.Stdout) != 0 || !j.saw(victim("race"), "evil", cheat, "good") {
			t.Errorf("%+v, %q, events %v", r, r.Stdout, j.events)
		}
		ran := "4 evil|" + cheat + "|good\n"
		if out := outside(t, cheat, "good"); out != ran {
			t.Errorf("control: %q", out)
		}
		if r := underJudge(t, open, map[string]any{"Argv": []string{cheat, "good"}, "Readable": append(policy().FSReadable, dir)}); string(r.Stdout) != ran {
			t.Errorf("control, a build that is %v: %+v", open, r)
		}
	})
}

// A thread that is not the leader may execute; 32 threads may do it at once.
func TestExecOfThreads(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		var j judge
		r := inside(t, j.policy(), victim("threads"), "thread", "good")
		if r.ExitCode != 7 || string(r.Stdout) != "good\n" {
			t.Errorf("%+v, %q", r, r.Stdout)
		}
		r = inside(t, j.policy(), victim("threads"), "thread", "-")
		got := attempts(string(r.Stdout))
		refused(t, got, []string{"thread-exec"}, syscall.EPERM)
		if r.ExitCode != 0 || got["alive"].result != 1 {
			t.Errorf("%+v, %q", r, r.Stdout)
		}
		n := max(rounds()/100, 10)
		r = inside(t, j.policy(), victim("threads"), "crowd", fmt.Sprint(n))
		if got := lines(string(r.Stdout)); got["good"] != 32*n || got["failed 0 0"] != 1 {
			t.Errorf("%v, %+v", got, r)
		}
	})
}

// Section 4: the function sees the exact bytes, or the exec fails as without it.
func TestArgvExtremes(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		self := victim("argv")
		var j judge
		got := attempts(string(inside(t, j.policy(), self, "extremes", "0").Stdout))
		want := attempts(outside(t, self, "extremes", "0"))
		want["arg-evil-at-end"] = attempt{-1, syscall.EPERM} // outside it runs
		for name, a := range want {
			if got[name] != a {
				t.Errorf("%s: %+v, without a sandbox %+v", name, got[name], a)
			}
		}
		if len(want) != 16 {
			t.Errorf("control: %v", want)
		}
		x := func(n int) string { return strings.Repeat("x", n) }
		for name, argv := range map[string][]string{
			"argc-0":          {""},
			"arg-128k":        {self, "say", x(131071)},
			"arg-evil-at-end": {self, "say", x(131060) + "evil"},
			"args-2m":         append([]string{self, "say", "good"}, slices.Repeat([]string{x(120000)}, 17)...),
			"args-65536":      append([]string{self, "say", "good"}, slices.Repeat([]string{"a"}, 65533)...),
			"empties":         {self, "say", "good", "", ""},
			"bytes":           {self, "say", "\xff\xfe\x80good\n\x1b"},
		} {
			if !j.saw(argv...) {
				t.Errorf("%s was not seen as it is", name)
			}
		}
	})
}

// No task can have /proc say that its arguments are others.
func TestPretendedArguments(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		var j judge
		refused(t, attempts(string(inside(t, j.policy(), victim("argv"), "pretend", "0").Stdout)), []string{"pretend"}, syscall.EPERM)
		if got := attempts(outside(t, victim("argv"), "pretend", "0")); got["pretend"].result != 0 {
			t.Errorf("control: %v", got)
		}
	})
}

// Every way to execute is judged.
func TestWaysToExecute(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		var j judge
		p := j.policy()
		p.FSReadable = append(p.FSReadable, "/proc")
		out := string(inside(t, p, victim("argv"), "ways", "0").Stdout)
		got, said := attempts(out), lines(out)
		refused(t, got, names(got, ""), syscall.EPERM)
		if len(got) != 5 || said["evil"] != 0 || said["good"] != 3 {
			t.Errorf("%v, %v", got, said)
		}
		if said := lines(outside(t, victim("argv"), "ways", "0")); said["evil"] != 5 {
			t.Errorf("control %v", said)
		}
	})
}

// Section 3: siblings by the thousand are stopped for each exec, go on when it has
// failed, and end when it has not.
func TestThousandThreads(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		n := max(rounds()/100, 10)
		var j judge
		r := inside(t, j.policy(), victim("threads"), "thousand", fmt.Sprint(n))
		if got := attempts(string(r.Stdout)); got["enoent"].result != int64(n) || r.ExitCode != 7 || lines(string(r.Stdout))["good"] != 1 {
			t.Errorf("%+v", r)
		}
	})
}

// Sections 5, 6: execs that were stopped on their way hold up no other, and no host's
// memory, although each has a command line of 5 MiB.
func TestStoppedCallers(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		const n = 200
		events, most := 0, uint64(0)
		p := policy()
		p.PolicyFn = func(*core.Event, *core.Context) core.Verdict {
			if events++; events%50 == 0 {
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
			return core.Allow
		}
		r := inside(t, p, victim("argv"), "stopped", fmt.Sprint(n))
		got := attempts(string(r.Stdout))
		if got["ran"].result != 7<<8 || got["stopped"].result != n || got["failed"].result != n || events < n {
			t.Errorf("%+v, %d events, %q", got, events, r.Log)
		}
		if most > 100<<20 {
			t.Errorf("%d MiB are held", most>>20)
		}
	})
}

// Section 3: an exec that fails past the point of no return, under the leader's number
// already, holds nothing up and leaves no entry of a number that another task will have.
func TestDoomedExecs(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		const n = 100 // more than can be in flight at once
		var j judge
		for _, out := range []string{
			string(inside(t, j.policy(), victim("threads"), "doomed", fmt.Sprint(n)).Stdout),
			outside(t, victim("threads"), "doomed", fmt.Sprint(n)),
		} {
			if got := attempts(out); got["ended"].result != n || got["ran"].result != 7<<8 {
				t.Errorf("%+v", got)
			}
		}
	})
}

// Section 3: a leader that ends while another thread executes is not waited for.
func TestLeavingLeader(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		n := rounds()
		var j judge
		r := inside(t, j.policy(), victim("threads"), "leaving", fmt.Sprint(n))
		if got := attempts(string(r.Stdout)); got["good"].result != int64(n) {
			t.Errorf("%+v, %q", got, r.Log)
		}
	})
}

// Section 3: threads of one group that execute at once, by calls that are judged and by
// one that is not, hold each other up for no longer than it takes.
func TestExecsAtOnce(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		n := rounds() / 5
		for _, events := range [][]string{nil, {"execve"}, {"execveat"}} {
			var j judge
			p := j.policy()
			p.PolicyEvents = events
			r := inside(t, p, victim("threads"), "together", fmt.Sprint(n))
			if got := attempts(string(r.Stdout)); got["good"].result != int64(n) {
				t.Errorf("%v: %+v, %q", events, got, r.Log)
			}
			for _, e := range j.events {
				if events != nil && e.Syscall != events[0] {
					t.Errorf("%v: an event of %s", events, e.Syscall)
				}
			}
			r = inside(t, p, victim("threads"), "failing-together", fmt.Sprint(n/10))
			if got := attempts(string(r.Stdout)); got["enoent"].result != int64(n/10*8) {
				t.Errorf("%v: %+v, %q", events, got, r.Log)
			}
		}
	})
}

// Where the arguments can't be protected, because somebody else traces the caller, the
// caller hides its memory, or the policy allows debuggers, the exec is denied or, under
// "landlock", judged without them.
func TestArgvSafety(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for _, mode := range []core.ArgvSafety{core.ArgvStrict, core.ArgvLandlock} {
			strict := mode == core.ArgvStrict
			var j judge
			p := untraced(j.policy())
			p.ArgvSafety = mode
			traced := func() *core.Result {
				r, w, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				defer w.Close()
				plan, err := p.Compile()
				if err != nil {
					t.Fatal(err)
				}
				s, err := plan.Create(core.Command{Argv: []string{"sh", "-c", "read x; exec echo ran"}, Stdin: int(r.Fd())})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				if err := s.Start(); err != nil {
					t.Fatal(err)
				}
				tracer := exec.Command(victim("argv"), "attach", fmt.Sprint(s.PID()))
				out, _ := tracer.StdoutPipe()
				if err := tracer.Start(); err != nil {
					t.Fatal(err)
				}
				line := make([]byte, 64)
				if n, _ := out.Read(line); !strings.HasPrefix(string(line[:n]), "attached 0") {
					t.Fatalf("%q", line[:n])
				}
				w.WriteString("go\n")
				result, err := s.Wait(0)
				if err != nil {
					t.Fatal(err)
				}
				tracer.Wait()
				return result
			}
			r := traced()
			if log := strings.Join(r.Log, "\n"); strict != (string(r.Stdout) == "") || strict != strings.Contains(log, "can't be traced") {
				t.Errorf("traced, %v: %q, %q", mode, r.Stdout, log)
			}
			if j.saw() == strict || !j.saw("echo", "ran") {
				t.Errorf("traced, %v: events %v", mode, j.events)
			}
			if os.Getuid() != 0 { // whom nothing is hidden from
				j.events = nil
				r := inside(t, p, victim("argv"), "hidden", "0")
				if strict != (lines(string(r.Stdout))["good"] == 0) || j.saw() == strict {
					t.Errorf("hidden, %v: %q, %q, events %v", mode, r.Stdout, r.Log, j.events)
				}
			}
			j.events = nil
			p.ExtraAllowSyscalls, p.MaxProcesses = []string{"debug"}, nil
			if _, err := p.Compile(); (err != nil) != strict {
				t.Errorf("debug, %v: %v", mode, err)
			}
			if !strict {
				r := inside(t, p, victim("argv"), "say", "good")
				if r.ExitCode != 7 || len(j.events) != 1 || !j.saw() {
					t.Errorf("debug: %+v, events %v", r, j.events)
				}
				p.PolicyFn = func(*core.Event, *core.Context) core.Verdict { return core.Deny }
				if plan, err := p.Compile(); err != nil {
					t.Error(err)
				} else if _, err := plan.Run(core.Command{Argv: []string{"true"}, Stdin: -1}, 0); err == nil {
					t.Error("what was denied has run")
				}
			}
		}
	})
}

// The caller killed while it is judged takes nobody with it.
func TestCallerKilled(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		n := rounds()
		var j judge
		r := inside(t, j.policy(), victim("argv"), "killed", fmt.Sprint(n))
		if got := attempts(string(r.Stdout)); got["gone"].result != int64(n) || r.ExitCode != 0 {
			t.Errorf("%+v, %+v", got, r)
		}
		if judged := len(j.events) - 1; judged < n/8 {
			t.Errorf("%d of %d callers were judged", judged, n)
		}
	})
}

// A function that does not answer can't keep a sandbox from its end, and what it says
// later counts for nothing.
func TestStuckFunction(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		release, asked := make(chan struct{}), make(chan struct{})
		p := allowsOne(func() {
			close(asked)
			<-release
		})
		l := newLife(t)
		plan, err := p.Compile()
		if err != nil {
			t.Fatal(err)
		}
		s, err := plan.Create(core.Command{Argv: []string{victim("threads"), "crowd", "1"}, Stdin: int(l.w.Fd())})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		<-asked
		s.Kill()
		r, err := s.Wait(0)
		if err != nil || r.Reason != core.Killed || len(r.Stdout) != 0 {
			t.Errorf("%+v, %v", r, err)
		}
		if !l.ended(t) {
			t.Error("a task has survived")
		}
		close(release)
		s.Close()
	})
}
