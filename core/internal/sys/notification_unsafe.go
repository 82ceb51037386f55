package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Notification is struct seccomp_notif of seccomp_unotify(2).
type Notification struct {
	ID    uint64
	TID   uint32 // of the calling thread, in the listener's PID namespace; 0: not visible there
	Flags uint32
	Data  SyscallData
}

// SyscallData is struct seccomp_data of seccomp(2).
type SyscallData struct {
	Nr                 int32
	Arch               uint32
	InstructionPointer uint64
	Args               [6]uint64
}

// NotificationResponse is struct seccomp_notif_resp of seccomp_unotify(2).
type NotificationResponse struct {
	ID    uint64
	Val   int64
	Error int32 // negative errno
	Flags uint32
}

// The ioctls of seccomp_unotify(2): _IOWR('!', nr, size of the struct).
const (
	ioctlNotifRecv     = 0xc0502100
	ioctlNotifSend     = 0xc0182101
	ioctlNotifIDValid  = 0x40082102
	ioctlNotifAddFD    = 0x40182103 // Linux 5.9
	ioctlNotifSetFlags = 0x40082104 // Linux 6.6

	notifFlagContinue   = 1 << 0
	notifFdSyncWakeUp   = 1 << 0
	addFDFlagSetFD      = 1 << 0
	addFDFlagSend       = 1 << 1 // Linux 5.14
	sizeofNotification  = unsafe.Sizeof(Notification{})
	sizeofNotifResponse = unsafe.Sizeof(NotificationResponse{})
)

// The kernel refuses other sizes: the ioctl number holds them.
var _ = [1]struct{}{}[sizeofNotification-80]
var _ = [1]struct{}{}[sizeofNotifResponse-24]

// ReceiveNotification waits for the next notification. EINTR is handled here;
// ENOENT says that the task was killed meanwhile, or, from Linux 6.11, that no
// task uses the filter any more.
func ReceiveNotification(fd int, n *Notification) error {
	for {
		*n = Notification{} // the kernel refuses anything but zeroes
		_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlNotifRecv, uintptr(unsafe.Pointer(n)))
		switch e {
		case 0:
			return nil
		case unix.EINTR:
			continue
		}
		return e
	}
}

// SendResponse answers a notification. ENOENT: it is no longer there. Raw, since
// it does not block, and the round through the scheduler is a tenth of the whole
// notification.
func SendResponse(fd int, r *NotificationResponse) error {
	for {
		_, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), ioctlNotifSend, uintptr(unsafe.Pointer(r)))
		switch e {
		case 0:
			return nil
		case unix.EINTR:
			continue
		}
		return e
	}
}

// Continue makes r an answer that lets the kernel run the call.
func (r *NotificationResponse) Continue() { r.Flags = notifFlagContinue }

// notificationFD is struct seccomp_notif_addfd of seccomp_unotify(2).
type notificationFD struct {
	ID         uint64
	Flags      uint32
	SrcFD      uint32
	NewFD      uint32
	NewFDFlags uint32
}

var _ = [1]struct{}{}[unsafe.Sizeof(notificationFD{})-24]

// AddFD puts a copy of the descriptor src into the caller's table, the lowest free number,
// and makes that number what the call returns, in one step (SECCOMP_ADDFD_FLAG_SEND). It
// waits until the caller has taken it; the caller's own limit counts: EMFILE.
//
// The calling thread must have its signals blocked. One that interrupts the wait takes the
// descriptor back, and not the reply: the call returns 0, which is a descriptor that is
// there (seccomp_notify_addfd of the kernel's kernel/seccomp.c, Linux 5.14 to 6.18).
func AddFD(fd int, id uint64, src int, flags uint32) error {
	arg := notificationFD{ID: id, Flags: addFDFlagSend, SrcFD: uint32(src), NewFDFlags: flags}
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlNotifAddFD, uintptr(unsafe.Pointer(&arg))); e != 0 {
		return e
	}
	return nil
}

// AddFDAlone puts a copy of the descriptor src into the caller's table, and returns the number.
// The call still waits for its answer.
func AddFDAlone(fd int, id uint64, src int, flags uint32) (number int, err error) {
	arg := notificationFD{ID: id, SrcFD: uint32(src), NewFDFlags: flags}
	err = Retry(func() error {
		n, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlNotifAddFD, uintptr(unsafe.Pointer(&arg)))
		if number = int(n); e != 0 {
			number = -1
			return e
		}
		return nil
	})
	return number, err
}

// SetFD puts a copy of the descriptor src into the caller's table, under a number, in the
// place of what may be there (SECCOMP_ADDFD_FLAG_SETFD). EBADF: the caller's limit is lower.
// The call still waits for its answer.
func SetFD(fd int, id uint64, src int, number, flags uint32) error {
	arg := notificationFD{ID: id, Flags: addFDFlagSetFD, SrcFD: uint32(src), NewFD: number, NewFDFlags: flags}
	return Retry(func() error {
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlNotifAddFD, uintptr(unsafe.Pointer(&arg))); e != 0 {
			return e
		}
		return nil
	})
}

// NotificationValid reports whether the task still waits in notification id, so
// that what was read through its thread id was read from that very task.
func NotificationValid(fd int, id uint64) bool {
	_, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), ioctlNotifIDValid, uintptr(unsafe.Pointer(&id)))
	return e == 0
}

// SetSyncWakeUp asks for SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (Linux 6.6): a
// hand-over of the CPU at each notification instead of a wake-up elsewhere. The
// ioctl takes the flags by value. EINVAL below 6.6.
func SetSyncWakeUp(fd int) error {
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlNotifSetFlags, notifFdSyncWakeUp)
	if e != 0 {
		return e
	}
	return nil
}
