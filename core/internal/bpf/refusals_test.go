package bpf

import (
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
)

// The two programs differ where the first one refuses, and there the answer is the same.
func TestReporting(t *testing.T) {
	for _, arch := range arches {
		p := compile(t, Spec{Arch: arch, Deny: []string{"chmod", "fchmodat"}, Trap: []string{"openat", "setsockopt", "connect"}, InetStream: true, CountTasks: true, KeepMarks: true})
		reporting, refusals, err := p.Reporting()
		if err != nil {
			t.Fatal(err)
		}
		before, after := newMachine(t, p), newMachine(t, reporting)
		random := rand.New(rand.NewPCG(1, 2))
		refused := 0
		for nr := range uint32(600) {
			for range 50 {
				c := call{arch: arch.AuditArch(), nr: nr}
				for i := range c.args {
					c.args[i] = uint64(random.IntN(48)) << (random.IntN(2) * random.IntN(40))
				}
				want, got := before.run(t, c), after.run(t, c)
				errno := refusals.Of(int32(nr), c.arch, c.args)
				switch {
				case want&0xffff0000 == retErrno && want != retErrno|uint32(unix.ENOSYS):
					refused++
					if got != retNotify || errno != unix.Errno(want&0xffff) {
						t.Fatalf("%+v: %#x, then %#x with %v", c, want, got, errno)
					}
				case got != want || errno != 0:
					t.Fatalf("%+v: %#x, then %#x with %v", c, want, got, errno)
				}
			}
		}
		if refused < 1000 {
			t.Errorf("only %d calls were refused", refused)
		}
	}
}
