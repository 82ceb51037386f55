package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// process is a task of a sandbox, for people to look at.
type process struct {
	PID     int     `json:"pid"`
	Parent  int     `json:"parent"`
	Command string  `json:"command"`
	State   string  `json:"state"`
	CPU     float64 `json:"cpu_seconds"`
	Memory  int64   `json:"memory"` // resident bytes
}

// tick is USER_HZ, which is 100 on every architecture that Linux tells it to: time(7).
const tick = time.Second / 100

// descendants are the processes below the library's own child, which are those of the
// sandbox: it takes in their orphans. The library's own two tasks are left out.
func descendants() []process {
	out := []process{}
	var walk func(pid int)
	walk = func(pid int) {
		for _, child := range children(pid) {
			if p, ok := look(child); ok {
				out = append(out, p)
			}
			walk(child)
		}
	}
	for _, warden := range children(os.Getpid()) {
		program, err := os.Stat(exe(warden))
		if err != nil {
			continue
		}
		for _, child := range children(warden) {
			// The warden's other task runs the warden's program, which nobody else can.
			if its, err := os.Stat(exe(child)); err == nil && os.SameFile(program, its) {
				continue
			}
			if p, ok := look(child); ok {
				out = append(out, p)
			}
			walk(child)
		}
	}
	return out
}

func exe(pid int) string { return "/proc/" + strconv.Itoa(pid) + "/exe" }

func children(pid int) []int {
	tasks, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	var out []int
	for _, file := range tasks {
		text, _ := os.ReadFile(file)
		for _, word := range bytes.Fields(text) {
			if child, err := strconv.Atoi(string(word)); err == nil {
				out = append(out, child)
			}
		}
	}
	return out
}

// look reads proc_pid_stat(5).
func look(pid int) (p process, ok bool) {
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(dir + "/stat")
	open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if err != nil || open < 0 || end < open {
		return p, false
	}
	rest := strings.Fields(string(stat[end+1:]))
	if len(rest) < 22 {
		return p, false
	}
	number := func(field int) int64 { // as proc_pid_stat(5) counts them
		n, _ := strconv.ParseInt(rest[field-3], 10, 64)
		return n
	}
	p = process{PID: pid, Parent: int(number(4)), Command: string(stat[open+1 : end]), State: rest[0]}
	p.CPU = (time.Duration(number(14)+number(15)) * tick).Seconds()
	p.Memory = number(24) * int64(os.Getpagesize())
	if line, err := os.ReadFile(dir + "/cmdline"); err == nil && len(line) > 0 {
		p.Command = strings.TrimSpace(string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
	}
	return p, true
}
