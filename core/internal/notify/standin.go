package notify

import (
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long work may keep its thread from receiving before another one
// receives in its place: far above what a decision takes that does not wait, and below
// what anybody notices who waits for another one.
const patience = 10 * time.Millisecond

// shift says who receives: the service's own thread, except while it works for longer
// than patience. A hand-over at each piece of work would be two wake-ups, each dearer
// than most work.
type shift struct {
	mu      sync.Mutex // guards what follows
	working bool          // the own thread does
	since   time.Time     // it began
	watched bool          // lookAfter runs
	standIn chan struct{} // there is one; closed when it has stopped
	recall  bool          // it is to stop
}

// begin notes that the own thread works from now on.
func (l *Listener) begin() {
	s := &l.shift
	s.mu.Lock()
	defer s.mu.Unlock()
	s.working, s.since = true, time.Now()
	if !s.watched {
		s.watched = true
		go l.lookAfter()
	}
}

// end takes the receiving back, when somebody stands in.
func (l *Listener) end() {
	s := &l.shift
	s.mu.Lock()
	s.working = false
	stopped := s.standIn
	s.recall = stopped != nil
	s.mu.Unlock()
	if stopped == nil {
		return
	}
	l.toll()
	<-stopped
	s.mu.Lock()
	defer s.mu.Unlock()
	s.standIn, s.recall = nil, false
}

func (l *Listener) recalled() bool {
	l.shift.mu.Lock()
	defer l.shift.mu.Unlock()
	return l.shift.recall
}

// lookAfter stands in for the own thread if it works for long. It is not told when a piece
// of work is over, which would be a wake-up for each, but looks once in a while. A timer of
// Go's would open an epoll descriptor in the host for good.
func (l *Listener) lookAfter() {
	left := patience
	var stopped chan struct{}
	for left > 0 {
		ts := unix.NsecToTimespec(int64(left))
		unix.Ppoll(nil, &ts, nil)
		left, stopped = l.shift.look()
	}
	if stopped == nil {
		return
	}
	defer close(stopped)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer l.guard()
	for !l.recalled() {
		if !l.receive(true) {
			l.close()
			return
		}
	}
}

// look returns how long to wait for the work that is under way, or else ends the watch:
// with the channel of the stand-in that the caller is now, if the work lasts.
func (s *shift) look() (left time.Duration, standIn chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.working {
		if left = patience - time.Since(s.since); left > 0 {
			return left, nil
		}
		standIn = make(chan struct{})
		s.standIn = standIn
	}
	s.watched = false
	return 0, standIn
}

// toll wakes the receiver.
func (l *Listener) toll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		one := [8]byte{1} // of either byte order, it is not zero
		unix.Write(l.bell, one[:])
	}
}
