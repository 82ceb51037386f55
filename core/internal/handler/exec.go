// Package handler decides notifications, one file a family of system calls:
// decode, event, verdict, act. It knows neither the C ABI nor the policy's form.
package handler

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sandlock/sandlock/core/internal/audit"
	"github.com/sandlock/sandlock/core/internal/flaw"
	"github.com/sandlock/sandlock/core/internal/notify"
	"github.com/sandlock/sandlock/core/internal/warden"
	"golang.org/x/sys/unix"
)

// Decider has events decided, one at a time, on a thread of its own.
type Decider interface {
	// Ask queues an event. decode makes it, on the deciding thread, and may block
	// there; without an event, its errno is the answer. answer is called once,
	// from any goroutine: 0 allows. An event whose decoding or deciding takes too
	// long is answered with a denial.
	Ask(decode func() (*ExecEvent, unix.Errno), answer func(unix.Errno))
}

// ExecEvent is a command line that a task of the sandbox is about to execute,
// or, at the exec stop, has become.
type ExecEvent struct {
	Syscall   string
	PID, PPID uint32
	Argv      []string
	Who       func() *audit.Who // executes it
}

// ExecOutcome says what became of an exec that was judged.
type ExecOutcome string

const (
	ExecDenied  ExecOutcome = "denied"
	ExecRan     ExecOutcome = "ran"
	ExecBecame  ExecOutcome = "became"
	ExecFailed  ExecOutcome = "failed"
	ExecKilled  ExecOutcome = "killed"
	ExecEnded   ExecOutcome = "ended"
	ExecAllowed ExecOutcome = "allowed"
)

// Recorder keeps what became of each event: what Add was told, until it is settled.
type Recorder interface {
	Add(ev *ExecEvent, what ExecOutcome) (record int)
	Settle(record int, what ExecOutcome)
}

// Tracer carries out what was decided about an exec; the warden is one.
type Tracer interface {
	Freeze(tid int32, id uint64) error
	Thaw(id uint64) error
	Approve(tid, tgid int32, id uint64, cmdline []byte) error
	Release(id uint64) error
	Refuse(id uint64) error
}

// Exec judges execve and execveat. DESIGN, "The life of an exec with a policy
// callback": the verdict falls on a copy of argv; what was approved is proved at
// the ptrace exec stop, where the new image has not run an instruction yet and
// its arguments lie in memory that nobody else has.
type Exec struct {
	Decider  Decider
	Tracer   Tracer
	Recorder Recorder
	// Log takes a sentence for the user.
	Log func(format string, args ...any)
	// Audit, if not nil, is told of what is refused without a verdict.
	Audit audit.Log
	// FreezeTimeout is how long the threads of a group may take to stand still. Each does
	// when the kernel lets it run next, unless it waits for a file system that is gone.
	FreezeTimeout time.Duration
	// Weak: an exec whose argv can't be protected is an event without one, and not denied.
	Weak bool
	// Blind: no argv can be.
	Blind bool
	// Silent is the number of the call that is not judged, -1 for none. It is followed all
	// the same: a thread that executes waits for its siblings to be reaped, and the tracer
	// that should, when it seizes one of them for another's exec, waits for that thread.
	Silent int32
	// Unjudged: neither call is, and each is followed for the guard's sake.
	Unjudged bool
	// Guard, if not nil, decides besides what may be executed, by objects.
	Guard ExecGuard

	mu      sync.Mutex           // guards what follows
	flying  map[uint64]*approval // approved, outcome unknown; by notification id
	waiting []*approval          // allowed, for a place in flight; in order
}

// maxFlying bounds the approved execs in flight, so that orders and reports
// never fill the warden's socket: neither side may wait for the other there.
const maxFlying = 32

// maxSilent bounds those among them besides that are not judged: the judged ones can all
// wait for a verdict where they are, each for its script's interpreter.
const maxSilent = 8

// approval is an exec between its verdict and its outcome.
type approval struct {
	r       *notify.Request
	syscall string
	argvAt  uint64
	task    task
	argv    commandLine // what was approved

	silent     bool        // not judged: followed for the sake of the judged ones
	entry      entry       // a silent one's is never added
	unreadable atomic.Bool // the arguments are
	pid        int32       // at the exec stop
	guard      any         // its state, when it was asked

	thaw func() // cancels the deadline of the freeze, guarded by Exec.mu
}

