// Package warden starts the warden, the small static program that starts,
// traces, reaps and ends one sandbox, and speaks its protocol. See warden.h.
package warden

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// Spec is what the warden is to start.
type Spec struct {
	Path      string
	Argv, Env []string
	Filter    []byte // struct sock_filter[]
	Files     []int  // become the command's descriptors 0, 1, 2, …; -1: it has none of that number
	Exec      int    // write end of a pipe that only the command's task holds, until its exec, -1 none
	Ruleset   int    // Landlock ruleset, -1 none
	Cwd       int    // O_PATH directory, -1 the host's
	Cgroup    int    // directory of a cgroup that limits the memory to MaxMemory, -1 none

	Park         bool // wait for Go before the exec
	Listener     bool // the filter notifies
	Execs        bool // … of each exec, which is to be followed
	WaitKillable bool // a received notification waits for nothing but its answer and SIGKILL
	Interactive  bool // stay in the host's session
	LogDenials   bool // the kernel's audit is told what Landlock denies: ABI 7
	Terminal     bool // Files[0] becomes the controlling terminal of the command's session
	TTY          int  // index into Files of the terminal to hand over, -1 none
	TTYPgrp      int  // its foreground process group now
	Jobs         bool // tell when the command has stopped: Stopped

	NoCore, NoTHP, NoRandomize bool
	NoFile                     *uint32
	Cores                      []uint32
	KeepCaps                   uint64
	KillerScope                uint32 // 0: end the sandbox by walking its tasks

	MaxProcesses *uint32 // nil: no limit, nothing is traced from birth
	MaxMemory    *uint64 // bytes; nil: no limit
	WritesMemory bool    // files that the command can write may be memory
	MaxCPU       *uint32 // percent of one core; nil: no limit
}

// Warden is a running warden. Kill may be called from any goroutine until
// Close; Receive by one at a time; the orders to the
// parent from any goroutine.
type Warden struct {
	ctl, order, pidfd int
	pid               int
	pauses            sync.Mutex // held over an order to the killer and its acknowledgement, and guards done
	done              bool       // the killer has said that it ended the sandbox
	mu                sync.Mutex // guards the descriptors against Close; nothing waits under it
	closed            bool
}

// Start starts the warden and sends it the request. It does not wait for what
// comes of it: Receive tells. An error has left nothing behind.
func Start(s *Spec) (*Warden, error) {
	request, err := s.encode()
	if err != nil {
		return nil, err
	}
	// A forked child of the host with a copy of the spawn's pipe would end neither.
	defer sys.HoldForks()()
	var mine []int
	defer func() {
		for _, fd := range mine {
			unix.Close(fd)
		}
	}()
	ctl, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	mine = append(mine, ctl[1])
	order, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		unix.Close(ctl[0])
		return nil, os.NewSyscallError("socketpair", err)
	}
	mine = append(mine, order[1])
	w := &Warden{ctl: sys.Opened(ctl[0]), order: sys.Opened(order[0]), pidfd: -1}
	// The kernel doubles it: room for the orders of all execs in flight, socket(7).
	_ = unix.SetsockoptInt(w.ctl, unix.SOL_SOCKET, unix.SO_SNDBUF, 208<<10)
	host, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		w.Close()
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	mine = append(mine, host)

	const unused = ^uintptr(0)
	files := make([]uintptr, 0, len(s.Files)+fdSlots)
	for _, fd := range s.Files {
		if fd < 0 {
			fd = host // a gap is filled with anything: the warden's own may not come to lie there
		}
		files = append(files, uintptr(fd))
	}
	files = append(files, unused, uintptr(ctl[1]), uintptr(order[1]), uintptr(host), unused, unused, unused)
	if s.Exec >= 0 {
		files[len(s.Files)] = uintptr(s.Exec)
	}
	if s.Ruleset >= 0 {
		files[len(s.Files)+4] = uintptr(s.Ruleset)
	}
	if s.Cwd >= 0 {
		files[len(s.Files)+5] = uintptr(s.Cwd)
	}
	if s.Cgroup >= 0 {
		files[len(s.Files)+6] = uintptr(s.Cgroup)
	}
	image, err := program.open(files)
	if err != nil {
		w.Close()
		return nil, err
	}
	mine = append(mine, image)
	// What the socket holds of the request is there before the warden is, which then
	// need not wait for this thread to come back from the spawn.
	rest, err := w.push(request, unix.MSG_DONTWAIT)
	if err != nil && !errors.Is(err, unix.EAGAIN) {
		w.Close()
		return nil, fmt.Errorf("request to the warden: %w", err)
	}
	argv := []string{"sandlock-warden", strconv.Itoa(len(s.Files))}
	w.pid, err = syscall.ForkExec("/proc/self/fd/"+strconv.Itoa(image), argv, &syscall.ProcAttr{
		Env: []string{}, Files: files, Sys: &syscall.SysProcAttr{PidFD: &w.pidfd},
	})
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("start of the warden: %w", err)
	}
	if w.pidfd >= 0 {
		sys.Opened(w.pidfd)
	}
	if _, err := w.push(rest, 0); err != nil {
		w.Reap()
		w.Close()
		return nil, fmt.Errorf("request to the warden: %w", err)
	}
	return w, nil
}

