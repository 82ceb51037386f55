package core

import (
	"fmt"
	"slices"
	"time"

	"github.com/sandlock/sandlock/core/internal/sys"
	"github.com/sandlock/sandlock/core/internal/warden"
	"golang.org/x/sys/unix"
)

// connectStreams opens what becomes the command's descriptors, and our ends.
func (s *Sandbox) connectStreams(cmd *Command, spec *warden.Spec, mine *fdList) error {
	if cmd.WatchExec {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			return &StartError{Step: "pipe", Err: err}
		}
		s.execEnd = sys.Opened(p[0])
		spec.Exec, _ = mine.keep(p[1], nil)
	}
	if cmd.Interactive {
		spec.Files = []int{0, 1, 2}
		s.terminal = openTerminal(spec)
		return nil
	}
	const missing = -2
	spec.Files = []int{missing, missing, missing}
	for _, f := range cmd.Files {
		for f.As >= len(spec.Files) {
			spec.Files = append(spec.Files, -1)
		}
		spec.Files[f.As] = f.FD
	}
	if spec.Files[0] == missing {
		spec.Files[0] = cmd.Stdin
		if cmd.Stdin < 0 {
			fd, err := mine.keep(openNull(unix.O_RDONLY))
			if err != nil {
				return err
			}
			spec.Files[0] = fd
		}
	}
	for i, st := range []*stream{&s.out, &s.errs} {
		if spec.Files[1+i] != missing {
			continue
		}
		if err := st.open(s.plan.maxOutput); err != nil {
			return &StartError{Step: "pipe", Err: err}
		}
		spec.Files[1+i] = st.writeEnd
		if s.collector == background {
			if fd := st.join(); fd >= 0 {
				*mine = append(*mine, fd)
			}
		}
	}
	return nil
}

func openNull(access int) (int, error) {
	fd, err := unix.Open("/dev/null", access|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &StartError{Step: "open", Path: "/dev/null", Err: err}
	}
	return fd, nil
}

// StreamMode is what becomes of one standard stream of a command that Popen starts.
type StreamMode uint32

const (
	Inherit StreamMode = iota // the host's
	Piped                     // a pipe, whose other end is the caller's
	Null                      // /dev/null
)

// Popen creates and starts a command whose standard streams are as modes say; of those,
// Files may hold others instead. It returns when the command was executed: that it can't
// be is an error. ends are the caller's ends of the pipes, which are the caller's to close,
// and -1 for the other streams. The library keeps none of what goes through them.
func (p *Plan) Popen(cmd Command, modes [3]StreamMode) (s *Sandbox, ends [3]int, err error) {
	ends = [3]int{-1, -1, -1}
	var theirs fdList
	defer func() {
		theirs.close()
		for i, fd := range ends {
			if fd < 0 {
				continue
			}
			sys.Closing(fd) // the caller's from now on, or nobody's
			if err != nil {
				unix.Close(fd)
				ends[i] = -1
			}
		}
	}()
	closed := func(err error) (*Sandbox, [3]int, error) {
		if cmd.OnClose != nil {
			cmd.OnClose()
		}
		return nil, ends, err
	}
	cmd.Files = slices.Clone(cmd.Files)
	for i, mode := range modes {
		if slices.ContainsFunc(cmd.Files, func(f File) bool { return f.As == i }) {
			continue
		}
		fd := -1
		switch mode {
		case Inherit:
			// One that is closed in the host is closed in the command.
			if _, err := unix.FcntlInt(uintptr(i), unix.F_GETFD, 0); err == nil {
				fd = i
			}
		case Null:
			access := unix.O_WRONLY
			if i == 0 {
				access = unix.O_RDONLY
			}
			if fd, err = theirs.keep(openNull(access)); err != nil {
				return closed(err)
			}
		case Piped:
			var pipe [2]int
			if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
				return closed(&StartError{Step: "pipe", Err: err})
			}
			read, write := sys.Opened(pipe[0]), sys.Opened(pipe[1])
			if i == 0 {
				fd, ends[i] = read, write
			} else {
				fd, ends[i] = write, read
			}
			theirs = append(theirs, fd)
		default:
			return closed(fmt.Errorf("stream %d: mode %d is not known: 0 inherits, 1 is a pipe, 2 is /dev/null", i, mode))
		}
		cmd.Files = append(cmd.Files, File{fd, i})
	}
	cmd.WatchExec = true
	if s, err = p.Create(cmd); err != nil {
		return nil, ends, err
	}
	if err = s.startAndExec(); err != nil {
		s.Close()
		return nil, ends, err
	}
	return s, ends, nil
}

// startAndExec lets the parked child exec, and waits until it has.
func (s *Sandbox) startAndExec() error {
	if err := s.Start(); err != nil {
		return err
	}
	fds := []unix.PollFd{{Fd: int32(s.execEnd), Events: unix.POLLIN}}
	pollUntil(fds, time.Time{})
	if s.Executed() {
		return nil
	}
	_, err := s.Wait(0)
	return err
}

// ExecFD returns a descriptor, owned by the sandbox and valid until Close, that is readable
// once the command was executed or is dead, for a Command with WatchExec.
func (s *Sandbox) ExecFD() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.execEnd < 0 {
		return -1, errOver
	}
	return s.execEnd, nil
}

// forkNoExec is PF_FORKNOEXEC of the kernel's include/linux/sched.h: begin_new_exec() of
// fs/exec.c takes it off a task before it closes what is to be closed by the exec.
const forkNoExec = 0x40

// Executed reports whether the command runs, once ExecFD is readable. False: it was not
// executed, or has ended since, and Wait, which will not take long, says which.
func (s *Sandbox) Executed() bool {
	pid := s.PID()
	st, ok := readStat(pid)
	return ok && st.flags&forkNoExec == 0 && s.Signal(0) == nil
}

// Signal sends a signal to the command alone: pidfd_send_signal(2). 0 sends none.
func (s *Sandbox) Signal(sig unix.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.command < 0 {
		return errOver
	}
	return unix.PidfdSendSignal(s.command, sig, nil, 0)
}
