package attacks

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sandlock/sandlock/core"
)

func slowed(percent uint32) *core.Policy {
	p := policy()
	p.MaxCPU = &percent
	return p
}

// A sandbox uses about its share, whoever of its tasks does; a tenth of a second and half as
// much again are for a machine that has others to do.
func TestMaxCPU(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		const percent = 10
		ways := []string{"threads 1000 1", "threads 1000 4", "processes 1000 4", "short 1000 10", "ignored 1000 10"}
		for _, way := range brief(ways) {
			argv := append([]string{victim("cpu")}, strings.Fields(way)...)
			walk := slowed(percent)
			walk.Disable = []core.Protection{core.SignalScope}
			for name, p := range map[string]*core.Policy{"domain": slowed(percent), "walk": walk} {
				r := inside(t, p, argv...)
				used := time.Duration(attempts(string(r.Stdout))["used"].result) * time.Millisecond
				most := r.WallTime*percent/100*3/2 + 200*time.Millisecond
				if !r.Success() || used == 0 || used > most || r.Limits != core.LimitCPU {
					t.Errorf("%s, %s: used %v of %v in %v, limits %v, %q", name, way, used, most, r.WallTime, r.Limits.Names(), r.Stderr)
				}
				t.Logf("%s, %s: used %v in %v, %.1f %%", name, way, used, r.WallTime.Round(time.Millisecond), 100*used.Seconds()/r.WallTime.Seconds())
			}
			used := int64(0)
			for try := 0; try < 20 && used < 250; try++ { // on a machine that is busy
				used = attempts(outside(t, argv...))["used"].result
			}
			if used < 250 {
				t.Errorf("control %s: used %d ms", way, used)
			}
		}
		if r := inside(t, slowed(percent), victim("cpu"), "idle", "300"); r.Limits != 0 || !r.Success() {
			t.Errorf("idle: %+v", r)
		}
	})
}

// Who is traced is counted to the last child, for which nobody has waited or that has lived
// for a millisecond.
func TestMaxCPUCounts(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for _, way := range brief([]string{"unwaited 1500 1", "ignored 1500 1", "short 1500 1", "unwaited 1500 20"}) {
			p := traced(slowed(10))
			r := inside(t, p, append([]string{victim("cpu")}, strings.Fields(way)...)...)
			used := time.Duration(attempts(string(r.Stdout))["used"].result) * time.Millisecond
			// A look that is late on a busy machine is paid for later, if there is a later.
			if most := r.WallTime*15/100 + 300*time.Millisecond; !r.Success() || used == 0 || used > most || r.Limits != core.LimitCPU {
				t.Errorf("%s: used %v of %v, limits %v, %q", way, used, most, r.Limits.Names(), r.Stderr)
			}
			t.Logf("%s: used %v in %v", way, used, r.WallTime)
		}
	})
}

// A SIGCONT from inside undoes a stop, but does nothing to who is held by the tracer. Who is
// not, and does it again and again, is held all the same, though not so well, or ended after
// a second of CPU time for each CPU.
func TestMaxCPUContinued(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		walk := untraced(slowed(10))
		walk.Disable = []core.Protection{core.SignalScope}
		for name, p := range map[string]*core.Policy{"traced": traced(slowed(10)), "untraced": untraced(slowed(10)), "walk": walk} {
			ms := "3000" // to be ended
			if name == "traced" {
				ms = "1000"
			}
			// A busy machine can be late once, and is not each time.
			won(t, name, func() bool {
				r := inside(t, p, victim("cpu"), "continues", ms)
				used := r.UserTime + r.SystemTime
				most := r.WallTime*15/100 + 100*time.Millisecond
				if name != "traced" {
					most = r.WallTime * 6 / 10
					if ended := r.Reason == core.Killed && r.Error != ""; ended {
						most += 2 * time.Second * time.Duration(runtime.NumCPU())
					}
				}
				held := used <= most && r.Limits == core.LimitCPU && (name != "traced" || r.Success())
				t.Logf("%s: held %t, used %v of at most %v, %+v", name, held, used, most, r)
				return held
			})
		}
	})
}

// What was stopped before stays so.
func TestMaxCPULeavesStopped(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for name, p := range heldWays(5) { // of which a busy machine gives more
			r := inside(t, p, victim("cpu"), "stopped", "1000")
			got := attempts(string(r.Stdout))
			// Without a tracer, its stop can be one with that of all.
			for tries := 1; got["stopped"].result == 0 && strings.HasPrefix(name, "untraced") && tries < 20; tries++ {
				r = inside(t, p, victim("cpu"), "stopped", "1000")
				got = attempts(string(r.Stdout))
			}
			if got["stopped"].result != 1 || got["continued"].result != 0 || r.Limits != core.LimitCPU {
				t.Errorf("%s: %q, %+v", name, r.Stdout, r)
			}
		}
	})
}

// heldWays are the ways in which a limit of so many percent holds a sandbox.
func heldWays(percent uint32) map[string]*core.Policy {
	ways := map[string]*core.Policy{
		"traced": traced(slowed(percent)), "traced, walk": traced(slowed(percent)),
		"untraced": untraced(slowed(percent)), "untraced, walk": untraced(slowed(percent)),
	}
	for name, p := range ways {
		if strings.HasSuffix(name, "walk") {
			p.Disable = []core.Protection{core.SignalScope}
		}
	}
	return ways
}

// A shell that waits for stopped jobs too sees none that its limit makes.
func TestMaxCPUAndJobs(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for name, p := range heldWays(5) {
			run := func() int64 {
				r := inside(t, p, victim("cpu"), "job", "500")
				stops := attempts(string(r.Stdout))["stops"].result
				if strings.HasPrefix(name, "traced") && stops != 1 || r.Limits != core.LimitCPU {
					t.Errorf("%s: %d stops, %+v", name, stops, r)
				}
				return stops
			}
			// Without a tracer, the control: it sees one whenever it looks in time.
			won(t, name, func() bool { return run() > 0 })
		}
	})
}

// A paused sandbox is not continued by its limit, and goes on when it is resumed.
func TestMaxCPUAndPause(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for name, p := range heldWays(20) {
			plan, err := p.Compile()
			if err != nil {
				t.Fatal(err)
			}
			s, err := plan.Create(core.Command{Argv: []string{victim("cpu"), "threads", "1000", "2"}, Stdin: -1})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			s.Start()
			time.Sleep(300 * time.Millisecond) // somewhere in a cycle
			if err := s.Pause(); err != nil {
				t.Fatal(err)
			}
			stat := func() string {
				b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.PID()))
				f := strings.Fields(string(b))
				return f[2] + " " + f[13] + " " + f[14]
			}
			for !strings.HasPrefix(strings.ToUpper(stat()), "T") { // the signal is there; the task takes it a moment later
			}
			before := stat()
			time.Sleep(700 * time.Millisecond) // several cycles, of which none may happen
			if after := stat(); after != before {
				t.Errorf("%s: %q, then %q", name, before, after)
			}
			if err := s.Resume(); err != nil {
				r, end := s.Wait(time.Minute)
				t.Fatalf("%s: %v: %+v, %v", name, err, r, end)
			}
			if r, err := s.Wait(time.Minute); err != nil || !r.Success() {
				t.Errorf("%s: %+v, %v", name, r, err)
			}
		}
	})
}