// Handle is the [notify.Handler] of execve and execveat.
func (e *Exec) Handle(r *notify.Request) {
	a := &approval{r: r, syscall: execName(r), argvAt: r.Data.Args[1]}
	if r.Data.Nr == unix.SYS_EXECVEAT {
		a.argvAt = r.Data.Args[2]
	}
	a.entry.begin(e.Recorder)
	r.Listener().Hold()
	if e.Blind && r.Claim() {
		if r.Data.Nr == e.Silent {
			r.ContinueClaimed()
			r.Listener().Release()
		} else {
			e.askBlind(a)
		}
		return
	}
	if a.silent = e.Unjudged || r.Data.Nr == e.Silent; a.silent {
		go e.approveSilent(a)
		return
	}
	e.Decider.Ask(func() (*ExecEvent, unix.Errno) { return e.decode(a) }, func(errno unix.Errno) {
		switch {
		case a.unreadable.Load() && e.Weak && r.Claim():
			e.askBlind(a)
		case errno != 0:
			a.entry.settle(ExecDenied)
			r.Errno(errno)
			r.Listener().Release()
		case e.Guard != nil && e.Guard.State() != a.guard:
			// Something else is denied now, perhaps by the very callback that allowed this.
			a.argv.short = nil
			go func() {
				if e.admit(a) {
					e.approve(a)
				}
			}()
		default:
			e.approve(a)
		}
	})
}

// decode reads the event of a request, or says with what the exec fails.
func (e *Exec) decode(a *approval) (*ExecEvent, unix.Errno) {
	if e.Guard != nil {
		a.guard = e.Guard.State()
		if errno := e.Guard.Before(a.r); errno != 0 {
			return nil, errno
		}
	}
	argv, err := readArgv(a.r, a.argvAt)
	task, taskErr := readTask(a.r.TID)
	switch {
	case !a.r.Valid():
		return nil, unix.EPERM // nobody is there to hear it
	case errors.Is(err, unix.E2BIG):
		return nil, unix.E2BIG
	case errors.Is(err, unix.EFAULT):
		return nil, unix.EFAULT
	case err != nil || taskErr != nil:
		if a.unreadable.Store(true); e.Weak {
			return nil, unix.EPERM
		}
		e.Log("%s of task %d denied: its arguments can't be read: %v", a.syscall, a.r.TID, errors.Join(err, taskErr))
		e.refused(a)
		return nil, unix.EPERM
	}
	a.task, a.argv = task, remember(argv)
	if e.Guard != nil && e.Guard.Active() {
		a.argv.short = nil // the warden would let it run by its arguments alone
	}
	ev := &ExecEvent{Syscall: a.syscall, PID: task.tgid, PPID: task.ppid, Argv: argv, Who: Who(a.r)}
	a.entry.add(ev)
	return ev, 0
}

// approveSilent lets an exec through that is no event, and so waits for no other's verdict.
func (e *Exec) approveSilent(a *approval) {
	if !e.admit(a) {
		return
	}
	task, err := readTask(a.r.TID)
	if err != nil || !a.r.Valid() {
		a.r.Errno(unix.EPERM) // nobody is there to hear it
		a.r.Listener().Release()
		return
	}
	a.task = task
	e.approve(a)
}

// askBlind has a claimed request judged without its arguments. Allowed, the kernel reads
// them again, whatever they are by then.
func (e *Exec) askBlind(a *approval) {
	var blind entry // beside that of an exec that could not be traced
	blind.begin(e.Recorder)
	e.Decider.Ask(func() (*ExecEvent, unix.Errno) {
		task, err := readTask(a.r.TID)
		if err != nil || !a.r.Valid() {
			return nil, unix.EPERM
		}
		ev := &ExecEvent{Syscall: a.syscall, PID: task.tgid, PPID: task.ppid, Who: Who(a.r)}
		blind.add(ev)
		return ev, 0
	}, func(errno unix.Errno) {
		if errno != 0 {
			blind.settle(ExecDenied)
			a.r.AnswerClaimed(0, errno)
		} else {
			blind.settle(ExecAllowed)
			a.r.ContinueClaimed()
		}
		a.r.Listener().Release()
	})
}

// approve lets the exec run under the tracer, when it can.
func (e *Exec) approve(a *approval) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiting = append(e.waiting, a)
	e.fly()
}

