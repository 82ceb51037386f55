package core

import (
	"time"

	"golang.org/x/sys/unix"
)

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

// expire acts on the end of a run's time: SIGTERM, where the policy has a grace period and
// this is the first time, else SIGKILL. It returns when to come again, zero for never.
func (s *Sandbox) expire() (again time.Time) {
	s.timedOut.Store(true)
	if s.plan.termGrace > 0 && s.warned.CompareAndSwap(false, true) {
		s.warden.Terminate()
		return time.Now().Add(s.plan.termGrace)
	}
	s.warden.Kill()
	return time.Time{}
}

// Expire says that the time of the run is over, for a caller that keeps it by itself: the
// result will say TimedOut. Without a TermGrace that is the end of the sandbox. With one
// it is SIGTERM, and at the next Expire, which is the caller's to make, SIGKILL. It
// reports how long to wait before that, 0 when there is nothing to wait for.
func (s *Sandbox) Expire() (grace time.Duration) {
	if again := s.expire(); !again.IsZero() {
		return s.plan.termGrace
	}
	return 0
}
