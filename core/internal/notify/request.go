package notify

import (
	"errors"
	"os"
	"sync/atomic"

	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// Request is one notification: a thread of the sandbox that waits for an answer.
// It is answered once; whoever claims it first may do so.
type Request struct {
	sys.Notification
	l       *Listener
	claimed atomic.Bool
}

// Listener that the request came from.
func (r *Request) Listener() *Listener { return r.l }

// Claim reports whether the caller is the one who answers, itself or through
// somebody who holds a copy of the listener.
func (r *Request) Claim() bool { return r.claimed.CompareAndSwap(false, true) }

// Errno makes the call fail with e, if nobody has answered yet.
func (r *Request) Errno(e unix.Errno) {
	if r.Claim() {
		r.AnswerClaimed(0, e)
	}
}

// Return makes the call return v, if nobody has answered yet.
func (r *Request) Return(v int64) {
	if r.Claim() {
		r.AnswerClaimed(v, 0)
	}
}

// AnswerClaimed answers a request that the caller has claimed. A task that is
// gone needs no answer.
func (r *Request) AnswerClaimed(v int64, e unix.Errno) {
	resp := sys.NotificationResponse{ID: r.ID, Val: v, Error: -int32(e)}
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	if !r.l.closed {
		_ = sys.SendResponse(r.l.fd, &resp)
	}
}

// ContinueClaimed lets the kernel run the call of a request that the caller has claimed.
// The kernel reads the caller's memory again: no decision may rest on what was read.
func (r *Request) ContinueClaimed() {
	resp := sys.NotificationResponse{ID: r.ID}
	resp.Continue()
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	if !r.l.closed {
		_ = sys.SendResponse(r.l.fd, &resp)
	}
}

// AddFDClaimed makes the call of a request that the caller has claimed return a new
// descriptor: a copy of fd, which stays the caller's. When that fails, as with a table that
// is full, the call fails, with the same errno.
func (r *Request) AddFDClaimed(fd int, closeOnExec bool) {
	r.give(func() error { return sys.AddFD(r.l.fd, r.ID, fd, flagsOf(closeOnExec)) })
}

// MoveFDClaimed does the same, and closes fd before the caller goes on.
func (r *Request) MoveFDClaimed(fd int, closeOnExec bool) {
	number := -1
	r.give(func() (err error) {
		number, err = sys.AddFDAlone(r.l.fd, r.ID, fd, flagsOf(closeOnExec))
		return err
	})
	sys.Close(fd)
	if number >= 0 {
		r.AnswerClaimed(int64(number), 0)
	}
}

// add calls f, which adds a descriptor, unless the listener is closed: ENOENT. Not under the
// lock: the task may be slow to take it, and others are to be answered.
func (r *Request) add(f func() error) error {
	r.l.mu.Lock()
	if r.l.closed {
		r.l.mu.Unlock()
		return unix.ENOENT
	}
	r.l.adding.Add(1)
	r.l.mu.Unlock()
	defer r.l.adding.Done()
	return f()
}

// give is add, and has the call of the request fail if that fails.
func (r *Request) give(f func() error) {
	err := r.add(f)
	if err == nil || err == unix.ENOENT {
		return // done, or the task is gone
	}
	errno := unix.EPERM
	errors.As(err, &errno)
	r.AnswerClaimed(0, errno)
}

func flagsOf(closeOnExec bool) uint32 {
	if closeOnExec {
		return unix.O_CLOEXEC
	}
	return 0
}

// SetFD gives the caller a copy of fd, which stays the caller of SetFD's, under a number that
// the task should have free. The call still waits for its answer.
func (r *Request) SetFD(fd int, number uint32, closeOnExec bool) error {
	return r.add(func() error { return sys.SetFD(r.l.fd, r.ID, fd, number, flagsOf(closeOnExec)) })
}

// Valid reports whether the very thread that made the request still waits. What
// was read through its thread id before that was read from it.
func (r *Request) Valid() bool {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	return !r.l.closed && sys.NotificationValid(r.l.fd, r.ID)
}

// WriteMemory writes b into the caller's memory at addr. It may block as ReadMemory does.
func (r *Request) WriteMemory(addr uint64, b []byte) error {
	local := []unix.Iovec{{Base: &b[0]}}
	local[0].SetLen(len(b))
	for {
		n, err := unix.ProcessVMWritev(int(r.TID), local, []unix.RemoteIovec{{Base: uintptr(addr), Len: len(b)}}, 0)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return os.NewSyscallError("process_vm_writev", err)
		case n < len(b):
			return os.NewSyscallError("process_vm_writev", unix.EFAULT)
		}
		return nil
	}
}

// ReadMemory reads the caller's memory at addr into buf and returns how much was
// there. It may block for as long as the memory is slow (a page behind FUSE):
// never on the receiving thread.
func (r *Request) ReadMemory(addr uint64, buf []byte) (int, error) {
	if len(buf) == 0 {
		return 0, nil
	}
	local := []unix.Iovec{{Base: &buf[0]}}
	local[0].SetLen(len(buf))
	for {
		n, err := unix.ProcessVMReadv(int(r.TID), local, []unix.RemoteIovec{{Base: uintptr(addr), Len: len(buf)}}, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, os.NewSyscallError("process_vm_readv", err)
		}
		return n, nil
	}
}
