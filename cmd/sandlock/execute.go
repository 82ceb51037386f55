package main

import (
	"errors"
	"os"
	"os/signal"
	"time"

	"github.com/sandlock/sandlock/core"
	"golang.org/x/sys/unix"
)

// run is a command that runs.
type run struct {
	sandbox  *core.Sandbox
	signals  chan os.Signal
	over     chan struct{}
	ended    chan os.Signal // the signal that ended it, nil for none
	killed   chan struct{}  // closed when one has
	attended bool
}

// grown is how old a run is when others are to know of it: what it takes to be found, and
// to end in order, is half of what the shortest command takes.
const grown = 20 * time.Millisecond

// execute runs a command. A signal that would end the tool ends the sandbox first, so that
// nothing runs and the terminal is as it was when the tool is gone; of a young run without
// the terminal it ends the tool, and the library that. Signals of the terminal itself reach
// a command that has it.
func (o *runOptions) execute(plan *core.Plan, cmd core.Command, info runInfo, name string) int {
	var terminal *front
	switch {
	case o.interactive:
		cmd.Interactive = true
	case o.pty:
		var err error
		if terminal, err = newFront(); err != nil {
			return o.status.failed(err).Code
		}
		cmd.Terminal, cmd.Files = true, []core.File{{FD: terminal.slave, As: 0}, {FD: terminal.slave, As: 1}, {FD: terminal.slave, As: 2}}
	default:
		cmd.Files = []core.File{{FD: 0, As: 0}, {FD: 1, As: 1}, {FD: 2, As: 2}}
	}
	atTerminal := o.interactive || o.pty
	r := run{signals: make(chan os.Signal, 1), over: make(chan struct{}), ended: make(chan os.Signal, 1), killed: make(chan struct{})}
	if atTerminal {
		r.notify()
	}
	var listed *control
	list := func(name string, named bool) (err error) {
		if info.Name = name; o.control {
			listed, err = register(info, named)
		}
		if err != nil {
			o.status.note("ps does not show it: " + err.Error())
		}
		return err
	}
	// A name that was asked for is taken before the start.
	var taken errNameTaken
	if name != "" {
		if err := list(name, true); errors.As(err, &taken) {
			return o.status.failed(err).Code
		}
	}
	defer func() { listed.close() }()
	started := time.Now()
	var err error
	if r.sandbox, err = plan.Spawn(cmd); err != nil {
		st := o.status.failed(err)
		o.audit.write(info, st, nil, say)
		return st.Code
	}
	listed.started(r.sandbox)
	if atTerminal {
		r.attend()
	}
	if terminal != nil {
		terminal.begin()
	}
	if !r.ends(min(grown, orForever(o.timeout))) {
		if !r.attended {
			r.notify()
			r.attend()
		}
		if name == "" {
			_ = list(r.sandbox.Name(), false) // which the log says
			listed.started(r.sandbox)
		}
	}
	result, err := r.sandbox.Wait(rest(o.timeout, started))
	r.sandbox.Close()
	if terminal != nil {
		terminal.end(r.killed)
	}
	var st status
	if err != nil {
		st = o.status.failed(err)
	} else {
		st = o.status.over(result)
	}
	o.audit.write(info, st, r.sandbox.Denials(), say)
	code := st.Code
	if !r.attended {
		return code
	}
	close(r.over)
	switch got := <-r.ended; got {
	case nil:
		return code
	case unix.SIGQUIT: // Go's own end by it is a dump
		return exitSignal + int(unix.SIGQUIT)
	default:
		signal.Reset(got)
		_ = unix.Kill(os.Getpid(), got.(unix.Signal))
		select {} // the runtime's handler ends us
	}
}

// notify has the signals come that would end the tool.
func (r *run) notify() {
	for _, sig := range []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT} {
		if !signal.Ignored(sig) { // as nohup(1) and a shell's & have it
			signal.Notify(r.signals, sig)
		}
	}
}

// attend ends the sandbox at the first of them.
func (r *run) attend() {
	r.attended = true
	go func() {
		var got os.Signal
		select {
		case got = <-r.signals:
			_ = r.sandbox.Kill()
			close(r.killed)
		case <-r.over:
		}
		r.ended <- got
	}()
}

// ends reports whether the run is over within the time.
func (r *run) ends(within time.Duration) bool {
	fd, err := r.sandbox.StepFD()
	deadline := time.Now().Add(within)
	for err == nil {
		left := time.Until(deadline)
		if left <= 0 {
			break
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, failed := unix.Poll(fds, int(left/time.Millisecond)+1)
		if failed == unix.EINTR {
			continue
		}
		if err = failed; n > 0 && r.sandbox.Step() {
			return true
		}
	}
	return false
}

// orForever is a timeout, of which 0 is none.
func orForever(timeout time.Duration) time.Duration {
	if timeout == 0 {
		return 1<<63 - 1
	}
	return timeout
}

// rest is what is left of a timeout.
func rest(timeout time.Duration, since time.Time) time.Duration {
	if timeout == 0 {
		return 0
	}
	return max(timeout-time.Since(since), 1)
}
