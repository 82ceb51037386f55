package handler

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// Remap gives a sandbox TCP ports of its own. A socket that it binds to a port that is taken
// on the host is bound to another, and the sandbox is shown, and asks for, the port that it
// has bound: the virtual one.
//
// It keeps no descriptor of a socket, which would keep the socket open. So what was bound
// may be gone, and its real port somebody else's: nothing is done by an entry before its
// socket was found in the sandbox again.
type Remap struct {
	root int // the process below which all tasks of the sandbox are

	mu    sync.Mutex // guards what follows
	bound []*boundSocket
	swept int               // how many were bound when all were last looked for
	shown map[uint16]uint16 // virtual ports, by those real ones that differ from them
	last  map[uint16]uint16 // real ports, by the virtual ones that have had them
}

// boundSocket is a TCP socket that a task of the sandbox has bound.
type boundSocket struct {
	virtual, real uint16
	at            netip.Addr // IPv4 as such
	dual          bool       // it is :: and takes IPv4 as well

	cookie, inode uint64
	holder        holder // whoever had it when it was last looked for
}

// holder is a descriptor of a task.
type holder struct {
	task uint32
	fd   int32
}

// NewRemap makes one for the tasks below a process.
func NewRemap(root int) *Remap {
	return &Remap{root: root, shown: map[uint16]uint16{}, last: map[uint16]uint16{}}
}

// overlaps reports whether both can't be bound to one port without the socket options that
// share one: see inet_rcv_saddr_equal() of the kernel's net/ipv4/inet_connection_sock.c.
func (s *boundSocket) overlaps(o *boundSocket) bool {
	return s.takes(o.at) || o.takes(s.at)
}

// takes reports whether the socket is there for what is sent to the address.
func (s *boundSocket) takes(to netip.Addr) bool {
	switch {
	case s.at == to:
		return true
	case s.at.Is4():
		return s.at.IsUnspecified() && to.Is4()
	}
	return s.at.IsUnspecified() && (s.dual || to.Is6())
}

// Ports are the virtual ports that are others on the host, with those. Of a virtual port
// that has several, one for each address, it is that which was bound first.
func (t *Remap) Ports() map[uint16]uint16 {
	t.mu.Lock()
	defer t.mu.Unlock()
	ports := map[uint16]uint16{}
	for _, s := range t.living(func(s *boundSocket) bool { return s.virtual != s.real }) {
		if _, ok := ports[s.virtual]; !ok {
			ports[s.virtual] = s.real
		}
	}
	return ports
}

// living are those of the sockets of some kind that the sandbox still has, the oldest first.
// t.mu is held.
func (t *Remap) living(kind func(*boundSocket) bool) (list []*boundSocket) {
	lost := false
	for _, s := range t.bound {
		if kind(s) {
			lost = lost || !s.held()
		}
	}
	if lost {
		t.sweep()
	}
	for _, s := range t.bound {
		if kind(s) {
			list = append(list, s)
		}
	}
	return list
}

func (s *boundSocket) held() bool {
	path := fmt.Sprintf("/proc/%d/fd/%d", s.holder.task, s.holder.fd)
	inode, ok := socketOf(path)
	return ok && inode == s.inode
}

// socketOf is the inode of the socket that a link of proc_pid_fd(5) leads to.
func socketOf(path string) (inode uint64, ok bool) {
	var buf [64]byte
	n, err := unix.Readlink(path, buf[:])
	if err != nil {
		return 0, false
	}
	text, ok := strings.CutPrefix(string(buf[:n]), "socket:[")
	if !ok {
		return 0, false
	}
	inode, err = strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 64)
	return inode, err == nil
}

// maxLooked bounds how many descriptors a sweep looks at.
const maxLooked = 1 << 16

// sweep looks for every bound socket in the tasks of the sandbox, and forgets those that
// nobody has. t.mu is held.
func (t *Remap) sweep() {
	lost := map[uint64]*boundSocket{}
	for _, s := range t.bound {
		if !s.held() {
			lost[s.inode] = s
		}
	}
	left := maxLooked
	if len(lost) > 0 {
		eachProcess(t.root, func(pid string) bool {
			left = lookThrough(pid, lost, left)
			return len(lost) > 0 && left > 0
		})
	}
	t.bound = slices.DeleteFunc(t.bound, func(s *boundSocket) bool { return lost[s.inode] == s })
	t.swept = len(t.bound)
}

