package bpf

import "golang.org/x/sys/unix"

// opens are the calls of Spec.TrapReads, and which argument their flags are. Those of
// openat2(2) lie in memory.
var opens = map[string]int{"open": 1, "openat": 2}

// opensOnly traps a call that opens for reading and does nothing else. Any other is run by
// the kernel.
func opensOnly(flags int) rule {
	name := "opens for reading (argument 1)"
	if flags == 2 {
		name = "opens for reading (argument 2)"
	}
	return rule{name: name, write: func(c *compiler, pass label) {
		// O_DIRECTORY of asm/fcntl.h.
		directory := uint32(0o200000)
		if c.spec.Arch == ARM64 {
			directory = 0o40000
		}
		c.load(low(flags))
		c.ifAny(unix.O_ACCMODE|unix.O_CREAT|unix.O_TRUNC|unix.O_PATH|unix.O_TMPFILE&^unix.O_DIRECTORY|directory, c.ret(retAllow), pass)
	}}
}
