package core

import (
	"slices"
	"sync"

	"github.com/sandlock/sandlock/core/internal/handler"
)

// ExecRecord is an exec that PolicyFn was asked about, and what became of it.
type ExecRecord struct {
	Syscall string
	PID     uint32
	Argv    []string // exact bytes; nil when it was judged without
	Outcome ExecOutcome
}

// ExecOutcome says what became of an exec.
type ExecOutcome = handler.ExecOutcome

const (
	ExecDenied  = handler.ExecDenied  // by the callback, by its deadline, or since its arguments could not be protected
	ExecRan     = handler.ExecRan     // the program that was approved runs
	ExecBecame  = handler.ExecBecame  // something else, such as a script's interpreter: the process's next record
	ExecFailed  = handler.ExecFailed  // allowed, and the kernel returned an error
	ExecKilled  = handler.ExecKilled  // by a verdict: at the exec stop it was something that was not allowed
	ExecEnded   = handler.ExecEnded   // the task or the sandbox ended before it was judged or done
	ExecAllowed = handler.ExecAllowed // without its arguments: what came of it is not known
)

// What a record holds of one run at most; the rest is counted.
const (
	maxRecords     = 10_000
	maxRecordBytes = 16 << 20
)

// records is the [handler.Recorder] of a run, and keeps its audit events.
type records struct {
	execs bool // are recorded

	mu      sync.Mutex // guards what follows
	list    []ExecRecord
	audit   []Event
	bytes   int
	dropped int
}

// room reports whether argv may be kept. r.mu is held.
func (r *records) room(n int, argv []string) bool {
	size := 0
	for _, a := range argv {
		size += len(a)
	}
	if n >= maxRecords || r.bytes+size > maxRecordBytes {
		r.dropped++
		return false
	}
	r.bytes += size
	return true
}

func (r *records) Add(ev *handler.ExecEvent, what ExecOutcome) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.execs || !r.room(len(r.list), ev.Argv) {
		return -1
	}
	r.list = append(r.list, ExecRecord{ev.Syscall, ev.PID, slices.Clone(ev.Argv), what})
	return len(r.list) - 1
}

func (r *records) Settle(i int, what ExecOutcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i >= 0 {
		r.list[i].Outcome = what
	}
}

func (r *records) addAudit(ev *Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.room(len(r.audit), ev.Argv) {
		kept := *ev
		kept.Argv = slices.Clone(ev.Argv)
		r.audit = append(r.audit, kept)
	}
}

// fill hands over to a result.
func (r *records) fill(to *Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	to.Execs, to.Audit, to.RecordsDropped = slices.Clone(r.list), slices.Clone(r.audit), r.dropped
}
