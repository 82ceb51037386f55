package sys

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ReadFile reads a file of /proc or /sys; EFBIG when it has more than limit bytes. Not
// package os does it, which hands each descriptor to the runtime's poller: that
// stays open in the host, as an epoll and an event descriptor, for good.
func ReadFile(path string, limit int) ([]byte, error) {
	fd, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd)
	buf := make([]byte, min(limit+1, 4096))
	for n := 0; ; {
		got, err := unix.Read(fd, buf[n:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, fmt.Errorf("read %s: %w", path, err)
		case got == 0:
			return buf[:n], nil
		}
		if n += got; n > limit {
			return nil, fmt.Errorf("read %s: %w", path, unix.EFBIG)
		}
		if n == len(buf) {
			buf = append(buf, make([]byte, min(len(buf), limit+1-n))...)
		}
	}
}

// ReadNames lists an open directory without package os, see [ReadFile].
func ReadNames(dir int) (names []string, err error) {
	buf := make([]byte, 32<<10)
	for {
		n, err := unix.ReadDirent(dir, buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, err
		case n <= 0:
			return names, nil
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}

// NamesIn lists a directory by its path, see [ReadNames].
func NamesIn(path string) ([]string, error) {
	fd, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd)
	return ReadNames(fd)
}

// Retry repeats a call that a signal interrupted: on file systems that sleep interruptibly
// (FUSE, NFS) any can be.
func Retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

func open(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}
