package handler

import (
	"encoding/binary"

	"github.com/sandlock/sandlock/core/internal/notify"
	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// maxControl bounds the control data of a message; the kernel has net.core.optmem_max.
const maxControl = 1 << 14

const sizeofCmsghdr = 16 // struct cmsghdr, cmsg(3)

const scmMaxFD = 253 // SCM_MAX_FD of unix(7), in one message

// controlMessage is one of cmsg(3).
type controlMessage struct {
	level, kind int32
	whole, data []byte
}

// controlMessages splits control data as the kernel walks over it: for_each_cmsghdr() and
// CMSG_OK() of its include/linux/socket.h.
func controlMessages(b []byte) (list []controlMessage, errno unix.Errno) {
	for len(b) >= sizeofCmsghdr {
		size := binary.NativeEndian.Uint64(b)
		if size < sizeofCmsghdr || size > uint64(len(b)) {
			return nil, unix.EINVAL
		}
		list = append(list, controlMessage{
			level: int32(binary.NativeEndian.Uint32(b[8:])), kind: int32(binary.NativeEndian.Uint32(b[12:])),
			whole: b[:size], data: b[sizeofCmsghdr:size],
		})
		b = b[min((size+7)&^7, uint64(len(b))):]
	}
	return list, 0
}

// aligned appends a control message with the padding that the next one needs.
func aligned(to, whole []byte) []byte {
	to = append(to, whole...)
	for len(to)%8 != 0 {
		to = append(to, 0)
	}
	return to
}

// inetPassed are the control messages that a datagram may have. None of them leads it to
// another address, and none takes a capability, which the supervisor might have. That is
// where routing headers, IP options, flow labels and SO_MARK are left out.
var inetPassed = map[[2]int32]bool{
	{unix.SOL_IP, unix.IP_TOS}: true, {unix.SOL_IP, unix.IP_TTL}: true, {unix.SOL_IP, unix.IP_PKTINFO}: true,
	{unix.SOL_IPV6, unix.IPV6_PKTINFO}: true, {unix.SOL_IPV6, unix.IPV6_HOPLIMIT}: true,
	{unix.SOL_IPV6, unix.IPV6_TCLASS}: true, {unix.SOL_IPV6, unix.IPV6_DONTFRAG}: true,
	{unix.SOL_UDP, unix.UDP_SEGMENT}:         true,
	{unix.SOL_SOCKET, unix.SCM_TIMESTAMPING}: true,
	{unix.SOL_SOCKET, unix.SO_TXTIME}:        true,
	{unix.SOL_SOCKET, unix.SCM_RIGHTS}:       false, // ignored by the kernel, and left out
	{unix.SOL_SOCKET, unix.SCM_CREDENTIALS}:  false,
}

// inetControl returns the control data that goes with a datagram.
func inetControl(b []byte) (passed []byte, errno unix.Errno) {
	list, errno := controlMessages(b)
	if errno != 0 {
		return nil, errno
	}
	for _, m := range list {
		pass, known := inetPassed[[2]int32{m.level, m.kind}]
		if !known {
			return nil, unix.EPERM
		}
		if pass {
			passed = aligned(passed, m.whole)
		}
	}
	return passed, 0
}

// unixControl returns the control data of a message on a unix socket. Descriptors are those
// of the caller; done closes the copies. The caller's own credentials become this process's
// with the caller's ids, which the kernel looks at as they are sent; others are EPERM.
func (h *Net) unixControl(r *notify.Request, pidfd int, tgid uint32, b []byte) (passed []byte, done func(), errno unix.Errno) {
	var fds []int
	list, errno := controlMessages(b)
	if errno != 0 {
		return nil, func() {}, errno
	}
	count := int32(0)
	for _, m := range list {
		if m.level == unix.SOL_SOCKET && m.kind == unix.SCM_RIGHTS {
			count += int32(len(m.data) / 4)
		}
	}
	if count > scmMaxFD {
		return nil, func() {}, unix.EINVAL
	}
	done = func() {
		for _, fd := range fds {
			sys.Close(fd)
		}
		h.carried.Add(-count)
	}
	if h.carried.Add(count) > h.maxCarried { // others wait for their readers
		done()
		return nil, func() {}, unix.ETOOMANYREFS // as too many in flight are for the kernel
	}
	for _, m := range list {
		if m.level != unix.SOL_SOCKET {
			continue // __scm_send() of the kernel's net/core/scm.c
		}
		whole := append([]byte(nil), m.whole...)
		if m.kind == unix.SCM_CREDENTIALS && len(m.data) == unix.SizeofUcred && binary.NativeEndian.Uint32(m.data) == tgid {
			binary.NativeEndian.PutUint32(whole[sizeofCmsghdr:], uint32(unix.Getpid()))
			passed = aligned(passed, whole)
			continue
		}
		if m.kind != unix.SCM_RIGHTS {
			done()
			return nil, func() {}, unix.EPERM
		}
		for i := sizeofCmsghdr; i+4 <= len(whole); i += 4 {
			fd, err := takeFD(pidfd, int32(binary.NativeEndian.Uint32(whole[i:])))
			if err != nil {
				done()
				return nil, func() {}, errnoOf(err)
			}
			fds = append(fds, sys.Opened(fd))
			binary.NativeEndian.PutUint32(whole[i:], uint32(fd))
		}
		passed = aligned(passed, whole)
	}
	if !r.Valid() {
		done()
		return nil, func() {}, unix.EPERM
	}
	return passed, done, 0
}
