package bpf

import (
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// FuzzProgram: for any spec that compiles and any call, the program returns what
// the naive evaluator says.
func FuzzProgram(f *testing.F) {
	for i, name := range []string{"socket", "bind", "getsockname", "clone", "ioctl", "prctl", "sendto", "sendmsg", "sendmmsg", "setsockopt",
		"personality", "prlimit64", "setpriority", "ioprio_set", "sched_setattr", "open", "openat", "execve"} {
		for _, a := range arches {
			nr, _ := Number(a, name)
			f.Add(uint64(i), a == ARM64, a.AuditArch(), uint32(nr), []byte{1, 0, 0, 0, 1, 0, 0, 0, 2})
		}
	}
	f.Add(uint64(0), false, uint32(0x40000003), uint32(0x40000000), []byte(nil))
	f.Fuzz(func(t *testing.T, seed uint64, arm bool, arch, nr uint32, args []byte) {
		spec := randomSpec(rand.New(rand.NewPCG(seed, 0)), X86_64)
		if arm {
			spec.Arch = ARM64
		}
		c := call{arch: arch, nr: nr}
		for i := range c.args {
			word := make([]byte, 8)
			copy(word, args[min(8*i, len(args)):])
			c.args[i] = binary.LittleEndian.Uint64(word)
		}
		checkCall(t, newMachine(t, compile(t, spec)), spec, c)
	})
}

// randomSpec makes a spec that CheckNames accepts.
func randomSpec(random *rand.Rand, a Arch) Spec {
	pick := func(n int) (names []string) {
		for range random.IntN(n) {
			if random.IntN(8) == 0 {
				names = append(names, groups[random.IntN(len(groups))].name)
			} else {
				names = append(names, table[random.IntN(len(table))].name)
			}
		}
		return names
	}
	spec := Spec{Arch: a, SealMemfd: random.IntN(2) == 0, InetStream: random.IntN(2) == 0, CountTasks: random.IntN(2) == 0,
		InetUDP: random.IntN(2) == 0, InetPing: random.IntN(2) == 0, OwnFiles: random.IntN(2) == 0, KeepMarks: random.IntN(2) == 0, UnixPairs: random.IntN(2) == 0, TrapOpens: OpenTrap(random.IntN(3))}
	if random.IntN(2) == 0 {
		spec.Netlink = 992
	}
	for _, name := range pick(30) {
		if expand(name) != nil && byName()[name] != nil {
			spec.Trap = append(spec.Trap, name)
		}
	}
	for _, name := range pick(12) {
		if deny := append(spec.Deny, name); len(CheckNames(a, deny, nil)) == 0 {
			spec.Deny = deny
		}
	}
	for _, name := range pick(40) {
		if allow := append(spec.Allow, name); len(CheckNames(a, spec.Deny, allow)) == 0 {
			spec.Allow = allow
		}
	}
	return spec
}

// TestRandomSpecs: the same without a fuzzer, on numbers and arguments that matter.
func TestRandomSpecs(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	ruledNames := slices.Sorted(maps.Keys(rules))
	longest := 0
	for range 60 {
		for _, a := range arches {
			spec := randomSpec(random, a)
			p := compile(t, spec)
			longest = max(longest, p.Len())
			m := newMachine(t, p)
			for range 300 {
				c := call{a.AuditArch(), random.Uint32N(500), [6]uint64{}}
				if random.IntN(2) == 0 {
					c.nr = number(t, a, ruledNames[random.IntN(len(ruledNames))])
				}
				for i := range c.args {
					c.args[i] = interestingArgs[random.IntN(len(interestingArgs))]
				}
				checkCall(t, m, spec, c)
			}
		}
	}
	t.Logf("the longest program has %d instructions", longest)
	if longest > 520 {
		t.Errorf("%d instructions", longest)
	}
}
