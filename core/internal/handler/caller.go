package handler

import (
	"errors"

	"github.com/sandlock/sandlock/core/internal/notify"
	"golang.org/x/sys/unix"
)

// pidfdThread is PIDFD_THREAD of pidfd_open(2), Linux 6.9.
const pidfdThread = unix.O_EXCL

// callerFD duplicates a descriptor of the thread that made the request. The
// thread's own table counts, which need not be that of its group's leader; where
// the kernel can't name a thread, the leader's stands in, and whatever it holds
// under that number is a socket of the sandbox too.
func callerFD(r *notify.Request, fd int32) (int, error) {
	if fd < 0 {
		return -1, unix.EBADF
	}
	pidfd, err := unix.PidfdOpen(int(r.TID), pidfdThread)
	if errors.Is(err, unix.EINVAL) {
		var t task
		if t, err = readTask(r.TID); err == nil {
			pidfd, err = unix.PidfdOpen(int(t.tgid), 0)
		}
	}
	if err != nil {
		return -1, err
	}
	defer unix.Close(pidfd)
	if !r.Valid() {
		return -1, unix.EPERM
	}
	return unix.PidfdGetfd(pidfd, int(fd), 0)
}

func errnoOf(err error) unix.Errno {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return unix.EPERM
}
