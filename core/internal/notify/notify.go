// Package notify is the supervisor's side of a seccomp listener: it receives
// notifications, hands each to the handler of its system call, and answers.
// It knows nothing of what the handlers decide.
package notify

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// Handler decides a notification. It runs on the receiving thread and must not
// block: what can take time is work, between [Listener.Hold] and its release.
type Handler func(r *Request)

// Service is what a [Listener] does.
type Service struct {
	// Handlers by the number of the system call. Without one, it is denied with EPERM.
	Handlers map[int32]Handler
	// Work is called on the service's own thread, always the same, after a [Listener.Ring];
	// it may take as long as it likes, and others receive meanwhile.
	Work func()
	// Broken is called, at most once, when the service ends while there are tasks that use
	// the filter: it must end the sandbox.
	Broken func(error)
	// Tick is the shortest duration that [Listener.After] will be asked for.
	Tick time.Duration
	// PollFirst is for kernels before Linux 6.11, where a receive does not return when the
	// last task is gone.
	PollFirst bool
}

// Listener serves one seccomp listener.
type Listener struct {
	Service
	fd   int
	bell int // eventfd
	over chan struct{}

	broken sync.Once
	held   atomic.Int32
	rung   atomic.Bool // there is work
	asleep atomic.Bool // the own thread is, and has to be woken for work
	shift  shift

	mu     sync.Mutex // guards what follows, and the descriptors against close
	closed bool
	timers []*timer
}

// New takes ownership of fd, also when it fails.
func New(fd int, s Service) (*Listener, error) {
	// EINVAL below Linux 6.6, where a notification merely costs more.
	_ = sys.SetSyncWakeUp(fd)
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("eventfd", err)
	}
	return &Listener{Service: s, fd: sys.Opened(fd), bell: sys.Opened(bell), over: make(chan struct{})}, nil
}

// Start serves on a thread of its own until no task uses the filter any more. To be
// called once.
func (l *Listener) Start() { go l.loop() }

// Wait returns when the service is over.
func (l *Listener) Wait() { <-l.over }

// Hold keeps the receiver attentive to After and Ring while a decision is made elsewhere.
// Each Hold is followed by one Release. The first call for a notification is
// made by its handler, before it returns.
func (l *Listener) Hold()    { l.held.Add(1) }
func (l *Listener) Release() { l.held.Add(-1) }

// Ring has Work called, once more if it is under way. To be called by handlers, by Work,
// and between Hold and Release.
func (l *Listener) Ring() {
	l.rung.Store(true)
	if l.asleep.Swap(false) {
		l.toll()
	}
}

func (l *Listener) loop() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer l.guard()
	for !l.isClosed() {
		if l.rung.Swap(false) {
			l.work()
		} else if !l.receive(false) {
			l.close()
		}
	}
}

func (l *Listener) work() {
	l.begin()
	defer l.end()
	l.Work()
}

// guard makes a panic the end of the service, not of the host.
func (l *Listener) guard() {
	if p := recover(); p != nil {
		l.fail(fmt.Errorf("BUG(sandlock): %v, please report", p))
	}
}

func (l *Listener) fail(err error) {
	l.broken.Do(func() { l.Broken(err) })
	l.close()
}

// receive serves one notification, or returns when there is something else to do. False:
// no task is left.
func (l *Listener) receive(standIn bool) bool {
	var n sys.Notification
	// Without an open decision nothing has a deadline and nobody rings, and the receive
	// alone is one system call less.
	if standIn || l.PollFirst || l.held.Load() > 0 {
		if there, more := l.ready(standIn); !there {
			return more
		}
	}
	switch err := sys.ReceiveNotification(l.fd, &n); {
	case err == nil:
		l.dispatch(&n)
	case errors.Is(err, unix.ENOENT):
		// The task was killed before the receive, or all are gone: ask.
		return l.alive()
	default:
		l.fail(fmt.Errorf("SECCOMP_IOCTL_NOTIF_RECV: %w", err))
		return false
	}
	return true
}

// ready waits until a notification can be received, and runs what is due. Without one
// (!there) it was woken, or no task is left (!more).
func (l *Listener) ready(standIn bool) (there, more bool) {
	if !standIn {
		l.asleep.Store(true)
		defer l.asleep.Store(false)
		if l.rung.Load() {
			return false, true
		}
	}
	fds := []unix.PollFd{{Fd: int32(l.fd), Events: unix.POLLIN}, {Fd: int32(l.bell), Events: unix.POLLIN}}
	var timeout *unix.Timespec
	if l.held.Load() > 0 {
		ts := unix.NsecToTimespec(int64(l.fire()))
		timeout = &ts
	}
	if n, err := unix.Ppoll(fds, timeout, nil); err != nil || n == 0 {
		return false, true
	}
	if fds[1].Revents != 0 {
		var count [8]byte
		unix.Read(l.bell, count[:])
	}
	return fds[0].Revents&unix.POLLIN != 0, fds[0].Revents&^unix.POLLIN == 0
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
	h := l.Handlers[n.Data.Nr]
	if h == nil {
		r.Errno(unix.EPERM)
		return
	}
	h(r)
}

func (l *Listener) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// close ends the service; by who receives. What is still held elsewhere finds the Listener closed
// and its requests gone.
func (l *Listener) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	for _, fd := range []int{l.fd, l.bell} {
		sys.Closing(fd)
		unix.Close(fd)
	}
	close(l.over)
}
