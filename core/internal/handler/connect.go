package handler

import (
	"sync"
	"time"

	"github.com/sandlock/sandlock/core/internal/notify"
	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// Connect is the [notify.Handler] of connect(2).
func (h *Net) Connect() notify.Handler { return h.handle("connect", h.connect) }

// restart is ERESTARTSYS of the kernel's include/linux/errno.h, which no program sees: the
// signal that is pending decides whether the call fails with EINTR or is made again.
const restart = unix.Errno(512)

func (h *Net) connect(c *netCall) (int64, unix.Errno) {
	if errno := c.open(); errno != 0 {
		return 0, errno
	}
	p, inet := c.socket.inet()
	if !inet {
		handled, errno := h.other(c, true)
		if !handled {
			errno = h.connectUnix(c)
		}
		return 0, errno
	}
	b, errno := c.readAddress(c.r.Data.Args[1], int32(c.r.Data.Args[2]))
	if errno != 0 {
		return 0, errno
	}
	a, errno := inetAddress(b, c.socket)
	if errno != 0 {
		return 0, errno
	}
	// AF_UNSPEC takes the peer away from a socket.
	if a.family != unix.AF_UNSPEC {
		if errno := h.judge(c, p, a); errno != 0 {
			return 0, errno
		}
	}
	if p == TCP && h.Remap != nil && a.family != unix.AF_UNSPEC {
		defer h.Remap.connected(c.fd)
		if port, listener := h.Remap.target(a.shown()); listener >= 0 {
			return 0, h.dialOwn(c, a, port, listener)
		}
	}
	return 0, h.dial(c, p, a)
}

// dial connects, and waits for it as long as the caller would, without a thread.
func (h *Net) dial(c *netCall, p Protocol, a address) unix.Errno {
	if p != TCP {
		return errnoOrNone(sys.Connect(c.fd, a.raw))
	}
	var deadline time.Time
	begun := false
	for first := true; ; first = false {
		limit, err := h.dialBriefly(c, a)
		if first && limit > 0 {
			deadline = time.Now().Add(limit)
		}
		switch err {
		case nil:
			return 0
		case unix.EINTR:
			continue // the Go runtime's own signals
		case unix.EINPROGRESS, unix.EALREADY:
		default:
			if pending, _ := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR); begun && err == unix.ENETUNREACH && pending != 0 {
				return unix.Errno(pending) // taken back, see undialled
			}
			return errnoOf(err)
		}
		if !begun {
			begun, a = true, a.undialled()
		}
		flags, flagsErr := unix.FcntlInt(uintptr(c.fd), unix.F_GETFL, 0)
		if flagsErr != nil || flags&unix.O_NONBLOCK != 0 {
			return errnoOf(err)
		}
		switch h.wait(c, unix.POLLOUT, deadline) {
		case waitReady: // and the next round says how it went
		case waitInterrupted:
			if limit > 0 {
				return unix.EINTR // sock_intr_errno() of the kernel's include/net/sock.h
			}
			return restart
		case waitGone:
			return unix.EPERM
		default:
			// As after SO_SNDTIMEO: it goes on by itself, socket(7).
			return errnoOf(err)
		}
	}
}

// dialBriefly connects a socket without waiting for the peer: what is left to wait for is
// EINPROGRESS or EALREADY. Only the file's O_NONBLOCK or the socket's SO_SNDTIMEO can say
// so, and the caller shares both; a timeout that nothing but a call that waits looks at is
// the lesser meddling, and the sandbox sets one only through Setsockopt, so not
// meanwhile. Nor is a connect put off until the first data (TCP_FASTOPEN_CONNECT), when the
// verdict may no longer hold. It returns what the timeout was, 0 for none.
func (h *Net) dialBriefly(c *netCall, a address) (limit time.Duration, err error) {
	defer h.lock(c.socket.inode)()
	before, err := unix.GetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO)
	if err != nil {
		return 0, err
	}
	if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Usec: 1}); err != nil {
		return 0, err
	}
	if deferred, err := unix.GetsockoptInt(c.fd, unix.SOL_TCP, unix.TCP_FASTOPEN_CONNECT); err == nil && deferred != 0 {
		_ = unix.SetsockoptInt(c.fd, unix.SOL_TCP, unix.TCP_FASTOPEN_CONNECT, 0) // EINVAL: it has connected before
	}
	err = sys.Connect(c.fd, a.raw)
	_ = unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, before)
	return time.Duration(before.Nano()), err
}

// socketLock keeps two calls from changing the timeout of one socket at a time.
type socketLock struct {
	sync.Mutex
	users int
}

func (h *Net) lock(inode uint64) (unlock func()) {
	h.mu.Lock()
	l := h.sockets[inode]
	if l == nil {
		l = &socketLock{}
		h.sockets[inode] = l
	}
	l.users++
	h.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		h.mu.Lock()
		defer h.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(h.sockets, inode)
		}
	}
}

func errnoOrNone(err error) unix.Errno {
	if err == nil {
		return 0
	}
	return errnoOf(err)
}
