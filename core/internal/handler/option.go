package handler

import (
	"encoding/binary"

	"github.com/sandlock/sandlock/core/internal/notify"
	"golang.org/x/sys/unix"
)

// Setsockopt is the [notify.Handler] of setsockopt(2) for the options that decide how long
// this process waits when it uses a socket of the sandbox: SO_SNDTIMEO and
// TCP_FASTOPEN_CONNECT, which dialBriefly changes, so that nobody else does meanwhile; and
// SO_LINGER, for which a close waits that may be the last one here, when the sandbox has
// closed its own meanwhile or is dead.
func (h *Net) Setsockopt() notify.Handler { return h.handle("setsockopt", h.setsockopt) }

const (
	sizeofOption = 16 // of a struct timeval, the largest
	maxLinger    = 1  // seconds
)

func (h *Net) setsockopt(c *netCall) (int64, unix.Errno) {
	if errno := c.open(); errno != 0 {
		return 0, errno
	}
	args := c.r.Data.Args
	level, option, size := int(int32(args[1])), int(int32(args[2])), int32(args[4])
	if size < 0 {
		return 0, unix.EINVAL
	}
	value, errno := c.read(args[3], int(min(size, sizeofOption)))
	if errno != 0 {
		return 0, errno
	}
	// struct linger of socket(7): on or off, and seconds.
	if level == unix.SOL_SOCKET && option == unix.SO_LINGER && len(value) >= 8 && binary.NativeEndian.Uint32(value[4:]) > maxLinger {
		binary.NativeEndian.PutUint32(value[4:], maxLinger)
	}
	if !c.r.Valid() {
		return 0, unix.EPERM
	}
	defer h.lock(c.socket.inode)()
	return 0, errnoOrNone(unix.SetsockoptString(c.fd, level, option, string(value)))
}
