package handler

import (
	"encoding/binary"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/sandlock/sandlock/core/internal/notify"
	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// waiting is where the blocking calls of a sandbox wait for their sockets, all on one
// thread, which is there while there are any.
type waiting struct {
	places chan struct{} // of the calls that wait or are about to go on

	mu      sync.Mutex // guards what follows
	list    []*wait
	bell    int // eventfd that tells the thread of a change, while it runs
	running bool
	closed  bool
}

// wait is one call that waits.
type wait struct {
	r         *notify.Request
	fd, pidfd int
	events    int16
	deadline  time.Time // zero: none
	outcome   chan waitOutcome
}

type waitOutcome int

const (
	waitReady       waitOutcome = iota
	waitTimedOut                // the deadline has passed
	waitInterrupted             // a signal is there for the caller
	waitGone                    // so is the caller
	waitFull                    // too many wait already
)

// signalTick is how long a signal for a waiting caller may stay unseen: nothing tells of
// one that a task gets which waits for the answer to a notification.
const signalTick = 50 * time.Millisecond

// wait returns when the call's socket has one of the events, or what else ends the wait.
// Without events only that does.
func (w *waiting) wait(c *netCall, events int16, deadline time.Time) waitOutcome {
	one := &wait{c.r, c.fd, c.pidfd, events, deadline, make(chan waitOutcome, 1)}
	if events == 0 {
		one.fd = -1 // which poll(2) passes over, as it tells of hang-ups unasked
	}
	if outcome, ok := w.add(one); !ok {
		return outcome
	}
	return <-one.outcome
}

func (w *waiting) add(one *wait) (waitOutcome, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return waitGone, false
	}
	if !w.running {
		bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			return waitFull, false
		}
		w.bell, w.running = sys.Opened(bell), true
		go w.run()
	}
	w.list = append(w.list, one)
	w.ring()
	return 0, true
}

// ring has the thread look at the list. w.mu is held.
func (w *waiting) ring() {
	if w.running {
		_, _ = unix.Write(w.bell, binary.NativeEndian.AppendUint64(nil, 1))
	}
}

// close ends every wait.
func (w *waiting) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.ring()
}

func (w *waiting) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	next := time.Now().Add(signalTick)
	for {
		fds, ok := w.sources()
		if !ok {
			return
		}
		timeout := unix.NsecToTimespec(int64(max(0, time.Until(next))))
		if _, err := unix.Ppoll(fds, &timeout, nil); err != nil {
			continue // EINTR: the Go runtime's own signals
		}
		if fds[0].Revents != 0 {
			var count [8]byte
			_, _ = unix.Read(int(fds[0].Fd), count[:])
		}
		now := time.Now()
		tick := !now.Before(next)
		if tick {
			next = now.Add(signalTick)
		}
		w.settle(fds[1:], now, tick)
	}
}

// sources are what the thread polls: the bell, and two descriptors for each call, in the
// order of the list. False: there is nothing to wait for.
func (w *waiting) sources() ([]unix.PollFd, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		for _, one := range w.list {
			one.outcome <- waitGone
		}
		w.list = nil
	}
	if len(w.list) == 0 {
		sys.Close(w.bell)
		w.running = false
		return nil, false
	}
	fds := []unix.PollFd{{Fd: int32(w.bell), Events: unix.POLLIN}}
	for _, one := range w.list {
		fds = append(fds, unix.PollFd{Fd: int32(one.fd), Events: one.events}, unix.PollFd{Fd: int32(one.pidfd), Events: unix.POLLIN})
	}
	return fds, true
}

// settle ends the waits that are over. What was added meanwhile stands behind them.
func (w *waiting) settle(fds []unix.PollFd, now time.Time, tick bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := -1
	w.list = slices.DeleteFunc(w.list, func(one *wait) bool {
		if i++; 2*i >= len(fds) {
			return false
		}
		switch {
		case fds[2*i+1].Revents != 0 || tick && !one.r.Valid():
			one.outcome <- waitGone
		case fds[2*i].Revents != 0:
			one.outcome <- waitReady
		case tick && interrupted(one.r.TID):
			one.outcome <- waitInterrupted
		case !one.deadline.IsZero() && !now.Before(one.deadline):
			one.outcome <- waitTimedOut
		default:
			return false
		}
		return true
	})
}

// interrupted reports whether a signal is pending that a system call of the thread would
// end for. One for the whole group goes to the leader, if that does not block it
// (complete_signal() of the kernel's kernel/signal.c).
func interrupted(tid uint32) bool {
	status, err := sys.ReadStatus(statusOf(tid), 1<<16)
	if err != nil {
		return false
	}
	pending := status.Number("SigPnd", 16, 64)
	if status.Number("Tgid", 10, 64) == uint64(tid) {
		pending |= status.Number("ShdPnd", 16, 64)
	}
	return pending&^status.Number("SigBlk", 16, 64) != 0
}
