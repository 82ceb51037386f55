package bpf

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// specs are those that tests go through, for one architecture.
func specs(a Arch) []Spec {
	return []Spec{
		{Arch: a},
		{Arch: a, InetStream: true},
		{Arch: a, CountTasks: true, UnixPairs: true},
		{Arch: a, Netlink: 992, InetUDP: true, Trap: []string{"sendto"}},
		{Arch: a, Netlink: 992, InetStream: true, Trap: []string{"bind"}},
		{Arch: a, Trap: []string{"execve", "execveat", "listen"}, InetStream: true},
		{Arch: a, Allow: []string{"sysv_ipc", "debug", "sched_setaffinity", "syslog"}, Trap: []string{"ptrace", "socket", "clone3"}},
		{Arch: a, Trap: []string{"open", "openat", "openat2"}, TrapOpens: PureReads},
		{Arch: a, Trap: []string{"open", "openat"}, TrapOpens: Reads},
		{Arch: a, Deny: []string{"socket", "openat", "sysv_ipc", "ioctl"}, Trap: []string{"openat", "sendto"}, Missing: []string{"openat2", "clone3", "openat"}},
	}
}

func eachSpec(t *testing.T, f func(t *testing.T, spec Spec)) {
	for _, a := range arches {
		for i, spec := range specs(a) {
			t.Run(fmt.Sprintf("%v/%d", a, i), func(t *testing.T) { f(t, spec) })
		}
	}
}

// interestingArgs are words that some rule compares with, their neighbours, and the
// same with a dirty high word.
var interestingArgs = func() []uint64 {
	words := []uint64{0, 1, 2, 3, 4, 5, 6, 10, 11, 16, 17, 31, 35, 40, 41, 43, 63, 64, 65, 66, 67, 132, 256, 262, 991, 992, 1023, 1024, 0x80000,
		0x80001, 0x80801, 0x540e, 0x5412, 0x541b, 0x541c, 0x541d, 0x5423, 0x5437, 0x4b47, 0x5606, 0x8912, 0x8914, 0x890b,
		0x8946, 0x8b06, 0xaa00, 0x4000, 0x20004000, 0x20000000, 0x11, 0x80011, 0x10000011, 0x3d0f00, 0x7fffffff,
		0x80000000, 0xffffffff, 0x53564d41, 0x59616d61, 0x41555856, 0x40000, 0x400000, 0x40, 0x200, 0x200000}
	for _, w := range slices.Clone(words) {
		words = append(words, w|1<<32, w|0xffffffff<<32)
	}
	return words
}()

// TestEveryNumber: program and naive evaluator agree on every number from 0 to 600,
// with the x32 bit and without, for arguments at the edges of every rule.
func TestEveryNumber(t *testing.T) {
	eachSpec(t, func(t *testing.T, spec Spec) {
		m := newMachine(t, compile(t, spec))
		for nr := uint32(0); nr <= 600; nr++ {
			for _, bit := range []uint32{0, 1 << 30, 1 << 31} {
				for _, arg := range []uint64{0, 1, ^uint64(0)} {
					checkCall(t, m, spec, call{spec.Arch.AuditArch(), nr | bit, [6]uint64{arg, arg, arg, arg, arg, arg}})
				}
			}
		}
		for _, name := range append(slices.Sorted(maps.Keys(rules)), "openat", "openat2") {
			nr := number(t, spec.Arch, name)
			for _, filler := range []uint64{0, 1, 2, 6, 10, 41} {
				for _, edge := range interestingArgs {
					for position := range 4 {
						c := call{spec.Arch.AuditArch(), nr, [6]uint64{filler, filler, filler, filler, filler, filler}}
						c.args[position] = edge
						checkCall(t, m, spec, c)
					}
				}
			}
		}
		checkCall(t, m, spec, call{spec.Arch.AuditArch(), 0xffffffff, [6]uint64{}})
	})
}

func checkCall(t *testing.T, m machine, spec Spec, c call) {
	t.Helper()
	if got, want := m.run(t, c), naive(spec, c); got != want {
		name, _ := Name(spec.Arch, int(c.nr))
		t.Fatalf("%d (%s) %#x: the program says %s, the naive evaluator %s", c.nr, name, c.args, actionName(got), actionName(want))
	}
}

func TestForeignArchitectures(t *testing.T) {
	eachSpec(t, func(t *testing.T, spec Spec) {
		m := newMachine(t, compile(t, spec))
		for _, arch := range []uint32{unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_ARM, unix.AUDIT_ARCH_AARCH64,
			unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_RISCV64, 0, ^uint32(0)} {
			for nr := uint32(0); nr <= 600 && arch != spec.Arch.AuditArch(); nr++ {
				if got := m.run(t, call{arch: arch, nr: nr}); got != retKillProcess {
					t.Fatalf("%d on %#x: %s", nr, arch, actionName(got))
				}
			}
		}
	})
}

