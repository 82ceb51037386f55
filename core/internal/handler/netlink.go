package handler

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/sandlock/sandlock/core/internal/notify"
	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// Netlink stands in for the kernel behind the sockets of rtnetlink(7) of a sandbox, and knows
// of nothing but the loopback interface. libc asks there for getifaddrs(3). A real one, which
// tells whoever has it of all interfaces, addresses, routes and neighbours, and with
// CAP_NET_ADMIN changes them, is not made.
//
// The sandbox gets one end of a pair of unix sockets, by a number of a range that the filter
// knows. Of these numbers bind(2), getsockname(2) and the sends come here. What is read is
// what was put there, and no call of the library: the other end has a name by which
// recvmsg(2) finds nl_pid 0, the kernel's, at its place.
type Netlink struct {
	// From is the first number, and Numbers is how many there are: so many sockets a sandbox
	// has at most. The filter has the same.
	From, Numbers uint32

	mu      sync.Mutex // guards what follows
	sockets map[uint64]*netlinkSocket
	closed  bool
}

// netlinkSocket is one, by the inode of the sandbox's end.
type netlinkSocket struct {
	peer  int
	port  uint32 // nl_pid
	group uint32 // nl_groups; nothing ever happens there
	asked bool   // about links
}

// sizeofNetlink is that of struct sockaddr_nl, netlink(7).
const sizeofNetlink = 12

// NewNetlink makes one.
func NewNetlink(from, numbers uint32) *Netlink {
	return &Netlink{From: from, Numbers: numbers, sockets: map[uint64]*netlinkSocket{}}
}

// Socket is the [notify.Handler] of socket(2) for AF_NETLINK and NETLINK_ROUTE.
func (h *Net) Socket() notify.Handler { return h.handle("socket", h.netlinkSocket) }

func (h *Net) netlinkSocket(c *netCall) (int64, unix.Errno) {
	t, err := readTask(c.r.TID)
	if err != nil || !c.r.Valid() {
		return 0, unix.EPERM // nobody is there to hear it
	}
	kind := int(int32(c.r.Data.Args[1]))
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|kind&unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, unix.ENFILE
	}
	theirs, peer := sys.Opened(fds[0]), sys.Opened(fds[1])
	defer sys.Close(theirs)
	var st unix.Stat_t
	if err := unix.Fstat(theirs, &st); err != nil {
		sys.Close(peer)
		return 0, unix.ENFILE
	}
	// What is sent by another number than those, one that dup(2) gave it, would stay unheard:
	// now it fails (EPIPE).
	if err := cmp.Or(unix.Shutdown(peer, unix.SHUT_RD), nameAsKernel(peer)); err != nil {
		sys.Close(peer)
		return 0, unix.ENFILE
	}
	return h.Netlink.add(c, st.Ino, theirs, &netlinkSocket{peer: peer, port: t.tgid}, kind&unix.SOCK_CLOEXEC)
}

// nameAsKernel gives a unix socket a name (unix(7), abstract) that reads as a struct
// sockaddr_nl whose nl_pid is 0, but for the family, at which libc does not look. What tells
// one from another is nl_groups and the padding.
func nameAsKernel(fd int) error {
	name := make([]byte, sizeofNetlink)
	for {
		_, _ = rand.Read(name)
		name[0], name[1], name[2] = unix.AF_UNIX, 0, 0
		clear(name[4:8])
		if err := sys.Bind(fd, name); err != unix.EADDRINUSE {
			return err
		}
	}
}

// add hands a socket over, under a number that the caller has free. It takes the peer.
func (n *Netlink) add(c *netCall, inode uint64, theirs int, s *netlinkSocket, flags int) (int64, unix.Errno) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sweep()
	if n.closed || len(n.sockets) >= int(n.Numbers) {
		sys.Close(s.peer)
		return 0, unix.EMFILE
	}
	for number := n.From; number < n.From+n.Numbers; number++ {
		path := fmt.Sprintf("/proc/%d/fd/%d", c.r.TID, number)
		if err := unix.Faccessat(unix.AT_FDCWD, path, unix.F_OK, unix.AT_SYMLINK_NOFOLLOW); err == nil {
			continue
		} else if err != unix.ENOENT {
			break
		}
		n.sockets[inode] = s
		err := c.r.SetFD(theirs, number, flags != 0)
		if err == nil {
			return int64(number), 0
		}
		delete(n.sockets, inode)
		break // its RLIMIT_NOFILE is lower, as a rule
	}
	sys.Close(s.peer)
	return 0, unix.EAFNOSUPPORT // as without
}

// sweep forgets the sockets that the sandbox has closed. n.mu is held.
func (n *Netlink) sweep() {
	for inode, s := range n.sockets {
		fds := []unix.PollFd{{Fd: int32(s.peer)}}
		if pollNow(fds) {
			sys.Close(s.peer)
			delete(n.sockets, inode)
		}
	}
}