// datagramMax keeps each datagram well below the default SO_SNDBUF.
const datagramMax = 48 << 10

// push sends b and returns what an error has left of it.
func (w *Warden) push(b []byte, flags int) ([]byte, error) {
	for len(b) > 0 {
		n := min(len(b), datagramMax)
		_, err := unix.SendmsgN(w.ctl, b[:n], nil, nil, unix.MSG_NOSIGNAL|flags)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return b, os.NewSyscallError("sendmsg", err)
		}
		b = b[n:]
	}
	return nil, nil
}

// PID is the warden's process id, the subreaper of the sandbox.
func (w *Warden) PID() int { return w.pid }

// PollFDs returns the descriptors of which one is readable when Receive will
// not block: the socket, and the warden's own death, which the socket can't show
// while a forked child of the host holds a copy of its other end.
func (w *Warden) PollFDs() (ctl, pidfd int) { return w.ctl, w.pidfd }

// ErrGone says that the warden ended without a report: somebody killed it.
var ErrGone = errors.New("the warden was killed")

// Receive waits for the next message. fd is the listener that came with it, or
// -1; it is the caller's.
func (w *Warden) Receive() (m Message, fd int, err error) {
	var buf [messageSize + 1]byte
	oob := make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, _, _, err := unix.Recvmsg(w.ctl, buf[:], oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
		// ECONNRESET comes once, before what the warden has sent, when it ended with orders
		// unread: unix_release_sock() of the kernel's net/unix/af_unix.c.
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECONNRESET) {
			continue
		}
		if errors.Is(err, unix.EAGAIN) {
			if w.dead() {
				return m, -1, ErrGone
			}
			continue
		}
		if err != nil {
			return m, -1, os.NewSyscallError("recvmsg", err)
		}
		if n == 0 {
			return m, -1, ErrGone
		}
		fd = -1
		if cmsgs, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil {
			for _, c := range cmsgs {
				if fds, err := unix.ParseUnixRights(&c); err == nil && len(fds) == 1 {
					fd = fds[0]
				}
			}
		}
		m, ok := decodeMessage(buf[:n])
		if !ok {
			return m, fd, fmt.Errorf("BUG(sandlock): message of %d bytes from the warden, please report", n)
		}
		return m, fd, nil
	}
}

// dead waits for a message or the warden's death, and reports the latter.
func (w *Warden) dead() bool {
	fds := []unix.PollFd{{Fd: int32(w.ctl), Events: unix.POLLIN}, {Fd: int32(w.pidfd), Events: unix.POLLIN}}
	_, err := unix.Poll(fds, -1)
	return err == nil && fds[0].Revents == 0 && fds[1].Revents != 0
}

func (w *Warden) tell(kind uint32, tid, tgid int32, id uint64, rest ...byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return ErrGone
	}
	_, err := w.push(append(encodeOrder(kind, tid, tgid, id), rest...), unix.MSG_DONTWAIT)
	if errors.Is(err, unix.EAGAIN) {
		w.kill() // it takes no orders any more, with room for more than there can be
	}
	return err
}

// Go lets the parked child exec.
func (w *Warden) Go() error { return w.tell(orderGo, 0, 0, 0) }

// Freeze has every other thread of tid's thread group stopped. One of Frozen and
// NoExec follows, with that id; after Frozen, one of Thaw and Approve is due.
func (w *Warden) Freeze(tid int32, id uint64) error { return w.tell(orderFreeze, tid, 0, id) }

// Thaw lets what was frozen for notification id, or is about to be, go on.
func (w *Warden) Thaw(id uint64) error { return w.tell(orderThaw, 0, 0, id) }

// Approve has thread tid of group tgid traced and notification id answered with
// "continue". One of Ran, Exec and NoExec follows, with that id. cmdline is what
// /proc/PID/cmdline will hold when the exec is what was approved: then it is Ran, and the
// new image runs already. One that is longer than CmdlineMax is left to the caller of
// Release.
func (w *Warden) Approve(tid, tgid int32, id uint64, cmdline []byte) error {
	if len(cmdline) > CmdlineMax {
		cmdline = nil
	}
	return w.tell(orderApprove, tid, tgid, id, cmdline...)
}

// CmdlineMax is the longest command line that the warden compares itself, in bytes.
const CmdlineMax = cmdlineMax

// Release lets the new image at the exec stop run.
func (w *Warden) Release(id uint64) error { return w.tell(orderRelease, 0, 0, id) }

// LimitProcesses lowers max_processes; more than it is now changes nothing.
func (w *Warden) LimitProcesses(n uint32) error { return w.tell(orderLimit, 0, 0, uint64(n)) }

// Continue has the command's process group go on. terminal says whether it has the
// terminal, which is then to be taken back at the end.
func (w *Warden) Continue(terminal bool) error {
	id := uint64(0)
	if terminal {
		id = 1
	}
	return w.tell(orderCont, 0, 0, id)
}

