package core

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

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
	look := func(pid int) bool {
		fd, ok = heldBy(pid, name, kind, &left)
		return ok || left <= 0
	}
	// Twice: a process that loses its parent moves to another place.
	for range 2 {
		if look(caller) || descend(s.warden.PID(), map[int]bool{caller: true}, look) {
			return fd, ok
		}
	}
	return -1, false
}

// descend calls look with each descendant of a process, until it returns true.
func descend(pid int, seen map[int]bool, look func(pid int) bool) bool {
	for _, tid := range numbersIn(fmt.Sprintf("/proc/%d/task", pid)) {
		text, err := sys.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, tid), 1<<20)
		if err != nil {
			continue
		}
		for _, field := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(field)
			if err != nil || seen[child] {
				continue
			}
			seen[child] = true
			if look(child) || descend(child, seen, look) {
				return true
			}
		}
	}
	return false
}

func heldBy(pid int, name []byte, kind int, left *int) (int, bool) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, false
	}
	defer unix.Close(pidfd)
	for _, n := range numbersIn(fmt.Sprintf("/proc/%d/fd", pid)) {
		if *left--; *left < 0 {
			return -1, false
		}
		var link [8]byte
		if got, err := unix.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, n), link[:]); err != nil || string(link[:got]) != "socket:[" {
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

// numbersIn lists a directory of /proc whose entries are numbers.
func numbersIn(dir string) (list []int) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	names, err := sys.ReadNames(fd)
	if err != nil {
		return nil
	}
	for _, name := range names {
		if number, err := strconv.Atoi(name); err == nil {
			list = append(list, number)
		}
	}
	return list
}
