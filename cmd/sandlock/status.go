package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/sandlock/sandlock/core"
	"golang.org/x/sys/unix"
)

// statusSink is where the result goes as JSON, if anywhere.
type statusSink struct {
	wanted bool
	file   *os.File // nil is stderr
	notes  []string // lines of the log that are the tool's own
}

func (s *statusSink) note(line string) { s.notes = append(s.notes, line) }

func (s *statusSink) open(arg string) error {
	fd, err := strconv.ParseUint(arg, 10, 31)
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	}
	if err != nil {
		return usageError(fmt.Sprintf("--status-fd %s: it is no open descriptor", arg))
	}
	s.wanted, s.file = true, os.NewFile(uintptr(fd), "status-fd")
	return nil
}

// status is the result of a run, in JSON.
type status struct {
	Reason   string   `json:"reason"` // exited, signaled, killed, timeout, or error: the command did not run
	Code     int      `json:"code"`   // that of the tool
	ExitCode *int     `json:"exit_code"`
	Signal   *int     `json:"signal"`
	Error    string   `json:"error"`
	Log      []string `json:"log"`
	Limits   []string `json:"limits"` // those that were met
	// What it was refused, as core.Denial has it.
	Denials        json.RawMessage `json:"denials"`
	DenialsDropped uint64          `json:"denials_dropped"`

	WallSeconds   float64 `json:"wall_seconds"`
	UserSeconds   float64 `json:"user_seconds"`
	SystemSeconds float64 `json:"system_seconds"`
	MaxRSS        int64   `json:"max_rss"`
	Processes     uint64  `json:"processes"`
}

func (s *statusSink) write(st status) {
	if !s.wanted {
		return
	}
	if st.Log == nil {
		st.Log = []string{}
	}
	if st.Denials == nil {
		st.Denials = json.RawMessage("[]")
	}
	if st.Limits == nil {
		st.Limits = []string{}
	}
	doc, err := json.Marshal(st)
	if err != nil {
		panic(err) // there is nothing in it that JSON can't hold
	}
	to := s.file
	if to == nil {
		to = os.Stderr
	}
	if _, err := to.Write(append(doc, '\n')); err != nil {
		say("--status-fd: " + err.Error())
	}
}

// failed tells of a command that has not run. What it returns has the hint besides.
func (s *statusSink) failed(err error) status {
	code := exitFailure
	text := err.Error()
	var start *core.StartError
	if errors.As(err, &start) && start.Step == "execve" {
		code = exitNotExecutable
		switch {
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
			code = exitNotFound
		case errors.Is(err, unix.EACCES) && unix.Access(start.Path, unix.X_OK) == nil:
			text += "\nthe policy does not grant it, its loader or its interpreter; --fs-read grants what lies beneath a path"
		}
	}
	say(text)
	st := status{Reason: "error", Code: code, Error: err.Error()}
	s.write(st)
	st.Error = text
	return st
}

// over tells of a command that has run.
func (s *statusSink) over(r *core.Result) status {
	st := status{
		Error: r.Error, Log: append(s.notes, r.Log...), Limits: r.Limits.Names(),
		WallSeconds: r.WallTime.Seconds(), UserSeconds: r.UserTime.Seconds(), SystemSeconds: r.SystemTime.Seconds(),
		MaxRSS: r.MaxRSS, Processes: r.Processes, DenialsDropped: r.DenialsDropped,
	}
	if s.wanted {
		st.Denials = json.RawMessage(r.DenialsJSON())
	}
	switch r.Reason {
	case core.Exited:
		st.Reason, st.Code, st.ExitCode = "exited", r.ExitCode, &r.ExitCode
	case core.Signaled:
		st.Reason, st.Code, st.Signal = "signaled", exitSignal+r.Signal, &r.Signal
	case core.TimedOut:
		st.Reason, st.Code = "timeout", exitTimeout
	default:
		kill := int(unix.SIGKILL)
		st.Reason, st.Code, st.Signal = "killed", exitSignal+kill, &kill
	}
	if r.Error != "" {
		say(r.Error)
	}
	s.write(st)
	return st
}