// Refuse kills the task at the exec stop.
func (w *Warden) Refuse(id uint64) error { return w.tell(orderRefuse, 0, 0, id) }

// Kill ends every task of the sandbox. It works while the tracer is blocked,
// and when there is nothing left to kill.
func (w *Warden) Kill() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kill()
}

// kill is Kill. w.mu is held.
func (w *Warden) kill() { w.send(killerKill) }

// send gives the killer an order that it does not acknowledge. w.mu is held.
func (w *Warden) send(order uint32) {
	if !w.closed {
		w.wake()
		// EPIPE: the killer is gone, and with it all the others; EAGAIN: orders
		// to it are already waiting.
		_, err := unix.SendmsgN(w.order, encodeKillerOrder(order, 0), nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		if order == killerKill && (errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM)) {
			_ = unix.Shutdown(w.order, unix.SHUT_WR) // takes no memory, and says the same
		}
	}
}

// wake continues the warden's tasks, should somebody have stopped them: the parent passes
// it on. w.mu is held.
func (w *Warden) wake() {
	if w.pidfd >= 0 {
		_ = unix.PidfdSendSignal(w.pidfd, unix.SIGCONT, nil, 0)
	}
}

// Terminate sends SIGTERM to every task of the sandbox, and SIGCONT so that stopped ones
// take it.
func (w *Warden) Terminate() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.send(killerTerm)
}

// Pause stops every task of the sandbox, Resume continues them; both return
// when every task has the signal.
func (w *Warden) Pause() error  { return w.command(killerStop, 0) }
func (w *Warden) Resume() error { return w.command(killerCont, 0) }

// RestrictMemory lowers the limit of the memory, or sets one, and returns when it is in
// force: whoever was above it has been killed.
func (w *Warden) RestrictMemory(bytes uint64) error { return w.command(killerMemory, bytes) }

// command sends an order to the killer and waits until it is carried out.
func (w *Warden) command(kind uint32, value uint64) error {
	w.pauses.Lock()
	defer w.pauses.Unlock()
	w.mu.Lock()
	fd, err := w.order, error(ErrGone)
	if !w.closed {
		w.wake()
		_, err = unix.SendmsgN(fd, encodeKillerOrder(kind, value), nil, nil, unix.MSG_NOSIGNAL)
	}
	w.mu.Unlock()
	if err != nil {
		return ErrGone
	}
	for { // Close waits for this
		switch said, err := w.killerSays(0); {
		case (err != nil || said == killerDone) && kind == killerCont:
			return nil // what goes on may end at once, and the killer with it before it answers
		case err != nil || said == killerDone:
			return ErrGone
		case said == kind:
			return nil
		}
	}
}

// killerSays reads what the killer has said; an error, and there is nothing, or nothing
// will come any more. w.pauses is held.
func (w *Warden) killerSays(flags int) (uint32, error) {
	var b [killerOrderSize]byte
	for {
		n, _, err := unix.Recvfrom(w.order, b[:], flags)
		switch {
		// ECONNRESET comes once, before what the killer has said: see Receive.
		case errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECONNRESET):
			continue
		case err == nil && n != len(b):
			err = ErrGone
		case err == nil && native.Uint32(b[:]) == killerDone:
			w.done = true
		}
		return native.Uint32(b[:]), err
	}
}

// killerGrace bounds AwaitKiller: a child that the host forked during Start may
// hold a copy of the socket's other end.
const killerGrace = 10 * time.Second

// AwaitKiller waits until the killer has done its work and ended, for when the
// parent is gone and can't say so. It reports whether it has sent SIGKILL to every task of
// the sandbox; false, and it was killed itself before it could.
func (w *Warden) AwaitKiller() (done bool) {
	w.pauses.Lock()
	defer w.pauses.Unlock()
	deadline := time.Now().Add(killerGrace)
	for !w.done {
		switch _, err := w.killerSays(unix.MSG_DONTWAIT); {
		case errors.Is(err, unix.EAGAIN):
			left := int(time.Until(deadline).Milliseconds())
			if left <= 0 {
				return false
			}
			fds := []unix.PollFd{{Fd: int32(w.order), Events: unix.POLLIN}}
			_, _ = unix.Poll(fds, left)
		case err != nil:
			return w.done
		}
	}
	return true
}

// Reap waits for the warden's own process. The host's waitpid(-1) may have taken
// its status already, which is no error: the result came over the socket.
func (w *Warden) Reap() {
	if w.pidfd < 0 {
		return
	}
	for {
		err := unix.Waitid(unix.P_PIDFD, w.pidfd, nil, unix.WEXITED|unix.WALL, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// Close gives back the descriptors. Without an End before it, it also ends the
// sandbox: the killer sees the order socket close.
func (w *Warden) Close() {
	w.pauses.Lock()
	defer w.pauses.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.closed = true
	for _, fd := range []int{w.ctl, w.order, w.pidfd} {
		sys.Close(fd)
	}
}
