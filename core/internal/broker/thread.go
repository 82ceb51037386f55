// Package broker does to files what the sandbox may do to them, on its behalf: on OS
// threads of the host that stand under the file rules of the sandbox's own ruleset, with
// its capabilities, and with a umask and a working directory of their own. What such a
// thread is asked for, the kernel judges as it would for the sandbox.
package broker

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// maxThreads bounds the threads of one sandbox: each that waits for a slow file system has
// one, as has each that waits for the other end of a FIFO, of which there may be as many
// besides.
const maxThreads = 64

// Broker has confined threads, as many as are busy at a time, and keeps them to its end.
// Its methods may be called from any goroutine.
type Broker struct {
	// Writable, if not nil, is what attributes may be changed of.
	Writable *Grants
	// Views are shown in the place of files.
	Views []*View
	// Inside, if not nil, reports whether a process is one of the sandbox.
	Inside func(tgid uint32) bool
	// Sockets, if not nil, are the named unix sockets that may be reached.
	Sockets *Grants
	// Observe, if not nil, is told of what was done, from any goroutine.
	Observe func(Access)

	ruleset int
	caps    uint64

	base   *identity
	quick  quick
	once   sync.Once
	status Credentials // of base
	err    error

	// naming is held while names are made, removed or changed, and by Bind alone.
	naming sync.RWMutex

	mu     sync.Mutex // guards what follows
	others map[Credentials]*identity
	waits  map[*wait]bool
	closed bool
}

// New makes a Broker whose threads restrict themselves by ruleset, of which it keeps a copy,
// and have no capability but those in caps. There is no thread before Ready.
func New(ruleset int, caps uint64) (*Broker, error) {
	fd, err := unix.FcntlInt(uintptr(ruleset), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	b := &Broker{ruleset: sys.Opened(fd), caps: caps}
	b.base = newIdentity(b.confine)
	b.base.base, b.base.fsuid = true, uint32(unix.Geteuid())
	return b, nil
}

// Ready makes the first thread, unless it is there: what is in the way of confining one is
// an error here.
func (b *Broker) Ready() error {
	b.once.Do(func() { b.status, b.err = b.base.credentials() })
	return b.err
}

// Steady returns the Credentials that every task has until one changes its own, and ok where
// no exec does: those of root, and those without a capability.
func (b *Broker) Steady() (c Credentials, ok bool) {
	if b.Ready() != nil {
		return c, false
	}
	n, err := b.status.parse()
	if err != nil || n.UID != [4]uint32{n.UID[0], n.UID[0], n.UID[0], n.UID[0]} ||
		n.GID != [4]uint32{n.GID[0], n.GID[0], n.GID[0], n.GID[0]} {
		return c, false
	}
	return b.status, n.UID[0] == 0 || n.caps == 0
}

// Close ends the threads, each when it is done. What is asked for afterwards is denied.
func (b *Broker) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.base.close()
	b.quick.close()
	for _, id := range b.others {
		id.close()
	}
	for w := range b.waits {
		w.end(b.ruleset)
	}
	for _, v := range b.Views {
		v.close()
	}
	sys.Close(b.ruleset)
}

// pool is threads and what they are to do.
type pool struct {
	confine func() error
	change  sync.Cond // of what follows

	mu      sync.Mutex // guards what follows
	queue   []*job
	threads int
	idle    int // of them, those that wait
	closed  bool
}

type job struct {
	f    func()
	err  error
	done chan struct{}
}

var errClosed = errors.New("the sandbox is over")

func (p *pool) do(f func()) error {
	j := &job{f: f, done: make(chan struct{})}
	p.mu.Lock()
	switch {
	case p.closed:
		p.mu.Unlock()
		return errClosed
	case len(p.queue) >= p.idle && p.threads < maxThreads:
		p.threads++
		sys.OwnThread(func() { p.serve(j) })
	default:
		p.queue = append(p.queue, j)
		p.change.Signal()
	}
	p.mu.Unlock()
	<-j.done
	return j.err
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, j := range p.queue {
		j.err = errClosed
		close(j.done)
	}
	p.queue = nil
	p.change.Broadcast()
}

// next waits for a job; nil is the end.
func (p *pool) next() *job {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle++
	for len(p.queue) == 0 && !p.closed {
		p.change.Wait()
	}
	p.idle--
	if p.closed {
		return nil
	}
	j := p.queue[0]
	p.queue = slices.Delete(p.queue, 0, 1)
	return j
}

// serve is a thread of the pool.
func (p *pool) serve(j *job) {
	if err := p.confine(); err != nil {
		p.mu.Lock()
		p.threads--
		p.mu.Unlock()
		j.err = fmt.Errorf("a thread that opens files for the sandbox can't be confined: %w", err)
		close(j.done)
		return
	}
	for ; j != nil; j = p.next() {
		j.run()
	}
}

// run makes a panic an error of the job.
func (j *job) run() {
	defer close(j.done)
	defer func() {
		if r := recover(); r != nil {
			j.err = fmt.Errorf("BUG(sandlock): %v, please report", r)
		}
	}()
	j.f()
}

// confine restricts the calling thread for good.
func (b *Broker) confine() error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return os.NewSyscallError("unshare(CLONE_FS)", err)
	}
	// Without signals: the host's handlers are none of this thread's business, and one must
	// not interrupt sys.AddFD. Those of a fault stay.
	var mask unix.Sigset_t
	for s := unix.Signal(1); s <= 64; s++ {
		switch s {
		case unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, unix.SIGSYS:
		default:
			mask.Val[(s-1)/64] |= 1 << ((s - 1) % 64)
		}
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &mask, nil); err != nil {
		return os.NewSyscallError("rt_sigprocmask", err)
	}
	if err := keepCapabilities(b.caps); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl(PR_SET_NO_NEW_PRIVS)", err)
	}
	if err := ll.LandlockRestrictSelf(b.ruleset, 0); err != nil {
		return os.NewSyscallError("landlock_restrict_self", err)
	}
	return nil
}

// keepCapabilities drops all others of the calling thread, as the warden's child does.
func keepCapabilities(keep uint64) error {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&head, &sets[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	for i := range sets {
		kept := uint32(keep >> (32 * i))
		sets[i].Effective &= kept
		sets[i].Permitted &= kept
		sets[i].Inheritable = 0
	}
	return os.NewSyscallError("capset", unix.Capset(&head, &sets[0]))
}
