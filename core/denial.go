package core

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sandlock/sandlock/core/internal/audit"
	"github.com/sandlock/sandlock/core/internal/handler"
	"golang.org/x/sys/unix"
)

// Denial is something that the sandbox was refused. Equal ones, whoever they came from, are
// one with a Count.
type Denial struct {
	Time    time.Time // of the first
	Syscall string    // what was called; "fork" stands for whatever makes processes

	// Who called first. PID 0: nobody knows any more.
	PID     uint32
	Command string // its name, at most 15 bytes, which it may have chosen itself: proc_pid_comm(5)
	Exe     string // its program, which it has not; "" where it can't be told

	// Path of the object that the call led to, as the host sees it and with no symbolic link
	// in it, or of the name that is not there. "": the call was about none, or it is not known.
	Path     string
	Protocol string // tcp, udp or icmp; "" is none, as of Host
	Host     string // the address, of a bind the caller's own
	Port     uint16
	Argv     string // of an exec, as people read it, cut where it is long

	Errno int // what the call failed with; 0: the caller was killed
	// Rule is the field of the policy that decided, and Value what would allow it there; "":
	// no field did, or nothing in it would.
	Rule, Value string
	Why         string // that in a sentence
	Count       uint64
}

// What is kept of one run; the rest is counted.
const (
	maxDenials     = 1_000
	maxDenialBytes = 1 << 20 // of what the sandbox has chosen
)

// denialLog is the [audit.Log] of a run.
type denialLog struct {
	plan *Plan
	// restricted reports whether the rules let an address be reached, so that it was a
	// PolicyFn that took it away; nil: they never do.
	restricted func(p netProtocol, to netip.AddrPort) bool

	full    atomic.Bool
	dropped atomic.Uint64

	mu    sync.Mutex // guards what follows
	list  []Denial
	heard []bool // for each of them, whether the kernel has told it
	index map[denialKey]int
	bytes int
}

// denialKey is what makes two the same.
type denialKey struct {
	syscall, path, argv, protocol string
	to                            netip.AddrPort
	errno                         unix.Errno
	by                            audit.Rule
}

// Wants is that of [audit.Log]: a run that is full costs a counter.
func (l *denialLog) Wants() bool {
	if l.full.Load() {
		l.dropped.Add(1)
		return false
	}
	return true
}

