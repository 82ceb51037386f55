package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Running sandboxes of a user are found by sockets in a directory of the user's own, one
// for each run of the tool. Their names are random: a sandbox that may not list the
// directory can't guess one, and who connects is looked at besides (peer.go).

// controlDir opens the directory, and makes it when asked to. It has to be ours alone.
func controlDir(make bool) (fd int, path string, err error) {
	uid := os.Geteuid()
	path = "/tmp/sandlock-" + strconv.Itoa(uid)
	if runtime := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(runtime) {
		path = filepath.Join(runtime, "sandlock")
	}
	if make {
		if err := unix.Mkdir(path, 0o700); err != nil && err != unix.EEXIST {
			return -1, path, fmt.Errorf("mkdir %s: %w", path, err)
		}
	}
	fd, err = unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, path, fmt.Errorf("%s: %w", path, err)
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && (int(st.Uid) != uid || st.Mode&0o077 != 0) {
		err = fmt.Errorf("%s: it belongs to user %d with mode %03o; it has to be yours, with 700", path, st.Uid, st.Mode&0o777)
	}
	if err != nil {
		unix.Close(fd)
		return -1, path, err
	}
	return fd, path, nil
}

// socketAddress names an entry through the open directory: its path may be too long for
// an address (unix(7)), and could be another directory by now.
func socketAddress(dir int, entry string) *unix.SockaddrUnix {
	return &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir, entry)}
}

// entries are the sockets of the directory. Those that nobody listens on are removed: they
// were left by a tool that was killed.
func entries(dir int) ([]string, error) {
	list := os.NewFile(uintptr(dup(dir)), "control")
	defer list.Close()
	if _, err := list.Seek(0, 0); err != nil {
		return nil, err
	}
	found, err := list.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range found {
		if entry.Type() == os.ModeSocket {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

func dup(fd int) int {
	other, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return other
}

// connect returns a socket that is connected to an entry, or -1 when nobody listens there:
// then the entry is gone, or is removed.
func connect(dir int, entry string) (fd int, err error) {
	try := func() (int, error) {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return -1, err
		}
		if err = unix.Connect(fd, socketAddress(dir, entry)); err != nil {
			unix.Close(fd)
			return -1, err
		}
		return fd, nil
	}
	fd, err = try()
	if errors.Is(err, unix.ECONNREFUSED) {
		// It may be between its bind and its listen, which hold the lock.
		if unix.Flock(dir, unix.LOCK_EX|unix.LOCK_NB) != nil {
			return -1, nil
		}
		defer unix.Flock(dir, unix.LOCK_UN)
		if fd, err = try(); errors.Is(err, unix.ECONNREFUSED) {
			err = unix.Unlinkat(dir, entry, 0)
		}
	}
	if errors.Is(err, unix.ENOENT) {
		err = nil
	}
	if err != nil {
		return -1, err
	}
	if fd >= 0 {
		if peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED); err != nil || int(peer.Uid) != os.Geteuid() {
			unix.Close(fd)
			return -1, nil // somebody else's, who can only have been let in by mistake
		}
	}
	return fd, nil
}
