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
	working bool       // the own thread does
	since   time.Time  // it began
	timer   *time.Timer
	armed   bool          // timer will look after it; it is left to expire, to be set anew
	standIn chan struct{} // there is one; closed when it has stopped
	recall  bool          // it is to stop
}

// begin notes that the own thread works from now on.
func (l *Listener) begin() {
	s := &l.shift
	s.mu.Lock()
	defer s.mu.Unlock()
	s.working, s.since = true, time.Now()
	if s.armed {
		return
	}
	s.armed = true
	if s.timer == nil {
		s.timer = time.AfterFunc(patience, l.lookAfter)
	} else {
		s.timer.Reset(patience)
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

// lookAfter stands in for the own thread if it has worked for long.
func (l *Listener) lookAfter() {
	s := &l.shift
	s.mu.Lock()
	if !s.working {
		s.armed = false
		s.mu.Unlock()
		return
	}
	if left := patience - time.Since(s.since); left > 0 {
		s.timer.Reset(left)
		s.mu.Unlock()
		return
	}
	s.armed = false
	stopped := make(chan struct{})
	s.standIn = stopped
	s.mu.Unlock()

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

// toll wakes the receiver.
func (l *Listener) toll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		one := [8]byte{1} // of either byte order, it is not zero
		unix.Write(l.bell, one[:])
	}
}
