package bpf

import "golang.org/x/sys/unix"

// memfdRule: memfd_create(2) makes a file that lies nowhere, so no rule of Landlock keeps it
// from being executed. One with MFD_NOEXEC_SEAL never can be (Linux 6.3); any other call is
// answered as by a kernel that has no such files, and callers use temporary ones.
var memfdRule = rule{name: "memfd flags", write: func(c *compiler, pass label) {
	c.load(low(1))
	c.ifAny(unix.MFD_NOEXEC_SEAL, pass, c.errno(unix.ENOSYS))
}}
