package handler

import (
	"errors"
	"sync"

	"github.com/sandlock/sandlock/core/internal/notify"
	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// netCall is one call on its way.
type netCall struct {
	r    *notify.Request
	name string
	h    *Net

	number int32 // the descriptor in the caller
	socket socket

	mu        sync.Mutex // guards the descriptors against Close
	pidfd, fd int        // -1: none
	asks      bool       // nobody uses them now
}

// socket says what a descriptor is, as the kernel tells it.
type socket struct {
	domain, kind, protocol int
	inode                  uint64
}

// inet returns what rules call the socket; false: it is no socket that they know.
func (s socket) inet() (Protocol, bool) {
	if s.domain != unix.AF_INET && s.domain != unix.AF_INET6 {
		return 0, false
	}
	switch {
	case s.kind == unix.SOCK_STREAM && s.protocol == unix.IPPROTO_TCP:
		return TCP, true
	case s.kind == unix.SOCK_DGRAM && s.protocol == unix.IPPROTO_UDP:
		return UDP, true
	case s.kind == unix.SOCK_DGRAM && (s.protocol == unix.IPPROTO_ICMP || s.protocol == unix.IPPROTO_ICMPV6):
		return ICMP, true
	}
	return 0, false
}

// open takes the socket of the call.
func (c *netCall) open() unix.Errno {
	pidfd, err := openCaller(c.r)
	if err != nil {
		return c.unreachable(err)
	}
	fd, err := takeFD(pidfd, c.number)
	if err != nil {
		unix.Close(pidfd)
		return c.unreachable(err)
	}
	c.mu.Lock()
	c.pidfd, c.fd = sys.Opened(pidfd), sys.Opened(fd)
	c.mu.Unlock()
	s := &c.socket
	for option, to := range map[int]*int{unix.SO_DOMAIN: &s.domain, unix.SO_TYPE: &s.kind, unix.SO_PROTOCOL: &s.protocol} {
		if *to, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, option); err != nil {
			return errnoOf(err)
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return errnoOf(err)
	}
	s.inode = st.Ino
	return 0
}

func (c *netCall) unreachable(err error) unix.Errno {
	errno := errnoOf(err)
	if errno == unix.EPERM && c.r.Valid() {
		c.h.Log("%s of task %d denied: its socket can't be reached: %v", c.name, c.r.TID, err)
	}
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		c.h.Log("%s of task %d failed: the host has no descriptors left: %v", c.name, c.r.TID, err)
		return unix.ENOBUFS
	}
	return errno
}

func (c *netCall) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop()
}

// drop closes the descriptors. c.mu is held.
func (c *netCall) drop() {
	sys.Close(c.pidfd)
	sys.Close(c.fd)
	c.pidfd, c.fd = -1, -1
}

// interrupt ends a connect(2) that the caller has made to block meanwhile, by the file
// flags or the timeout that it shares.
func (c *netCall) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.asks:
		c.drop()
	case c.fd >= 0:
		_ = unix.Shutdown(c.fd, unix.SHUT_RDWR)
	}
}

// parked says whether the call waits for a verdict, and reports whether it has its
// descriptors.
func (c *netCall) parked(now bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asks = now
	return c.fd >= 0
}

// read copies n bytes of the caller's memory.
func (c *netCall) read(addr uint64, n int) ([]byte, unix.Errno) {
	if n == 0 {
		return nil, 0
	}
	h := c.h
	b := make([]byte, n)
	var got int
	var err error
	h.outside(func() { got, err = c.r.ReadMemory(addr, b) })
	switch {
	case !c.r.Valid():
		return nil, unix.EPERM // nobody is there to hear it
	case err != nil && errnoOf(err) != unix.EFAULT:
		h.Log("%s of task %d denied: its memory can't be read: %v", c.name, c.r.TID, err)
		return nil, unix.EPERM
	case err != nil || got < n:
		return nil, unix.EFAULT
	}
	return b, 0
}

// readAddress copies the address of a call: move_addr_to_kernel() of the kernel's
// net/socket.c.
func (c *netCall) readAddress(addr uint64, size int32) ([]byte, unix.Errno) {
	if size < 0 || size > maxAddress {
		return nil, unix.EINVAL
	}
	return c.read(addr, int(size))
}

// keepsSocket reports whether nobody else can put another socket in the place of the
// caller's while it waits: it has no other threads, and only threads share a table of
// descriptors (bpf.Spec, OwnFiles). The socket is looked at again after that: a thread that
// has ended since may have exchanged it before.
func (c *netCall) keepsSocket() (bool, unix.Errno) {
	t, err := readTask(c.r.TID)
	if err != nil || !c.r.Valid() {
		return false, unix.EPERM // nobody is there to hear it
	}
	if t.threads != 1 {
		return false, 0
	}
	before := c.socket
	c.close()
	if errno := c.open(); errno != 0 {
		return false, errno
	}
	if c.socket != before {
		c.h.Log("%s of task %d denied: another socket stands in its place", c.name, c.r.TID)
		return false, unix.EPERM
	}
	return true, 0
}
