package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// MayExec asks the kernel whether the calling thread may execute a file, which fd is, with
// O_PATH: EACCES when not. It executes nothing, as the arguments that it gives lie in the
// kernel's half of the addresses, where execve(2) looks for them after it has opened the
// file. Before Linux 6.8 it did so before that: then what is denied can't be told from what
// is not, and the answer is nil for both.
func MayExec(fd int) error {
	empty := [1]byte{}
	const nowhere = ^uintptr(0) - 0xfff
	_, _, e := unix.Syscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(&empty[0])), nowhere, nowhere, unix.AT_EMPTY_PATH, 0)
	if e == unix.EFAULT {
		return nil
	}
	return e
}
