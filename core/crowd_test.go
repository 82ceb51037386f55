package core

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// A host that closes the descriptor by which the library sees the ends of runs has them
// ended, and can run others.
func TestCrowdLost(t *testing.T) {
	plan, err := policy().Compile()
	if err != nil {
		t.Fatal(err)
	}
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	spawn := func(stdin int, argv ...string) *Sandbox {
		t.Helper()
		s, err := plan.Create(Command{Argv: argv, Environ: os.Environ(), Stdin: stdin})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		s.Start()
		return s
	}
	stays, ends := spawn(-1, "sleep", "1000"), spawn(int(in.Fd()), "cat")
	in.Close()
	crowd.mu.Lock()
	unix.Close(crowd.epoll)
	crowd.mu.Unlock()
	out.Close() // which is seen, as somebody still waits there
	if r, err := ends.Wait(0); err == nil && !r.Success() || err != nil && !errors.Is(err, unix.EBADF) {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := stays.Wait(0); !errors.Is(err, unix.EBADF) {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := spawn(-1, "true").Wait(0); err != nil || !r.Success() {
		t.Errorf("%+v, %v", r, err)
	}
}
