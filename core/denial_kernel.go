package core

import (
	"github.com/sandlock/sandlock/core/internal/audit"
	"github.com/sandlock/sandlock/core/internal/bpf"
	"github.com/sandlock/sandlock/core/internal/warden"
)

// landlockLogs is the ABI from which Landlock tells the kernel's audit what it denies.
const landlockLogs = 7

// startHearing listens to the kernel's audit, where that is asked for and may be done.
func (s *Sandbox) startHearing(spec *warden.Spec) {
	if s.plan.recordDenials && hostKernel().LandlockABI >= landlockLogs {
		s.heard = audit.OpenKernel()
	}
	spec.LogDenials = s.heard != nil
}

// hear keeps what the kernel's audit has told, but for what the library has told already.
func (s *Sandbox) hear(list []audit.Found) {
	for _, f := range list {
		if name, ok := bpf.Name(bpf.NativeArch(), f.Call); ok {
			f.Refusal.Syscall = name
		}
		if s.refused.Wants() {
			f.Refusal.Kernel = true
			s.refused.Refused(func() *audit.Who { return &f.Who }, f.Refusal)
		}
	}
}

// hearRest waits for what the audit has yet to tell, of a sandbox that is over.
func (s *Sandbox) hearRest() {
	if s.heard == nil || s.refused == nil {
		return
	}
	s.hear(s.heard.Rest(uint32(s.pid.Load()), s.name))
	if s.heard.Lost() {
		s.logf("the kernel's audit has told more than there was room for: some denials are not recorded")
	}
}