// Refused is that of [audit.Log].
func (l *denialLog) Refused(who func() *audit.Who, x audit.Refusal) {
	key := denialKey{x.Syscall, x.Path, "", x.Protocol, x.To, x.Errno, x.By}
	if x.Argv != nil {
		key.argv = handler.Brief(x.Argv)
	}
	if l.again(key, x.Kernel) {
		return
	}
	d := l.describe(key, x)
	if who != nil {
		if w := who(); w != nil {
			d.PID, d.Command, d.Exe = w.PID, w.Command, w.Exe
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if i, ok := l.index[key]; ok { // meanwhile
		l.count(i, x.Kernel)
		return
	}
	size := len(d.Command) + len(d.Exe) + len(d.Path) + len(d.Value) + len(d.Argv) + len(d.Why)
	if len(l.list) == maxDenials || l.bytes+size > maxDenialBytes {
		l.full.Store(true)
		l.dropped.Add(1)
		return
	}
	if l.index == nil {
		l.index = map[denialKey]int{}
	}
	l.index[key] = len(l.list)
	l.list, l.heard = append(l.list, d), append(l.heard, x.Kernel)
	l.bytes += size
}

// again counts one that is there.
func (l *denialLog) again(key denialKey, kernel bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, ok := l.index[key]
	if ok {
		l.count(i, kernel)
	}
	return ok
}

// count counts one more of an entry, unless it is the same told twice. l.mu is held.
func (l *denialLog) count(i int, kernel bool) {
	if l.heard[i] == kernel {
		l.list[i].Count++
	}
}

// execs says of the execs that were refused what was refused of them.
func (l *denialLog) execs() (list []string) {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.list {
		if d.Path == "" || d.Syscall != "execve" && d.Syscall != "execveat" {
			continue
		}
		said := quote(d.Path) + ": " + d.Why
		if d.Value != "" {
			said += fmt.Sprintf("; %s with %s would allow it", d.Rule, quote(d.Value))
		}
		list = append(list, said)
	}
	return list
}

// fill hands over to a result.
func (l *denialLog) fill(to *Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	to.Denials, to.DenialsDropped = l.list, l.dropped.Load()
	l.list = nil
	l.full.Store(true)
}

// describe says which field of the policy it was, and what would allow it.
func (l *denialLog) describe(key denialKey, x audit.Refusal) Denial {
	d := Denial{Time: time.Now(), Syscall: x.Syscall, Path: x.Path, Protocol: x.Protocol, Argv: key.argv, Errno: int(x.Errno), Count: 1}
	if x.To.IsValid() {
		d.Host, d.Port = x.To.Addr().String(), x.To.Port()
	}
	grant := func(field, what string) {
		d.Rule, d.Value = field, cmp.Or(x.Grant, x.Path)
		if rest, ok := strings.CutPrefix(d.Value, "/proc/"); ok && rest[0] >= '0' && rest[0] <= '9' {
			d.Value = "/proc" // a process has another number the next time
		}
		d.Why = what
	}
	switch x.By {
	case audit.ByAddress:
		l.describeAddress(&d, x)
	case audit.ByPort:
		d.Rule, d.Value = "net_allow_bind", strconv.Itoa(int(d.Port))
		d.Why = "no rule lets the port be listened on"
		if d.Port == 0 {
			d.Why = "no rule lets a port of the kernel's choice be listened on"
		}
		if l.plan.net.bindDenied {
			d.Rule, d.Value, d.Why = "net_deny_bind", "", "the port may not be listened on"
		}
	case audit.ByDenied:
		d.Rule, d.Why = "fs_denied", "it is denied, or lies in what is"
		if len(l.plan.fsDenied) == 0 {
			d.Rule = "policy_fn"
		}
	case audit.ByRead:
		grant("fs_readable", "nothing that may be read holds it")
	case audit.ByWrite:
		grant("fs_writable", "nothing that may be written to holds it")
	case audit.ByExec:
		grant("fs_readable", "nothing that may be read, and so executed, holds it")
		if l.plan.fsExecutable {
			grant("fs_executable", "nothing that may be executed holds it")
		}
	case audit.ByScope:
		d.Why = "it is about a task or a socket outside the sandbox"
	case audit.ByUnix:
		grant("unix_allow", "nothing that may be written to, and no rule, holds the socket")
		if x.Path == "" {
			d.Why = "nothing that may be written to, and no rule, could hold a socket to reach"
		}
	case audit.ByForeign:
		d.Why = "it is about a process that is not the caller's own"
	case audit.ByMode:
		d.Why = "its own permissions keep the caller out: with no sandbox it would fail, too"
	case audit.ByVerdict:
		d.Rule, d.Why = "policy_fn", "the callback did not allow it"
	case audit.ByCheck:
		d.Rule, d.Why = "argv_safety", "its arguments could not be judged: the log says why"
	case audit.ByCount:
		d.Rule, d.Why = "max_processes", fmt.Sprintf("there were as many processes as there may be: %d", *l.plan.maxProcesses)
	case audit.BySocket:
		d.Rule, d.Why = "net_allow", "no rule lets anything be reached that takes such a socket"
	case audit.ByFilter:
		l.describeCall(&d)
	}
	return d
}

func (l *denialLog) describeAddress(d *Denial, x audit.Refusal) {
	protocol := netTCP
	for p := range netProtocols {
		if p.String() == x.Protocol {
			protocol = p
		}
	}
	at := hostPort(d.Host, d.Port)
	if protocol == netICMP {
		at = d.Host
	}
	d.Rule, d.Value, d.Why = "net_allow", x.Protocol+"://"+at, "no rule lets the address be reached"
	switch {
	case l.restricted(protocol, x.To):
		d.Rule, d.Value, d.Why = "policy_fn", "", "the callback has taken the address away"
	case l.plan.net.reach.denies(protocol, x.To.Addr(), x.To.Port()):
		d.Rule, d.Value, d.Why = "net_deny", "", "a rule denies the address"
	}
}

// newDenialLog makes the one of a run.
func (s *Sandbox) newDenialLog() *denialLog {
	return &denialLog{plan: s.plan, restricted: func(p netProtocol, to netip.AddrPort) bool {
		return s.reach.permits(p, to.Addr(), to.Port())
	}}
}

// denied keeps what a PolicyFn, or its deadline, has not allowed.
func (s *Sandbox) denied(who func() *audit.Who, v Verdict, x audit.Refusal) {
	if errno := v.errno(); errno != 0 && s.refused.Wants() {
		x.Errno, x.By = errno, audit.ByVerdict
		s.refused.Refused(who, x)
	}
}

// fillDenials hands over to the result, with what the warden has refused.
func (s *Sandbox) fillDenials(to *Result) {
	log := s.refused
	if log == nil { // nothing was trapped
		log = s.newDenialLog()
	}
	if to.Limits&LimitProcesses != 0 && log.Wants() {
		log.Refused(nil, audit.Refusal{Syscall: "fork", Errno: unix.EAGAIN, By: audit.ByCount})
	}
	log.fill(to)
}

// Denials are those of the result, or of a command that could not be run, and nil before the
// run is over.
func (s *Sandbox) Denials() []Denial {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told
}
