package core

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sandlock/sandlock/core/internal/audit"
	"github.com/sandlock/sandlock/core/internal/bpf"
	"github.com/sandlock/sandlock/core/internal/broker"
	"github.com/sandlock/sandlock/core/internal/handler"
	"github.com/sandlock/sandlock/core/internal/notify"
	"golang.org/x/sys/unix"
)

// fileEvent is the name of all opens in policy_events.
const fileEvent = "openat"

// judgesFiles reports whether the policy can't do without the supervisor at each call that
// takes a path: something is denied from the start, a PolicyFn is asked about opens, or what is
// refused is to be recorded.
func (p *Policy) judgesFiles() bool {
	return len(p.FSDenied) > 0 || p.RecordDenials || slices.Contains(p.events(), fileEvent)
}

// mayDenyLater reports whether a PolicyFn can deny paths, so that those calls are trapped
// besides: where it is asked about the standard events. Who names them says what is trapped.
func (p *Policy) mayDenyLater(k Kernel) bool {
	return p.PolicyFn != nil && p.PolicyEvents == nil && !p.argvOpen() && k.WaitKillableRecv && k.traces()
}

// guardsProc reports whether opens for reading go by way of the library, since a grant has
// /proc, where other processes and the machine tell of themselves: Landlock grants a directory
// with all beneath it, and no entry of a process is there when the rules are made. Not so
// where somebody is to restrict itself with Landlock, as a sandbox in the sandbox, whose calls
// can't be carried out for it: who wants that names it in extra_allow_syscalls. open: it would
// be, where it could.
func (p *Policy) guardsProc(k Kernel) (guards, open bool) {
	if !p.mayRead(procDirectory) && !slices.ContainsFunc(slices.Concat(p.FSReadable, p.FSWritable), leadsToProc) {
		return false, false
	}
	guards = k.carriesOut() && !slices.Contains(p.ExtraAllowSyscalls, restrictSelf)
	return guards, !guards
}

const procDirectory = "/proc"

// leadsToProc reports whether a path leads to /proc, or above it, by a link or from the working
// directory, or to a process's entry there: /proc/self is that of this process.
func leadsToProc(path string) bool {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return false // which the start of a run says
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	name := make([]byte, unix.PathMax)
	n, err := unix.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd), name)
	if err != nil || unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return false
	}
	number, inside := strings.CutPrefix(string(name[:n]), procDirectory+"/")
	return beneath(procDirectory, string(name[:n])) || inside && number[0] >= '0' && number[0] <= '9'
}

// checkFiles refuses what a denial can't be kept together with.
func (p *Policy) checkFiles(f *faults) {
	if !p.judgesFiles() {
		return
	}
	field, value := "fs_denied", shownPaths(p.FSDenied)
	switch {
	case len(p.FSDenied) > 0:
	case p.RecordDenials:
		field, value = "record_denials", "true"
	default:
		field, value = "policy_events", quote(fileEvent)
	}
	switch {
	case slices.Contains(p.ExtraAllowSyscalls, "debug"):
		f.add(field, value, `together with extra_allow_syscalls "debug": what is denied is kept from being executed by tracing the exec, and a task has one tracer; leave one of them out`)
	case p.judgesExec() && p.argvOpen():
		f.add(field, value, "together with a policy_fn that judges execve under argv_safety=\"landlock\", and a path of fs_writable that holds /proc: such an exec is not traced, and could run what is denied; leave one of them out")
	}
}

func shownPaths(paths []string) string {
	if len(paths) == 0 {
		return ""
	}
	return quote(paths[0])
}

// guardsAttributes reports whether calls that change modes, owners, times and extended
// attributes are carried out beneath the writable paths and refused elsewhere. Where nothing is
// writable, or it can't be done for the caller here, they are refused altogether.
func (p *Policy) guardsAttributes(k Kernel) bool {
	return len(p.FSWritable) > 0 && k.carriesOut()
}

// opensFromStart reports whether the supervisor opens for the sandbox from the start, and not
// only when something is denied later.
func (p *Plan) opensFromStart() bool { return p.needsFiles || p.guardsProc }

// trappedFiles are the calls that the supervisor carries out, or looks at.
func (p *Plan) trappedFiles() []string {
	var all []string
	switch {
	case p.judgesFiles:
		all = slices.Concat(handler.FileCalls(), handler.CredentialCalls)
		if !p.opensFromStart() {
			all = append(all, handler.RestrictCalls...)
		}
	case p.guardsAttributes:
		all = handler.AttributeCalls()
	}
	switch {
	case p.judgesFiles:
	case p.guardsProc:
		all = slices.Concat(all, []string{"open", "openat"}, handler.CredentialCalls)
	case p.views != nil:
		all = slices.Concat(all, handler.ViewCalls(), []string{"landlock_restrict_self"}) // see handler.Files.Restrict
	}
	var names []string
	for _, name := range all {
		if _, ok := bpf.Number(bpf.NativeArch(), name); ok {
			names = append(names, name)
		}
	}
	return names
}

// missingAttributes answer ENOSYS where those calls are carried out: their arguments lie in
// memory in another form. They are of Linux 6.13, so callers fall back.
var missingAttributes = []string{"setxattrat", "removexattrat"}

