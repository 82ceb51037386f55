package handler

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// readProc reads a file of /proc/<pid>, at most limit bytes of it. Not with
// package os, which would register each descriptor with the runtime's poller and
// leave that open in the host.
func readProc(pid int, name string, limit int) ([]byte, error) {
	path := "/proc/" + strconv.Itoa(pid) + "/" + name
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd)
	buf := make([]byte, min(limit, 4096))
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
		if n += got; n == limit {
			return buf, nil
		}
		if n == len(buf) {
			buf = append(buf, make([]byte, min(len(buf), limit-n))...)
		}
	}
}

// readTask returns the thread group and the parent of a thread. The caller
// checks afterwards that the thread id is still the one it means.
func readTask(tid uint32) (tgid, ppid uint32, err error) {
	status, err := readProc(int(tid), "status", 1<<16)
	if err != nil {
		return 0, 0, err
	}
	field := func(name string) uint32 {
		_, rest, _ := bytes.Cut(status, []byte("\n"+name+":\t"))
		line, _, _ := bytes.Cut(rest, []byte("\n"))
		v, _ := strconv.ParseUint(string(line), 10, 32)
		return uint32(v)
	}
	if tgid = field("Tgid"); tgid == 0 {
		return 0, 0, errors.New("no Tgid in status")
	}
	return tgid, field("PPid"), nil
}

// readCmdline returns the arguments in memory of a task that is stopped after
// its exec: what they are, since nobody else has that memory yet.
func readCmdline(pid int32) ([]string, error) {
	b, err := readProc(int(pid), "cmdline", maxArgTotal+1)
	if err != nil {
		return nil, err
	}
	if len(b) == 0 || len(b) > maxArgTotal || b[len(b)-1] != 0 {
		return nil, fmt.Errorf("cmdline of %d bytes is not a list of strings", len(b))
	}
	var argv []string
	for _, s := range bytes.Split(b[:len(b)-1], []byte{0}) {
		argv = append(argv, string(s))
	}
	return argv, nil
}
