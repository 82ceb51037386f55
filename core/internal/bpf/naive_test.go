package bpf

import "slices"

// The naive evaluator says what a program should return, from the table and from
// the rules as the documentation words them. It shares no code with the compiler;
// numbers are written out on purpose.

const (
	nKill   = 0x80000000
	nNotify = 0x7fc00000
	nAllow  = 0x7fff0000
	nTrace  = 0x7ff00000

	nEPERM           = 0x50000 + 1
	nENOENT          = 0x50000 + 2
	nEACCES          = 0x50000 + 13
	nEINVAL          = 0x50000 + 22
	nENOTTY          = 0x50000 + 25
	nENOSYS          = 0x50000 + 38
	nENOPROTOOPT     = 0x50000 + 92
	nEPROTONOSUPPORT = 0x50000 + 93
	nESOCKTNOSUPPORT = 0x50000 + 94
	nEOPNOTSUPP      = 0x50000 + 95
	nEAFNOSUPPORT    = 0x50000 + 97
)

func naive(spec Spec, c call) uint32 {
	if spec.Arch == X86_64 && c.arch != 0xc000003e || spec.Arch == ARM64 && c.arch != 0xc00000b7 {
		return nKill
	}
	var found *row
	for i := range table {
		r := &table[i]
		if spec.Arch == X86_64 && r.x86 >= 0 && uint32(r.x86) == c.nr ||
			spec.Arch == ARM64 && r.arm64 >= 0 && uint32(r.arm64) == c.nr {
			found = r
		}
	}
	if found == nil {
		return nENOSYS
	}
	pass := uint32(nAllow)
	whole := naiveNames(spec.Allow, found.name)
	if slices.Contains(spec.Trap, found.name) && (found.name != "sendto" || c.args[4] != 0 || whole) &&
		(found.name != "prctl" || slices.Contains([]uint32{24, 28, 47}, uint32(c.args[0])) || whole) &&
		(found.name != "setsockopt" || uint32(c.args[1]) == 1 && slices.Contains([]uint32{13, 21, 67}, uint32(c.args[2])) ||
			uint32(c.args[1]) == 6 && uint32(c.args[2]) == 30 || whole) {
		pass = nNotify
	}
	if spec.TrapOpens == PureReads && pass == nNotify && (found.name == "open" || found.name == "openat") {
		flags := uint32(c.args[map[string]int{"open": 1, "openat": 2}[found.name]])
		directory := uint32(0x10000)
		if spec.Arch == ARM64 {
			directory = 0x4000
		}
		if flags&(3|0x40|0x200|0x200000|0x400000|directory) != 0 {
			pass = nAllow
		}
	}
	if spec.TrapOpens == Reads && pass == nNotify && (found.name == "open" || found.name == "openat") &&
		uint32(c.args[map[string]int{"open": 1, "openat": 2}[found.name]])&(3|0x200000) != 0 {
		pass = nAllow
	}
	netlink := spec.Netlink != 0 && uint32(c.args[0]) >= spec.Netlink && uint32(c.args[0]) <= spec.Netlink+31
	if netlink && !whole && slices.Contains([]string{"bind", "getsockname", "sendto", "sendmsg"}, found.name) {
		pass = nNotify
	}
	if spec.CountTasks && pass == nAllow && (found.name == "fork" || found.name == "vfork" ||
		found.name == "clone" && uint32(c.args[0])&0x10000 == 0) {
		pass = nTrace
	}
	if spec.CountTasks && found.name == "clone" && uint32(c.args[0])&0x10000 != 0 && !naiveNames(spec.Allow, "clone") {
		pass = nAllow // a thread is nobody's to count, and clone is trapped by no policy
	}
	if naiveNames(spec.Deny, found.name) {
		return nEPERM
	}
	if naiveNames(spec.Missing, found.name) {
		return nENOSYS
	}
	if naiveNames(spec.Allow, found.name) {
		return pass
	}
	if found.name == "memfd_create" && spec.SealMemfd && uint32(c.args[1])&8 == 0 {
		return nENOSYS
	}
	switch found.class {
	case allowed:
		return pass
	case ruled:
		if refusal := naiveRule(spec, found.name, c.args); refusal != 0 {
			return refusal
		}
		return pass
	case missing:
		return nENOSYS
	}
	return nEPERM
}

func naiveNames(entries []string, name string) bool {
	for _, entry := range entries {
		switch {
		case entry == name:
			return true
		case entry == "sysv_ipc" && (len(name) == 6 || name == "semtimedop") &&
			slices.Contains([]string{"shm", "sem", "msg"}, name[:3]):
			return true
		case entry == "sysv_ipc" && (name == "shmat" || name == "shmdt" || name == "semop"):
			return true
		case entry == "debug" && slices.Contains([]string{"ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp"}, name):
			return true
		}
	}
	return false
}

