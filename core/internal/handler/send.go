package handler

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/sandlock/sandlock/core/internal/audit"
	"github.com/sandlock/sandlock/core/internal/notify"
	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// Sendto, Sendmsg and Sendmmsg are the [notify.Handler] of these calls.
func (h *Net) Sendto() notify.Handler   { return h.handle("sendto", h.sendto) }
func (h *Net) Sendmsg() notify.Handler  { return h.handle("sendmsg", h.sendmsg) }
func (h *Net) Sendmmsg() notify.Handler { return h.handle("sendmmsg", h.sendmmsg) }

const (
	maxDatagram = 1<<16 - 1 // of UDP and ICMP: udp(7)
	maxVectors  = 1024      // UIO_MAXIOV
	maxChunk    = 1 << 16   // of a stream, copied at a time
	maxMessage  = 1 << 20   // of a unix datagram; the default of net.core.wmem_max is below

	sizeofMsghdr  = 56 // struct msghdr, recvmsg(2)
	sizeofMmsghdr = 64 // struct mmsghdr, sendmmsg(2)
	lengthInMmsg  = 56 // its msg_len
	sizeofIovec   = 16
)

// vector is a piece of the caller's memory.
type vector struct{ base, size uint64 }

// message is what one call, or one of the messages of sendmmsg, sends.
type message struct {
	name     []byte // as in the caller's memory
	named    bool   // … though it may be empty
	vectors  []vector
	size     uint64
	control  []byte // as there
	flags    int
	blocking bool
}

func (h *Net) sendto(c *netCall) (int64, unix.Errno) {
	done, errno := h.prepareSend(c)
	if done || errno != 0 {
		return 0, errno
	}
	a := c.r.Data.Args
	m := message{vectors: []vector{{a[1], a[2]}}, size: a[2], flags: int(int32(a[3]))}
	if m.named = a[4] != 0; m.named {
		if m.name, errno = c.readAddress(a[4], int32(a[5])); errno != 0 {
			return 0, errno
		}
	}
	return h.send(c, &m)
}

func (h *Net) sendmsg(c *netCall) (int64, unix.Errno) {
	done, errno := h.prepareSend(c)
	if done || errno != 0 {
		return 0, errno
	}
	m, errno := c.readMessage(c.r.Data.Args[1], int(int32(c.r.Data.Args[2])))
	if errno != 0 {
		return 0, errno
	}
	return h.send(c, m)
}

// sendmmsg sends one message after the other. It fails only if the first does; what was
// sent before a later one that fails is counted, sendmmsg(2).
func (h *Net) sendmmsg(c *netCall) (int64, unix.Errno) {
	done, errno := h.prepareSend(c)
	if done || errno != 0 {
		return 0, errno
	}
	at, count := c.r.Data.Args[1], min(int64(uint32(c.r.Data.Args[2])), maxVectors)
	for i := range count {
		m, errno := c.readMessage(at, int(int32(c.r.Data.Args[3])))
		var n int64
		if errno == 0 {
			n, errno = h.send(c, m)
		}
		if errno == 0 && !c.write(at+lengthInMmsg, binary.NativeEndian.AppendUint32(nil, uint32(n))) {
			errno = unix.EFAULT
		}
		switch {
		case errno != 0 && i > 0:
			return i, 0
		case errno != 0:
			return 0, errno
		}
		at += sizeofMmsghdr
	}
	return count, 0
}

// prepareSend takes the socket. done: the call has its answer.
func (h *Net) prepareSend(c *netCall) (done bool, errno unix.Errno) {
	if errno := c.open(); errno != 0 {
		return false, errno
	}
	if p, inet := c.socket.inet(); inet && p != TCP {
		return false, 0
	} else if inet {
		// A stream has no use for an address.
		if own, errno := c.keepsSocket(); !own {
			return false, errno
		}
		return true, c.letGoOn()
	}
	return h.other(c, false)
}

// readMessage copies a struct msghdr and all that it leads to but the data, as
// copy_msghdr_from_user() of the kernel's net/socket.c.
func (c *netCall) readMessage(at uint64, flags int) (*message, unix.Errno) {
	b, errno := c.read(at, sizeofMsghdr)
	if errno != 0 {
		return nil, errno
	}
	word := func(i int) uint64 { return binary.NativeEndian.Uint64(b[i:]) }
	m := &message{flags: flags}
	if name, size := word(0), int32(binary.NativeEndian.Uint32(b[8:])); name != 0 {
		if size < 0 {
			return nil, unix.EINVAL
		}
		if m.name, errno = c.read(name, int(min(size, maxAddress))); errno != 0 {
			return nil, errno
		}
	}
	count := word(24)
	if count > maxVectors {
		return nil, unix.EMSGSIZE
	}
	control, size := word(32), word(40)
	if size > maxControl {
		return nil, unix.ENOBUFS
	}
	if b, errno = c.read(word(16), int(count)*sizeofIovec); errno != 0 {
		return nil, errno
	}
	for ; len(b) > 0; b = b[sizeofIovec:] {
		v := vector{binary.NativeEndian.Uint64(b), binary.NativeEndian.Uint64(b[8:])}
		if int64(v.size) < 0 {
			return nil, unix.EINVAL
		}
		v.size = min(v.size, 1<<31-1-m.size) // MAX_RW_COUNT, nearly
		m.size += v.size
		m.vectors = append(m.vectors, v)
	}
	m.control, errno = c.read(control, int(size))
	return m, errno
}

