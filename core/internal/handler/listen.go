package handler

import (
	"errors"

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
	Log       func(format string, args ...any)

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
	go func() {
		defer l.Release()
		h.places <- struct{}{}
		defer func() { <-h.places }()
		if errno := h.listen(r); errno != 0 {
			r.Errno(errno)
		} else {
			r.Return(0)
		}
	}()
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
	if inet && !h.bound(fd) {
		return unix.EACCES
	}
	if err := unix.Listen(fd, int(int32(r.Data.Args[1]))); err != nil {
		return errnoOf(err)
	}
	// A connected socket whose port the kernel had chosen can lose it between
	// the two: connect(2), AF_UNSPEC.
	if inet && !h.bound(fd) {
		unix.Shutdown(fd, unix.SHUT_RDWR)
		return unix.EACCES
	}
	return 0
}

func (h *Listen) bound(fd int) bool {
	switch sa, err := unix.Getsockname(fd); sa := sa.(type) {
	case *unix.SockaddrInet4:
		return err == nil && sa.Port != 0 && h.MayListen(uint16(sa.Port))
	case *unix.SockaddrInet6:
		return err == nil && sa.Port != 0 && h.MayListen(uint16(sa.Port))
	}
	return false
}
