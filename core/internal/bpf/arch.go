package bpf

import "golang.org/x/sys/unix"

// Arch is an architecture that there is a program for.
type Arch uint8

const (
	X86_64 Arch = iota + 1
	ARM64
)

var arches = []Arch{X86_64, ARM64}

func (a Arch) valid() bool { return a == X86_64 || a == ARM64 }

// String is the name that uname(2) gives for the machine.
func (a Arch) String() string {
	switch a {
	case X86_64:
		return "x86_64"
	case ARM64:
		return "aarch64"
	}
	return "unknown architecture"
}

// AuditArch is the value of seccomp_data.arch for native syscalls, seccomp(2).
// x32 has that of x86-64.
func (a Arch) AuditArch() uint32 {
	switch a {
	case X86_64:
		return unix.AUDIT_ARCH_X86_64
	case ARM64:
		return unix.AUDIT_ARCH_AARCH64
	}
	return 0
}
