package core

import (
	"errors"
	"time"
)

// Sandbox is one run: the kernel objects of one command and all that it starts.
// Kill, PID and PollFD may be called from any thread at any time; the other
// methods by one thread at a time.
type Sandbox struct{}

var errStub = errors.New("stub")

// Create confines a child and parks it before its exec. A policy that this
// kernel or file system cannot carry out is an error here, a *StartError with
// the failing step.
func (p *Plan) Create(cmd Command) (*Sandbox, error) { return nil, errStub }

// Run creates, starts and waits on the calling thread. timeout 0 is none.
func (p *Plan) Run(cmd Command, timeout time.Duration) (*Result, error) { return nil, errStub }

// Start releases the parked child; an exec that fails (no such file) is an error here
// or, where the exec is itself judged, of Wait.
func (s *Sandbox) Start() error { return errStub }

// PID of the command, 0 when there is none.
func (s *Sandbox) PID() int { return 0 }

// Kill ends every task of the sandbox; already over is success.
func (s *Sandbox) Kill() error { return errStub }

// Pause stops every task of the sandbox with SIGSTOP; Resume continues them.
func (s *Sandbox) Pause() error  { return errStub }
func (s *Sandbox) Resume() error { return errStub }

// PollFD returns a descriptor, owned by the sandbox and valid until Close, that
// is readable when the run is over.
func (s *Sandbox) PollFD() (int, error) { return -1, errStub }

// Wait blocks until the run is over. timeout 0 is no limit; when it expires the
// sandbox is killed and the result says TimedOut. Later calls return the same.
func (s *Sandbox) Wait(timeout time.Duration) (*Result, error) { return nil, errStub }

// Close kills the sandbox if it runs, reaps it and frees what it holds. It may be
// called more than once.
func (s *Sandbox) Close() {}
