package bpf

import (
	"strings"
	"testing"
)

func TestCheckNames(t *testing.T) {
	tests := []struct {
		name        string
		deny, allow []string
		want        []string // each in the error at its place
	}{
		{"nothing", nil, nil, nil},
		{"groups and names", []string{"openat", "mount"}, []string{"sysv_ipc", "debug", "syslog", "kcmp"}, nil},
		{"old names on both architectures", []string{"open", "fork", "arch_prctl"}, nil, nil},
		{"rules that may go", []string{"ioctl"}, []string{"sched_setaffinity", "prlimit64"}, nil},
		{"what is allowed anyway", nil, []string{"read"}, nil},
		{"unknown", []string{"opne", "SYS_read"}, []string{"sysv-ipc"}, []string{
			`unknown syscall or group name(s): "opne"`, `unknown syscall or group name(s): "SYS_read"`, `unknown syscall or group name(s): "sysv-ipc"`}},
		{"twice is one error", []string{"opne", "opne"}, nil, []string{"opne"}},
		{"empty", []string{""}, nil, []string{`unknown syscall or group name(s): ""`}},
		{"both sides", []string{"syslog"}, []string{"syslog"}, []string{`"syslog" is denied and allowed`}},
		{"both sides, by a group", []string{"shmget"}, []string{"sysv_ipc"}, []string{`"shmget" is denied and allowed`}},
		{"both sides, the other way round", []string{"debug"}, []string{"kcmp"}, []string{`"debug" is denied and allowed: kcmp`}},
		{"needed", []string{"execve", "exit_group", "futex", "exit", "prlimit64"}, nil, []string{
			`"execve" can't be denied`, `"exit_group"`, `"futex"`, `"exit"`, `"prlimit64"`}},
		{"undoes the sandbox", nil, []string{"unshare", "mount", "io_uring_setup", "bpf", "userfaultfd", "init_module", "keyctl", "mq_open"}, []string{
			`"unshare" can't be allowed: it would undo the sandbox (makes namespaces`, `"mount"`, `"io_uring_setup"`, `"bpf"`,
			`"userfaultfd"`, `"init_module"`, `"keyctl"`, `"mq_open"`}},
		{"only by debug", nil, []string{"ptrace", "process_vm_writev"}, []string{`the group "debug" allows it`, `the group "debug" allows it`}},
		{"flags in memory", nil, []string{"clone3"}, []string{"flags lie in memory"}},
		{"rules that stay", nil, []string{"socket", "clone", "ioctl", "prctl", "sendmsg", "setsockopt", "personality"}, []string{
			"only its rule", "only its rule", "only its rule", "only its rule", "only its rule", "only its rule", "only its rule"}},
	}
	for _, tt := range tests {
		for _, a := range arches {
			errs := CheckNames(a, tt.deny, tt.allow)
			if len(errs) != len(tt.want) {
				t.Errorf("%s: %d errors, want %d: %v", tt.name, len(errs), len(tt.want), errs)
				continue
			}
			for i, want := range tt.want {
				if !strings.Contains(errs[i].Error(), want) {
					t.Errorf("%s: %q, want %q", tt.name, errs[i], want)
				}
			}
			if _, err := Compile(Spec{Arch: a, Deny: tt.deny, Allow: tt.allow}); (err != nil) != (len(tt.want) > 0) {
				t.Errorf("%s: Compile: %v", tt.name, err)
			}
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	for _, spec := range []Spec{{}, {Arch: ARM64 + 1}, {Arch: X86_64, Trap: []string{"opne"}}, {Arch: X86_64, Trap: []string{"sysv_ipc"}}} {
		if p, err := Compile(spec); err == nil || p != nil {
			t.Errorf("%v: %v", spec, err)
		}
	}
}

func TestNumber(t *testing.T) {
	tests := []struct {
		arch Arch
		name string
		nr   int
		ok   bool
	}{
		{X86_64, "read", 0, true}, {ARM64, "read", 63, true}, {ARM64, "io_setup", 0, true},
		{X86_64, "open", 2, true}, {ARM64, "open", 0, false}, {X86_64, "", 0, false},
		{X86_64, "sysv_ipc", 0, false}, {0, "read", 0, false}, {X86_64, "clone3", 435, true}, {ARM64, "clone3", 435, true},
	}
	for _, tt := range tests {
		if nr, ok := Number(tt.arch, tt.name); nr != tt.nr || ok != tt.ok {
			t.Errorf("Number(%v, %q) = %d, %v", tt.arch, tt.name, nr, ok)
		}
	}
	for _, nr := range []int{-1, 5000, 337} {
		if name, ok := Name(X86_64, nr); ok {
			t.Errorf("Name(%d) = %q", nr, name)
		}
	}
	if name, ok := Name(0, 0); ok {
		t.Errorf("a name %q without an architecture", name)
	}
}
