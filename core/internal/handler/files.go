package handler

import (
	"bytes"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sandlock/sandlock/core/internal/audit"
	"github.com/sandlock/sandlock/core/internal/broker"
	"github.com/sandlock/sandlock/core/internal/notify"
	"golang.org/x/sys/unix"
)

// Files carries out the calls that take a path on the caller's behalf, from a copy of the
// path: nothing that the sandbox does to the memory or to the names afterwards changes what
// the decision fell on.
type Files struct {
	Broker  *broker.Broker
	Denials *broker.Denials
	// Judge has opens decided before they are done; nil allows all.
	Judge func(r *notify.Request, answer func(unix.Errno))
	// Timeout is how long the reading of a caller's memory may take.
	Timeout time.Duration
	Log     func(format string, args ...any)
	// Audit, if not nil, is told of what is refused.
	Audit audit.Log
	// Record: every call is carried out, so that it is told of what the kernel would refuse.
	Record bool
	// Proc: opens are carried out whether anything is denied or not, for the sake of /proc.
	Proc bool
	// Watched: CredentialCalls are trapped, and come to Change.
	Watched bool

	relative [64]atomic.Bool // by the numbers of tasks, see quickly

	mu         sync.Mutex // guards what follows
	working    int
	queue      []func(leave func())
	steady     steadiness
	restricted bool // a task has restricted itself, or is about to
}

// RestrictCalls are those of Landlock that [Files.Restrict] answers.
var RestrictCalls = []string{"landlock_create_ruleset", "landlock_restrict_self"}

// Restrict is the [notify.Handler] of calls by which a task restricts itself further than the
// sandbox does. What such a task may not do could be done for it, so that is one or the
// other: while nothing is denied, tasks may, and nothing can be denied from then on.
func (f *Files) Restrict(r *notify.Request) {
	f.mu.Lock()
	denied := f.Denials.Any()
	f.restricted = f.restricted || !denied && r.Data.Nr == unix.SYS_LANDLOCK_RESTRICT_SELF
	f.mu.Unlock()
	switch {
	case !r.Claim():
	case denied:
		r.AnswerClaimed(0, unix.ENOSYS) // as by a kernel without Landlock
	default:
		r.ContinueClaimed()
	}
}

// ErrRestricted says why nothing can be denied.
var ErrRestricted = errors.New("a task has restricted itself with Landlock, so its calls can't be carried out for it")

// Deny adds a path to the denials.
func (f *Files) Deny(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.restricted {
		return ErrRestricted
	}
	return f.Denials.Deny(path)
}

// maxWorking bounds the goroutines, and with them the threads that may hang in the memory
// of a caller.
const maxWorking = 64

// fileRequest is a call whose arguments are read.
type fileRequest struct {
	*notify.Request
	caller broker.Caller
}

// errKernel leaves a call to the kernel, whatever its path is by then: an open with O_PATH,
// whose flags are a register. What it returns can do nothing to a file: whatever is done by
// way of it is another call by path. It could not be handed over either, since the kernel
// takes no such descriptor for SECCOMP_IOCTL_NOTIF_ADDFD.
var errKernel = errors.New("a call for the kernel")

// fileCall reads the arguments of a call, and returns what carries it out. given says that
// the caller has got a descriptor, and with it the answer.
type fileCall func(f *Files, r *fileRequest) (act func() (given bool, err error), err error)

// Handler is the [notify.Handler] of a system call, nil for one that takes no path.
func (f *Files) Handler(name string) notify.Handler {
	call, ok := fileCalls[name]
	if !ok {
		return nil
	}
	judged := openCalls[name] && f.Judge != nil
	_, attributes := attributeCalls[name]
	_, views := viewCalls[name]
	views = views && len(f.Broker.Views) > 0
	view := f.View(name)
	quick := (name == "open" || name == "openat") && f.Broker.Observe == nil
	always := judged || f.Proc && openCalls[name] && name != "creat" || attributes && f.Broker.Writable != nil || f.Broker.Observe != nil || f.Record
	return func(r *notify.Request) {
		switch {
		case always || f.Denials.Any():
		case views:
			view(r)
			return
		default: // nothing is decided here, so the memory does not matter
			leaveToKernel(r)
			return
		}
		l := r.Listener()
		l.Hold()
		if !judged {
			if !quick || !f.quickly(r, name, call) {
				f.begin(r, name, call)
			}
			return
		}
		f.Judge(r, func(errno unix.Errno) {
			if errno == 0 {
				f.begin(r, name, call)
				return
			}
			r.Errno(errno)
			l.Release()
		})
	}
}

// leaveToKernel has the kernel run a call.
func leaveToKernel(r *notify.Request) {
	if r.Claim() {
		r.ContinueClaimed()
	}
}

