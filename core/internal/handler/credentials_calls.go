package handler

import (
	"sync"
	"sync/atomic"

	"github.com/sandlock/sandlock/core/internal/broker"
	"github.com/sandlock/sandlock/core/internal/notify"
)

// CredentialCalls are those by which a task changes what it may do to files; of prctl(2) the
// filter traps the options that do. Until there is one all tasks have the credentials that
// the sandbox started with, and those of a caller need not be read: a third of what a call
// costs.
var CredentialCalls = []string{"setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid",
	"setfsuid", "setfsgid", "setgroups", "capset", "prctl"}

// steadiness is whether there was none of them yet.
type steadiness struct {
	changed atomic.Bool
	once    sync.Once
	known   broker.Credentials
	ok      bool
	told    atomic.Bool // ok is known, and true
}

func (s *steadiness) credentials(b *broker.Broker) (c broker.Credentials, ok bool) {
	if s.changed.Load() {
		return c, false
	}
	s.once.Do(func() {
		s.known, s.ok = b.Steady()
		s.told.Store(s.ok)
	})
	return s.known, s.ok
}

// still reports, without waiting for it, whether all tasks are known to have the credentials
// that the sandbox started with.
func (s *steadiness) still() bool { return s.told.Load() && !s.changed.Load() }

// Change is the [notify.Handler] of CredentialCalls.
func (f *Files) Change(r *notify.Request) {
	f.steady.changed.Store(true)
	if r.Claim() {
		r.ContinueClaimed()
	}
}
