package core

// Protection names a part of Landlock that a kernel may lack. The values and
// names are those of policy.md, section 8.
type Protection uint32

const (
	FSRefer Protection = iota
	FSTruncate
	NetTCP
	FSIoctlDev
	SignalScope
	AbstractUnixSocketScope
)
