package core

import (
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"
	"weak"

	"github.com/sandlock/sandlock/core/internal/audit"
	"github.com/sandlock/sandlock/core/internal/bpf"
	"github.com/sandlock/sandlock/core/internal/handler"
	"github.com/sandlock/sandlock/core/internal/notify"
	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// handlers makes the handlers of what the plan traps.
func (s *Sandbox) handlers() map[int32]notify.Handler {
	hs := map[int32]notify.Handler{}
	s.refused = s.newDenialLog()
	if s.plan.usesSockets() || s.plan.net.netlink != 0 {
		s.network = s.newNetwork()
	}
	if s.plan.usesSockets() {
		hs[unix.SYS_SETSOCKOPT] = s.network.Setsockopt()
	}
	if s.plan.trapsListen {
		listen := handler.NewListen(s.plan.mayListen, s.logf)
		listen.Remap, listen.Audit = s.network.Remap, s.refused
		hs[unix.SYS_LISTEN] = listen.Handle
	}
	if s.plan.net.remap {
		hs[unix.SYS_GETSOCKNAME], hs[unix.SYS_GETPEERNAME] = s.network.Getsockname(), s.network.Getpeername()
	}
	if s.plan.net.onBehalf || s.plan.judgesUnix() {
		hs[unix.SYS_CONNECT] = s.network.Connect()
	}
	if s.plan.net.bindOnBehalf || s.plan.makesUnix() {
		hs[unix.SYS_BIND] = s.network.Bind()
	}
	if s.plan.net.datagrams || s.plan.judgesUnix() {
		hs[unix.SYS_SENDTO], hs[unix.SYS_SENDMSG], hs[unix.SYS_SENDMMSG] = s.network.Sendto(), s.network.Sendmsg(), s.network.Sendmmsg()
	}
	if s.plan.net.netlink != 0 {
		hs[unix.SYS_SOCKET] = s.network.Socket()
		for name, nr := range map[string]int32{"bind": unix.SYS_BIND, "getsockname": unix.SYS_GETSOCKNAME, "sendto": unix.SYS_SENDTO, "sendmsg": unix.SYS_SENDMSG} {
			hs[nr] = s.network.OfNumber(name, hs[nr])
		}
	}
	timeout, weakly := s.plan.policyTimeout, weak.Make(s)
	logf := func(format string, args ...any) {
		if s := weakly.Value(); s != nil {
			s.logf(format, args...)
		}
	}
	s.verdicts = &dispatcher{fn: s.plan.policyFn, timeout: timeout, live: newDynamic(s.ceilings()), logf: logf}
	s.records = &records{execs: s.plan.recordExecs}
	s.exec = &handler.Exec{
		Recorder: s.records,
		Audit:    s.refused,
		Decider:  execDecider{s}, Tracer: s.warden, Log: s.logf, FreezeTimeout: s.verdicts.tick(),
		Weak: s.plan.argvWeak, Blind: s.plan.argvOpen && s.plan.judgesExec() || !hostKernel().WaitKillableRecv,
	}
	if s.plan.followsExec() {
		s.exec.Silent, s.exec.Unjudged = -1, !s.plan.judgesExec()
		for name, nr := range map[string]int32{"execve": unix.SYS_EXECVE, "execveat": unix.SYS_EXECVEAT} {
			hs[nr] = s.exec.Handle
			if !s.plan.judges(name) {
				s.exec.Silent = nr
			}
		}
	}
	s.fileHandlers(hs)
	if slices.Contains(s.plan.unix.traps(true), restrictSelf) {
		hs[unix.SYS_LANDLOCK_RESTRICT_SELF] = s.noteRestriction(hs[unix.SYS_LANDLOCK_RESTRICT_SELF])
	}
	if s.plan.refusals != nil {
		s.reportFilter(hs)
	}
	return hs
}

// ceilings are what a PolicyFn may lower, and who enforces it then.
func (s *Sandbox) ceilings() ceilings {
	c := ceilings{addrs: s.reach.networks(), enforcers: enforcers{s.networkJudged, s.markProcess, s.warden.RestrictMemory, s.warden.LimitProcesses, s.denyLater, s.allowLater}}
	if s.plan.maxProcesses != nil {
		c.processes = limit{uint64(*s.plan.maxProcesses), true}
	}
	if s.plan.maxMemory != nil {
		c.memory = limit{*s.plan.maxMemory, true}
	}
	return c
}

// execDecider is the [handler.Decider] of a sandbox's execs.
type execDecider struct{ *Sandbox }

func (s execDecider) Ask(decode func() (*handler.ExecEvent, unix.Errno), answer func(unix.Errno)) {
	var who func() *audit.Who
	s.verdicts.ask(func() (*Event, Verdict) {
		ev, errno := decode()
		if ev == nil {
			return nil, Verdict(errno)
		}
		who = ev.Who
		return &Event{Syscall: ev.Syscall, Category: CategoryProcess, PID: ev.PID, ParentPID: ev.PPID, Argv: ev.Argv}, Allow
	}, func(e *Event, v Verdict) {
		if e != nil {
			s.note(e, v)
			s.denied(who, v, audit.Refusal{Syscall: e.Syscall, Argv: e.Argv})
		}
		answer(v.errno())
	})
}

// netDecider is the [handler.NetDecider] of a sandbox.
type netDecider struct{ *Sandbox }

func (s netDecider) AskNet(decode func() (*handler.NetEvent, unix.Errno), answer func(unix.Errno)) {
	var asked *handler.NetEvent
	s.verdicts.ask(func() (*Event, Verdict) {
		ev, errno := decode()
		if ev == nil {
			return nil, Verdict(errno)
		}
		asked = ev
		return &Event{Syscall: ev.Syscall, Category: CategoryNetwork, PID: ev.PID, ParentPID: ev.PPID,
			Host: ev.To.Addr().String(), Port: ev.To.Port()}, Allow
	}, func(e *Event, v Verdict) {
		if e != nil && v == Audit {
			s.records.addAudit(e)
			s.logf("audit: %s by process %d", e.brief(), e.PID)
		}
		if e != nil {
			s.denied(asked.Who, v, audit.Refusal{Syscall: e.Syscall, Protocol: asked.Protocol.String(), To: asked.To})
		}
		answer(v.errno())
	})
}

// newNetwork makes the handler of what names an address.
func (s *Sandbox) newNetwork() *handler.Net {
	h := handler.NewNet()
	h.Decider, h.Log, h.Exposed = netDecider{s}, s.logf, s.plan.exposed()
	h.Audit = s.refused
	s.setUnix(h)
	h.MayBind, h.ExposedBind = s.plan.mayListen, !s.plan.landlock.JudgesBind()
	h.Asks = map[string]bool{bindEvent: s.plan.judges(bindEvent)}
	for _, name := range netEvents {
		h.Asks[name] = s.plan.judges(name)
	}
	if s.plan.net.remap {
		h.Remap = handler.NewRemap(s.warden.PID())
	}
	if s.plan.net.netlink != 0 {
		h.Netlink = handler.NewNetlink(s.plan.net.netlink, bpf.NetlinkNumbers)
	}
	h.Permits = func(p handler.Protocol, to netip.AddrPort, tid uint32) bool {
		return s.permits(netProtocol(p), to, tid)
	}
	return h
}

// note keeps what the result says about a verdict.
func (s *Sandbox) note(e *Event, v Verdict) {
	if v == Audit {
		s.records.addAudit(e)
		s.logf("audit: %s %s by process %d", e.Syscall, handler.Brief(e.Argv), e.PID)
	}
	if v.errno() != 0 && int32(e.PID) == s.pid.Load() {
		s.firstDenied.Store(true)
		s.killedBecause.Store("policy_fn did not allow what the command became: " + handler.Brief(e.Argv))
	}
}

// maxErrno: from 512 on the numbers are the kernel's own, such as ERESTARTSYS of its
// include/linux/errno.h, which starts the call again.
const maxErrno = 511

// errno is what the sandboxed call fails with, 0 when it is allowed.
func (v Verdict) errno() unix.Errno {
	switch {
	case v == Allow || v == Audit:
		return 0
	case v > 0 && v <= maxErrno:
		return unix.Errno(v)
	}
	return unix.EPERM
}

// dispatcher has one thread call the user's PolicyFunc, one event at a time. An
// event is answered once: by the function, or by its deadline.
type dispatcher struct {
	fn       PolicyFunc
	live     *dynamic
	timeout  time.Duration // of a verdict, 0 none
	listener *notify.Listener
	logf     func(string, ...any) // does not keep the run, as a Context that a binding keeps would
	bell     sys.Bell             // rung when the queue or closed has changed

	mu      sync.Mutex // guards what follows
	queue   []*question
	running bool // the thread exists
	busy    bool // it decodes an event or calls the function
	late    bool // … with an event that its deadline has denied meanwhile
	closed  bool
	onClose func() // of a dispatcher that was closed while busy
}

type question struct {
	decode   func() (*Event, Verdict) // without an event, the verdict
	answer   func(*Event, Verdict)    // the event is nil when it was not decoded in time
	ev       *Event                   // guarded by dispatcher.mu, as is answered
	answered bool
}

// tick is the shortest deadline that the dispatcher sets.
func (d *dispatcher) tick() time.Duration {
	if d.timeout == 0 {
		return DefaultPolicyTimeout
	}
	return d.timeout
}

// attach gives the dispatcher the listener that keeps its deadlines; nothing is
// decided before.
func (d *dispatcher) attach(l *notify.Listener) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.listener = l
	d.bell.Ring()
}