// missing are the calls that answer ENOSYS. The flags of openat2 lie in memory, and callers fall
// back to openat. A task that has restricted itself further could have the supervisor do or
// reach for it what it may not: so where it does that from the start none can, and programs do
// without, as on a kernel that has no Landlock; see [handler.Files.Restrict].
func (p *Plan) missing() (names []string) {
	if p.judgesFiles || p.guardsProc {
		names = append(names, "openat2")
	}
	if p.judgesFiles || p.guardsAttributes {
		names = append(names, missingAttributes...)
	}
	if p.opensFromStart() || p.net.onBehalf || p.net.bindOnBehalf {
		names = append(append(names, handler.RestrictCalls...), "landlock_add_rule")
	}
	return names
}

// startFiles makes what the calls that take a path are carried out with.
func (s *Sandbox) startFiles(observe func(Access), visible visible) error {
	if !s.plan.judgesFiles && !s.plan.guardsAttributes && !s.plan.guardsProc && s.plan.views == nil && !s.plan.judgesUnix() && !s.plan.usesSockets() {
		return nil
	}
	s.denials = broker.NewDenials()
	for _, path := range s.plan.fsDenied {
		if err := s.denials.Fix(path); err != nil {
			return &StartError{Step: "fs_denied", Path: path, Err: err}
		}
	}
	files := s.plan.landlock.FilesAlone()
	ruleset, err := files.Open()
	if err != nil {
		return rulesetError(err)
	}
	defer unix.Close(ruleset)
	s.broker, err = broker.New(ruleset, keepCapabilities)
	if err == nil {
		s.broker.Observe, s.broker.Inside = observe, s.isInside
		s.broker.Views = s.makeViews(visible)
	}
	if err == nil && s.plan.guardsAttributes {
		s.broker.Writable, err = broker.OpenGrants(s.plan.writable)
	}
	if err == nil && s.plan.judgesUnix() {
		s.broker.Sockets, err = s.plan.openSockets()
	}
	if err == nil && s.plan.opensFromStart() {
		err = s.broker.Ready()
	}
	var path *broker.GrantError
	switch {
	case errors.As(err, &path):
		return &StartError{Step: "unix_allow", Path: path.Path, Err: path.Err}
	case err != nil:
		return &StartError{Step: "broker", Err: err}
	}
	return nil
}

// stopFiles gives back what startFiles made.
func (s *Sandbox) stopFiles() {
	if s.broker != nil {
		s.broker.Close()
		if s.broker.Writable != nil {
			s.broker.Writable.Close()
		}
		if s.broker.Sockets != nil {
			s.broker.Sockets.Close()
		}
	}
	if s.denials != nil {
		s.denials.Close()
	}
}

// fileHandlers adds those of the calls that take a path, and has execs guarded.
func (s *Sandbox) fileHandlers(hs map[int32]notify.Handler) {
	names := s.plan.trappedFiles()
	if len(names) == 0 {
		return
	}
	s.files = &handler.Files{Audit: s.refused, Record: s.plan.recordDenials, Broker: s.broker, Denials: s.denials, Timeout: s.verdicts.tick(), Log: s.logf, Watched: s.plan.judgesFiles || s.plan.guardsProc, Proc: s.plan.guardsProc}
	if s.plan.judges(fileEvent) {
		s.files.Judge = s.judgeOpen
	}
	for _, name := range names {
		nr, _ := bpf.Number(bpf.NativeArch(), name)
		hs[int32(nr)] = s.files.Handler(name)
		switch {
		case !s.plan.judgesFiles && !s.plan.guardsProc && slices.Contains(handler.ViewCalls(), name):
			hs[int32(nr)] = s.files.View(name)
		case slices.Contains(handler.RestrictCalls, name):
			hs[int32(nr)] = s.files.Restrict
		case slices.Contains(handler.CredentialCalls, name):
			hs[int32(nr)] = s.files.Change
		}
	}
	if s.plan.judgesFiles {
		s.exec.Guard = s.files
	}
}

// judgeOpen asks the PolicyFn about an open.
func (s *Sandbox) judgeOpen(r *notify.Request, answer func(unix.Errno)) {
	s.verdicts.ask(func() (*Event, Verdict) {
		tgid, ppid, err := handler.Process(r)
		if err != nil {
			return nil, Deny
		}
		return &Event{Syscall: fileEvent, Category: CategoryFile, PID: tgid, ParentPID: ppid}, Allow
	}, func(e *Event, v Verdict) {
		if e != nil && v == Audit {
			s.records.addAudit(e)
			s.logf("audit: %s by process %d", e.Syscall, e.PID)
		}
		if e != nil {
			s.denied(handler.Who(r), v, audit.Refusal{Syscall: e.Syscall})
		}
		answer(v.errno())
	})
}

// denyLater and allowLater carry out what a PolicyFn does to paths.
func (s *Sandbox) denyLater(path string) error {
	if !s.plan.judgesFiles {
		return fmt.Errorf("%s: calls that take a path are not trapped in this run; leave policy_events out, or name %q in it; kernel_report() tells whether this kernel can", quote(path), fileEvent)
	}
	if err := s.broker.Ready(); err != nil {
		return err
	}
	if err := s.files.Deny(path); err != nil {
		return fmt.Errorf("%s: %w", quote(path), err)
	}
	return nil
}

func (s *Sandbox) allowLater(path string) {
	if s.plan.judgesFiles {
		s.denials.Allow(path)
	}
}
