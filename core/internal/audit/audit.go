// Package audit has the words in which the parts of the supervisor tell what a sandbox was
// refused. They tell it after the decision: nothing is decided by it.
package audit

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// Refusal is what a task was refused, and by what.
type Refusal struct {
	Syscall string
	Errno   unix.Errno
	By      Rule
	// Path of the object that the call led to, as the host sees it, or of the name that is not
	// there yet.
	Path     string
	Grant    string         // what would have to be granted instead of Path, unless it is ""
	Protocol string         // of To: tcp, udp, icmp
	To       netip.AddrPort // what was to be reached or bound; the zero one is none
	Argv     []string       // what was to be executed
	Kernel   bool           // the kernel has told it, and the library may have, too
}

// Rule is a kind of rule that refuses.
type Rule uint8

const (
	ByAddress Rule = iota // the address may not be reached
	ByPort                // the TCP port may not be bound or listened on
	ByDenied              // the object is denied, or lies in what is
	ByRead                // it does not lie beneath what may be read
	ByWrite               // … written
	ByExec                // … executed
	ByForeign             // it belongs to a process outside, in /proc
	ByMode                // its own permissions, not the sandbox, keep the caller out
	ByVerdict             // the policy function
	ByCheck               // what was judged has changed, or can't be kept from changing
	ByFilter              // the system call, or what it was called with
	ByScope               // it is about what is outside the sandbox
	BySocket              // no rule of the network needs such a socket
	ByUnix                // it is a unix socket that may not be reached
	ByCount               // there are as many processes as there may be
)

// Who is the task that was refused something.
type Who struct {
	PID     uint32 // of its process
	Command string // its name, proc_pid_comm(5), which it may have chosen itself
	Exe     string // the path of its program, which it has not
}

// Log is told of refusals, from any goroutine but the receiving one.
type Log interface {
	// Wants reports whether a refusal would be kept, and counts it when not: what it costs to
	// find out more can be saved then.
	Wants() bool
	// Refused keeps one, made by who that tells; nil, or what it returns: it is not known.
	Refused(who func() *Who, x Refusal)
}