// lookThrough takes from lost what the process has, and returns how many descriptors may
// still be looked at. Where the first thread has ended, any other has the descriptors.
func lookThrough(pid string, lost map[uint64]*boundSocket, left int) int {
	for _, tid := range append([]string{pid}, sys.TasksOf(pid)...) {
		fds, _ := sys.NamesIn("/proc/" + tid + "/fd")
		for _, fd := range fds[:min(len(fds), left)] {
			inode, ok := socketOf("/proc/" + tid + "/fd/" + fd)
			if s := lost[inode]; ok && s != nil {
				task, _ := strconv.ParseUint(tid, 10, 32)
				number, _ := strconv.ParseInt(fd, 10, 32)
				s.holder = holder{uint32(task), int32(number)}
				delete(lost, inode)
			}
		}
		if left -= min(len(fds), left); len(fds) > 0 {
			break
		}
	}
	return left
}

// eachProcess calls f with the processes below root until it returns false.
func eachProcess(root int, f func(pid string) bool) {
	for pending := []string{strconv.Itoa(root)}; len(pending) > 0; {
		pid := pending[0]
		pending = pending[1:]
		for _, child := range sys.ChildrenOf(pid, sys.TasksOf(pid), 1<<22) {
			if !f(child) {
				return
			}
			pending = append(pending, child)
		}
	}
}

// hold takes a descriptor of the socket, which keeps it and its port as they are. false: the
// sandbox does not have it any more, or nothing listens there. t.mu is held.
func (t *Remap) hold(s *boundSocket) (fd int, ok bool) {
	pidfd, err := unix.PidfdOpen(int(s.holder.task), pidfdThread)
	if err == unix.EINVAL {
		pidfd, err = unix.PidfdOpen(int(s.holder.task), 0)
	}
	if err != nil {
		return -1, false
	}
	defer unix.Close(pidfd)
	if !s.held() {
		return -1, false
	}
	if fd, err = takeFD(pidfd, s.holder.fd); err != nil {
		return -1, false
	}
	sys.Opened(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	listens, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	name, nameErr := sys.Getsockname(fd)
	if err != nil || cookie != s.cookie || listens == 0 || nameErr != nil || portIn(name) != s.real {
		sys.Close(fd)
		return -1, false
	}
	return fd, true
}

// target is where a connect to an address of loopback leads: to the real port of a socket
// of the sandbox that listens there. It is held until the caller closes the descriptor, so that
// the port is nobody else's. Without one, -1, the address is what it says.
func (t *Remap) target(to netip.AddrPort) (real uint16, listener int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !to.Addr().IsLoopback() || len(t.shown) == 0 {
		return to.Port(), -1
	}
	there := t.living(func(s *boundSocket) bool { return s.virtual == to.Port() && s.takes(to.Addr()) })
	// The kernel, too, prefers a socket of the address to one of all: compute_score() of its
	// net/ipv4/inet_hashtables.c.
	slices.SortStableFunc(there, func(a, b *boundSocket) int {
		return cmp.Compare(unspecified(a), unspecified(b))
	})
	for _, s := range there {
		if fd, ok := t.hold(s); ok && s.real == s.virtual {
			sys.Close(fd)
			return s.real, -1
		} else if ok {
			return s.real, fd
		}
	}
	t.forget(to.Port()) // it may be somebody else's by now
	return to.Port(), -1
}

func unspecified(s *boundSocket) int {
	if s.at.IsUnspecified() {
		return 1
	}
	return 0
}

// forget shows a real port as it is, unless a socket of the sandbox is bound to it. t.mu is
// held.
func (t *Remap) forget(real uint16) {
	if _, ok := t.shown[real]; ok && len(t.living(func(s *boundSocket) bool { return s.real == real })) == 0 {
		delete(t.shown, real)
	}
}

// connected is told of a socket that has been connected. One that was not bound has a port
// of the kernel's choice, which is shown as it is.
func (t *Remap) connected(fd int) {
	if t.empty() {
		return
	}
	if name, err := sys.Getsockname(fd); err == nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.forget(portIn(name))
	}
}

// portIn is the port of an address of the Internet, which stands at the same place in each
// family.
func portIn(name []byte) uint16 {
	if len(name) < 4 {
		return 0
	}
	return binary.BigEndian.Uint16(name[2:])
}

func (t *Remap) empty() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.shown) == 0
}

// virtual is the port that a real one is shown as.
func (t *Remap) virtual(real uint16) (uint16, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, ok := t.shown[real]
	return v, ok
}

// Bound is the virtual port that the very socket was bound to.
func (t *Remap) Bound(fd int) (virtual uint16, ok bool) {
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return 0, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.bound {
		if s.cookie == cookie {
			return s.virtual, true
		}
	}
	return 0, false
}