// ask queues an event. answer is called once, from any goroutine.
func (d *dispatcher) ask(decode func() (*Event, Verdict), answer func(*Event, Verdict)) {
	d.mu.Lock()
	if d.closed || d.late {
		d.mu.Unlock()
		answer(nil, Deny)
		return
	}
	d.queue = append(d.queue, &question{decode: decode, answer: answer})
	if !d.running {
		d.running = true
		go d.run()
	}
	d.mu.Unlock() // first, as who has to wait for it is woken by way of others
	d.bell.HandOver()
}

func (d *dispatcher) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		d.mu.Lock()
		if d.closed {
			d.mu.Unlock()
			return
		}
		if len(d.queue) == 0 || d.listener == nil {
			d.mu.Unlock()
			d.bell.WaitLocked()
			continue
		}
		q := d.queue[0]
		d.queue = slices.Delete(d.queue, 0, 1) // which forgets it: it gets an event of some MiB
		d.busy = true
		d.mu.Unlock()
		d.decide(q)
	}
}

func (d *dispatcher) decide(q *question) {
	v := d.call(q)
	d.mu.Lock()
	late := q.answered
	q.answered, d.late, d.busy = true, false, false
	onClose := d.onClose
	d.mu.Unlock()
	if onClose != nil {
		onClose()
	}
	if !late {
		q.answer(q.ev, v)
	}
}

