package broker

import (
	"os"
	"sync"

	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// wait is an open that may last for ever: of a FIFO, for its other end, or of a terminal,
// for its line. It ends with its caller, or no thread would come back from it.
type wait struct {
	caller *Caller
	fd     int           // O_PATH of the object, by whose number it is opened
	done   chan struct{} // closed when it is over

	mu    sync.Mutex // guards what follows
	tid   int        // of the thread that is in the open, else 0
	ended bool
}

// wake is the signal that brings a thread back from an open: Go has a handler for it in every
// process, which does nothing.
const wake = unix.SIGURG

// openPatiently has a place opened by a thread that may wait. Where too many do, the open
// fails rather than wait for one that comes after it.
func (b *Broker) openPatiently(id *identity, c *Caller, p *place, flags int, mode uint32, use func(int)) error {
	if !caught(wake) {
		return unix.EACCES
	}
	fd, err := dup(p.obj)
	if err != nil {
		return err
	}
	w := &wait{caller: c, fd: sys.Opened(fd), done: make(chan struct{})}
	defer func() {
		sys.Close(w.fd)
	}()
	b.mu.Lock()
	if b.closed || len(b.waits) >= maxThreads {
		b.mu.Unlock()
		return unix.ENFILE
	}
	if b.waits == nil {
		b.waits = map[*wait]bool{}
	}
	b.waits[w] = true
	b.mu.Unlock()
	if c.Waits != nil {
		c.Waits()
	}
	err = give(id.patient.do, c, func() (int, error) { return w.open(flags, mode) }, use)
	b.mu.Lock()
	delete(b.waits, w)
	b.mu.Unlock()
	close(w.done)
	return err
}

// openWaited opens a FIFO for writing that has a reader; ENXIO: there is none.
func openWaited(path string, flags int) (int, error) {
	fd, err := unix.Open(path, flags|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	has, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, has&^unix.O_NONBLOCK)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// forget ends the waits whose callers are gone, so that who opens a FIFO now does not meet
// somebody who is dead.
func (b *Broker) forget() {
	var gone []*wait
	b.mu.Lock()
	for w := range b.waits {
		if !w.caller.Valid() {
			gone = append(gone, w)
		}
	}
	b.mu.Unlock()
	for _, w := range gone {
		w.end(b.ruleset)
		<-w.done
	}
}

func (w *wait) open(flags int, mode uint32) (fd int, err error) {
	w.mu.Lock()
	if !w.ended {
		w.tid = unix.Gettid()
	}
	ended := w.ended
	w.mu.Unlock()
	if ended {
		return -1, unix.EPERM // nobody is there to hear it
	}
	var mask unix.Sigset_t
	mask.Val[(wake-1)/64] |= 1 << ((wake - 1) % 64)
	if err := unix.PthreadSigmask(unix.SIG_UNBLOCK, &mask, nil); err != nil {
		return -1, os.NewSyscallError("rt_sigprocmask", err)
	}
	fd, err = retryFD(func() (int, error) { return unix.Open(self(w.fd), flags, mode) })
	_ = unix.PthreadSigmask(unix.SIG_BLOCK, &mask, nil) // can't fail, having been possible before
	w.mu.Lock()
	w.tid = 0
	w.mu.Unlock()
	return fd, err
}

// end brings the thread back: the kernel starts the open again after the signal, and by then
// the number stands for something that can't be opened (ENXIO).
func (w *wait) end(unopenable int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	if w.tid != 0 && unix.Dup3(unopenable, w.fd, unix.O_CLOEXEC) == nil {
		_ = unix.Tgkill(unix.Getpid(), w.tid, wake)
	}
}

// caught reports whether this process has a handler for a signal: proc_pid_status(5).
func caught(signal unix.Signal) bool {
	status, err := sys.ReadStatus("/proc/self/status", 1<<20)
	return err == nil && status.Number("SigCgt", 16, 64)&(1<<(signal-1)) != 0
}
