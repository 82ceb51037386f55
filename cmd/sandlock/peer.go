package main

import (
	"bytes"
	"errors"
	"fmt"
	"golang.org/x/sys/unix"
	"os"
	"strconv"
	"strings"
)

// mayControl says why the peer of a connection may not control a sandbox. It may when it is
// the same user's and not in a sandbox itself, which may reach the socket where a policy
// lets it write above it: every sandbox has a seccomp filter more than who started it, and
// the library, where it connects for a sandbox, is in a process that has one. The descriptor
// of the peer (SO_PEERPIDFD, Linux 6.5) keeps its number from being another's.
func mayControl(conn int) error {
	peer, err := unix.GetsockoptUcred(conn, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return err
	}
	if int(peer.Uid) != os.Geteuid() {
		return fmt.Errorf("user %d controls no sandbox of user %d", peer.Uid, os.Geteuid())
	}
	pidfd, err := unix.GetsockoptInt(conn, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	if err != nil {
		return fmt.Errorf("SO_PEERPIDFD: %w", err)
	}
	defer unix.Close(pidfd)
	theirs, err := seccompFilters(strconv.Itoa(int(peer.Pid)))
	if err != nil {
		return err
	}
	ours, err := seccompFilters("self")
	if err != nil {
		return err
	}
	hosts, err := hostsSandbox(strconv.Itoa(int(peer.Pid)))
	if err != nil {
		return err
	}
	if err := unix.PidfdSendSignal(pidfd, 0, nil, 0); err != nil { // was that its status?
		return fmt.Errorf("the peer is gone: %w", err)
	}
	if theirs > ours {
		return errors.New("a sandbox controls no sandbox: the peer has more seccomp filters than this process")
	}
	if hosts {
		return errors.New("a sandbox controls no sandbox: the peer is the process of another sandbox's library")
	}
	return nil
}

// wardenProgram is what the warden of a sandbox is executed from.
const wardenProgram = "/memfd:sandlock-warden"

// hostsSandbox reports whether a process has a warden, which it has as long as its sandbox runs.
func hostsSandbox(pid string) (bool, error) {
	threads, err := os.ReadDir("/proc/" + pid + "/task")
	if err != nil {
		return false, err
	}
	told := false
	for _, thread := range threads {
		children, err := os.ReadFile("/proc/" + pid + "/task/" + thread.Name() + "/children")
		if errors.Is(err, os.ErrNotExist) {
			continue // a thread that has ended
		}
		if err != nil {
			return false, err
		}
		told = true
		for _, child := range bytes.Fields(children) {
			program, err := os.Readlink("/proc/" + string(child) + "/exe")
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return false, err
			}
			if strings.HasPrefix(program, wardenProgram) {
				return true, nil
			}
		}
	}
	if !told {
		return false, errors.New("the kernel does not tell a process's children (CONFIG_PROC_CHILDREN)")
	}
	return false, nil
}

// seccompFilters is how many filters a process has: proc_pid_status(5), Linux 5.9.
func seccompFilters(pid string) (int, error) {
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0, err
	}
	_, after, found := bytes.Cut(status, []byte("\nSeccomp_filters:"))
	if !found {
		return 0, errors.New("the kernel does not tell a process's seccomp filters (Linux 5.9)")
	}
	line, _, _ := bytes.Cut(after, []byte("\n"))
	return strconv.Atoi(string(bytes.TrimSpace(line)))
}