// fly approves what may be: of one thread group one at a time, since the seize of
// a second thread would block in the kernel while the first is past the point of
// no return. e.mu is held.
func (e *Exec) fly() {
	busy := make(map[uint32]bool, len(e.flying)+1)
	judged, silent := maxFlying, maxSilent
	places := func(a *approval) *int {
		if a.silent {
			return &silent
		}
		return &judged
	}
	for _, a := range e.flying {
		busy[a.task.tgid] = true
		*places(a)--
	}
	rest := e.waiting[:0]
	for _, a := range e.waiting {
		switch {
		case busy[a.task.tgid] || *places(a) == 0:
			rest = append(rest, a)
		case !a.r.Claim():
			a.r.Listener().Release()
		case e.begin(a) != nil:
			a.r.AnswerClaimed(0, unix.EPERM)
			a.r.Listener().Release()
		default:
			if e.flying == nil {
				e.flying = map[uint64]*approval{}
			}
			e.flying[a.r.ID] = a
			busy[a.task.tgid] = true
			*places(a)--
		}
	}
	clear(e.waiting[len(rest):])
	e.waiting = rest
}

// begin has the exec approved, or first the caller's siblings stopped, which the exec
// would end anyway. A caller that has none, as every child of fork(2) and vfork(2), can't
// get any while it waits. e.mu is held.
func (e *Exec) begin(a *approval) error {
	if a.task.threads == 1 || a.silent || flaw.Unfrozen {
		return e.Tracer.Approve(int32(a.r.TID), int32(a.task.tgid), a.r.ID, a.argv.short)
	}
	a.thaw = a.r.Listener().After(e.FreezeTimeout, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.deny(a, "its threads could not be stopped in %v", e.FreezeTimeout)
	})
	err := e.Tracer.Freeze(int32(a.r.TID), a.r.ID)
	if err != nil {
		a.thaw()
	}
	return err
}

// frozen reads the arguments again, now that no thread of the caller can change them:
// what was changed before is denied here, and need not be killed at the exec stop.
func (e *Exec) frozen(a *approval) {
	argv, err := readArgv(a.r, a.argvAt)
	same := err == nil && a.argv.is(argv)
	there := a.r.Valid()
	e.mu.Lock()
	defer e.mu.Unlock()
	if !there || !same {
		why := ""
		if there {
			why = "its arguments were changed while it was judged"
		}
		e.deny(a, why)
		return
	}
	if e.flying[a.r.ID] != a || a.thaw == nil {
		return // it has been denied
	}
	e.stopDeadline(a)
	if e.Tracer.Approve(int32(a.r.TID), int32(a.task.tgid), a.r.ID, a.argv.short) != nil {
		a.r.AnswerClaimed(0, unix.EPERM)
		e.landed(a)
	}
}

// stopDeadline ends the time that the freeze of a has. e.mu is held.
func (e *Exec) stopDeadline(a *approval) {
	if a.thaw != nil {
		a.thaw()
		a.thaw = nil
	}
}

// deny ends the freeze of a, if it still stands; why, if not "", is logged. e.mu is held.
func (e *Exec) deny(a *approval, why string, args ...any) {
	if e.flying[a.r.ID] != a || a.thaw == nil {
		return
	}
	e.stopDeadline(a)
	a.entry.settle(ExecDenied)
	_ = e.Tracer.Thaw(a.r.ID)
	e.refused(a)
	a.r.AnswerClaimed(0, unix.EPERM)
	if why != "" {
		e.Log("%s %s of process %d denied: "+why, append([]any{a.syscall, a.argv.brief, a.task.tgid}, args...)...)
	}
	e.landed(a)
}

// landed forgets an approval whose outcome is known and lets the next go on.
// e.mu is held.
func (e *Exec) landed(a *approval) {
	delete(e.flying, a.r.ID)
	a.r.Listener().Release()
	if len(e.waiting) > 0 {
		e.fly()
	}
}

// Outcome takes the tracer's report about an approved exec.
func (e *Exec) Outcome(m warden.Message) {
	e.mu.Lock()
	a := e.flying[m.ID]
	e.mu.Unlock()
	switch {
	case m.Type == warden.Exec && a == nil:
		_ = e.Tracer.Refuse(m.ID) // nobody waits for it: it may not run
	case a == nil:
	case m.Type == warden.Exec && (a.silent || flaw.Unproved):
		a.pid = m.PID
		e.settle(a, &a.entry, ExecRan, "")
	case m.Type == warden.Exec:
		e.prove(a, m.PID)
	case m.Type == warden.Frozen:
		go e.frozen(a) // the caller's memory may be slow
	default:
		e.over(a, m)
	}
}

