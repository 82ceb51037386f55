package handler

import (
	"bytes"
	"time"

	"github.com/sandlock/sandlock/core/internal/broker"
	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// Unix sockets, where a call can't be left to the kernel, see Net. It is made by a thread with
// the caller's credentials; of who did it the peer sees them, and this process (SO_PEERCRED,
// SCM_CREDENTIALS), as with listen.

// sunPath is where sun_path starts in struct sockaddr_un, unix(7).
const sunPath = 2

// connectUnix connects, and waits for a place in the queue of the other socket as long as
// the caller would.
func (h *Net) connectUnix(c *netCall) unix.Errno {
	b, errno := c.readAddress(c.r.Data.Args[1], int32(c.r.Data.Args[2]))
	if errno != 0 {
		return errno
	}
	var deadline time.Time
	for first := true; ; first = false {
		var limit time.Duration
		errno := h.reachUnix(c, b, func(raw []byte) (err error) {
			if c.socket.kind == unix.SOCK_DGRAM {
				return sys.Connect(c.fd, raw)
			}
			limit, err = h.dialBriefly(c, address{raw: raw})
			return err
		})
		if errno != unix.EAGAIN || c.socket.kind == unix.SOCK_DGRAM {
			return errno
		}
		if first && limit > 0 {
			deadline = time.Now().Add(limit)
		}
		flags, err := unix.FcntlInt(uintptr(c.fd), unix.F_GETFL, 0)
		if err != nil || flags&unix.O_NONBLOCK != 0 {
			return unix.EAGAIN
		}
		if errno := h.waitFor(c, 0, deadline, limit > 0); errno != 0 {
			return errno
		}
	}
}

// sendUnix sends what a caller sends on a unix socket. A datagram goes as one.
func (h *Net) sendUnix(c *netCall, m *message) (int64, unix.Errno) {
	caller, errno := c.asBroker()
	if errno != 0 {
		return 0, errno
	}
	control, done, errno := h.unixControl(c.r, c.pidfd, caller.Task.TGID, m.control)
	defer done()
	if errno == unix.EPERM {
		h.Log("%s of task %d denied: it sends credentials that are not its own", c.name, c.r.TID)
	}
	if errno != 0 {
		return 0, errno
	}
	send := func(raw, data, control []byte) (n int, err error) {
		err = h.Broker.As(caller, func() (err error) {
			n, err = sys.Sendmsg(c.fd, raw, data, control, m.flags|sendFlags)
			return err
		})
		return n, err
	}
	if c.socket.kind == unix.SOCK_STREAM {
		if len(m.name) > 0 { // unix_stream_sendmsg() of the kernel's net/unix/af_unix.c
			if _, err := unix.Getpeername(c.fd); err != nil {
				return 0, unix.EOPNOTSUPP
			}
			return 0, unix.EISCONN
		}
		return h.sendStream(c, m, func(data []byte, first bool) (int, error) {
			if !first {
				return send(nil, data, nil) // control data goes with the first bytes
			}
			return send(nil, data, control)
		})
	}
	if m.size > maxMessage {
		return 0, unix.EMSGSIZE
	}
	data, errno := c.data(m, 0, maxMessage)
	if errno != 0 {
		return 0, errno
	}
	if len(m.name) == 0 || c.socket.kind == unix.SOCK_SEQPACKET { // which does not look at it
		n, errno := h.sendPatiently(c, m, unix.POLLOUT, func() (int, error) { return send(nil, data, control) })
		return int64(n), errno
	}
	// Nothing tells when another socket than the connected one has room.
	n, errno := h.sendPatiently(c, m, 0, func() (n int, err error) {
		errno := h.reachUnix(c, m.name, func(raw []byte) error {
			n, err = sys.Sendmsg(c.fd, raw, data, control, m.flags|sendFlags)
			return err
		})
		if errno != 0 {
			return 0, errno
		}
		return n, nil
	})
	return int64(n), errno
}

// reachUnix has use called with an address of the very socket that the caller's leads to,
// with its credentials, if that may be reached.
func (h *Net) reachUnix(c *netCall, b []byte, use func(raw []byte) error) unix.Errno {
	caller, errno := c.asBroker()
	if errno != 0 {
		return errno
	}
	switch {
	case len(b) >= 2 && b[0] == unix.AF_UNSPEC && b[1] == 0:
		return errnoOrNone(h.Broker.As(caller, func() error { return use(b[:2]) }))
	case len(b) <= sunPath || len(b) > unix.SizeofSockaddrUnix || b[0] != unix.AF_UNIX || b[1] != 0:
		return unix.EINVAL
	case b[sunPath] == 0:
		if h.Abstract != nil {
			release, ok := h.Abstract(b[sunPath:], c.socket.kind, caller.Task.TGID)
			if !ok {
				return unix.ECONNREFUSED // as where nobody has the name
			}
			defer release()
		}
		return errnoOrNone(h.Broker.As(caller, func() error { return use(b) }))
	}
	path, _, _ := bytes.Cut(b[sunPath:], []byte{0})
	return errnoOrNone(h.Broker.Socket(caller, h.Denials, string(path), func(path string) error {
		raw := append([]byte{unix.AF_UNIX, 0}, path...)
		return use(append(raw, 0))
	}))
}

// makeUnix binds to an abstract name or a path, or to an abstract name of the kernel's choice.
func (h *Net) makeUnix(c *netCall) unix.Errno {
	b, errno := c.readAddress(c.r.Data.Args[1], int32(c.r.Data.Args[2]))
	if errno != 0 {
		return errno
	}
	caller, errno := c.asBroker()
	switch {
	case errno != 0:
		return errno
	case len(b) < sunPath || len(b) > unix.SizeofSockaddrUnix || b[0] != unix.AF_UNIX || b[1] != 0:
		return unix.EINVAL
	case len(b) == sunPath || b[sunPath] == 0:
		return errnoOrNone(h.Broker.As(caller, func() error { return sys.Bind(c.fd, b) }))
	}
	path, _, _ := bytes.Cut(b[sunPath:], []byte{0})
	return errnoOrNone(h.Broker.Bind(caller, h.Denials, string(path), func(path string) error {
		raw := append([]byte{unix.AF_UNIX, 0}, path...)
		if len(raw) > unix.SizeofSockaddrUnix {
			return unix.ENAMETOOLONG
		}
		if len(raw) < unix.SizeofSockaddrUnix {
			raw = append(raw, 0)
		}
		return sys.Bind(c.fd, raw)
	}))
}

// asBroker returns who makes the call.
func (c *netCall) asBroker() (*broker.Caller, unix.Errno) {
	t, err := broker.ReadTask(statusOf(c.r.TID))
	if err != nil || !c.r.Valid() {
		return nil, unix.EPERM // nobody is there to hear it
	}
	return &broker.Caller{TID: c.r.TID, Task: t, Valid: c.r.Valid, Asker: broker.Asker{Log: c.h.Audit, Call: c.name, Who: Who(c.r)}}, 0
}