// naiveRule returns the refusal, 0 where there is none.
func naiveRule(spec Spec, name string, args [6]uint64) uint32 {
	word := func(i int) uint32 { return uint32(args[i]) }
	unless := func(ok bool, refusal uint32) uint32 {
		if ok {
			return 0
		}
		return refusal
	}
	switch name {
	case "clone":
		for _, flag := range []uint32{0x80, 0x2000, 0x20000, 0x800000, 0x2000000,
			0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000} {
			if word(0)&flag != 0 {
				return nEPERM
			}
		}
		return unless(!spec.OwnFiles || word(0)&0x400 == 0 || word(0)&0x10000 != 0, nEPERM)
	case "seccomp":
		return unless(!spec.CountTasks || word(1)&8 == 0, 0x50000+16)
	case "socket", "socketpair":
		if name == "socket" && spec.Netlink != 0 && word(0) == 16 && (word(1)%16 == 2 || word(1)%16 == 3) && word(2) == 0 {
			return nNotify
		}
		return naiveSocket(spec, name == "socketpair", word(0), word(1)%16, word(2))
	case "sendto", "sendmmsg":
		return unless(word(3)&0x20000000 == 0, nEPERM)
	case "sendmsg":
		return unless(word(2)&0x20000000 == 0, nEPERM)
	case "setsockopt":
		switch level, option := word(1), word(2); {
		case level == 6 && option == 31:
			return nENOENT
		case level == 0 && (option >= 64 || option == 4 || 35 <= option && option <= 48):
			return nEPERM
		case level == 41 && slices.Contains([]uint32{5, 6, 20, 27, 32, 42, 43, 44, 45, 46, 47, 48, 54, 55, 57, 59, 64, 65}, option):
			return nEPERM
		case level == 17 && !slices.Contains([]uint32{1, 101, 102, 103, 104}, option):
			return nENOPROTOOPT
		}
		return 0
	case "ioctl":
		return naiveIoctl(word(1))
	case "prctl":
		return naivePrctl(word(0))
	case "personality":
		return unless(word(0) == 0xffffffff || word(0)&^0x60008 == 0, nEPERM)
	case "setrlimit":
		return unless(!spec.KeepMarks || word(0) != 10, nEPERM)
	case "prlimit64":
		if spec.KeepMarks && word(1) == 10 && args[2] != 0 {
			return nEPERM
		}
		return unless(word(0) == 0 || args[2] == 0, nEPERM)
	case "setpriority":
		return unless(word(0) == 0 && word(1) == 0, nEPERM)
	case "ioprio_set":
		return unless(word(0) == 1 && word(1) == 0, nEPERM)
	case "sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr":
		return unless(word(0) == 0, nEPERM)
	}
	panic("the naive evaluator has no rule for " + name)
}

func naiveSocket(spec Spec, pair bool, family, kind, protocol uint32) uint32 {
	switch {
	case spec.UnixPairs && family == 1 && (kind == 2 || !pair && (kind == 1 || kind == 5)):
		return nEACCES
	case family == 1 && (kind == 1 || kind == 2 || kind == 5):
		return 0
	case family == 1:
		return nESOCKTNOSUPPORT
	case family != 2 && family != 10:
		return nEAFNOSUPPORT
	case kind == 1 && spec.InetStream && (protocol == 0 || protocol == 6),
		kind == 2 && spec.InetUDP && (protocol == 0 || protocol == 17),
		kind == 2 && spec.InetPing && (protocol == 1 || protocol == 58):
		return 0
	case kind == 1 && spec.InetStream:
		return nEPROTONOSUPPORT
	}
	return nEACCES
}

func naiveIoctl(command uint32) uint32 {
	switch command {
	case 0x5412, 0x541c, 0x541d, 0x5423, 0x5437, 0xaa00:
		return nEPERM
	case 0x40086604, 0x40047211, 0x50009401, 0x5000940e, 0x5000940f, 0x50009417, 0x50009418, 0x5000943f, 0x4008941a, 0xc0c89425,
		0x40086602, 0x40046602, 0x40087602, 0x40047602, 0x401c5820, 0x41009432,
		0x800c6613, 0xc0506617, 0xc0406618, 0xc0406619, 0x40806685:
		return nEOPNOTSUPP
	case 0x8946, 0x8947, 0x8948:
		return nEOPNOTSUPP
	case 0x8901, 0x8902, 0x8903, 0x8904, 0x8905, 0x8906, 0x8907, 0x8910, 0x8912, 0x8913, 0x8915, 0x8917, 0x8919,
		0x891b, 0x891d, 0x8921, 0x8927, 0x8933, 0x8938, 0x8942, 0x894b, 0x8970:
		return 0
	}
	switch command >> 8 {
	case 0x4b, 0x56:
		return nENOTTY
	case 0x89:
		return nEPERM
	case 0x8b:
		return nEOPNOTSUPP
	}
	return 0
}

func naivePrctl(option uint32) uint32 {
	switch option {
	case 31, 32, 35, 57, 58, 62, 67:
		return nEPERM
	case 1, 2, 3, 4, 7, 8, 13, 14, 15, 16, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 33, 34, 36, 37, 38, 39, 40, 41, 42,
		47, 50, 51, 52, 53, 54, 55, 56, 59, 60, 61, 63, 64, 65, 66, 68, 74, 75, 76, 77, 78, 79,
		0x41555856, 0x53564d41, 0x59616d61:
		return 0
	}
	return nEINVAL
}
