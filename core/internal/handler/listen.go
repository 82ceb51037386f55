package handler

import (
	"errors"
	"net/netip"

	"github.com/sandlock/sandlock/core/internal/audit"
	"github.com/sandlock/sandlock/core/internal/notify"
	"golang.org/x/sys/unix"
)

// Listen carries out listen(2) on the caller's behalf. Landlock judges bind, but
// a TCP socket that listens without one gets a port of the kernel's choice, which
// no rule grants. The decision falls on the socket itself, through a descriptor
// of the same open file, and so does the act: nothing can be swapped in between.
//
// A unix socket that listens here shows this process to its clients (SO_PEERCRED),
// since the kernel takes the credentials of whoever calls listen.
type Listen struct {
	// MayListen reports whether a TCP port may be listened on.
	MayListen func(port uint16) bool
	Remap     *Remap // nil unless ports are virtual ones, which MayListen judges
	Log       func(format string, args ...any)
	// Audit, if not nil, is told of what is refused.
	Audit audit.Log

	places chan struct{} // of the calls in work, each of which has a thread and descriptors
}

// maxListening bounds what one sandbox takes of the host; a call may wait in the kernel
// for another one on the same socket.
const maxListening = 4

// NewListen makes a handler; see its fields.
func NewListen(mayListen func(port uint16) bool, log func(format string, args ...any)) *Listen {
	return &Listen{MayListen: mayListen, Log: log, places: make(chan struct{}, maxListening)}
}

// Handle is the [notify.Handler] of listen.
func (h *Listen) Handle(r *notify.Request) {
	l := r.Listener()
	l.Hold()
	l.Go(func() func() {
		h.places <- struct{}{}
		errno := h.listen(r)
		<-h.places
		l.Release()
		return func() {
			if errno != 0 {
				r.Errno(errno)
			} else {
				r.Return(0)
			}
		}
	})
}

func (h *Listen) listen(r *notify.Request) (errno unix.Errno) {
	fd, err := callerFD(r, int32(r.Data.Args[0]))
	if err != nil {
		if !errors.As(err, &errno) {
			errno = unix.EPERM
		}
		if errno == unix.EPERM {
			h.Log("listen of task %d denied: its socket can't be reached: %v", r.TID, err)
		}
		return errno
	}
	defer unix.Close(fd)
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return errnoOf(err)
	}
	inet := domain != unix.AF_UNIX
	if inet && !h.bound(r, fd) {
		return unix.EACCES
	}
	if err := unix.Listen(fd, int(int32(r.Data.Args[1]))); err != nil {
		return errnoOf(err)
	}
	// A connected socket whose port the kernel had chosen can lose it between
	// the two: connect(2), AF_UNSPEC.
	if inet && !h.bound(r, fd) {
		unix.Shutdown(fd, unix.SHUT_RDWR)
		return unix.EACCES
	}
	return 0
}

// bound reports whether the socket has a port that may be listened on.
func (h *Listen) bound(r *notify.Request, fd int) bool {
	var at netip.AddrPort
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return false
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		at = netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		at = netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	default:
		return false
	}
	if h.Remap != nil {
		if port, ok := h.Remap.Bound(fd); ok {
			at = netip.AddrPortFrom(at.Addr(), port)
		}
	}
	if at.Port() != 0 && h.MayListen(at.Port()) {
		return true
	}
	refuse(h.Audit, r, audit.Refusal{Syscall: "listen", Errno: unix.EACCES, By: audit.ByPort, Protocol: TCP.String(), To: at})
	return false
}
