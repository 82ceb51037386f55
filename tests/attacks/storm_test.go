package attacks

import (
	"fmt"
	"testing"

	"github.com/sandlock/sandlock/core"
)

// Section 11: a signal whose handler does not restart system calls can interrupt an exec
// before its notification is received. That is all it can do: nothing runs that was not
// allowed, nobody is lost, and the supervisor loses count of nothing.
func TestSignalStorm(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for _, mode := range []string{"children", "restart", "threads"} {
			t.Run(mode, func(t *testing.T) {
				n := int64(min(rounds()/2, 3000)) // of each of three; Result.Execs holds 10,000
				interrupted := int64(0)
				// How often is the scheduler's; more than one run, and it would be a wonder.
				for tries := 0; tries == 0 || interrupted == 0 && mode != "restart" && tries < 20; tries++ {
					interrupted += storm(t, mode, n)
				}
				if (interrupted != 0) == (mode == "restart") {
					t.Errorf("%d execs were interrupted", interrupted)
				}
				out := outside(t, victim("storm"), mode, "100")
				if got := attempts(out); lines(out)["evil"] == 0 || got["after"].result != 7<<8 || got["handled"].result == 0 ||
					got["good-eintr"].result+got["evil-eintr"].result+got["missing-eintr"].result != 0 {
					t.Errorf("control: %+v", got)
				}
			})
		}
	})
}

// storm runs the victim of that name once, checks everything but how many of its execs
// were interrupted, and returns that.
func storm(t *testing.T, mode string, n int64) int64 {
	t.Helper()
	var j judge
	p := j.policy()
	p.RecordExecs = true
	r := inside(t, p, victim("storm"), mode, fmt.Sprint(n))
	out := lines(string(r.Stdout))
	got := map[string]int64{}
	for name, a := range attempts(string(r.Stdout)) {
		got[name] = a.result
	}
	ran := n
	if mode == "threads" {
		ran = 1
	}
	if r.ExitCode != 0 || got["after"] != 7<<8 || got["handled"] == 0 || out["evil"] != 0 || int64(out["good"]) != ran+1 || len(r.Log) != 0 {
		t.Errorf("%v, reason %v, %q, %d times good, %d times evil", got, r.Reason, r.Log, out["good"], out["evil"])
	}
	for name, want := range map[string]int64{
		"good-ran": ran, "good-lost": 0, "good-eperm": 0, "good-enoent": 0, "good-other": 0,
		"evil-ran": 0, "evil-lost": 0, "evil-eperm": n, "evil-enoent": 0, "evil-other": 0,
		"missing-ran": 0, "missing-lost": 0, "missing-eperm": 0, "missing-enoent": n, "missing-other": 0,
	} {
		if v, there := got[name]; !there || v != want {
			t.Errorf("%s: %d, want %d", name, v, want)
		}
	}
	eintr := got["good-eintr"] + got["evil-eintr"] + got["missing-eintr"]
	// What was not received has left no record. Before Linux 6.18 (6.12.53) an exec could be
	// interrupted after its answer as well: "seccomp: Fix a race with WAIT_KILLABLE_RECV if
	// the tracer replies too fast".
	kept := map[core.ExecOutcome]int64{}
	for _, e := range r.Execs {
		kept[e.Outcome]++
	}
	// One that has failed may have ended before the tracer comes to see.
	failed := kept[core.ExecFailed] + kept[core.ExecEnded]
	failing := n + 20 // what its interval was taken from
	again, most := kept[core.ExecDenied]-n+failed-failing, eintr
	if mode == "restart" {
		most = got["handled"]
	}
	if kept[core.ExecRan] != ran+2 || kept[core.ExecDenied] < n || failed < failing || again > most ||
		kept[core.ExecRan]+kept[core.ExecDenied]+failed != int64(len(r.Execs)) || r.RecordsDropped != 0 {
		t.Errorf("%v of %d records, %d dropped, %d interrupted", kept, len(r.Execs), r.RecordsDropped, eintr)
	}
	t.Logf("%d of %d execs were interrupted by %d signals, every %d µs", eintr, 2*n+ran+eintr, got["handled"], got["interval"]/1000)
	return eintr
}
