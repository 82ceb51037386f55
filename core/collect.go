package core

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sandlock/sandlock/core/internal/sys"
	"github.com/sandlock/sandlock/core/internal/warden"
	"golang.org/x/sys/unix"
)

// stream is one captured output: a pipe and what came out of it. We hold its write end
// too: that the command closes its own, at its end above all, is no news and so no
// wake-up.
type stream struct {
	fd, writeEnd int
	limit        uint64
	kept         []byte
	truncated    bool
}

func newStream() stream { return stream{fd: -1, writeEnd: -1} }

func (s *stream) open(limit uint64) error {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	s.fd, s.writeEnd, s.limit = sys.Opened(p[0]), sys.Opened(p[1]), limit
	// The read end alone: the command's side is an ordinary pipe.
	return unix.SetNonblock(s.fd, true)
}

// join makes one descriptor of both ends, fifo(7), for a host that has many runs at once.
// The write end is the caller's then. Without /proc both stay.
func (s *stream) join() (writeEnd int) {
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", s.fd), unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	writeEnd = s.writeEnd
	sys.Close(s.fd)
	s.fd, s.writeEnd = sys.Opened(fd), -1
	return writeEnd
}

var readBuffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// read takes what is there, at most one buffer. False: nothing is.
func (s *stream) read() bool {
	buf := readBuffers.Get().(*[]byte)
	defer readBuffers.Put(buf)
	n, err := unix.Read(s.fd, *buf)
	if err != nil || n == 0 {
		return errors.Is(err, unix.EINTR)
	}
	room := s.limit - uint64(len(s.kept))
	if uint64(n) > room {
		s.truncated = true
		n = int(room)
	}
	s.kept = append(s.kept, (*buf)[:n]...)
	return true
}

// drain takes what is left in the pipe when every writer is dead.
func (s *stream) drain() {
	for s.fd >= 0 && s.read() {
	}
}

func (s *stream) close() {
	for _, fd := range []*int{&s.fd, &s.writeEnd} {
		sys.Close(*fd)
		*fd = -1
	}
}

// collect reads the outputs and the warden's messages until the run is over, or
// until the deadline, when it ends the sandbox, and on.
func (s *Sandbox) collect(deadline time.Time) {
	defer s.guard()
	for {
		fds, ok := s.ready(deadline)
		if !ok {
			deadline = s.expire()
			continue
		}
		if end := s.take(fds); end != nil {
			end()
			return
		}
	}
}

// guard makes a panic the end of the run, not of the host.
func (s *Sandbox) guard() {
	if p := recover(); p != nil {
		s.broken(p)
	}
}

// sources are the descriptors that a run is collected from, in the order that take
// expects. Where nothing is trapped and there is no terminal, the warden's only message is its
// last, and its death comes right after: waiting for that alone is one wake-up less.
func (s *Sandbox) sources() [5]int {
	ctl, pidfd := s.warden.PollFDs()
	if !s.plan.traps && s.terminal == nil {
		ctl = -1
	}
	heard := -1
	if s.heard != nil {
		heard = s.heard.FD()
	}
	return [5]int{ctl, s.out.fd, s.errs.fd, pidfd, heard}
}

func (s *Sandbox) ready(deadline time.Time) (fds [5]unix.PollFd, ok bool) {
	for i, fd := range s.sources() {
		fds[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN} // -1 is skipped: poll(2)
	}
	return fds, pollUntil(fds[:], deadline)
}

// take takes what is ready, at most one buffer and one message, without blocking. When
// that was the last, it returns what ends the run, which may block.
func (s *Sandbox) take(fds [5]unix.PollFd) (end func()) {
	if fds[4].Revents != 0 {
		s.hear(s.heard.Read(uint32(s.pid.Load())))
	}
	for i, st := range []*stream{&s.out, &s.errs} {
		if fds[1+i].Revents != 0 {
			st.read()
		}
	}
	if fds[0].Revents|fds[3].Revents == 0 {
		return nil
	}
	m, fd, err := s.warden.Receive()
	if fd >= 0 {
		unix.Close(fd) // the listener has been taken already
	}
	switch {
	case err != nil:
		return func() { s.abandoned(err) }
	case m.Type == warden.End:
		return func() { s.end(m) }
	case m.Type == warden.Created:
		s.pid.Store(m.PID)
	case m.Type == warden.Stopped:
		s.terminal.suspend(int(m.PID), unix.Signal(m.Status), func(given bool) {
			_ = s.warden.Continue(given) // a warden that is gone has ended the sandbox
		})
	case s.exec != nil:
		s.exec.Outcome(m)
	}
	return nil
}

