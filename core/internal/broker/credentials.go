package broker

import (
	"bytes"
	"errors"
	"strconv"

	"github.com/sandlock/sandlock/core/internal/sys"
)

// Credentials are what proc_pid_status(5) says of who a task is to the file system.
type Credentials struct {
	ids string // Uid, Gid, Groups, CapEff: their lines
}

// Task is what a call's caller has besides.
type Task struct {
	Credentials
	TGID  uint32
	Umask uint32
}

var errStatus = errors.New("a line of status is missing")

// ReadTask reads a thread's, by the path of its status file.
func ReadTask(path string) (Task, error) {
	status, err := sys.ReadFile(path, 1<<20)
	if err != nil {
		return Task{}, err
	}
	var t Task
	found := 0
	for line := range bytes.Lines(status) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		var n uint64
		switch string(name) {
		case "Uid", "Gid", "Groups", "CapEff":
			t.ids += string(line)
		case "Tgid":
			n, err = strconv.ParseUint(string(value), 10, 32)
			t.TGID = uint32(n)
		case "Umask":
			n, err = strconv.ParseUint(string(value), 8, 32)
			t.Umask = uint32(n)
		default:
			continue
		}
		if err != nil {
			return Task{}, err
		}
		found++
	}
	if found != 6 {
		return Task{}, errStatus
	}
	return t, nil
}

func readCredentials(path string) (Credentials, error) {
	t, err := ReadTask(path)
	return t.Credentials, err
}
