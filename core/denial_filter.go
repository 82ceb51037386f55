package core

import (
	"slices"

	"github.com/sandlock/sandlock/core/internal/audit"
	"github.com/sandlock/sandlock/core/internal/bpf"
	"github.com/sandlock/sandlock/core/internal/handler"
	"github.com/sandlock/sandlock/core/internal/notify"
	"golang.org/x/sys/unix"
)

// reportFilter has what the system call filter refuses told, before the handlers of what it
// lets through to the supervisor.
func (s *Sandbox) reportFilter(hs map[int32]notify.Handler) {
	f := &handler.Filter{Refuses: s.plan.refusals.Of, Tell: refusedCall, Audit: s.refused}
	for _, nr := range bpf.Numbers(bpf.NativeArch()) {
		hs[int32(nr)] = f.Before(hs[int32(nr)])
	}
}

// refusedCall says what a call is that the filter refuses.
func refusedCall(nr int32, args [6]uint64) audit.Refusal {
	name, _ := bpf.Name(bpf.NativeArch(), int(nr))
	x := audit.Refusal{Syscall: name, By: audit.ByFilter}
	family := uint32(args[0])
	if family == unix.AF_UNIX && (name == "socket" || name == "socketpair") && args[1]&0xf <= unix.SOCK_SEQPACKET {
		x.By = audit.ByUnix
	}
	if name == "socket" && (family == unix.AF_INET || family == unix.AF_INET6) {
		x.By = audit.BySocket
		switch args[1] & 0xf { // SOCK_TYPE_MASK
		case unix.SOCK_STREAM:
			x.Protocol = netTCP.String()
		case unix.SOCK_DGRAM:
			x.Protocol = netUDP.String()
		}
	}
	return x
}

// describeCall says which field it was for a call that the filter refuses.
func (l *denialLog) describeCall(d *Denial) {
	may := func(entry string) bool {
		return len(bpf.CheckNames(bpf.NativeArch(), nil, []string{entry})) == 0
	}
	switch {
	case slices.Contains(l.plan.deniedSyscalls, d.Syscall):
		d.Rule, d.Why = "extra_deny_syscalls", "the policy denies the system call"
	case slices.Contains(handler.AttributeCalls(), d.Syscall):
		d.Rule, d.Why = "fs_writable", "modes, owners, times and extended attributes are not changed where nothing may be written to"
	case may(d.Syscall):
		d.Rule, d.Value, d.Why = "extra_allow_syscalls", d.Syscall, "the system call is not allowed, or not with these arguments"
	default:
		for _, group := range bpf.Groups(d.Syscall) {
			d.Rule, d.Value = "extra_allow_syscalls", group
		}
		d.Why = "the system call is not allowed, or not with these arguments"
	}
}
