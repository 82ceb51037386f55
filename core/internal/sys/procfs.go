package sys

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Status is the text of a proc_pid_status(5).
type Status []byte

// ReadStatus reads one of at most limit bytes. Whoever reads it by the number of a task
// checks afterwards that the number is still the one that was meant.
func ReadStatus(path string, limit int) (Status, error) { return ReadFile(path, limit) }

// Field is what a line says, without the blanks around it; "" if there is no such line.
func (s Status) Field(name string) string {
	_, rest, _ := bytes.Cut(s, []byte("\n"+name+":"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	return string(bytes.TrimSpace(line))
}

// Name is what the task calls itself, proc_pid_comm(5): the first line, where the kernel
// writes a newline and a backslash as \n and \\.
func (s Status) Name() string {
	line, _, _ := bytes.Cut(s, []byte("\n"))
	_, name, _ := bytes.Cut(line, []byte("\t"))
	return string(name)
}

// Number is a Field of one number; 0 if it is none.
func (s Status) Number(name string, base, bits int) uint64 {
	v, err := strconv.ParseUint(s.Field(name), base, bits)
	if err != nil {
		return 0
	}
	return v
}

// ReadStat returns the fields of a proc_pid_stat(5) from the third on, which is the state:
// the second, the name, may hold anything. There are as many as least, or it is an error.
func ReadStat(path string, least int) ([][]byte, error) {
	text, err := ReadFile(path, 4096)
	if err != nil {
		return nil, err
	}
	f := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(f) < least {
		return nil, fmt.Errorf("%s: %w", path, unix.EINVAL)
	}
	return f, nil
}

// TasksOf are the threads of a process, as far as they can be listed.
func TasksOf(pid string) []string {
	tids, _ := NamesIn("/proc/" + pid + "/task")
	return tids
}

// ChildrenOf are the children of these threads of a process, by proc_tid_children(5). A list
// of more than limit bytes is left out. What is born meanwhile may be, too.
func ChildrenOf(pid string, tids []string, limit int) (children []string) {
	for _, tid := range tids {
		if text, err := ReadFile("/proc/"+pid+"/task/"+tid+"/children", limit); err == nil {
			children = append(children, strings.Fields(string(text))...)
		}
	}
	return children
}
