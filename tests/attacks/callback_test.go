package attacks

import (
	"net"
	"slices"
	"testing"
	"time"

	"github.com/sandlock/sandlock/core"
)

// Section 25: a policy function that does not answer delays no decision that needs no
// answer of it, and no other sandbox.
func TestBlockedFunction(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		granted, asked, release := freePort(t), make(chan struct{}), make(chan struct{})
		p := policy()
		p.NetAllowBind = []string{granted}
		p.PolicyTimeout = 0
		p.PolicyFn = func(e *core.Event, _ *core.Context) core.Verdict {
			if slices.Contains(e.Argv, "wait") {
				close(asked)
				<-release
			}
			return core.Allow
		}
		done := make(chan *core.Result)
		go func() { done <- inside(t, p, victim("network"), "beside", granted) }()
		<-asked
		conn, err := net.Dial("tcp", "127.0.0.1:"+granted)
		for ; err != nil; conn, err = net.Dial("tcp", "127.0.0.1:"+granted) {
			time.Sleep(time.Millisecond) // until it listens
		}
		conn.Close()
		var j judge
		for range 20 {
			if r := inside(t, j.policy(), "sh", "-c", "/bin/true; /bin/true"); r.ExitCode != 0 {
				t.Errorf("%+v", r)
			}
		}
		close(release)
		got := attempts(string((<-done).Stdout))
		if got["listen"].result != 0 || got["accepted"].result != 1 || got["waited"].result != 1 {
			t.Errorf("%+v", got)
		}
	})
}

// Tasks that execute all at once under a function that never returns end with their time.
func TestFunctionThatNeverReturns(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		release, first := make(chan struct{}), true
		p := policy()
		p.PolicyTimeout = 0
		p.PolicyFn = func(*core.Event, *core.Context) core.Verdict {
			if first {
				first = false
				return core.Allow
			}
			<-release
			return core.Allow
		}
		l := newLife(t)
		plan, err := p.Compile()
		if err != nil {
			t.Fatal(err)
		}
		r, err := plan.Run(core.Command{Argv: []string{victim("threads"), "crowd", "1000"}, Stdin: int(l.w.Fd())}, 200*time.Millisecond)
		if err != nil || r.Reason != core.TimedOut || !l.ended(t) {
			t.Errorf("%+v, %v", r, err)
		}
		close(release)
	})
}