// data copies up to most bytes of the message, from the offset on.
func (c *netCall) data(m *message, offset, most uint64) ([]byte, unix.Errno) {
	var all []byte
	for _, v := range m.vectors {
		if offset >= v.size {
			offset -= v.size
			continue
		}
		n := min(v.size-offset, most-uint64(len(all)))
		b, errno := c.read(v.base+offset, int(n))
		if errno != 0 {
			return nil, errno
		}
		if all = append(all, b...); uint64(len(all)) == most {
			break
		}
		offset = 0
	}
	return all, 0
}

// write fills the caller's memory in, as the kernel does after a call. Not of whoever has its
// number by then, as far as that can be seen before.
func (c *netCall) write(at uint64, b []byte) (ok bool) {
	c.h.outside(func() { ok = c.r.Valid() && c.r.WriteMemory(at, b) == nil })
	return ok
}

// send judges one message and sends it.
func (h *Net) send(c *netCall, m *message) (int64, unix.Errno) {
	if m.flags&unix.MSG_ZEROCOPY != 0 {
		return 0, unix.ENOBUFS // on which its users copy: Documentation/networking/msg_zerocopy.rst
	}
	flags, err := unix.FcntlInt(uintptr(c.fd), unix.F_GETFL, 0)
	if err != nil {
		return 0, errnoOf(err)
	}
	m.blocking = flags&unix.O_NONBLOCK == 0 && m.flags&unix.MSG_DONTWAIT == 0
	p, inet := c.socket.inet()
	switch {
	case inet && p == TCP:
		return h.sendStream(c, m, func(data []byte, _ bool) (int, error) {
			return sys.Sendmsg(c.fd, nil, data, nil, m.flags|sendFlags)
		})
	case inet:
		return h.sendDatagram(c, p, m)
	}
	return h.sendUnix(c, m)
}

func (h *Net) sendDatagram(c *netCall, p Protocol, m *message) (int64, unix.Errno) {
	if m.size > maxDatagram {
		return 0, unix.EMSGSIZE
	}
	control, errno := inetControl(m.control)
	switch errno {
	case 0:
	case unix.EPERM:
		return 0, c.refuse(errno, audit.Refusal{By: audit.ByFilter})
	default:
		return 0, errno
	}
	if m.named && len(m.name) == 0 {
		return 0, unix.EINVAL
	}
	a, errno := datagramAddress(m.name, c.socket, p)
	if errno != 0 {
		return 0, errno
	}
	data, errno := c.data(m, 0, maxDatagram)
	if errno != 0 {
		return 0, errno
	}
	if a.raw != nil {
		if errno := h.judge(c, p, a); errno != 0 {
			return 0, errno
		}
	} else if !c.r.Valid() {
		return 0, unix.EPERM
	}
	n, errno := h.sendPatiently(c, m, unix.POLLOUT, plainSend(c, m, a.raw, data, control))
	return int64(n), errno
}

// sendFlags keep a send from waiting, and this process from a signal.
const sendFlags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL

func plainSend(c *netCall, m *message, name, data, control []byte) func() (int, error) {
	return func() (int, error) { return sys.Sendmsg(c.fd, name, data, control, m.flags|sendFlags) }
}

// sendStream sends what one write to a stream would: all, if the caller waits for it.
func (h *Net) sendStream(c *netCall, m *message, send func(data []byte, first bool) (int, error)) (sent int64, errno unix.Errno) {
	for first := true; first || uint64(sent) < m.size; first = false {
		data, errno := c.data(m, uint64(sent), maxChunk)
		var n int
		if errno == 0 {
			n, errno = h.sendPatiently(c, m, unix.POLLOUT, func() (int, error) { return send(data, first) })
		}
		switch {
		case errno != 0 && sent > 0:
			return sent, 0
		case errno == unix.EPIPE && m.flags&unix.MSG_NOSIGNAL == 0:
			_ = unix.PidfdSendSignal(c.pidfd, unix.SIGPIPE, nil, 0)
			return 0, errno
		case errno != 0:
			return 0, errno
		}
		sent += int64(n)
		if n < len(data) && !m.blocking {
			break
		}
	}
	return sent, 0
}

// sendPatiently sends at once, or waits for room as long as the caller would: for what the
// socket tells of, or without events for a while.
func (h *Net) sendPatiently(c *netCall, m *message, events int16, send func() (int, error)) (int, unix.Errno) {
	var deadline time.Time
	limited := false
	for {
		n, err := send()
		switch {
		case err == nil:
			return n, 0
		case errors.Is(err, unix.EINTR):
			continue // the Go runtime's own signals
		case !errors.Is(err, unix.EAGAIN) || !m.blocking:
			return 0, errnoOf(err)
		}
		if deadline.IsZero() {
			limit, err := unix.GetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO)
			if err != nil {
				return 0, errnoOf(err)
			}
			if limited = limit.Nano() > 0; limited {
				deadline = time.Now().Add(time.Duration(limit.Nano()))
			}
		}
		if errno := h.waitFor(c, events, deadline, limited); errno != 0 {
			return 0, errno
		}
	}
}
