package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// seccomp is seccomp(2); x/sys/unix has no wrapper for it.
func seccomp(operation, flags uint, args unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, uintptr(operation), uintptr(flags), uintptr(args))
	if errno != 0 {
		return errno
	}
	return nil
}

// SeccompActionAvailable asks whether filters may return the action, one of
// SECCOMP_RET_*: nil, EOPNOTSUPP when they may not, ENOSYS or EINVAL before
// Linux 4.14.
func SeccompActionAvailable(action uint32) error {
	return seccomp(unix.SECCOMP_GET_ACTION_AVAIL, 0, unsafe.Pointer(&action))
}

// SeccompFlagsAvailable asks whether a filter could be installed with the flags,
// SECCOMP_FILTER_FLAG_*, without installing one: the kernel checks the flags
// before it reads the program, whose address is NULL here. nil, or EINVAL for a
// flag or combination it doesn't know.
func SeccompFlagsAvailable(flags uint) error {
	if err := seccomp(unix.SECCOMP_SET_MODE_FILTER, flags, nil); err != unix.EFAULT {
		return err
	}
	return nil
}

// SeccompListener says whether a filter with a listener could be installed: EBUSY where one
// around this process has one. Only installing one tells, so it is tried on a thread that
// ends at once, and only beneath filters.
func SeccompListener() error {
	mode, err := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0)
	if err != nil || mode != unix.SECCOMP_MODE_FILTER {
		return err
	}
	tried := make(chan error)
	OwnThread(func() {
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		if err == nil {
			allow := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
			program := unix.SockFprog{Len: 1, Filter: &allow}
			fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&program)))
			if errno != 0 {
				err = errno
			} else {
				unix.Close(int(fd))
			}
		}
		tried <- err
	})
	return <-tried
}

// SeccompNotifSizes returns the sizes of struct seccomp_notif, seccomp_notif_resp
// and seccomp_data in this kernel (SECCOMP_GET_NOTIF_SIZES, Linux 5.0).
func SeccompNotifSizes() (notif, resp, data uint16, err error) {
	var sizes [3]uint16
	err = seccomp(unix.SECCOMP_GET_NOTIF_SIZES, 0, unsafe.Pointer(&sizes))
	return sizes[0], sizes[1], sizes[2], err
}
