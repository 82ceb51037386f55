package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Connect is connect(2) with the bytes of an address, which x/sys/unix builds of a type
// that has no AF_UNSPEC.
func Connect(fd int, address []byte) error { return addressed(unix.SYS_CONNECT, fd, address) }

// Bind is bind(2) in the same way.
func Bind(fd int, address []byte) error { return addressed(unix.SYS_BIND, fd, address) }

func addressed(call uintptr, fd int, address []byte) error {
	_, _, e := unix.Syscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(address))), uintptr(len(address)))
	if e != 0 {
		return e
	}
	return nil
}

// Getsockname and Getpeername are getsockname(2) and getpeername(2) with the bytes of the
// address that the kernel has.
func Getsockname(fd int) ([]byte, error) { return nameOf(unix.SYS_GETSOCKNAME, fd) }
func Getpeername(fd int) ([]byte, error) { return nameOf(unix.SYS_GETPEERNAME, fd) }

func nameOf(call uintptr, fd int) ([]byte, error) {
	b := make([]byte, unix.SizeofSockaddrAny)
	size := uint32(len(b))
	_, _, e := unix.Syscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(unsafe.Pointer(&size)))
	if e != 0 {
		return nil, e
	}
	return b[:min(int(size), len(b))], nil
}

// Sendmsg is sendmsg(2) with the bytes of an address, which may be none, one buffer and
// control data.
func Sendmsg(fd int, address, data, control []byte, flags int) (int, error) {
	iov := unix.Iovec{Base: unsafe.SliceData(data)}
	iov.SetLen(len(data))
	msg := unix.Msghdr{Name: unsafe.SliceData(address), Namelen: uint32(len(address)), Iov: &iov, Iovlen: 1}
	if len(control) > 0 {
		msg.Control = unsafe.SliceData(control)
		msg.SetControllen(len(control))
	}
	n, _, e := unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)), uintptr(flags))
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}
