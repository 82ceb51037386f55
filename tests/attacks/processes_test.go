package attacks

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/sandlock/sandlock/core"
)

// withProcesses is the policy with max_processes; 0 is none.
func withProcesses(n uint32) *core.Policy {
	p := policy()
	p.MaxProcesses = &n
	if n == 0 {
		p.MaxProcesses = nil
	}
	return p
}

// processes runs the victim, for a minute at most: what waits for something that does not
// come has lost count.
func processes(t *testing.T, p *core.Policy, mode string, n int) (map[string]attempt, *core.Result) {
	t.Helper()
	plan, err := p.Compile()
	if err != nil {
		t.Fatal(err)
	}
	r, err := plan.Run(core.Command{Argv: []string{victim("processes"), mode, fmt.Sprint(n)}, Stdin: -1}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Success() {
		t.Errorf("%s %d: %v, exit code %d, signal %d, %s%s", mode, n, r.Reason, r.ExitCode, r.Signal, r.Stdout, r.Stderr)
	}
	return attempts(string(r.Stdout)), r
}

// ways to make a process. A daemon's first process ends before the second is tried again.
var ways = []string{"fork", "rawfork", "vfork", "clone", "silent", "parent", "thread-forks", "group", "daemon", "zombies"}

// Section 23: there are no more processes than max_processes, however they are made, and
// room again when they are gone.
func TestMaxProcesses(t *testing.T) {
	const limit = 6
	bothUsers(t, func(t *testing.T) {
		for _, way := range ways {
			fits, over := limit-1, 20
			if way == "daemon" {
				fits-- // the one between
			}
			if way == "parent" {
				continue // see TestSiblings
			}
			got, r := processes(t, withProcesses(limit), way, fits)
			if got["made"] != (attempt{int64(fits), 0}) || got["again"].result != 0 || r.Limits != 0 {
				t.Errorf("%s, just under: %v, %v", way, got, r.Limits.Names())
			}
			got, r = processes(t, withProcesses(limit), way, over)
			made := attempt{int64(limit - 1), syscall.EAGAIN}
			if way == "daemon" {
				made = attempt{int64(limit - 2), 0} // the second fork fails, which ends the first
			}
			if got["made"] != made || got["again"].result != 0 || r.Limits != core.LimitProcesses {
				t.Errorf("%s, over: %v, %v", way, got, r.Limits.Names())
			}
			if got, _ := processes(t, withProcesses(0), way, over); got["made"] != (attempt{int64(over), 0}) {
				t.Errorf("%s, the control: %v", way, got)
			}
		}
	})
}

// Children that their maker can't wait for, as they are made to be its siblings.
func TestSiblings(t *testing.T) {
	got, r := processes(t, withProcesses(6), "parent", 20)
	if got["made"] != (attempt{5, syscall.EAGAIN}) || r.Limits != core.LimitProcesses {
		t.Errorf("%v, %v", got, r.Limits.Names())
	}
}

// A count that leaks ends in EAGAIN, one that is lost in more processes than there may be.
func TestMaxProcessesCount(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		n := raceRounds()
		if got, r := processes(t, withProcesses(2), "churn", n); got["failed"] != (attempt{}) || r.Processes != uint64(n)+1 {
			t.Errorf("%d children one after the other: %v, %d processes", n, got, r.Processes)
		}
		if got, _ := processes(t, withProcesses(8), "killed", n/4); got["failed"] != (attempt{}) || got["masks"] != (attempt{}) {
			t.Errorf("forkers that are killed: %v", got)
		}
		if got, _ := processes(t, withProcesses(40), "together", 300); got["zombies"].result > 39 {
			t.Errorf("killed together with what they have made: %v", got)
		}
		if got, _ := processes(t, withProcesses(50), "overtaken", n/10); got["done"] != (attempt{}) || len(got) != 1 {
			t.Errorf("a thread that executes while its leader forks: %v", got)
		}
		if got, r := processes(t, withProcesses(2), "threads", 200); got["made"] != (attempt{200, 0}) || r.Limits != 0 {
			t.Errorf("threads: %v, %v", got, r.Limits.Names())
		}
	})
}

func TestForkBomb(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for _, n := range []uint32{1, 10, 40} {
			got, r := processes(t, withProcesses(n), "bomb", 300)
			if got["alive"] != (attempt{int64(n), 0}) || r.Limits != core.LimitProcesses {
				t.Errorf("of %d processes: %v, %v", n, got, r.Limits.Names())
			}
		}
		if got, _ := processes(t, withProcesses(0), "bomb", 100); got["alive"].result < 90 {
			t.Errorf("the control: %v", got)
		}
	})
}

// Section 11: no fork fails with EINTR, which no program expects, and no signal keeps one from
// ever being done. Which signals are blocked afterwards is as without a tracer.
func TestForksUnderSignals(t *testing.T) {
	got, _ := processes(t, withProcesses(4), "storm", rounds())
	if got["failed"] != (attempt{}) || got["masks"] != (attempt{}) {
		t.Errorf("%d forks: %v", rounds(), got)
	}
}

// What a tracer could disturb.
func TestTracedFromBirth(t *testing.T) {
	for _, n := range []uint32{10, 0} {
		got, _ := processes(t, withProcesses(n), "stops", 0)
		if got["stopped"].result != int64(syscall.SIGSTOP) || got["continued"].result != 0 || got["exited"].result != 7 {
			t.Errorf("max_processes %d: %v", n, got)
		}
		got, _ = processes(t, withProcesses(n), "traced", 0)
		refused(t, got, []string{"untraced", "ptraced"}, syscall.EPERM)
		refused(t, got, []string{"own"}, syscall.ENOSYS)
		if n != 0 {
			refused(t, got, []string{"listener"}, syscall.EBUSY)
		} else if got["listener"].result < 0 {
			t.Errorf("the control: %v", got)
		}
	}
}
