package notify

import (
	"slices"
	"time"
)

type timer struct {
	at   time.Time
	call func()
}

// After calls f on the receiving thread when d, at least the listener's tick, has
// passed; to be called only between Hold and Release. f must not block. The
// returned function cancels; f may already be running when it returns. The receiver
// need not be told: while a Hold stands it sleeps for no longer than a tick.
func (l *Listener) After(d time.Duration, f func()) (cancel func()) {
	t := &timer{time.Now().Add(d), f}
	l.mu.Lock()
	l.timers = append(l.timers, t)
	l.mu.Unlock()
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for i, o := range l.timers {
			if o == t {
				l.timers = slices.Delete(l.timers, i, i+1)
				return
			}
		}
	}
}

// fire runs what is due and returns how long the receiver may sleep.
func (l *Listener) fire() time.Duration {
	for {
		now := time.Now()
		var due *timer
		next := l.Tick
		l.mu.Lock()
		for i, t := range l.timers {
			if left := t.at.Sub(now); left <= 0 {
				due = t
				l.timers = slices.Delete(l.timers, i, i+1)
				break
			} else if left < next {
				next = left
			}
		}
		l.mu.Unlock()
		if due == nil {
			return next
		}
		due.call()
	}
}
