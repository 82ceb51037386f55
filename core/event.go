package core

import (
	"strconv"
	"strings"

	"github.com/sandlock/sandlock/core/internal/handler"
)

// Category groups the events that a [PolicyFunc] sees. The values are those of
// the C ABI's sandlock_event_t.
type Category uint8

const (
	CategoryFile    Category = 0
	CategoryNetwork Category = 1
	CategoryProcess Category = 2
	CategoryMemory  Category = 3
)

// Event is one thing the sandbox is about to do. There is no path in it, and
// there will be none: a path can change between the verdict and the act, so
// paths belong to the kernel's static rules.
type Event struct {
	Syscall   string
	Category  Category
	PID       uint32
	ParentPID uint32 // 0: unknown
	Host      string // "": not applicable
	Port      uint16
	Argv      []string // exact bytes; nil: not applicable
	Denied    bool
}

// brief is the event in a few words, for the log.
func (e *Event) brief() string {
	switch {
	case e.Category == CategoryNetwork && e.Port == 0:
		return e.Syscall + " " + e.Host
	case e.Category == CategoryNetwork:
		return e.Syscall + " " + hostPort(e.Host, e.Port)
	}
	return e.Syscall + " " + handler.Brief(e.Argv)
}

func hostPort(host string, port uint16) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(port))
}

// Verdict is what a [PolicyFunc] answers. The values are those of the C ABI.
type Verdict int32

const (
	Allow Verdict = 0
	Deny  Verdict = -1 // EPERM
	Audit Verdict = -2 // allow, and log
)

// A positive Verdict denies with that errno; any other negative one is Deny.

// PolicyFunc decides one event. For one sandbox it is called by one OS thread of
// the library, one event at a time; two sandboxes of the same plan call it
// concurrently. It must not wait for or close its own sandbox.
type PolicyFunc func(ev *Event, ctx *Context) Verdict
