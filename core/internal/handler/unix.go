package handler

import (
	"bytes"
	"fmt"

	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// Unix sockets of a caller that shares its descriptors with other threads, where the
// policy has datagrams: such a call can't be left to the kernel, see Net.

// sunPath is where sun_path starts in struct sockaddr_un, unix(7).
const sunPath = 2

// connectUnix connects to a named socket. The path is resolved as the caller would, by
// somebody who may more: so only for a caller that has the same credentials, and without
// the links of /proc, which would be this process's own. The peer sees this process
// (SO_PEERCRED), as with listen.
func (h *Net) connectUnix(c *netCall) unix.Errno {
	b, errno := c.readAddress(c.r.Data.Args[1], int32(c.r.Data.Args[2]))
	if errno != 0 {
		return errno
	}
	raw, done, errno := h.unixAddress(c, b)
	if errno != 0 {
		return errno
	}
	defer done()
	if c.socket.kind == unix.SOCK_DGRAM {
		return errnoOrNone(sys.Connect(c.fd, raw))
	}
	_, err := h.dialBriefly(c, address{raw: raw})
	return errnoOrNone(err) // EAGAIN where the kernel would wait for a place in the queue
}

// sendUnix sends what a caller sends on a unix socket. A datagram goes as one.
func (h *Net) sendUnix(c *netCall, m *message) (int64, unix.Errno) {
	control, done, errno := h.unixControl(c.r, c.pidfd, m.control)
	defer done()
	if errno == unix.EPERM {
		h.Log("%s of task %d denied: with rules for datagrams, a program with threads can't send credentials", c.name, c.r.TID)
	}
	if errno != 0 {
		return 0, errno
	}
	if c.socket.kind == unix.SOCK_STREAM {
		if len(m.name) > 0 { // unix_stream_sendmsg() of the kernel's net/unix/af_unix.c
			if _, err := unix.Getpeername(c.fd); err != nil {
				return 0, unix.EOPNOTSUPP
			}
			return 0, unix.EISCONN
		}
		return h.sendStream(c, m, control)
	}
	if m.size > maxMessage {
		return 0, unix.EMSGSIZE
	}
	var raw []byte
	if len(m.name) > 0 && c.socket.kind != unix.SOCK_SEQPACKET { // which does not look at it
		var closeSocket func()
		if raw, closeSocket, errno = h.unixAddress(c, m.name); errno != 0 {
			return 0, errno
		}
		defer closeSocket()
	}
	data, errno := c.data(m, 0, maxMessage)
	if errno != 0 {
		return 0, errno
	}
	n, errno := h.sendPatiently(c, m, raw, data, control)
	return int64(n), errno
}

// unixAddress makes an address of the very socket that the caller's leads to.
func (h *Net) unixAddress(c *netCall, b []byte) (raw []byte, done func(), errno unix.Errno) {
	switch {
	case len(b) >= 2 && b[0] == unix.AF_UNSPEC && b[1] == 0:
		return b[:2], func() {}, 0
	case len(b) <= sunPath || len(b) > unix.SizeofSockaddrUnix || b[0] != unix.AF_UNIX || b[1] != 0:
		return nil, nil, unix.EINVAL
	case b[sunPath] == 0:
		h.Log("%s of task %d denied: with rules for datagrams, a program with threads can't reach abstract unix sockets", c.name, c.r.TID)
		return nil, nil, unix.EPERM
	}
	if h.UnixJudged {
		h.Log("%s of task %d denied: with rules for datagrams, a program with threads can't reach named unix sockets on this kernel", c.name, c.r.TID)
		return nil, nil, unix.EACCES
	}
	path, _, _ := bytes.Cut(b[sunPath:], []byte{0})
	same, err := sameCredentials(c.r.TID)
	if err != nil || !same {
		h.Log("%s of task %d denied: its credentials are not the host's, so its unix sockets can't be reached for it", c.name, c.r.TID)
		return nil, nil, unix.EACCES
	}
	cwd, err := unix.Open(fmt.Sprintf("/proc/%d/cwd", c.r.TID), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, unix.EACCES
	}
	defer unix.Close(cwd)
	if !c.r.Valid() {
		return nil, nil, unix.EPERM
	}
	fd, err := unix.Openat2(cwd, string(path), &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return nil, nil, errnoOf(err)
	}
	raw = append([]byte{unix.AF_UNIX, 0}, fmt.Sprintf("/proc/self/fd/%d\x00", fd)...)
	return raw, func() { unix.Close(fd) }, 0
}

// sameCredentials reports whether the task may open what this thread may: the ids and the
// capabilities of both are the same, but for what a sandbox is started without, which is
// no capability over files.
func sameCredentials(tid uint32) (bool, error) {
	theirs, err := readCredentials(statusOf(tid))
	if err != nil {
		return false, err
	}
	ours, err := readCredentials("/proc/thread-self/status")
	if err != nil {
		return false, err
	}
	const overFiles = 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH
	return theirs.uids == ours.uids && theirs.gids == ours.gids && theirs.groups == ours.groups &&
		(theirs.effective^ours.effective)&overFiles == 0, nil
}