// longAgo is the deadline of who takes only what is ready now.
var longAgo = time.Unix(1, 0)

// stepRounds bounds what one Step takes, so that its caller is back soon.
const stepRounds = 64

// Step takes what is ready without blocking and reports whether the run is over. It
// is for a sandbox that Spawn made, and is to be called whenever StepFD is readable.
func (s *Sandbox) Step() (over bool) {
	s.attend()
	s.collecting.Lock()
	defer s.collecting.Unlock()
	defer s.guard()
	over = s.isOver()
	for range stepRounds {
		if over {
			return true
		}
		fds, ok := s.ready(longAgo)
		if !ok {
			return false
		}
		if end := s.take(fds); end != nil {
			end()
			over = true
		}
	}
	return over
}

func (s *Sandbox) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// watch makes the descriptor of StepFD.
func (s *Sandbox) watch() error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	s.epoll = sys.Opened(fd)
	return s.addSources(fd)
}

// addSources has an epoll instance tell of what a run is collected from.
func (s *Sandbox) addSources(epoll int) error {
	for _, source := range s.sources() {
		if source < 0 {
			continue
		}
		ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(source)}
		if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, source, &ev); err != nil {
			return err
		}
	}
	return nil
}

// end makes the result of the warden's last message.
func (s *Sandbox) end(m warden.Message) {
	s.out.drain()
	s.errs.drain()
	if m.Step != warden.StepNone && m.Step != warden.StepWalk && (m.Step != warden.StepLimits || m.PID == 0) {
		s.finish(nil, s.stepError(m))
		return
	}
	why := ""
	if m.Step == warden.StepWalk {
		why = fmt.Sprintf("tasks may have been left behind: %v: %v", m.Step, unix.Errno(m.Errno))
	}
	if m.Step == warden.StepLimits {
		why = fmt.Sprintf("the sandbox was ended, as a limit could not be enforced any more: %v: %v", m.Step, unix.Errno(m.Errno))
	}
	s.bornInCgroup(m)
	if said := memoryKilled(m); said != "" {
		m.Limits |= uint32(LimitMemory)
		s.logf("%s", said)
		s.killedBecause.CompareAndSwap(nil, said)
	}
	s.finish(s.outcome(unix.WaitStatus(m.Status), m, why), nil)
}

func (s *Sandbox) outcome(status unix.WaitStatus, m warden.Message, why string) *Result {
	s.mu.Lock()
	started := s.started
	s.mu.Unlock()
	r := &Result{
		ExitCode: -1, Signal: -1,
		Stdout: s.out.kept, StdoutTruncated: s.out.truncated,
		Stderr: s.errs.kept, StderrTruncated: s.errs.truncated,
		Error:    why,
		UserTime: time.Duration(m.UserMicros) * time.Microsecond, SystemTime: time.Duration(m.SystemMicros) * time.Microsecond,
		MaxRSS:    int64(m.MaxRSS),
		WallTime:  time.Since(started),
		Processes: m.Processes,
		Limits:    Limits(m.Limits),
	}
	if r.StdoutTruncated || r.StderrTruncated {
		r.Limits |= LimitOutput
	}
	switch {
	case status.Exited() && !s.warned.Load():
		r.Reason, r.ExitCode = Exited, status.ExitStatus()
	case s.timedOut.Load():
		r.Reason = TimedOut
		r.Limits |= LimitTime
	case status.Signal() == unix.SIGKILL:
		r.Reason = Killed
		if r.Error == "" {
			r.Error, _ = s.killedBecause.Load().(string)
		}
	default:
		r.Reason, r.Signal = Signaled, int(status.Signal())
	}
	return r
}
