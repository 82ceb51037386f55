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

// stream is one captured output: a pipe's read end and what came out of it.
type stream struct {
	fd        int
	limit     uint64
	kept      []byte
	truncated bool
}

var readBuffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// read takes what is there, at most one buffer. False: the stream has ended.
func (s *stream) read() (more bool) {
	buf := readBuffers.Get().(*[]byte)
	defer readBuffers.Put(buf)
	n, err := unix.Read(s.fd, *buf)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return true
	case err != nil || n == 0:
		return false
	}
	room := s.limit - uint64(len(s.kept))
	if uint64(n) > room {
		s.truncated = true
		n = int(room)
	}
	s.kept = append(s.kept, (*buf)[:n]...)
	return true
}

// drain takes what is left in the pipe after every writer is dead. Somebody
// outside may hold the other end, so the end of the file is not waited for.
func (s *stream) drain() {
	for s.fd >= 0 {
		fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, 0); err == nil && (n == 0 || fds[0].Revents&unix.POLLIN == 0) || !s.read() {
			s.close()
		}
	}
}

func (s *stream) close() {
	if s.fd >= 0 {
		sys.Closing(s.fd)
		unix.Close(s.fd)
		s.fd = -1
	}
}

// pollUntil waits for one of fds, until the deadline unless that is zero. False:
// the deadline has passed.
func pollUntil(fds []unix.PollFd, deadline time.Time) bool {
	for {
		var timeout *unix.Timespec
		if !deadline.IsZero() {
			ts := unix.NsecToTimespec(int64(max(0, time.Until(deadline))))
			timeout = &ts
		}
		n, err := unix.Ppoll(fds, timeout, nil)
		if err != nil {
			continue // EINTR: the Go runtime's own signals
		}
		if n > 0 || !time.Now().Before(deadline) && !deadline.IsZero() {
			return n > 0
		}
	}
}

// collect reads the outputs and the warden's messages until the run is over.
// It runs on the caller's thread for Run, on its own goroutine otherwise.
func (s *Sandbox) collect(deadline time.Time) {
	defer func() {
		if p := recover(); p != nil {
			s.warden.Kill()
			s.finish(nil, fmt.Errorf("BUG(sandlock): %v, please report", p))
		}
	}()
	ctl, pidfd := s.warden.PollFDs()
	for {
		fds := [4]unix.PollFd{
			{Fd: int32(ctl), Events: unix.POLLIN},
			{Fd: int32(s.out.fd), Events: unix.POLLIN}, // -1 is skipped: poll(2)
			{Fd: int32(s.errs.fd), Events: unix.POLLIN},
			{Fd: int32(pidfd), Events: unix.POLLIN},
		}
		if !pollUntil(fds[:], deadline) {
			deadline = time.Time{}
			s.timedOut.Store(true)
			s.warden.Kill()
			continue
		}
		for i, st := range []*stream{&s.out, &s.errs} {
			if fds[1+i].Revents != 0 && !st.read() {
				st.close()
			}
		}
		if fds[0].Revents|fds[3].Revents == 0 {
			continue
		}
		m, fd, err := s.warden.Receive()
		if fd >= 0 {
			unix.Close(fd) // the listener has been taken already
		}
		switch {
		case err != nil:
			s.warden.Kill()
			s.warden.AwaitKiller()
			s.out.drain()
			s.errs.drain()
			s.finish(s.outcome(unix.WaitStatus(unix.SIGKILL), warden.Message{}, err.Error()), nil)
			return
		case m.Type == warden.End:
			s.end(m)
			return
		case m.Type == warden.Exec || m.Type == warden.NoExec:
			if s.exec != nil {
				s.exec.Outcome(m)
			}
		}
	}
}

// end makes the result of the warden's last message.
func (s *Sandbox) end(m warden.Message) {
	s.out.drain()
	s.errs.drain()
	if m.Step != warden.StepNone && m.Step != warden.StepWalk {
		s.finish(nil, s.stepError(m))
		return
	}
	why := ""
	if m.Step == warden.StepWalk {
		why = fmt.Sprintf("tasks may have been left behind: %v: %v", m.Step, unix.Errno(m.Errno))
	}
	s.finish(s.outcome(unix.WaitStatus(m.Status), m, why), nil)
}

func (s *Sandbox) outcome(status unix.WaitStatus, m warden.Message, why string) *Result {
	r := &Result{
		ExitCode: -1, Signal: -1,
		Stdout: s.out.kept, StdoutTruncated: s.out.truncated,
		Stderr: s.errs.kept, StderrTruncated: s.errs.truncated,
		Error:    why,
		UserTime: time.Duration(m.UserMicros) * time.Microsecond, SystemTime: time.Duration(m.SystemMicros) * time.Microsecond,
		MaxRSS: int64(m.MaxRSS),
	}
	switch {
	case status.Exited():
		r.Reason, r.ExitCode = Exited, status.ExitStatus()
	case s.timedOut.Load():
		r.Reason = TimedOut
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
