package handler

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/sandlock/sandlock/core/internal/notify"
	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// Getsockname and Getpeername are the [notify.Handler] of these calls where there are
// virtual ports. A port that is what it says is for the kernel to tell: no decision rests
// on it.
func (h *Net) Getsockname() notify.Handler { return h.handle("getsockname", h.getsockname) }
func (h *Net) Getpeername() notify.Handler { return h.handle("getpeername", h.getpeername) }

func (h *Net) getsockname(c *netCall) (int64, unix.Errno) {
	return h.tell(c, sys.Getsockname, func(netip.Addr) bool { return true })
}

func (h *Net) getpeername(c *netCall) (int64, unix.Errno) {
	return h.tell(c, sys.Getpeername, netip.Addr.IsLoopback)
}

// tell answers with an address whose port is shown as another, if it is one that has such.
func (h *Net) tell(c *netCall, name func(int) ([]byte, error), has func(netip.Addr) bool) (int64, unix.Errno) {
	if h.Remap.empty() {
		return 0, c.letGoOn()
	}
	if errno := c.open(); errno != 0 {
		return 0, errno
	}
	if p, inet := c.socket.inet(); !inet || p != TCP {
		return 0, c.letGoOn()
	}
	b, err := name(c.fd)
	if err != nil {
		return 0, errnoOf(err)
	}
	real := boundTo(b, c.socket.domain)
	virtual, ok := h.Remap.virtual(real.Port())
	if !ok || !real.IsValid() || !has(real.Addr()) {
		return 0, c.letGoOn()
	}
	binary.BigEndian.PutUint16(b[2:], virtual)
	return 0, c.writeAddress(b)
}

// writeAddress gives the caller an address as move_addr_to_user() of the kernel's
// net/socket.c does.
func (c *netCall) writeAddress(b []byte) unix.Errno {
	to, sizeAt := c.r.Data.Args[1], c.r.Data.Args[2]
	word, errno := c.read(sizeAt, 4)
	if errno != 0 {
		return errno
	}
	size := int32(binary.NativeEndian.Uint32(word))
	switch n := min(int(size), len(b)); {
	case size < 0:
		return unix.EINVAL
	case n > 0 && !c.write(to, b[:n]):
		return unix.EFAULT
	case !c.write(sizeAt, binary.NativeEndian.AppendUint32(nil, uint32(len(b)))):
		return unix.EFAULT
	}
	return 0
}

// dialOwn connects to a listener of the sandbox's own, whose port is another than the one
// that was judged. That port is nobody else's only while the listener is held. So what has
// not come about when it is let go of is taken back: the kernel would go on to try, and
// could reach who has the port then.
func (h *Net) dialOwn(c *netCall, a address, port uint16, listener int) unix.Errno {
	a.raw = slices.Clone(a.raw)
	binary.BigEndian.PutUint16(a.raw[2:], port)
	defer sys.Close(listener)
	flags, err := unix.FcntlInt(uintptr(c.fd), unix.F_GETFL, 0)
	if err != nil {
		return errnoOf(err)
	}
	blocking := flags&unix.O_NONBLOCK == 0
	limit, err := h.dialBriefly(c, a)
	for err == unix.EINTR {
		_, err = h.dialBriefly(c, a) // the Go runtime's own signals
	}
	switch {
	case err == unix.EALREADY:
		return h.dial(c, TCP, a.undialled()) // it is on its way to somewhere else
	case err != unix.EINPROGRESS:
		return errnoOrNone(err)
	}
	patience := firstRetry
	if limit > 0 && limit < patience {
		patience = limit
	}
	outcome := waitReady
	if fds := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLOUT}}; !pollNow(fds) {
		outcome = h.wait(c, unix.POLLOUT, time.Now().Add(patience))
	}
	switch outcome {
	case waitReady:
		if blocking {
			_, err := h.dialBriefly(c, a.undialled())
			return errnoOrNone(err)
		}
		return unix.EINPROGRESS // how it went is for the caller to ask: SO_ERROR
	case waitGone:
		return unix.EPERM
	}
	_ = sys.Connect(c.fd, make([]byte, sizeofInet4)) // AF_UNSPEC
	_, _ = unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	switch {
	case outcome == waitInterrupted && limit > 0:
		return unix.EINTR
	case outcome == waitInterrupted:
		return restart
	}
	return unix.ECONNREFUSED // its queue is full
}

// firstRetry is just below TCP_TIMEOUT_INIT of the kernel's include/net/tcp.h, after which
// a listener that has no room is asked again.
const firstRetry = 900 * time.Millisecond

// pollNow reports whether a descriptor is ready.
func pollNow(fds []unix.PollFd) bool {
	for {
		if n, err := unix.Poll(fds, 0); err != unix.EINTR {
			return n > 0
		}
	}
}
