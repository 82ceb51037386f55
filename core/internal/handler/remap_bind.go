package handler

import (
	"encoding/binary"
	"slices"

	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// maxProbes bounds how often a free port is looked for that is gone again when it is bound.
const maxProbes = 64

// bind binds the caller's socket to an address whose port is a virtual one.
//
// All that the sandbox binds to one virtual port, on addresses that overlap, gets one real
// port, so that the kernel decides what may share it. Its first takes the port of the same
// number if it is free, and another otherwise. Free is what nobody has bound, whatever
// SO_REUSEADDR and SO_REUSEPORT would share: two servers that set one of them could both
// have a port before the first listens, and the second's listen would fail.
func (t *Remap) bind(c *netCall, b []byte) unix.Errno {
	to := boundTo(b, c.socket.domain)
	if !to.IsValid() {
		return errnoOrNone(sys.Bind(c.fd, b)) // the kernel says what is wrong with it
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := &boundSocket{virtual: to.Port(), at: to.Addr(), inode: c.socket.inode, holder: holder{c.r.TID, c.number}}
	if c.socket.domain == unix.AF_INET6 && to.Addr().Is6() && to.Addr().IsUnspecified() {
		only, err := unix.GetsockoptInt(c.fd, unix.SOL_IPV6, unix.IPV6_V6ONLY)
		s.dual = err == nil && only == 0
	}
	var err error
	if s.cookie, err = unix.GetsockoptUint64(c.fd, unix.SOL_SOCKET, unix.SO_COOKIE); err != nil {
		return errnoOf(err)
	}
	if errno := t.choose(c.fd, b, s); errno != 0 {
		return errno
	}
	return t.add(c.fd, s)
}

func (t *Remap) choose(fd int, b []byte, s *boundSocket) unix.Errno {
	at := func(port uint16) []byte {
		b := slices.Clone(b)
		binary.BigEndian.PutUint16(b[2:], port)
		return b
	}
	if s.virtual == 0 {
		return errnoOrNone(sys.Bind(fd, b))
	}
	own := t.living(func(o *boundSocket) bool { return o.virtual == s.virtual })
	for _, o := range own {
		if o.overlaps(s) {
			return errnoOrNone(sys.Bind(fd, at(o.real)))
		}
	}
	var ports []uint16
	for _, o := range own {
		ports = append(ports, o.real)
	}
	if len(t.living(func(o *boundSocket) bool { return o.real == s.virtual && o.virtual != s.virtual })) == 0 {
		ports = append(ports, s.virtual)
	}
	for _, port := range ports {
		if errno := bindAlone(fd, at(port), unix.SO_REUSEADDR, unix.SO_REUSEPORT); errno != unix.EADDRINUSE {
			return errno
		}
	}
	// What it has had before may be taken by its own connections that are closing, for which
	// there is SO_REUSEADDR.
	if last := t.last[s.virtual]; last != 0 && len(t.living(func(o *boundSocket) bool { return o.real == last })) == 0 {
		if errno := bindAlone(fd, at(last), unix.SO_REUSEPORT); errno != unix.EADDRINUSE {
			return errno
		}
	}
	for range maxProbes {
		port, errno := freePort()
		if errno != 0 {
			return errno
		}
		if errno := bindAlone(fd, at(port), unix.SO_REUSEADDR, unix.SO_REUSEPORT); errno != unix.EADDRINUSE {
			return errno
		}
	}
	return unix.EADDRINUSE
}

// add keeps what was bound. t.mu is held.
func (t *Remap) add(fd int, s *boundSocket) unix.Errno {
	name, err := sys.Getsockname(fd)
	if err != nil {
		return errnoOf(err)
	}
	s.real = portIn(name)
	if s.virtual == 0 {
		s.virtual = t.unused(s.real)
	}
	// One that was bound before and has lost its port since: connect(2), AF_UNSPEC.
	t.bound = slices.DeleteFunc(t.bound, func(o *boundSocket) bool { return o.cookie == s.cookie })
	t.bound = append(t.bound, s)
	if len(t.bound) > 2*t.swept+64 {
		t.sweep()
	}
	t.last[s.virtual] = s.real
	if s.virtual == s.real {
		delete(t.shown, s.real)
	} else {
		t.shown[s.real] = s.virtual
	}
	return 0
}

// unused is the virtual port of a real one that the kernel has chosen: its own number, or, if
// the sandbox has that as a virtual one of another real port, that, and so on. t.mu is held.
func (t *Remap) unused(real uint16) uint16 {
	if same := t.living(func(o *boundSocket) bool { return o.real == real }); len(same) > 0 {
		return same[0].virtual // on another address
	}
	for port := real; ; {
		taken := t.living(func(o *boundSocket) bool { return o.virtual == port })
		if len(taken) == 0 {
			return port
		}
		port = taken[0].real
	}
}

// bindAlone binds a socket without some of its options.
func bindAlone(fd int, address []byte, options ...int) unix.Errno {
	for _, option := range options {
		if on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, option); err != nil {
			return errnoOf(err)
		} else if on == 0 {
			continue
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 0); err != nil {
			return errnoOf(err)
		}
		defer func() { _ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1) }()
	}
	return errnoOrNone(sys.Bind(fd, address))
}

// freePort is a port that nobody has, on any address. It can't be kept for the caller: the
// kernel does not know whom it would be kept for.
func freePort() (uint16, unix.Errno) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	var any unix.Sockaddr = &unix.SockaddrInet6{}
	if err == unix.EAFNOSUPPORT {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		any = &unix.SockaddrInet4{}
	}
	if err != nil {
		return 0, unix.ENOBUFS
	}
	defer unix.Close(fd)
	_ = unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, 0)
	if err := unix.Bind(fd, any); err != nil {
		return 0, errnoOf(err)
	}
	name, err := sys.Getsockname(fd)
	return portIn(name), errnoOrNone(err)
}
