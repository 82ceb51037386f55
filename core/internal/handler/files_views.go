package handler

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/sandlock/sandlock/core/internal/broker"
	"github.com/sandlock/sandlock/core/internal/notify"
	"golang.org/x/sys/unix"
)

// viewCalls are the calls that open for reading: how their arguments are read, and the
// flags of openat2(2) that are about the way.
var viewCalls = map[string]func(r *fileRequest) (o broker.Open, resolve uint64, err error){
	"open":    func(r *fileRequest) (o broker.Open, _ uint64, err error) { o, err = r.open(-1, 0, 1, 2); return },
	"openat":  func(r *fileRequest) (o broker.Open, _ uint64, err error) { o, err = r.open(0, 1, 2, 3); return },
	"openat2": openHow,
}

// ViewCalls are their names.
func ViewCalls() []string { return slices.Sorted(maps.Keys(viewCalls)) }

const openHowFlags = unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_NOATIME | unix.O_LARGEFILE

// openHow reads a struct open_how of three words, which is all that there are up to Linux
// 6.18. A larger one is for the kernel to understand.
func openHow(r *fileRequest) (o broker.Open, resolve uint64, err error) {
	var how [24]byte
	if r.Data.Args[3] != uint64(len(how)) {
		return o, 0, errKernel
	}
	n, err := r.ReadMemory(r.Data.Args[2], how[:])
	flags, mode := binary.NativeEndian.Uint64(how[:]), binary.NativeEndian.Uint64(how[8:])
	// Where open(2) passes over what it does not know, this is EINVAL.
	if err != nil || n != len(how) || mode != 0 || flags&^openHowFlags != 0 {
		return o, 0, errKernel
	}
	name, err := r.name(0, 1)
	o = broker.Open{Dir: name.Dir, Path: name.Path, Flags: int(flags)}
	return o, binary.NativeEndian.Uint64(how[16:]), err
}

// View is the [notify.Handler] of calls that open for reading, of which nothing but what has
// a view is looked for. All else is the kernel's, whatever the arguments are by then: it
// decides it as without a supervisor.
func (f *Files) View(name string) notify.Handler {
	read := viewCalls[name]
	return func(r *notify.Request) {
		l := r.Listener()
		l.Hold()
		late := func() (cancel func()) { return l.After(f.Timeout, func() { f.pass(r, name) }) }
		slowly := func() {
			cancel := late()
			f.enqueue(r, func(func()) { f.view(r, name, read, cancel) })
		}
		if name == "openat2" || !f.viewQuickly(r, name, late(), slowly) {
			slowly()
		}
	}
}

// viewQuickly has an open looked at by one hand-over, for what has no view, and else slowly.
// False: nothing has been done.
func (f *Files) viewQuickly(r *notify.Request, name string, cancel, slowly func()) bool {
	_, _, flags := openArguments(r)
	return f.handOver(r, cancel, func(dir int, text string, ok bool) (last func()) {
		if !ok || text == "" || text[0] != '/' && dir < 0 || f.mayHaveView(dir, text, flags) {
			slowly()
			return func() {}
		}
		return func() {
			f.pass(r, name)
			r.Listener().Release()
		}
	})
}

// mayHaveView takes a panic for a maybe.
func (f *Files) mayHaveView(dir int, path string, flags int) (may bool) {
	defer func() {
		if p := recover(); p != nil {
			f.Log("BUG(sandlock): %v, please report", p)
			may = true
		}
	}()
	return f.Broker.MayHaveView(dir, path, flags)
}

// pass leaves an open to the kernel; but to the long way, if something has been denied since
// it came.
func (f *Files) pass(r *notify.Request, name string) {
	if call, ok := fileCalls[name]; ok && f.Denials.Any() {
		r.Listener().Hold()
		f.begin(r, name, call)
		return
	}
	leaveToKernel(r)
}

func (f *Files) view(r *notify.Request, name string, read func(r *fileRequest) (broker.Open, uint64, error), cancel func()) {
	defer func() {
		if p := recover(); p != nil {
			f.Log("BUG(sandlock): %v, please report", p)
			r.Errno(unix.EPERM)
		}
	}()
	load := func() (broker.Task, error) { return broker.ReadTask(statusOf(r.TID)) }
	req := &fileRequest{Request: r, caller: broker.Caller{TID: r.TID, Valid: r.Valid, Load: load}}
	o, resolve, err := read(req)
	var seen *broker.Sight
	if err == nil {
		seen = f.Broker.Sight(&req.caller, o, resolve)
	}
	cancel()
	if seen == nil {
		f.pass(r, name)
		return
	}
	defer seen.Close()
	if !r.Claim() {
		return
	}
	f.mu.Lock()
	// What a task has denied itself it is not shown, and which one that was nobody can tell.
	bare := f.restricted
	f.mu.Unlock()
	given := false
	_ = f.Broker.Show(&req.caller, seen, o.Flags, bare, func(fd int) {
		given = true
		give(r, fd, o.Flags)
	})
	switch {
	case given:
	case f.Denials.Any():
		r.AnswerClaimed(0, unix.EACCES)
	default:
		r.ContinueClaimed() // to the same error, if it is one of the kernel's
	}
}
