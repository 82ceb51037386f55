package handler

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
)

// readTask returns the thread group and the parent of a thread. The caller
// checks afterwards that the thread id is still the one it means.
func readTask(tid uint32) (tgid, ppid uint32, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
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
	f, err := os.Open(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxArgTotal+1))
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
