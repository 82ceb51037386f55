package core

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sandlock/sandlock/core/internal/audit"
	"github.com/sandlock/sandlock/core/internal/broker"
	"github.com/sandlock/sandlock/core/internal/cgroup"
	"github.com/sandlock/sandlock/core/internal/handler"
	"github.com/sandlock/sandlock/core/internal/notify"
	"github.com/sandlock/sandlock/core/internal/sys"
	"github.com/sandlock/sandlock/core/internal/warden"
	"golang.org/x/sys/unix"
)

// Sandbox is one run: the kernel objects of one command and all that it starts.
// Its methods may be called from any thread; while one thread waits for a run that
// [Plan.Spawn] made, another that steps or waits is behind it.
type Sandbox struct {
	plan    *Plan
	name    string
	path    string
	onClose func()
	warden  *warden.Warden
	pid     atomic.Int32
	command int // pidfd of the command, -1 while only the warden knows it
	killer  int // pid of the warden's killer, 0 while only the warden knows it

	listener *notify.Listener // nil when nothing is trapped
	patience time.Duration    // for its end; 0: all tasks are dead, so it comes
	exec     *handler.Exec
	verdicts *dispatcher
	broker   *broker.Broker  // nil unless files are judged
	denials  *broker.Denials // the same
	files    *handler.Files  // the same
	records  *records
	refused  *denialLog
	heard    *audit.Kernel  // what the kernel's audit tells; nil: nothing
	reach    *reach         // by the rules, names resolved
	network  *handler.Net   // nil unless the supervisor connects
	terminal *terminal      // nil unless interactive
	cgroup   *cgroup.Cgroup // nil unless one limits the memory

	out, errs  stream
	execEnd    int // readable when the command was executed, or is dead; -1 otherwise
	collector  collector
	collecting sync.Mutex // held by whoever collects a stepped run
	attending  sync.Once

	restricted  atomic.Bool // a task has restricted itself with Landlock
	timedOut    atomic.Bool
	warned      atomic.Bool // the time is over, and SIGTERM was sent
	firstDenied atomic.Bool // policy_fn denied the command itself
	// killedBecause says why the command was killed at an exec stop: a string.
	killedBecause atomic.Value

	mu      sync.Mutex // guards what follows
	log     []string
	started time.Time // of the command, or of the run that it is parked in
	done    int       // eventfd: readable when a background run is over, -1 otherwise
	epoll   int       // readable when a stepped run can go on, -1 otherwise
	over    bool
	told    []Denial
	result  *Result
	err     error
	closed  bool
}

// landlockScopeSignal is LANDLOCK_SCOPE_SIGNAL, Linux 6.12, ABI 6.
const landlockScopeSignal = 1 << 1

const (
	maxLog     = 256
	maxLogLine = 4096
)

// keepCapabilities are those that a command run by root keeps: what it takes to
// own and reach the files that the ruleset grants, to drop to another user and
// to bind low ports. All others act outside the sandbox: capabilities(7).
const keepCapabilities = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH |
	1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID | 1<<unix.CAP_KILL | 1<<unix.CAP_SETGID | 1<<unix.CAP_SETUID |
	1<<unix.CAP_SETPCAP | 1<<unix.CAP_NET_BIND_SERVICE

// Create confines a child and parks it before its exec. A policy that this
// kernel or file system cannot carry out is an error here, a *StartError with
// the failing step.
func (p *Plan) Create(cmd Command) (*Sandbox, error) {
	return p.launch(cmd, background)
}

// Spawn starts a command for a caller that waits by itself, on [Sandbox.StepFD], and
// calls [Sandbox.Step] meanwhile: no thread of the library does. Wait and Close do
// the rest themselves.
func (p *Plan) Spawn(cmd Command) (*Sandbox, error) { return p.launch(cmd, stepped) }

// collector is who collects the outputs and the warden's messages of a run.
type collector int