// call decodes the event and asks the function. Reading a caller's memory can
// block too, so a deadline stands over it even where the function has none.
func (d *dispatcher) call(q *question) (v Verdict) {
	defer func() {
		if p := recover(); p != nil {
			d.logf("policy_fn panicked, which denies: %v", p)
			v = Deny
		}
	}()
	cancel := d.listener.After(d.tick(), func() { d.expire(q, "a caller's memory was not read in %v", d.tick()) })
	ev, v := q.decode()
	cancel()
	if ev == nil {
		return v
	}
	d.mu.Lock()
	q.ev = ev
	d.mu.Unlock()
	if d.timeout > 0 {
		defer d.listener.After(d.timeout, func() {
			d.expire(q, "policy_fn has not answered in %v about %s", d.timeout, ev.brief())
		})()
	}
	ctx := &Context{live: d.live, logf: d.logf, open: true}
	defer func() { v = ctx.close(v) }()
	return d.fn(ev, ctx)
}

// expire denies q and all that wait behind it: its thread is stuck.
func (d *dispatcher) expire(q *question, why string, args ...any) {
	d.mu.Lock()
	if q.answered {
		d.mu.Unlock()
		return
	}
	q.answered, d.late = true, true
	waiting, ev := d.queue, q.ev
	d.queue = nil
	d.mu.Unlock()
	d.logf(why+", which denies", args...)
	q.answer(ev, Deny)
	for _, w := range waiting {
		w.answer(nil, Deny)
	}
}

// close denies what waits. onClose is called when the function does not run and
// will not run again: before close returns, unless the function is stuck.
func (d *dispatcher) close(onClose func()) {
	d.mu.Lock()
	d.closed = true
	waiting, busy := d.queue, d.busy
	d.queue = nil
	if busy {
		d.onClose = onClose
	}
	d.bell.Ring()
	d.mu.Unlock()
	for _, w := range waiting {
		w.answer(nil, Deny)
	}
	if !busy {
		onClose()
	}
}
