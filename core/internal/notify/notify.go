// Package notify is the supervisor's side of a seccomp listener: it receives
// notifications, hands each to the handler of its system call, and answers.
// It knows nothing of what the handlers decide.
package notify

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// Handler decides a notification. It runs on the receiving thread and must not
// block: what can take time goes elsewhere, [Listener.Go], between [Listener.Hold]
// and its release.
type Handler func(r *Request)

// Listener serves one seccomp listener.
type Listener struct {
	fd       int
	tick     time.Duration // no deadline is shorter
	handlers map[int32]Handler
	poll     bool // before Linux 6.11 a receive does not return when the last task is gone
	broken   func(error)
	over     chan struct{}

	held   atomic.Int32
	ending atomic.Bool // what comes is denied, and the last to come

	adding sync.WaitGroup // descriptors that are being handed over

	mu     sync.Mutex // guards what follows, and the descriptors against close
	closed bool
	timers []*timer
}

type timer struct {
	at   time.Time
	call func()
}

// Serve takes ownership of fd and serves it on a thread of its own until no task
// uses the filter any more. pollFirst is for kernels before 6.11. A notification
// that no handler is registered for is denied with EPERM. tick is the shortest
// duration that [Listener.After] will be asked for. broken is called, at most
// once, when the service ends for any other reason: it must end the sandbox.
func Serve(fd int, pollFirst bool, tick time.Duration, handlers map[int32]Handler, broken func(error)) *Listener {
	// EINVAL below Linux 6.6, where a notification merely costs more.
	_ = sys.SetSyncWakeUp(fd)
	l := &Listener{fd: sys.Opened(fd), poll: pollFirst, tick: tick, handlers: handlers,
		broken: broken, over: make(chan struct{})}
	hands.join()
	go l.loop()
	return l
}

// Wait returns when the service is over, at the latest after limit unless that is 0; false:
// it is not. Then it ends with the next notification, which is denied, or with the last
// task: nothing else brings a thread back from a receive.
func (l *Listener) Wait(limit time.Duration) bool {
	if limit == 0 {
		// Without a timer, for which a thread of the runtime's would stay in epoll_wait(2),
		// and end a forked child of the host that closes all descriptors before its exec.
		<-l.over
		return true
	}
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-l.over:
		return true
	case <-late.C:
		l.ending.Store(true)
		return false
	}
}

// Hold keeps the loop attentive to After while a decision is made elsewhere.
// Each Hold is followed by one Release. The first call for a notification is
// made by its handler, before it returns.
func (l *Listener) Hold()    { l.held.Add(1) }
func (l *Listener) Release() { l.held.Add(-1) }

// After calls f on the receiving thread when d, at least the listener's tick, has
// passed; to be called only between Hold and Release. f must not block. The
// returned function cancels; f may already be running when it returns. The loop
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

// fire runs what is due and returns how long the loop may sleep.
func (l *Listener) fire() time.Duration {
	for {
		now := time.Now()
		var due *timer
		next := l.tick
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

// ready waits until a notification can be received, and meanwhile runs what is
// due. False: no task is left.
func (l *Listener) ready() bool {
	fds := []unix.PollFd{{Fd: int32(l.fd), Events: unix.POLLIN}}
	for {
		var timeout *unix.Timespec
		if l.held.Load() > 0 {
			ts := unix.NsecToTimespec(int64(l.fire()))
			timeout = &ts
		}
		n, err := unix.Ppoll(fds, timeout, nil)
		if err == nil && n > 0 {
			return fds[0].Revents&unix.POLLIN != 0
		}
	}
}

func (l *Listener) loop() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer func() {
		if p := recover(); p != nil {
			l.broken(fmt.Errorf("BUG(sandlock): %v, please report", p))
		}
		l.close()
	}()
	var n sys.Notification
	for {
		// Without an open decision nothing has a deadline, and the receive alone
		// is one system call less.
		if (l.poll || l.held.Load() > 0) && !l.ready() {
			return
		}
		switch err := sys.ReceiveNotification(l.fd, &n); {
		case err == nil && l.ending.Load():
			(&Request{Notification: n, l: l}).Errno(unix.EPERM)
			return
		case err == nil:
			l.dispatch(&n)
		case errors.Is(err, unix.ENOENT):
			// The task was killed before the receive, or all are gone: ask.
			if !l.alive() {
				return
			}
		default:
			l.broken(fmt.Errorf("SECCOMP_IOCTL_NOTIF_RECV: %w", err))
			return
		}
	}
}

func (l *Listener) alive() bool {
	fds := []unix.PollFd{{Fd: int32(l.fd), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, 0)
		if err == nil {
			return fds[0].Revents&unix.POLLHUP == 0
		}
	}
}

func (l *Listener) dispatch(n *sys.Notification) {
	r := &Request{Notification: *n, l: l}
	h := l.handlers[n.Data.Nr]
	if h == nil {
		r.Errno(unix.EPERM)
		return
	}
	h(r)
}

// close ends the service. What is still held elsewhere finds the Listener closed
// and its requests gone.
func (l *Listener) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.adding.Wait() // which ends with the tasks
	sys.Close(l.fd)
	hands.leave()
	close(l.over)
}