func (n *Netlink) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	for inode, s := range n.sockets {
		sys.Close(s.peer)
		delete(n.sockets, inode)
	}
}

// OfNumber is the [notify.Handler] of a call on a descriptor that can be one of these: bind,
// getsockname, sendto or sendmsg. What is none is for the rest, or, without one, the kernel,
// which is what becomes of other numbers.
func (h *Net) OfNumber(name string, rest notify.Handler) notify.Handler {
	calls := map[string]func(*netCall, *netlinkSocket) (int64, unix.Errno){
		"bind": h.netlinkBind, "getsockname": h.netlinkName, "sendto": h.netlinkSendto, "sendmsg": h.netlinkSendmsg,
	}
	mine := h.handle(name, func(c *netCall) (int64, unix.Errno) {
		inode, ok := socketOf(fmt.Sprintf("/proc/%d/fd/%d", c.r.TID, c.number))
		if s := h.Netlink.find(inode); ok && s != nil {
			return calls[name](c, s)
		}
		if rest == nil {
			return 0, c.letGoOn()
		}
		rest(c.r)
		return 0, answered
	})
	return func(r *notify.Request) {
		if fd := uint32(r.Data.Args[0]); rest == nil || fd-h.Netlink.From < h.Netlink.Numbers {
			mine(r)
		} else {
			rest(r)
		}
	}
}

func (n *Netlink) find(inode uint64) *netlinkSocket {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sockets[inode]
}

func (h *Net) netlinkBind(c *netCall, s *netlinkSocket) (int64, unix.Errno) {
	b, errno := c.readAddress(c.r.Data.Args[1], int32(c.r.Data.Args[2]))
	if errno == 0 && (len(b) < sizeofNetlink || familyOf(b) != unix.AF_NETLINK) {
		errno = unix.EINVAL
	}
	if errno != 0 {
		return 0, errno
	}
	h.Netlink.mu.Lock()
	defer h.Netlink.mu.Unlock()
	if port := binary.NativeEndian.Uint32(b[4:]); port != 0 {
		s.port = port
	}
	s.group = binary.NativeEndian.Uint32(b[8:])
	return 0, 0
}

func (h *Net) netlinkName(c *netCall, s *netlinkSocket) (int64, unix.Errno) {
	h.Netlink.mu.Lock()
	b := binary.NativeEndian.AppendUint32(nil, unix.AF_NETLINK) // and nl_pad
	b = binary.NativeEndian.AppendUint32(b, s.port)
	b = binary.NativeEndian.AppendUint32(b, s.group)
	h.Netlink.mu.Unlock()
	return 0, c.writeAddress(b)
}

// maxNetlink bounds a request; those that there are have some tens of bytes.
const maxNetlink = 1 << 12

func (h *Net) netlinkSendto(c *netCall, s *netlinkSocket) (int64, unix.Errno) {
	a := c.r.Data.Args
	m := message{vectors: []vector{{a[1], a[2]}}, size: a[2]}
	if a[4] != 0 {
		var errno unix.Errno
		if m.name, errno = c.readAddress(a[4], int32(a[5])); errno != 0 {
			return 0, errno
		}
	}
	return h.netlinkSend(c, s, &m)
}

func (h *Net) netlinkSendmsg(c *netCall, s *netlinkSocket) (int64, unix.Errno) {
	m, errno := c.readMessage(c.r.Data.Args[1], 0)
	if errno != 0 {
		return 0, errno
	}
	return h.netlinkSend(c, s, m)
}

func (h *Net) netlinkSend(c *netCall, s *netlinkSocket, m *message) (int64, unix.Errno) {
	switch {
	case m.size > maxNetlink:
		return 0, unix.EMSGSIZE
	case len(m.name) > 0 && (len(m.name) < sizeofNetlink || familyOf(m.name) != unix.AF_NETLINK):
		return 0, unix.EINVAL
	case len(m.name) > 0 && (binary.NativeEndian.Uint32(m.name[4:]) != 0 || binary.NativeEndian.Uint32(m.name[8:]) != 0):
		return 0, unix.EPERM // to somebody else, or to all
	}
	request, errno := c.data(m, 0, maxNetlink)
	if errno != 0 {
		return 0, errno
	}
	h.Netlink.mu.Lock()
	defer h.Netlink.mu.Unlock()
	if h.Netlink.closed {
		return 0, unix.EPERM
	}
	answers, errno := s.answer(request)
	if errno != 0 {
		return 0, errno
	}
	for _, b := range answers {
		if _, err := sys.Sendmsg(s.peer, nil, b, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL); err != nil {
			return 0, unix.ENOBUFS // it does not read what it has asked for
		}
	}
	return int64(m.size), 0
}
