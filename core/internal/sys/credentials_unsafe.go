package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ThreadIDs are the ids of one thread, credentials(7): real, effective, saved, and of the
// file system.
type ThreadIDs struct {
	UID, GID [4]uint32
	Groups   []uint32
}

// SetThreadIDs gives them to the calling thread alone, as the kernel's own calls do. Package
// syscall, and x/sys/unix for some of them, change all threads of the process instead. The
// caller holds the thread for good.
func SetThreadIDs(ids *ThreadIDs) error {
	var groups *uint32
	if len(ids.Groups) > 0 {
		groups = &ids.Groups[0]
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(ids.Groups)), uintptr(unsafe.Pointer(groups)), 0); e != 0 {
		return e
	}
	g, u := &ids.GID, &ids.UID
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(g[0]), uintptr(g[1]), uintptr(g[2])); e != 0 {
		return e
	}
	if g[3] != g[1] {
		unix.RawSyscall(unix.SYS_SETFSGID, uintptr(g[3]), 0, 0) // says nothing of a failure: setfsgid(2)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(u[0]), uintptr(u[1]), uintptr(u[2])); e != 0 {
		return e
	}
	if u[3] != u[1] {
		unix.RawSyscall(unix.SYS_SETFSUID, uintptr(u[3]), 0, 0)
	}
	return nil
}
