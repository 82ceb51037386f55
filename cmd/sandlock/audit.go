package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/sandlock/sandlock/core"
	"golang.org/x/sys/unix"
)

// auditSink is where it is kept what a run was refused: the file of --audit, and for "why"
// the directory of the running sandboxes.
type auditSink struct {
	wanted bool     // --audit
	file   *os.File // nil without
	keep   bool
}

// lastAudit is the file in that directory. A run that came to a good end and was refused
// nothing leaves what the one before has written: nobody will ask why.
const lastAudit = "last-audit.jsonl"

// open takes the file before the run, which could put something else in its place.
func (a *auditSink) open(path string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOCTTY, 0o600)
	if err != nil {
		return usageError(fmt.Sprintf("--audit %s: %v", path, err))
	}
	a.wanted, a.file = true, os.NewFile(uintptr(fd), path)
	return nil
}

// auditRun is the first line of the file, in an object as its member "run". Each line
// after it is a core.Denial.
type auditRun struct {
	Command        string   `json:"command"` // cut where it is long
	Started        float64  `json:"started"` // seconds since 1970
	Recorded       bool     `json:"recorded"`
	Reason         string   `json:"reason"` // as that of --json, as are the next
	Code           int      `json:"code"`
	Error          string   `json:"error"`
	Limits         []string `json:"limits"`
	DenialsDropped uint64   `json:"denials_dropped"`
}

// write keeps what a run was refused. note takes what is in the way.
func (a *auditSink) write(info runInfo, st status, denials []core.Denial, note func(string)) {
	if !a.wanted && !(a.keep && (st.Code != 0 || len(denials) > 0)) {
		return
	}
	head, err := json.Marshal(map[string]auditRun{"run": {
		Command: brief(info.Command), Started: float64(info.Started.UnixMicro()) / 1e6, Recorded: a.wanted,
		Reason: st.Reason, Code: st.Code, Error: st.Error, Limits: append([]string{}, st.Limits...), DenialsDropped: st.DenialsDropped,
	}})
	if err != nil {
		panic(err) // there is nothing in it that JSON can't hold
	}
	var b strings.Builder
	b.Write(append(head, '\n'))
	for i := range denials {
		b.WriteString(denials[i].JSON() + "\n")
	}
	if a.file != nil {
		_ = a.file.Truncate(0) // which a terminal or a pipe does not know
		if _, err := a.file.WriteString(b.String()); err != nil {
			say("--audit: " + err.Error())
		}
	}
	if a.keep {
		if err := keepAudit(b.String()); err != nil {
			note("why will not know of this run: " + err.Error())
		}
	}
}

// keepAudit puts a file in the place of the last run's, in one step and for this user alone.
func keepAudit(text string) error {
	dir, path, err := controlDir(true)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	name := ".audit-" + rand.Text()
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("%s/%s: %w", path, name, err)
	}
	file := os.NewFile(uintptr(fd), name)
	_, err = file.WriteString(text)
	file.Close()
	if err == nil {
		err = unix.Renameat(dir, name, dir, lastAudit)
	}
	if err != nil {
		_ = unix.Unlinkat(dir, name, 0)
	}
	return err
}

// shownTime is a time as people read it.
func shownTime(seconds float64) string {
	return time.UnixMicro(int64(seconds * 1e6)).Format(time.DateTime)
}
