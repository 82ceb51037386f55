// Package bpf compiles the part of a policy that is about syscalls into a seccomp
// program, seccomp(2).
//
// The program loads the architecture and the number, and looks for the number by
// binary search. That path uses only the instructions that the kernel can follow
// when the program is attached (seccomp_is_const_allow, Linux 5.11): a syscall that
// is allowed whatever its arguments never runs the program after that.
package bpf

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Spec is the part of a policy that the program is made of. A name that only the
// other architecture has does nothing.
type Spec struct {
	Arch       Arch
	Deny       []string // names and groups that are denied beside the table (EPERM)
	Allow      []string // names and groups that are allowed beside the table
	Trap       []string // syscalls that the listener answers (SECCOMP_RET_USER_NOTIF) where the program would allow them
	TrapOpens  OpenTrap // which of open and openat in Trap
	SealMemfd  bool     // memfd_create makes no file that could be executed
	Missing    []string // syscalls that answer ENOSYS where the program would allow or trap them
	InetStream bool     // TCP sockets may be created: some TCP rule exists
	InetUDP    bool     // UDP sockets may be
	InetPing   bool     // sockets that send ICMP echo requests and nothing else may be, icmp(7)
	Netlink    uint32   // not 0: the listener makes NETLINK_ROUTE sockets, and answers for descriptors of that number and the next 31
	UnixPairs  bool     // of unix sockets connected pairs alone may be created, and no datagram ones
	OwnFiles   bool     // a table of descriptors is shared by the threads of one process only
	KeepMarks  bool     // the limit that the supervisor marks processes with stays as it is: RLIMIT_LOCKS
	CountTasks bool     // whatever makes a process stops for the tracer (SECCOMP_RET_TRACE), which all tasks have
}

// What a program returns, seccomp(2).
const (
	retKillProcess uint32 = 0x80000000
	retErrno       uint32 = 0x00050000 // and the errno
	retNotify      uint32 = 0x7fc00000
	retTrace       uint32 = 0x7ff00000
	retAllow       uint32 = 0x7fff0000
)

// Offsets in struct seccomp_data, whose fields are in native byte order: little
// endian on both architectures.
const (
	offNr   = 0
	offArch = 4
	offArgs = 16
)

func low(arg int) uint32  { return uint32(offArgs + 8*arg) }
func high(arg int) uint32 { return low(arg) + 4 }

// maxInstructions is BPF_MAXINSNS.
const maxInstructions = 4096

// Compile makes the program. The error says which names of the spec are wrong, see
// CheckNames.
func Compile(spec Spec) (*Program, error) {
	c, err := newCompiler(spec)
	if err != nil {
		return nil, err
	}
	return c.compile()
}

type compiler struct {
	*asm
	spec                       Spec
	deny, allow, trap, missing map[string]bool
	rules                      []pendingRule
}

// pendingRule is a rule that some number leads to, and where it lets a call
// through: the same rule may end in an allow for one syscall and in a notification
// for another.
type pendingRule struct {
	rule rule
	pass label
	at   label
}

func newCompiler(spec Spec) (*compiler, error) {
	if !spec.Arch.valid() {
		return nil, fmt.Errorf("there is no program for architecture %d", spec.Arch)
	}
	if errs := CheckNames(spec.Arch, spec.Deny, spec.Allow); len(errs) > 0 {
		return nil, errs[0]
	}
	for _, name := range slices.Concat(spec.Trap, spec.Missing) {
		if byName()[name] == nil {
			return nil, fmt.Errorf("unknown syscall %q", name)
		}
	}
	return &compiler{
		asm: newAsm(), spec: spec,
		deny: expandAll(spec.Deny), allow: expandAll(spec.Allow), trap: expandAll(spec.Trap),
		missing: expandAll(spec.Missing),
	}, nil
}

func (c *compiler) compile() (*Program, error) {
	native := c.label("")
	c.load(offArch)
	c.ifEqual(c.spec.Arch.AuditArch(), native, c.ret(retKillProcess))
	c.place(native)
	c.load(offNr)
	c.branch(c.errno(unix.ENOSYS), c.numbers()...)
	search := len(c.code)
	for _, r := range c.rules {
		c.place(r.at)
		r.rule.write(c, r.pass)
	}
	raw, labels, err := c.assemble()
	if err != nil {
		return nil, err
	}
	if len(raw) > maxInstructions {
		return nil, fmt.Errorf("BUG(sandlock): a program of %d instructions, please report", len(raw))
	}
	return &Program{arch: c.spec.Arch, raw: raw, labels: labels, search: c.code[search].position}, nil
}

// numbers is where each number of the table leads. All others are ENOSYS; those of
// x32, above 0x40000000, are among them.
func (c *compiler) numbers() []interval {
	rows := rowsOf(c.spec.Arch)
	intervals := make([]interval, len(rows))
	for i, r := range rows {
		intervals[i] = single(uint32(r.number(c.spec.Arch)), c.action(r))
	}
	return intervals
}

// action is the label that a syscall leads to.
func (c *compiler) action(r *row) label {
	pass := c.ret(retAllow)
	switch {
	case c.trap[r.name]:
		pass = c.ret(retNotify)
		if flags, ok := opens[r.name]; ok && c.spec.TrapOpens != AllOpens {
			pass = c.rule(c.spec.TrapOpens.rule(flags), pass)
		}
	case c.spec.CountTasks && slices.Contains(forks, r.name):
		pass = c.ret(retTrace)
	}
	switch {
	case c.deny[r.name]:
		return c.errno(unix.EPERM)
	case c.missing[r.name]:
		return c.errno(unix.ENOSYS)
	case r.name == "memfd_create" && c.spec.SealMemfd && !c.allow[r.name]:
		return c.rule(memfdRule, pass)
	case c.allow[r.name]:
		return pass
	case c.spec.Netlink != 0 && !c.trap[r.name] && (r.name == "bind" || r.name == "getsockname"):
		return c.rule(netlinkRule, pass)
	case r.class == allowed:
		return pass
	case r.class == ruled:
		return c.rule(rules[r.name], pass)
	case r.class == missing:
		return c.errno(unix.ENOSYS)
	}
	return c.errno(unix.EPERM)
}

func (c *compiler) rule(r rule, pass label) label {
	for _, p := range c.rules {
		if p.rule.name == r.name && p.pass == pass {
			return p.at
		}
	}
	at := c.label(r.name)
	c.rules = append(c.rules, pendingRule{r, pass, at})
	return at
}

func (c *compiler) errno(errno unix.Errno) label { return c.ret(retErrno | uint32(errno)) }