// begin has a call carried out, when its turn comes; a Hold stands for it.
func (f *Files) begin(r *notify.Request, name string, call fileCall) {
	cancel := f.deadline(r)
	f.enqueue(r, func(leave func()) { f.serve(r, name, call, cancel, leave) })
}

// enqueue has a worker serve a request, for which a Hold stands.
func (f *Files) enqueue(r *notify.Request, serve func(leave func())) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queue = append(f.queue, func(leave func()) {
		defer r.Listener().Release()
		serve(leave)
	})
	if f.working < maxWorking {
		f.working++
		go f.work()
	}
}

// deadline denies a request whose caller's memory is not read in time.
func (f *Files) deadline(r *notify.Request) (cancel func()) {
	return r.Listener().After(f.Timeout, func() {
		if r.Claim() {
			f.Log("a call of task %d denied: the caller's memory was not read in %v", r.TID, f.Timeout)
			r.AnswerClaimed(0, unix.EPERM)
		}
	})
}

// work serves requests until there is none, or until one waits for what others have yet to do:
// then somebody else takes its place.
func (f *Files) work() {
	left := false
	leave := func() {
		if !left {
			left = true
			go f.work()
		}
	}
	for !left {
		f.mu.Lock()
		if len(f.queue) == 0 {
			f.working--
			f.mu.Unlock()
			return
		}
		next := f.queue[0]
		f.queue[0] = nil
		f.queue = f.queue[1:]
		f.mu.Unlock()
		next(leave)
	}
}

// serve answers a request. A panic denies it.
func (f *Files) serve(r *notify.Request, name string, call fileCall, cancel, leave func()) {
	defer func() {
		if p := recover(); p != nil {
			f.Log("BUG(sandlock): %v, please report", p)
			r.Errno(unix.EPERM)
		}
	}()
	req := &fileRequest{Request: r, caller: broker.Caller{TID: r.TID, Valid: r.Valid, Waits: leave, Asker: f.asker(r, name)}}
	load := func() (broker.Task, error) { return broker.ReadTask(statusOf(r.TID)) }
	if known, ok := f.steady.credentials(f.Broker); ok && f.Watched {
		req.caller.Task.Credentials, req.caller.Load = known, load
	} else if task, err := load(); err != nil {
		cancel()
		if r.Valid() {
			f.Log("a call of task %d denied: who it is can't be read: %v", r.TID, err)
		}
		r.Errno(unix.EPERM)
		return
	} else {
		req.caller.Task = task
	}
	act, err := call(f, req)
	cancel()
	if err == errKernel {
		leaveToKernel(r)
		return
	}
	if err != nil {
		r.Errno(errnoOf(err))
		return
	}
	if !r.Claim() {
		return
	}
	// What was read was the caller's, and the broker asks once more before it acts.
	given, err := act()
	switch {
	case given:
	case err != nil:
		r.AnswerClaimed(0, errnoOf(err))
	default:
		r.AnswerClaimed(0, 0)
	}
}

// asker is what the broker tells of a call's refusal with.
func (f *Files) asker(r *notify.Request, name string) broker.Asker {
	return broker.Asker{Log: f.Audit, Call: name, Who: Who(r)}
}

// Process returns the ids of the process that made a request, and of its parent.
func Process(r *notify.Request) (tgid, ppid uint32, err error) {
	t, err := readTask(r.TID)
	if err == nil && !r.Valid() {
		err = errEnded
	}
	return t.tgid, t.ppid, err
}

func (r *fileRequest) int(i int) int { return int(int32(r.Data.Args[i])) }

func (r *fileRequest) mode(i int) uint32 { return uint32(r.Data.Args[i]) }

// path reads the string that argument i points to.
func (r *fileRequest) path(i int) (string, error) { return r.text(i, unix.PathMax, unix.ENAMETOOLONG) }

// text reads a string of less than max bytes; long is the error of a longer one.
func (r *fileRequest) text(i, max int, long unix.Errno) (string, error) {
	addr := r.Data.Args[i]
	var text []byte
	for len(text) < max {
		// Up to the end of a page: the next one may not be there.
		buf := make([]byte, min(pageSize-int(addr%pageSize), max-len(text)))
		n, err := r.ReadMemory(addr, buf)
		switch {
		case errors.Is(err, unix.EFAULT) || err == nil && n == 0:
			return "", unix.EFAULT
		case err != nil:
			return "", unix.EPERM
		}
		if end := bytes.IndexByte(buf[:n], 0); end >= 0 {
			return string(append(text, buf[:end]...)), nil
		}
		text, addr = append(text, buf[:n]...), addr+uint64(n)
	}
	return "", long
}

// name is a path that counts from the descriptor in argument dir; -1: from the working
// directory.
func (r *fileRequest) name(dir, path int) (broker.Name, error) {
	text, err := r.path(path)
	if dir < 0 {
		return broker.Name{Dir: unix.AT_FDCWD, Path: text}, err
	}
	return broker.Name{Dir: r.int(dir), Path: text}, err
}