// TestConstantAllow emulates the kernel's emulation, seccomp_is_const_allow in
// kernel/seccomp.c: what it can't follow without arguments costs a run of the program
// at every call.
func TestConstantAllow(t *testing.T) {
	eachSpec(t, func(t *testing.T, spec Spec) {
		p := compile(t, spec)
		for _, r := range rowsOf(spec.Arch) {
			var constant uint32
			switch {
			case naiveNames(spec.Deny, r.name):
				constant = retErrno | uint32(unix.EPERM)
			case slices.Contains(spec.Missing, r.name):
				constant = retErrno | uint32(unix.ENOSYS)
			case slices.Contains(spec.Trap, r.name), spec.CountTasks && slices.Contains(forks, r.name):
				continue // checked by TestEveryNumber
			case spec.Netlink != 0 && (r.name == "bind" || r.name == "getsockname"):
				continue // by the number of the descriptor
			case r.name == "seccomp" && !spec.CountTasks, r.name == "setrlimit" && !spec.KeepMarks:
				constant = retAllow
			case r.class == allowed, naiveNames(spec.Allow, r.name):
				constant = retAllow
			case r.class == ruled:
				if value, ok := emulate(p, uint32(r.number(spec.Arch))); ok {
					t.Errorf("%s: %s without a look at the arguments", r.name, actionName(value))
				}
				continue
			default:
				continue
			}
			if value, ok := emulate(p, uint32(r.number(spec.Arch))); !ok || value != constant {
				t.Errorf("%s: not constant, or %s", r.name, actionName(value))
			}
		}
	})
}

// emulate returns what the program returns for a number whatever the arguments,
// false where that depends on them.
func emulate(p *Program, nr uint32) (value uint32, ok bool) {
	var accumulator uint32
	raw := p.Raw()
	for pc := 0; pc < len(raw); pc++ {
		ins := raw[pc]
		var jumps bool
		switch ins.Op {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			switch ins.K {
			case 0:
				accumulator = nr
			case 4:
				accumulator = p.arch.AuditArch()
			default:
				return 0, false
			}
			continue
		case unix.BPF_RET | unix.BPF_K:
			return ins.K, true
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(ins.K)
			continue
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			jumps = accumulator == ins.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			jumps = accumulator >= ins.K
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			jumps = accumulator > ins.K
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			jumps = accumulator&ins.K != 0
		default:
			return 0, false
		}
		if jumps {
			pc += int(ins.Jt)
		} else {
			pc += int(ins.Jf)
		}
	}
	return 0, false
}

func decide(jump bpf.JumpIf, value uint32) bool {
	switch jump.Cond {
	case bpf.JumpEqual:
		return value == jump.Val
	case bpf.JumpNotEqual:
		return value != jump.Val
	case bpf.JumpGreaterOrEqual:
		return value >= jump.Val
	case bpf.JumpLessThan:
		return value < jump.Val
	}
	panic("a jump that the search does not use")
}

// TestSearchDepth: what is not constant pays for the search at every call.
func TestSearchDepth(t *testing.T) {
	for _, a := range arches {
		p := compile(t, Spec{Arch: a, InetStream: true})
		for nr := uint32(0); nr < 600; nr++ {
			steps := 0
			for pc, raw := 3, p.Raw(); pc < p.search; steps++ {
				jump, ok := raw[pc].Disassemble().(bpf.JumpIf)
				if !ok {
					break
				}
				if decide(jump, nr) {
					pc += 1 + int(jump.SkipTrue)
				} else {
					pc += 1 + int(jump.SkipFalse)
				}
			}
			if steps > 10 {
				t.Errorf("%v: %d comparisons for %d", a, steps, nr)
			}
		}
	}
}

func TestLength(t *testing.T) {
	eachSpec(t, func(t *testing.T, spec Spec) {
		p := compile(t, spec)
		t.Logf("%d instructions", p.Len())
		if p.Len() > 430 || p.Len() != len(p.Raw()) || len(p.Bytes()) != 8*p.Len() {
			t.Errorf("%d instructions, %d raw, %d bytes", p.Len(), len(p.Raw()), len(p.Bytes()))
		}
		for i, raw := range p.Raw() {
			b := p.Bytes()[8*i:]
			if binary.LittleEndian.Uint16(b) != raw.Op || b[2] != raw.Jt || b[3] != raw.Jf || binary.LittleEndian.Uint32(b[4:]) != raw.K {
				t.Fatalf("instruction %d is %x", i, b[:8])
			}
		}
	})
}

func TestDeterministic(t *testing.T) {
	eachSpec(t, func(t *testing.T, spec Spec) {
		first := compile(t, spec)
		for range 5 {
			if again := compile(t, spec); !slices.Equal(first.Raw(), again.Raw()) || first.String() != again.String() {
				t.Fatal("two programs from one spec")
			}
		}
	})
}

func TestString(t *testing.T) {
	p := compile(t, Spec{Arch: X86_64, Trap: []string{"execve", "sendmsg"}, InetStream: true})
	dump := p.String()
	if lines := strings.Count(dump, "  return ") + strings.Count(dump, "  if ") + strings.Count(dump, "  load ") +
		strings.Count(dump, "  and ") + strings.Count(dump, "  goto "); lines != p.Len() {
		t.Errorf("%d lines for %d instructions", lines, p.Len())
	}
	for _, want := range []string{"load arch\n", "(execve) goto ", "(notify)", "inet socket:\n", "return EPROTONOSUPPORT\n"} {
		if !strings.Contains(dump, want) {
			t.Errorf("no %q in\n%s", want, dump)
		}
	}
}

// TestImmutable: what a program gives away is a copy.
func TestImmutable(t *testing.T) {
	p := compile(t, Spec{Arch: X86_64})
	want := p.Bytes()
	p.Raw()[0].K, p.Bytes()[0] = 99, 99
	if !slices.Equal(p.Bytes(), want) {
		t.Error("a caller can change the program")
	}
}