const (
	inline     collector = iota // Run itself
	background                  // the crowd's thread
	stepped                     // whoever calls Step or Wait
)

// Run creates, starts and waits on the calling thread. timeout 0 is none. A
// command that can't be started is an error, not a result.
func (p *Plan) Run(cmd Command, timeout time.Duration) (*Result, error) {
	var deadline time.Time
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	cmd.WatchExec = false // nobody could ask for it
	s, err := p.launch(cmd, inline)
	if err != nil {
		return nil, err
	}
	s.collect(deadline)
	return s.result, s.err
}

// RunInteractive runs cmd on the host's own standard streams, gives it the
// terminal, if they are one, and takes it back. It returns the exit code, or -1
// when the command did not exit by itself.
func (p *Plan) RunInteractive(cmd Command) (int, error) {
	cmd.Interactive = true
	r, err := p.Run(cmd, 0)
	if err != nil {
		return -1, err
	}
	return r.ExitCode, nil
}

// launch does all but the collecting. Only a background run is parked before its
// exec.
func (p *Plan) launch(cmd Command, by collector) (_ *Sandbox, err error) {
	s := &Sandbox{plan: p, collector: by, command: -1, done: -1, epoll: -1, execEnd: -1, onClose: cmd.OnClose}
	s.out, s.errs = newStream(), newStream()
	park := by == background
	if s.onClose == nil {
		s.onClose = func() {}
	}
	defer func() {
		if err != nil {
			s.release()
			s.closeOwn()
			s.onClose()
		}
	}()
	if err := cmd.check(); err != nil {
		return nil, err
	}
	if err := p.check(hostKernel()); err != nil {
		return nil, err
	}
	var visible visible
	if s.reach, visible.pins, err = p.net.resolveNames(); err != nil {
		return nil, err
	}
	var cores []uint32
	cores, visible.cpus = p.cpus()
	if s.name, err = takeName(cmd.Name, p.name); err != nil {
		return nil, err
	}
	var mine fdList // descriptors that only the spawn needs
	defer mine.close()
	cwd := -1
	if p.cwd != "" {
		if cwd, err = mine.keep(unix.Open(p.cwd, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)); err != nil {
			return nil, &StartError{Step: "cwd", Path: p.cwd, Err: err}
		}
	}
	base := cmd.Environ
	if base == nil {
		base = os.Environ()
	}
	env := overlaid(p.environ(base), cmd.Env)
	if s.path, err = p.lookPath(cmp.Or(cmd.Executable, cmd.Argv[0]), env, p.cwd); err != nil {
		return nil, err
	}
	spec := &warden.Spec{
		Path: s.path, Argv: cmd.Argv, Env: env, Filter: p.filter.Bytes(),
		Park: park, Listener: p.traps, Execs: p.followsExec(), WaitKillable: hostKernel().WaitKillableRecv, Interactive: cmd.Interactive, Terminal: cmd.Terminal, TTY: -1,
		NoCore: p.noCoredump, NoTHP: p.noHugePages, NoRandomize: p.noRandomize,
		NoFile: p.maxOpenFiles, Cores: cores,
		MaxProcesses: p.maxProcesses, MaxMemory: p.maxMemory, MaxCPU: p.maxCPU,
		KeepCaps: keepCapabilities, Ruleset: -1, Cwd: cwd, Cgroup: -1, Exec: -1,
	}
	spec.WritesMemory = p.maxMemory != nil && writesMemory(p.writable)
	// The killer's own domain needs what the policy's signal scope needs. With
	// that scope off, a domain around the command would restrict it all the same.
	if p.scopeSignal {
		spec.KillerScope = landlockScopeSignal
	}
	if spec.Ruleset, err = mine.keep(p.openRuleset()); err != nil {
		return nil, err
	}
	if err := s.connectStreams(&cmd, spec, &mine); err != nil {
		return nil, err
	}
	if err := s.startFiles(cmd.Observe, visible); err != nil {
		return nil, err
	}
	if p.unseen != nil {
		s.logf("%s: the machine's is seen, as opens can't be looked at here: %s", strings.Join(p.unseen, ", "), p.listenerProblem())
	}
	if p.procOpen {
		s.logf("/proc: what it tells of other processes and of the machine can be read: %s", p.procProblem())
	}
	s.makeCgroup(spec)
	s.startHearing(spec)
	s.started = time.Now()
	if s.warden, err = warden.Start(spec); err != nil {
		return nil, &StartError{Step: "warden", Err: err}
	}
	if park {
		if s.done, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
			return nil, &StartError{Step: "eventfd", Err: err}
		}
		sys.Opened(s.done)
	}
	if park || p.traps {
		if err := s.awaitCreated(); err != nil {
			return nil, err
		}
	}
	switch by {
	case stepped:
		err = s.watch()
	case background:
		err = crowd.add(s)
	}
	if err != nil {
		return nil, &StartError{Step: "epoll", Err: err}
	}
	return s, nil
}

