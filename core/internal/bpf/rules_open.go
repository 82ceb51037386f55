package bpf

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// OpenTrap says which calls of open(2) and openat(2) are trapped; any other is run by the
// kernel. The flags of openat2(2) lie in memory.
type OpenTrap uint8

const (
	AllOpens OpenTrap = iota
	// PureReads open for reading, and make, empty and list nothing.
	PureReads
	// Reads open for reading alone, whatever they do besides. Of a descriptor of O_PATH nothing
	// can be read.
	Reads
)

// opens are the calls that OpenTrap is about, and which argument their flags are.
var opens = map[string]int{"open": 1, "openat": 2}

func (t OpenTrap) rule(flags int) rule {
	return rule{name: fmt.Sprintf("opens for reading (argument %d)", flags), write: func(c *compiler, pass label) {
		others := uint32(unix.O_ACCMODE | unix.O_PATH)
		if t == PureReads {
			// O_DIRECTORY of asm/fcntl.h.
			directory := uint32(0o200000)
			if c.spec.Arch == ARM64 {
				directory = 0o40000
			}
			others |= unix.O_CREAT | unix.O_TRUNC | unix.O_TMPFILE&^unix.O_DIRECTORY | directory
		}
		c.load(low(flags))
		c.ifAny(others, c.ret(retAllow), pass)
	}}
}
