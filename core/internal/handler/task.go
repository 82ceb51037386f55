package handler

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// task is what proc_pid_status(5) says of a thread.
type task struct {
	tgid, ppid uint32
	threads    uint32 // of its group
}

// readTask reads it. The caller checks afterwards that the thread id is still the one
// it means.
func readTask(tid uint32) (task, error) {
	status, err := sys.ReadStatus(statusOf(tid), 1<<16)
	if err != nil {
		return task{}, err
	}
	field := func(name string) uint32 { return uint32(status.Number(name, 10, 32)) }
	t := task{field("Tgid"), field("PPid"), field("Threads")}
	if t.tgid == 0 || t.threads == 0 {
		return task{}, errors.New("no Tgid or Threads in status")
	}
	return t, nil
}

var errEnded = errors.New("the task has ended")

// readCmdline returns the arguments in memory of a task that is stopped after
// its exec: what they are, since nobody else has that memory yet. errEnded: it was killed
// there. One that ends has no memory, and so an empty list, which an exec never leaves:
// get_task_cmdline() of the kernel's fs/proc/base.c, and execve(2) about Linux 5.18.
func readCmdline(pid int32) ([]string, error) {
	b, err := sys.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid), maxArgTotal)
	switch {
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) || err == nil && len(b) == 0:
		return nil, errEnded
	case err != nil:
		return nil, err
	}
	if b[len(b)-1] != 0 {
		return nil, fmt.Errorf("cmdline of %d bytes is not a list of strings", len(b))
	}
	var argv []string
	for _, s := range bytes.Split(b[:len(b)-1], []byte{0}) {
		argv = append(argv, string(s))
	}
	return argv, nil
}

func statusOf(tid uint32) string { return fmt.Sprintf("/proc/%d/status", tid) }

// effective returns a task's capabilities, proc_pid_status(5).
func effective(tid uint32) (uint64, error) {
	s, err := sys.ReadStatus(statusOf(tid), 1<<20) // there may be 65,536 groups
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(s.Field("CapEff"), 16, 64)
}
