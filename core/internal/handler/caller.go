package handler

import (
	"errors"

	"github.com/sandlock/sandlock/core/internal/notify"
	"golang.org/x/sys/unix"
)

// pidfdThread is PIDFD_THREAD of pidfd_open(2), Linux 6.9.
const pidfdThread = unix.O_EXCL

// openCaller names the thread that made the request for good. Where the kernel can't name
// a thread, the leader of its group stands in; what that holds under a number is the
// sandbox's too.
func openCaller(r *notify.Request) (pidfd int, err error) {
	pidfd, err = unix.PidfdOpen(int(r.TID), pidfdThread)
	if errors.Is(err, unix.EINVAL) {
		var t task
		if t, err = readTask(r.TID); err == nil {
			pidfd, err = unix.PidfdOpen(int(t.tgid), 0)
		}
	}
	if err != nil {
		return -1, err
	}
	if !r.Valid() {
		unix.Close(pidfd)
		return -1, unix.EPERM
	}
	return pidfd, nil
}

// takeFD duplicates a descriptor of the thread: from its own table, which need not be
// that of its group's leader.
func takeFD(pidfd int, fd int32) (int, error) {
	if fd < 0 {
		return -1, unix.EBADF
	}
	return unix.PidfdGetfd(pidfd, int(fd), 0)
}

// callerFD does both.
func callerFD(r *notify.Request, fd int32) (int, error) {
	pidfd, err := openCaller(r)
	if err != nil {
		return -1, err
	}
	defer unix.Close(pidfd)
	return takeFD(pidfd, fd)
}

func errnoOf(err error) unix.Errno {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return unix.EPERM
}