// awaitCreated waits until the child is confined and takes over the listener.
func (s *Sandbox) awaitCreated() error {
	m, fd, err := s.warden.Receive()
	if err != nil {
		return &StartError{Step: "warden", Err: err}
	}
	if m.Type == warden.End {
		return s.stepError(m)
	}
	s.pid.Store(m.PID)
	s.killer = int(m.Killer)
	s.bornInCgroup(m)
	s.holdCommand()
	if !s.plan.traps {
		return nil
	}
	if fd < 0 {
		return &StartError{Step: "seccomp", Err: errors.New("no listener came with the confined child")}
	}
	handlers := s.handlers()
	s.listener = notify.Serve(fd, !hostKernel().receiveEnds(), s.verdicts.tick(), handlers, func(err error) {
		s.logf("the supervisor failed, the sandbox is ended: %v", err)
		s.warden.Kill()
	})
	if s.collector != stepped {
		s.attend()
	}
	return nil
}

// attend has events decided from now on. In a stepped run that begins when its caller does,
// so that a PolicyFn finds the sandbox where the caller keeps it.
func (s *Sandbox) attend() {
	s.attending.Do(func() {
		if s.verdicts != nil {
			s.verdicts.attach(s.listener)
		}
	})
}

// Start releases the parked child. An exec that fails is an error of Wait.
func (s *Sandbox) Start() error {
	s.mu.Lock()
	s.started = time.Now()
	s.mu.Unlock()
	return s.warden.Go()
}

// PID of the command, 0 when there is none.
func (s *Sandbox) PID() int { return int(s.pid.Load()) }

// Name of the run.
func (s *Sandbox) Name() string { return s.name }

// Ports are the TCP ports that the command has bound, as it sees them, with those that they
// are on the host, where these differ: see [Policy.PortRemap]. A socket that is closed takes
// its port with it, and so does the end of the run.
func (s *Sandbox) Ports() map[uint16]uint16 {
	if s.network == nil || s.network.Remap == nil || s.isOver() {
		return map[uint16]uint16{}
	}
	return s.network.Remap.Ports()
}

// Kill ends every task of the sandbox; already over is success.
func (s *Sandbox) Kill() error { s.warden.Kill(); return nil }

var errOver = errors.New("the sandbox is not running")

// Pause stops every task of the sandbox; Resume continues those that were not stopped
// before. With max_processes they are held by their tracer, which nobody inside can see
// or undo, otherwise by SIGSTOP. Both return when every task has been told.
func (s *Sandbox) Pause() error  { return whileRunning(s.warden.Pause()) }
func (s *Sandbox) Resume() error { return whileRunning(s.warden.Resume()) }

func whileRunning(err error) error {
	if err != nil {
		return errOver
	}
	return nil
}

