// Package bpf compiles the syscall part of a policy into a seccomp program.
package bpf

import (
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Spec is the part of a policy that the program is made of.
type Spec struct {
	Arch       Arch
	Deny       []string // names and groups that are denied beside the table (EPERM)
	Allow      []string // names and groups that are allowed beside the table
	Trap       []string // syscalls that the listener answers (SECCOMP_RET_USER_NOTIF)
	InetStream bool     // TCP sockets may be created: some TCP rule exists
}

// Compile is, until the table is here, the architecture check and the traps alone.
func Compile(spec Spec) (*Program, error) {
	code := []bpf.Instruction{
		bpf.LoadAbsolute{Off: 4, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: spec.Arch.AuditArch(), SkipTrue: 1},
		bpf.RetConstant{Val: 0x80000000},
		bpf.LoadAbsolute{Off: 0, Size: 4},
	}
	for _, name := range spec.Trap {
		nr, ok := Number(spec.Arch, name)
		if !ok {
			return nil, fmt.Errorf("unknown syscall %q", name)
		}
		code = append(code, bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(nr), SkipFalse: 1}, bpf.RetConstant{Val: 0x7fc00000})
	}
	code = append(code, bpf.RetConstant{Val: 0x7fff0000})
	raw, err := bpf.Assemble(code)
	return &Program{arch: spec.Arch, raw: raw}, err
}

// String is a dump.
func (p *Program) String() string { return "" }

// Number is the number of a syscall.
func Number(a Arch, name string) (nr int, ok bool) {
	nr, ok = map[string]int{"execve": unix.SYS_EXECVE, "execveat": unix.SYS_EXECVEAT, "listen": unix.SYS_LISTEN}[name]
	return nr, ok
}

// Name is the name of a syscall.
func Name(a Arch, nr int) (string, bool) { return "", false }

// CheckNames returns an error for each bad entry.
func CheckNames(a Arch, deny, allow []string) []error { return nil }