// over takes the report that ends a flight: the program runs, or there was no exec.
func (e *Exec) over(a *approval, m warden.Message) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.flying[a.r.ID] != a {
		return // denied meanwhile
	}
	e.stopDeadline(a)
	switch {
	case m.Type == warden.Ran:
		a.entry.settle(ExecRan)
	case m.Reason == warden.ExecFailed:
		a.entry.settle(ExecFailed)
	case m.Reason == warden.ExecRefused && a.silent:
		a.r.ContinueClaimed()
	case m.Reason == warden.ExecRefused:
		a.entry.settle(ExecDenied)
		if e.Weak {
			delete(e.flying, a.r.ID)
			e.fly()
			e.askBlind(a)
			return
		}
		e.Log("%s %s of process %d denied: it can't be traced (%v), so its arguments can't be protected",
			a.syscall, a.argv.brief, a.task.tgid, unix.Errno(m.Errno))
		e.refused(a)
		a.r.AnswerClaimed(0, unix.EPERM)
	}
	e.landed(a)
}

// prove compares the arguments in the new image with the approved ones. What is
// different (a script's interpreter, a binfmt handler, a cheat) is an event of
// its own; anything but allow is the end of the task. Reading them can't be
// delayed by the sandbox: the kernel has just written them, into anonymous memory.
func (e *Exec) prove(a *approval, pid int32) {
	a.pid = pid
	argv, err := readCmdline(pid)
	switch {
	case errors.Is(err, errEnded):
		e.settle(a, &a.entry, ExecEnded, "")
		return
	case err != nil:
		e.settle(a, &a.entry, ExecKilled, "process %d killed: its arguments can't be read after its exec: %v", pid, err)
		return
	case a.argv.is(argv):
		e.settle(a, &a.entry, ExecRan, "")
		return
	}
	var became entry
	became.begin(e.Recorder)
	var ended atomic.Bool
	// Read again when its turn comes, and not kept until then.
	e.Decider.Ask(func() (*ExecEvent, unix.Errno) {
		argv, err := readCmdline(pid)
		if err != nil {
			ended.Store(errors.Is(err, errEnded))
			return nil, unix.EPERM
		}
		task, _ := readTask(uint32(pid))
		ev := &ExecEvent{Syscall: a.syscall, PID: uint32(pid), PPID: task.ppid, Argv: argv, Who: func() *audit.Who { return whoIs(uint32(pid)) }}
		a.entry.settle(ExecBecame)
		became.add(ev)
		return ev, 0
	}, func(errno unix.Errno) {
		switch {
		case ended.Load():
			e.settle(a, &became, ExecEnded, "")
		case errno == 0:
			e.settle(a, &became, ExecRan, "")
		default:
			e.settle(a, &became, ExecKilled, "process %d killed: %s became something that was not allowed", pid, a.argv.brief)
		}
	})
}

// settle ends the stop of a: what has become of it is what n says from now on, and why, if
// not "", is logged. If a has ended meanwhile, that is what there is to say, and has been
// said. Before the order, since the run may be over right after it. An order that can't be
// given means that the tracer is gone, and the kernel has killed what it traced
// (PTRACE_O_EXITKILL).
func (e *Exec) settle(a *approval, n *entry, what ExecOutcome, why string, args ...any) {
	if what == ExecRan && e.Guard != nil {
		switch denied := e.Guard.After(a.pid); {
		case denied == errEnded:
			what = ExecEnded
		case denied != nil:
			e.refusedImage(a)
			what, why, args = ExecKilled, "process %d killed after its exec: %v", []any{a.pid, denied}
		}
	}
	order := e.Tracer.Refuse
	if what == ExecRan {
		order = e.Tracer.Release
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.flying[a.r.ID] != a {
		return
	}
	if !n.settle(what) {
		a.entry.settle(what) // it was no event, and has no record of its own
	}
	if why != "" {
		e.Log(why, args...)
	}
	_ = order(a.r.ID)
	e.landed(a)
}

// Over is told when every task of the sandbox is dead: what flies has ended.
func (e *Exec) Over() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.flying, e.waiting = nil, nil
}
