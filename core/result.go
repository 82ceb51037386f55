package core

import "time"

// ExitReason says how a run ended. The values are those of the C ABI.
type ExitReason uint32

const (
	Exited   ExitReason = 0 // the command exited by itself; ExitCode is valid
	Signaled ExitReason = 1 // killed by Signal
	Killed   ExitReason = 2 // killed by SIGKILL: by Kill, by a verdict, by the kernel
	TimedOut ExitReason = 3 // killed because its time was over
)

// Result is the outcome of one run. It is immutable.
type Result struct {
	Reason   ExitReason
	ExitCode int // -1 unless Reason is Exited
	Signal   int // -1 unless Reason is Signaled

	Stdout, Stderr                   []byte // at most MaxOutput bytes each
	StdoutTruncated, StderrTruncated bool   // more was written, read and dropped

	// Error is a sentence about why the command was ended or could not run, ""
	// when there is nothing to say.
	Error string
	// Log holds what the library had to say during the run, oldest first,
	// at most maxLog lines.
	Log []string

	// Execs holds, when Policy.RecordExecs asks for it, each exec that PolicyFn was asked
	// about, in that order; Audit holds each event that it answered with Audit. Both end
	// after 10,000 entries or 16 MiB of arguments; RecordsDropped counts the rest.
	Execs          []ExecRecord
	Audit          []Event
	RecordsDropped int

	// Denials are what the sandbox was refused, of what the library decides or sees, or with
	// Policy.RecordDenials the kernel, in the order of their first. They end after 1,000 or 1 MiB of names; DenialsDropped counts the
	// calls beyond that.
	Denials        []Denial
	DenialsDropped uint64

	UserTime, SystemTime time.Duration // of all tasks of the sandbox that were reaped
	MaxRSS               int64         // bytes, of the largest task
	WallTime             time.Duration // from the start of the command to the end of the last task
	// Processes that there were in all, the command among them; 0 when max_processes is
	// unlimited, as nothing counts them then.
	Processes uint64
	Limits    Limits // those that the sandbox has met
}

// Limits is a set of limits. The values are those of the C ABI.
type Limits uint32

const (
	LimitProcesses Limits = 1 << iota // a fork failed with EAGAIN
	LimitMemory                       // a process was killed
	LimitCPU                          // the sandbox was made to wait
	LimitOutput                       // output was dropped
	LimitTime                         // the time was over
)

var limitNames = [...]string{"max_processes", "max_memory", "max_cpu", "max_output", "timeout"}

// Names of the limits of the set, as the fields of the policy are called.
func (l Limits) Names() []string {
	var names []string
	for i, name := range limitNames {
		if l>>i&1 != 0 {
			names = append(names, name)
		}
	}
	return names
}

// Success reports whether the command exited with status 0.
func (r *Result) Success() bool { return r.Reason == Exited && r.ExitCode == 0 }
