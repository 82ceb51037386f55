package core

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// maxHeld bounds the descriptors that one look for an abstract socket goes through.
const maxHeld = 1 << 14

// holderOf finds the socket of an abstract name, unix(7), among the descriptors of the
// sandbox's processes, and returns a copy. As long as that is open, the name is that socket's
// and no other's. The kernel's own rule (LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET) can't be asked
// for somebody else. caller is the process that is looked at first.
func (s *Sandbox) holderOf(name []byte, kind, caller int) (fd int, ok bool) {
	left := maxHeld
	first := strconv.Itoa(caller)
	look := func(pid string) bool {
		fd, ok = heldBy(pid, name, kind, &left)
		return ok || left <= 0
	}
	// Twice: a process that loses its parent moves to another place.
	for range 2 {
		if look(first) || descend(strconv.Itoa(s.warden.PID()), map[string]bool{first: true}, look) {
			return fd, ok
		}
	}
	return -1, false
}

// descend calls look with each descendant of a process, until it returns true.
func descend(pid string, seen map[string]bool, look func(pid string) bool) bool {
	for _, child := range childrenOf(pid) {
		if seen[child] {
			continue
		}
		seen[child] = true
		if look(child) || descend(child, seen, look) {
			return true
		}
	}
	return false
}

// isInside reports whether a process is one of the sandbox: it descends from the warden, and is
// not the warden's own other task.
func (s *Sandbox) isInside(pid uint32) bool {
	for range 2 { // as above
		for at := int(pid); at > 1 && int(pid) != s.killer; {
			st, ok := readStat(at)
			if !ok {
				break
			}
			if at = st.ppid; at == s.warden.PID() {
				return true
			}
		}
	}
	return false
}

func heldBy(pid string, name []byte, kind int, left *int) (int, bool) {
	number, err := strconv.Atoi(pid)
	if err != nil {
		return -1, false
	}
	pidfd, err := unix.PidfdOpen(number, 0)
	if err != nil {
		return -1, false
	}
	defer unix.Close(pidfd)
	fds, _ := sys.NamesIn("/proc/" + pid + "/fd")
	for _, entry := range fds {
		n, err := strconv.Atoi(entry)
		if err != nil {
			continue
		}
		if *left--; *left < 0 {
			return -1, false
		}
		var link [8]byte
		if got, err := unix.Readlink(fmt.Sprintf("/proc/%s/fd/%d", pid, n), link[:]); err != nil || string(link[:got]) != "socket:[" {
			continue
		}
		fd, err := unix.PidfdGetfd(pidfd, n, 0)
		if err != nil {
			continue
		}
		if hasName(fd, name, kind) {
			return fd, true
		}
		unix.Close(fd)
	}
	return -1, false
}

// hasName: names are told apart by type, too.
func hasName(fd int, name []byte, kind int) bool {
	address, err := sys.Getsockname(fd)
	if err != nil || len(address) < 2 || address[0] != unix.AF_UNIX || !bytes.Equal(address[2:], name) {
		return false
	}
	got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	return err == nil && got == kind
}