// StepFD returns a descriptor, owned by the sandbox and valid until Close, that is
// readable when Step has something to do, for a sandbox that Spawn made.
func (s *Sandbox) StepFD() (int, error) {
	s.attend()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoll < 0 {
		return -1, errors.New("the sandbox is not one to be stepped, or was closed")
	}
	return s.epoll, nil
}

// PollFD returns a descriptor, owned by the sandbox and valid until Close, that
// is readable when the run is over, for a sandbox that Create made.
func (s *Sandbox) PollFD() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done < 0 {
		return -1, errOver
	}
	return s.done, nil
}

// await waits for the end of the run, at most for timeout unless it is 0; then it
// ends the sandbox, and on.
func (s *Sandbox) await(timeout time.Duration) {
	var deadline time.Time
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	s.mu.Lock()
	fd, over, closed := s.done, s.over, s.closed
	s.mu.Unlock()
	switch {
	case closed || over:
	case s.collector == stepped:
		s.attend()
		s.collecting.Lock()
		defer s.collecting.Unlock()
		if !s.isOver() {
			s.collect(deadline)
		}
	default:
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		for !pollUntil(fds, deadline) {
			deadline = s.expire()
		}
	}
}

// Wait blocks until the run is over. timeout 0 is no limit; when it expires the sandbox
// is killed, after the policy's TermGrace, and the result says TimedOut. Later calls return
// the same.
func (s *Sandbox) Wait(timeout time.Duration) (*Result, error) {
	s.await(timeout)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		return nil, errOver
	}
	return s.result, s.err
}

// Close kills the sandbox if it runs, reaps it and frees what it holds. It may be
// called more than once. It does not wait for a PolicyFn that is still running, and asks
// none in a run that was to be stepped and never was.
func (s *Sandbox) Close() {
	s.attending.Do(func() {})
	s.warden.Kill()
	s.await(0)
	s.closeOwn()
}

// closeOwn closes what the handle lends to its user.
func (s *Sandbox) closeOwn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, fd := range []*int{&s.done, &s.epoll, &s.execEnd} {
		sys.Close(*fd)
		*fd = -1
	}
}

// finish publishes the outcome and gives back all but the done descriptor.
func (s *Sandbox) finish(r *Result, err error) {
	if s.listener != nil && !s.listener.Wait(s.patience) {
		s.logf("a thread of the library is left: it waits for a task that could not be ended")
	}
	s.hearRest()
	s.release()
	if s.verdicts != nil {
		s.exec.Over()
		s.verdicts.close(s.onClose)
		if s.network != nil {
			s.network.Close()
		}
	} else {
		s.onClose()
	}
	if r != nil && s.records != nil {
		s.records.fill(r)
	}
	told := r
	if told == nil {
		told = &Result{}
	}
	s.fillDenials(told)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r != nil {
		r.Log = s.log
	}
	s.over, s.result, s.err = true, r, err
	s.told = told.Denials
	s.pid.Store(0) // the kernel may give it to somebody else now
	if s.done >= 0 {
		var one [8]byte
		binary.NativeEndian.PutUint64(one[:], 1)
		unix.Write(s.done, one[:])
	}
}

// release frees what a run holds, however far it came; a sandbox that still
// runs is ended.
func (s *Sandbox) release() {
	if s.warden != nil {
		s.warden.Kill()
		s.warden.Reap()
		s.warden.Close()
	}
	s.closeCgroup()
	s.stopFiles()
	if s.heard != nil {
		s.heard.Close()
		s.heard = nil
	}
	s.dropCommand()
	if s.terminal != nil {
		s.terminal.restore()
	}
	s.out.close()
	s.errs.close()
	dropName(s.name)
}

// logf keeps a line for the result.
func (s *Sandbox) logf(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if len(line) > maxLogLine {
		line = line[:maxLogLine] + "…"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.log) < maxLog {
		s.log = append(s.log, line)
	}
}
