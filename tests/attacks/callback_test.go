package attacks

import (
	"net"
	"os"
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
		plan, err := p.Compile()
		if err != nil {
			t.Fatal(err)
		}
		listens, tell, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer listens.Close()
		s, err := plan.Create(core.Command{Argv: []string{victim("network"), "beside", granted}, Stdin: int(tell.Fd())})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		tell.Close()
		s.Start()
		<-asked
		if n, err := listens.Read(make([]byte, 1)); n != 1 {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", "127.0.0.1:"+granted)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		var j judge
		for range 20 {
			if r := inside(t, j.policy(), "sh", "-c", "/bin/true; /bin/true"); r.ExitCode != 0 {
				t.Errorf("%+v", r)
			}
		}
		close(release)
		result, err := s.Wait(0)
		if err != nil {
			t.Fatal(err)
		}
		got := attempts(string(result.Stdout))
		if got["listen"].result != 0 || got["accepted"].result != 1 || got["waited"].result != 1 {
			t.Errorf("%+v", got)
		}
	})
}

// allowsOne is a policy whose function allows the command, and calls then in later events.
func allowsOne(then func()) *core.Policy {
	p, first := policy(), true
	p.PolicyTimeout = 0
	p.PolicyFn = func(*core.Event, *core.Context) core.Verdict {
		if !first {
			then()
		}
		first = false
		return core.Allow
	}
	return p
}

// Tasks that execute all at once under a function that never returns end with their time.
func TestFunctionThatNeverReturns(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		release := make(chan struct{})
		p := allowsOne(func() { <-release })
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
