package attacks

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sandlock/sandlock/core"
)

// honestRuns is how often a program that cheats nobody is run.
func honestRuns() int {
	if os.Getenv("SANDLOCK_SOAK") != "" || rounds() >= 10_000 {
		return 20
	}
	return 2
}

// outcomes counts what became of the execs of a run.
func outcomes(r *core.Result) map[core.ExecOutcome]int {
	n := map[core.ExecOutcome]int{}
	for _, e := range r.Execs {
		n[e.Outcome]++
	}
	return n
}

// Section 3: programs that execute from every thread, a thousand threads, a storm of
// vforks end as they do without a sandbox, and no exec of theirs is denied or killed.
func TestHonestPrograms(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for _, c := range []struct {
			argv []string
			ran  int // how many execs; -1: some that nobody waits for
		}{
			{[]string{victim("honest"), "every-way", "32"}, 1 + 32*4*3},
			{[]string{victim("honest"), "at-once", "64"}, 1 + 64},
			{[]string{victim("honest"), "at-once", "1000"}, 1 + 1000},
			{[]string{victim("honest"), "becoming", "16"}, -1},
			{[]string{victim("honest"), "storm", "50"}, 1 + 8*50},
			{[]string{victim("threads"), "crowd", "10"}, 1 + 32*10},
			{[]string{victim("threads"), "thread", "good"}, 2},
		} {
			name := strings.Join(c.argv[1:], "-")
			var execs int
			var took time.Duration
			n := honestRuns()
			for range n {
				p := judged()
				p.RecordExecs = true
				start := time.Now()
				r := inside(t, p, c.argv...)
				took += time.Since(start)
				want := outside(t, c.argv...)
				if !maps.Equal(lines(string(r.Stdout)), lines(want)) || r.Reason != core.Exited || len(r.Log) != 0 || len(r.Stderr) != 0 {
					t.Errorf("%s: %q, %+v, without a sandbox %q", name, r.Stdout, r, want)
				}
				got := outcomes(r)
				if c.ran < 0 {
					delete(got, core.ExecEnded)
					c.ran = -got[core.ExecRan]
				}
				if got[core.ExecRan] != max(c.ran, -c.ran) || len(got) != 1 || r.RecordsDropped != 0 {
					t.Errorf("%s: execs %v, %d not recorded", name, got, r.RecordsDropped)
				}
				execs += len(r.Execs)
			}
			t.Logf("%s, %d runs: %d execs, none denied or killed, %v a run", name, n, execs, (took / time.Duration(n)).Round(time.Millisecond))
		}
	})
}

// Section 3: an exec that fails, allowed or not, leaves every thread running, whatever it
// was doing, and interrupts none.
func TestFailedExecs(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		dir := t.TempDir()
		for _, name := range []string{dir, filepath.Dir(dir)} {
			if err := os.Chmod(name, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		junk := filepath.Join(dir, "junk")
		if err := os.WriteFile(junk, []byte("junk\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		n := max(rounds()/10, 10)
		var j judge
		p := j.policy()
		p.RecordExecs = true
		p.FSReadable = append(p.FSReadable, dir)
		start := time.Now()
		r := inside(t, p, victim("failing"), fmt.Sprint(n), junk)
		got := attempts(string(r.Stdout))
		for _, name := range []string{"eperm", "enoent", "eacces", "e2big", "enoexec"} {
			if got[name].result != int64(2*n) {
				t.Errorf("%s: %+v of %d", name, got[name], 2*n)
			}
		}
		if got["advanced"].result != int64(10*n) || got["interrupted"].result != 0 {
			t.Errorf("%+v, %q", got, r.Log)
		}
		kinds := outcomes(r)
		if kinds[core.ExecRan] != 1 || kinds[core.ExecFailed]+kinds[core.ExecDenied] != len(r.Execs)-1 || len(r.Execs)+r.RecordsDropped != 1+10*n {
			t.Errorf("%v, %d not recorded", kinds, r.RecordsDropped)
		}
		t.Logf("%d execs that failed beside 7 threads, in %v: after each of them all had advanced", 10*n, time.Since(start).Round(time.Millisecond))
		if want := attempts(outside(t, victim("failing"), "10", junk)); want["enoexec"].result != 20 || want["advanced"].result != 100 {
			t.Errorf("control: %+v", want)
		}
	})
}
