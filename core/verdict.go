package core

import (
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/sandlock/sandlock/core/internal/handler"
	"github.com/sandlock/sandlock/core/internal/notify"
	"golang.org/x/sys/unix"
)

// handlers makes the handlers of what the plan traps.
func (s *Sandbox) handlers() map[int32]notify.Handler {
	hs := map[int32]notify.Handler{}
	if s.plan.trapsListen {
		h := &handler.Listen{MayListen: s.plan.mayListen, Log: s.logf}
		hs[unix.SYS_LISTEN] = h.Handle
	}
	timeout := s.plan.policyTimeout
	s.verdicts = &dispatcher{fn: s.plan.policyFn, timeout: timeout, ctx: &Context{s}, logf: s.logf}
	s.verdicts.wake.L = &s.verdicts.mu
	read := timeout
	if read == 0 {
		read = DefaultPolicyTimeout
	}
	s.exec = &handler.Exec{Judge: s.judgeExec, Tracer: s.warden, Log: s.logf, ReadTimeout: read}
	if s.plan.judges("execve") {
		hs[unix.SYS_EXECVE] = s.exec.Handle
	}
	if s.plan.judges("execveat") {
		hs[unix.SYS_EXECVEAT] = s.exec.Handle
	}
	return hs
}

func (s *Sandbox) judgeExec(ev handler.ExecEvent, answer func(unix.Errno)) {
	e := &Event{Syscall: ev.Syscall, Category: CategoryProcess, PID: ev.PID, ParentPID: ev.PPID, Argv: ev.Argv}
	s.verdicts.ask(e, func(v Verdict) {
		errno := v.errno()
		if v == Audit {
			s.logf("audit: %s %q by process %d", ev.Syscall, ev.Argv, ev.PID)
		}
		if errno != 0 && int32(ev.PID) == s.pid.Load() {
			s.firstDenied.Store(true)
			s.killedBecause.Store(fmt.Sprintf("policy_fn did not allow what the command became: %q", ev.Argv))
		}
		answer(errno)
	})
}

// maxErrno is MAX_ERRNO of the kernel's include/linux/err.h: a larger number
// would be taken for a result.
const maxErrno = 4095

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
	ctx      *Context
	timeout  time.Duration
	listener *notify.Listener
	logf     func(string, ...any)

	mu      sync.Mutex // guards what follows
	wake    sync.Cond
	queue   []*question
	running bool // the thread exists
	busy    bool // it calls the function
	late    bool // … with an event that its deadline has denied meanwhile
	closed  bool
	onClose func() // of a dispatcher that was closed while busy
}

type question struct {
	ev       *Event
	answer   func(Verdict)
	answered bool // guarded by dispatcher.mu
}

func (d *dispatcher) attach(l *notify.Listener) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.listener = l
	d.wake.Broadcast()
}

// ask queues an event. answer is called once, from any goroutine.
func (d *dispatcher) ask(ev *Event, answer func(Verdict)) {
	d.mu.Lock()
	if d.closed || d.late || d.fn == nil {
		d.mu.Unlock()
		answer(Deny)
		return
	}
	defer d.mu.Unlock()
	d.queue = append(d.queue, &question{ev: ev, answer: answer})
	if !d.running {
		d.running = true
		go d.run()
	}
	d.wake.Broadcast()
}

func (d *dispatcher) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		d.mu.Lock()
		for (len(d.queue) == 0 || d.listener == nil) && !d.closed {
			d.wake.Wait()
		}
		if d.closed {
			d.mu.Unlock()
			return
		}
		q := d.queue[0]
		d.queue = d.queue[1:]
		d.busy = true
		d.mu.Unlock()

		cancel := func() {}
		if d.timeout > 0 {
			cancel = d.listener.After(d.timeout, func() { d.expire(q) })
		}
		v := d.call(q.ev)
		cancel()
		d.mu.Lock()
		late := q.answered
		q.answered, d.late, d.busy = true, false, false
		onClose := d.onClose
		d.mu.Unlock()
		if onClose != nil {
			onClose()
		}
		if !late {
			q.answer(v)
		}
	}
}

func (d *dispatcher) call(ev *Event) (v Verdict) {
	v = Deny
	defer func() {
		if p := recover(); p != nil {
			v = Deny
			d.logf("policy_fn panicked, which denies: %v", p)
		}
	}()
	return d.fn(ev, d.ctx)
}

// expire denies q and all that wait behind it: the function is stuck.
func (d *dispatcher) expire(q *question) {
	d.mu.Lock()
	if q.answered {
		d.mu.Unlock()
		return
	}
	q.answered, d.late = true, true
	waiting := d.queue
	d.queue = nil
	d.mu.Unlock()
	d.logf("policy_fn has not answered in %v, which denies %s %q", d.timeout, q.ev.Syscall, q.ev.Argv)
	q.answer(Deny)
	for _, w := range waiting {
		w.answer(Deny)
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
	d.wake.Broadcast()
	d.mu.Unlock()
	for _, w := range waiting {
		w.answer(Deny)
	}
	if !busy {
		onClose()
	}
}
