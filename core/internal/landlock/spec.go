// Package landlock compiles the file, TCP and scope part of a policy into a
// ruleset description and opens that as a Landlock ruleset, landlock(7).
package landlock

import (
	"fmt"
	"strings"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// PortRange is the TCP ports from Lo to Hi, both included.
type PortRange struct{ Lo, Hi uint16 }

func (r PortRange) String() string {
	if r.Lo == r.Hi {
		return fmt.Sprint(r.Lo)
	}
	return fmt.Sprintf("%d-%d", r.Lo, r.Hi)
}

// Grants is what a policy allows; all else is denied.
type Grants struct {
	Readable, Writable []string
	// Optional are rules whose paths may be missing when the ruleset is opened.
	Optional []PathRule
	// Executable takes the execute right from Readable and Writable when
	// ExecutableGiven is set. To be executed, a file needs execute *and* read, and
	// so does its ELF interpreter (the dynamic loader) or, for a script, the
	// interpreter of its first line.
	Executable      []string
	ExecutableGiven bool

	Unix           []string // where named unix sockets may be reached, beside Writable
	WithoutSockets bool     // none may be made beneath Writable

	Connect, Bind       []PortRange
	ConnectAny, BindAny bool // the right is not handled at all

	// What is not handled although the kernel could.
	WithoutRefer, WithoutTruncate, WithoutIoctlDev        bool
	WithoutTCP, WithoutSignalScope, WithoutAbstractSocket bool

	// KeepProc makes Open refuse a writable path that holds a proc file system or
	// lies in one: /proc/<pid>/mem writes into a peer's memory.
	KeepProc bool
}

// PathRule grants Access beneath Path. Field is the policy field it stands in.
type PathRule struct {
	Field, Path string
	Access      uint64
	Optional    bool // the path may be missing
}

// Device grants reading and writing of a device node, and of what lies beneath a
// directory of them, if it is there.
func Device(field, path string) PathRule {
	return PathRule{field, path, readRights | ll.AccessFSWriteFile | ll.AccessFSIoctlDev, true}
}

// Info grants reading beneath a path, if it is there.
func Info(field, path string) PathRule { return PathRule{field, path, readRights, true} }

// PortRule grants Access on each port of Ports.
type PortRule struct {
	Ports  PortRange
	Access uint64
}

// Spec describes a ruleset: plain data, the same for the same grants and ABI.
type Spec struct {
	ABI                           int // what it was compiled for
	HandledFS, HandledNet, Scoped uint64
	Paths                         []PathRule
	Ports                         []PortRule
	KeepProc                      bool
}

// Compile describes the ruleset that grants g on a kernel with that ABI. It
// handles every right of the ABI that g doesn't do without.
func Compile(g Grants, abi int) Spec {
	s := Spec{ABI: abi, KeepProc: g.KeepProc}
	s.HandledFS, s.HandledNet, s.Scoped = known(abi)
	for _, w := range []struct {
		without bool
		set     *uint64
		rights  uint64
	}{
		{g.WithoutRefer, &s.HandledFS, ll.AccessFSRefer},
		{g.WithoutTruncate, &s.HandledFS, ll.AccessFSTruncate},
		{g.WithoutIoctlDev, &s.HandledFS, ll.AccessFSIoctlDev},
		{g.WithoutTCP, &s.HandledNet, netTCP},
		{g.ConnectAny, &s.HandledNet, ll.AccessNetConnectTCP},
		{g.BindAny, &s.HandledNet, ll.AccessNetBindTCP},
		{g.WithoutSignalScope, &s.Scoped, ll.ScopeSignal},
		{g.WithoutAbstractSocket, &s.Scoped, ll.ScopeAbstractUnixSocket},
	} {
		if w.without {
			*w.set &^= w.rights
		}
	}

	read, write := uint64(readRights), uint64(readRights|writeRights)
	if !g.ExecutableGiven {
		read |= ll.AccessFSExecute
		write |= ll.AccessFSExecute
	}
	if g.WithoutSockets {
		write &^= ll.AccessFSMakeSock
	}
	s.addPaths("fs_readable", g.Readable, read)
	s.addPaths("fs_writable", g.Writable, write)
	if g.ExecutableGiven {
		s.addPaths("fs_executable", g.Executable, ll.AccessFSExecute)
	}
	if s.JudgesUnix() {
		s.addPaths("unix_allow", g.Unix, ll.AccessFSResolveUnix)
	}
	for _, r := range g.Optional {
		r.Access &= s.HandledFS
		s.Paths = append(s.Paths, r)
	}
	s.addPorts(g.Connect, ll.AccessNetConnectTCP)
	s.addPorts(g.Bind, ll.AccessNetBindTCP)
	return s
}

func (s *Spec) addPaths(field string, paths []string, access uint64) {
	for _, path := range paths {
		s.Paths = append(s.Paths, PathRule{Field: field, Path: path, Access: access & s.HandledFS})
	}
}

func (s *Spec) addPorts(ports []PortRange, access uint64) {
	if s.HandledNet&access == 0 {
		return
	}
	for _, r := range ports {
		s.Ports = append(s.Ports, PortRule{r, access})
	}
}

// FilesAlone is the file part of the ruleset.
func (s Spec) FilesAlone() Spec {
	s.HandledNet, s.Scoped, s.Ports = 0, 0, nil
	return s
}

// Scopes reports which scope bits the ruleset has.
func (s Spec) Scopes() (signal, abstractSocket bool) {
	return s.Scoped&ll.ScopeSignal != 0, s.Scoped&ll.ScopeAbstractUnixSocket != 0
}

// JudgesConnect reports whether the ruleset is asked about connect(2) of TCP.
func (s Spec) JudgesConnect() bool { return s.HandledNet&ll.AccessNetConnectTCP != 0 }

// JudgesUnix reports whether it is asked about connections to named unix sockets.
func (s Spec) JudgesUnix() bool { return s.HandledFS&ll.AccessFSResolveUnix != 0 }

// JudgesBind reports whether it is asked about bind(2) of TCP.
func (s Spec) JudgesBind() bool { return s.HandledNet&ll.AccessNetBindTCP != 0 }

// String prints the whole ruleset, one rule a line.
func (s Spec) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "landlock ABI %d\n", s.ABI)
	fmt.Fprintf(&b, "  handled fs: %s\n", join(s.HandledFS, fsNames))
	fmt.Fprintf(&b, "  handled net: %s\n", join(s.HandledNet, netNames))
	fmt.Fprintf(&b, "  scoped: %s\n", join(s.Scoped, scopeNames))
	for _, r := range s.Paths {
		fmt.Fprintf(&b, "  %s %q: %s\n", r.Field, r.Path, join(r.Access, fsNames))
	}
	for _, r := range s.Ports {
		fmt.Fprintf(&b, "  port %v: %s\n", r.Ports, join(r.Access, netNames))
	}
	if s.KeepProc {
		b.WriteString("  no writable path may hold a proc file system\n")
	}
	return b.String()
}
