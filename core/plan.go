package core

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sandlock/sandlock/core/internal/bpf"
	"github.com/sandlock/sandlock/core/internal/flaw"
	"github.com/sandlock/sandlock/core/internal/handler"
	"github.com/sandlock/sandlock/core/internal/landlock"
)

// Plan is a compiled policy: immutable, deterministic, printable. Its methods
// may be called from any goroutine.
type Plan struct {
	kernel Kernel // what it was compiled for

	landlock         landlock.Spec
	filter           *bpf.Program
	trapped          []string // syscalls that the filter sends to the supervisor, sorted
	traps            bool     // there are any
	trapsListen      bool     // listen is one of them
	judgesFiles      bool     // calls that take a path are among them
	needsFiles       bool     // … from the start, and not only if a path is denied later
	guardsProc       bool     // opens for reading are among them, for the sake of /proc
	procOpen         bool     // … or would be, if that could be
	guardsAttributes bool     // calls that change attributes are among them
	fsDenied         []string // paths
	fsExecutable     bool     // fs_executable says what may be executed
	deniedSyscalls   []string // extra_deny_syscalls
	views            []string // files that others are shown in the place of; nil: none, and nothing is trapped for them
	unseen           []string // those that would be, where the supervisor can look at opens

	policyFn      PolicyFunc
	events        []string      // what policyFn is asked about, sorted
	policyTimeout time.Duration // of one verdict; 0 waits for ever
	recordExecs   bool
	recordDenials bool
	refusals      *bpf.Refusals // of the program; nil: it refuses by itself
	argvWeak      bool          // an exec that can't be protected is judged without its argv
	argvOpen      bool          // … which none can be under this policy

	net       netPlan
	unix      unixSockets
	unixAllow []string // paths
	marksOpen bool     // a process may change the limits that marks are

	degradable, disabled []Protection // sorted
	scopeSignal          bool         // the child's domain scopes signals
	scopeAbstract        bool         // … and abstract unix sockets

	name     string // "" is one made for each run
	cwd      string // "" is the host's
	env      map[string]string
	cleanEnv bool

	maxProcesses *uint32  // nil: no limit
	maxMemory    *uint64  // bytes; nil: no limit
	writable     []string // paths
	maxCPU       *uint32  // percent of a core; nil: no limit
	numCPUs      *uint32  // nil: all
	termGrace    time.Duration

	confine bpf.Spec // of a process that confines itself
	fields  Policy   // for why none can

	maxOpenFiles *uint32 // nil: inherited
	noCoredump   bool
	noHugePages  bool
	noRandomize  bool
	maxOutput    uint64
	cores        []uint32 // sorted; nil: inherited
}

// Compile validates the policy and compiles it for the running kernel. A bad
// policy is a *ValidationError that holds every fault at once; what this kernel
// lacks is an error of the start. Later changes of the policy don't change the
// plan.
func (p *Policy) Compile() (*Plan, error) { return p.CompileFor(hostKernel()) }

// CompileFor compiles for another kernel, to be looked at.
func (p *Policy) CompileFor(k Kernel) (*Plan, error) {
	var f faults
	p.validate(&f)
	if err := f.err(); err != nil {
		return nil, err
	}
	plan := &Plan{
		kernel:        k,
		policyFn:      p.PolicyFn,
		events:        slices.Clone(p.events()),
		policyTimeout: p.PolicyTimeout,
		recordExecs:   p.RecordExecs,
		recordDenials: p.RecordDenials,
		argvWeak:      p.ArgvSafety == ArgvLandlock,
		argvOpen:      p.argvOpen(),
		unix:          p.unixSockets(k),
		unixAllow:     slices.Clone(p.UnixAllow),
		degradable:    sortedSet(p.AllowDegraded),
		disabled:      sortedSet(p.Disable),
		name:          p.Name,
		writable:      slices.Clone(p.FSWritable),
		cwd:           p.Cwd,
		env:           maps.Clone(p.Env),
		cleanEnv:      p.CleanEnv,
		noCoredump:    p.NoCoredump,
		noHugePages:   p.NoHugePages,
		noRandomize:   p.NoRandomizeMemory,
		maxOutput:     p.MaxOutput,
		cores:         sortedSet(p.CPUCores),
	}
	plan.net = p.compileNet(plan.judgesUnix())
	p.compileNetlink(&plan.net, k)
	plan.maxProcesses, plan.maxMemory = copied(p.MaxProcesses), copied(p.MaxMemory)
	plan.marksOpen = slices.Contains(p.ExtraAllowSyscalls, "prlimit64")
	plan.maxCPU, plan.numCPUs = copied(p.MaxCPU), copied(p.NumCPUs)
	plan.termGrace = p.TermGrace
	plan.maxOpenFiles = copied(p.MaxOpenFiles)
	plan.deniedSyscalls = slices.Clone(p.ExtraDenySyscalls)
	plan.needsFiles, plan.fsDenied, plan.fsExecutable = p.judgesFiles(), slices.Clone(p.FSDenied), p.FSExecutable != nil
	plan.judgesFiles = plan.needsFiles || p.mayDenyLater(k)
	plan.guardsAttributes = p.guardsAttributes(k)
	plan.guardsProc, plan.procOpen = p.guardsProc(k)
	plan.views, plan.unseen = p.views(k)
	plan.setGPUs(p.GPUDevices)
	plan.confine, plan.fields = p.confineSpec(), p.snapshot()
	plan.landlock = landlock.Compile(plan.grants(p), k.LandlockABI)
	plan.scopeSignal, plan.scopeAbstract = plan.landlock.Scopes()
	if err := plan.compileFilter(p); err != nil {
		return nil, err
	}
	return plan, nil
}

func (p *Plan) grants(policy *Policy) landlock.Grants {
	without := func(protection Protection) bool { return slices.Contains(p.disabled, protection) }
	g := landlock.Grants{
		Readable:              policy.FSReadable,
		Writable:              policy.FSWritable,
		Optional:              gpuPaths(policy.GPUDevices),
		Unix:                  policy.UnixAllow,
		Executable:            policy.FSExecutable,
		ExecutableGiven:       policy.FSExecutable != nil,
		WithoutSockets:        p.unix == unixPairs,
		WithoutTruncate:       without(FSTruncate),
		WithoutIoctlDev:       without(FSIoctlDev),
		WithoutTCP:            without(NetTCP),
		WithoutSignalScope:    without(SignalScope),
		WithoutAbstractSocket: without(AbstractUnixSocketScope),
		KeepProc:              policy.judgesExec() && !p.argvOpen,
	}
	p.net.grant(&g)
	return g
}

func (p *Plan) compileFilter(policy *Policy) error {
	p.trapped = p.net.traps()
	if p.followsExec() {
		p.trapped = append(p.trapped, execEvents...) // see handler.Exec.Silent
	}
	missing := p.missing()
	p.trapped = append(p.trapped, p.trappedFiles()...)
	p.trapped = append(p.trapped, p.unix.traps(!slices.Contains(missing, restrictSelf))...)
	if p.makesUnix() {
		p.trapped = append(p.trapped, bindEvent)
	}
	if p.trapsListen = p.needsListen(); p.trapsListen {
		p.trapped = append(p.trapped, "listen")
	}
	if p.usesSockets() {
		p.trapped = append(p.trapped, "setsockopt") // two options only, see handler.Net.Setsockopt
	}
	slices.Sort(p.trapped)
	p.trapped = slices.Compact(p.trapped)
	p.traps = len(p.trapped) > 0 || p.net.netlink != 0
	allow := slices.Clone(policy.ExtraAllowSyscalls)
	if flaw.Writable {
		allow = append(allow, "debug")
	}
	var err error
	p.filter, err = bpf.Compile(bpf.Spec{
		Arch:       bpf.NativeArch(),
		Deny:       p.denied(policy),
		Allow:      allow,
		Trap:       slices.Clone(p.trapped),
		Missing:    missing,
		SealMemfd:  policy.FSExecutable != nil,
		InetStream: p.net.tcp,
		InetUDP:    p.net.udp,
		InetPing:   p.net.icmp,
		Netlink:    p.net.netlink,
		UnixPairs:  p.unix == unixPairs,
		OwnFiles:   p.judgesUnix() || p.net.onBehalf && p.exposed() || p.net.bindOnBehalf && !p.landlock.JudgesBind(),
		TrapOpens:  p.trapsOpens(),
		KeepMarks:  p.net.onBehalf && p.policyFn != nil,
		CountTasks: p.maxProcesses != nil,
	})
	if err != nil {
		return fmt.Errorf("BUG(sandlock): a valid policy does not compile, please report: %w", err)
	}
	if p.recordDenials {
		p.filter, p.refusals, err = p.filter.Reporting()
	}
	return err
}

func (p *Plan) trapsOpens() bpf.OpenTrap {
	switch {
	case p.judgesFiles:
		return bpf.AllOpens
	case p.guardsProc:
		return bpf.Reads
	}
	return bpf.PureReads
}

// usesSockets reports whether the supervisor takes sockets of the sandbox.
func (p *Plan) usesSockets() bool {
	return p.judgesUnix() || p.net.onBehalf || p.net.bindOnBehalf || p.trapsListen
}

// denied adds to extra_deny_syscalls what no program needs that has nothing to write.
func (p *Plan) denied(policy *Policy) []string {
	deny := slices.Clone(policy.ExtraDenySyscalls)
	if (p.cores != nil || p.numCPUs != nil) && !slices.Contains(policy.ExtraAllowSyscalls, "sched_setaffinity") {
		deny = append(deny, "sched_setaffinity") // which could take all cores again
	}
	if !p.guardsAttributes {
		deny = append(deny, handler.AttributeCalls()...)
		deny = append(deny, missingAttributes...)
	}
	if p.maxMemory != nil {
		deny = append(deny, "memfd_secret") // no process's memory, and none that the machine tells of
	}
	slices.Sort(deny)
	return slices.Compact(deny)
}

// needsListen: listen(2) on a socket that was not bound binds it to a port of
// the kernel's choice, and Landlock is not asked. Where any port or port 0 may be
// bound, such a listen takes nothing that bind(2) would not give.
func (p *Plan) needsListen() bool {
	return p.net.tcp && (p.net.bindDenied || !p.net.bind.contains(0)) && !slices.Contains(p.disabled, NetTCP)
}

// exposed reports whether a call that the supervisor lets go on could reach an address by
// itself, if it were about another socket then: see handler.Net.
func (p *Plan) exposed() bool {
	return p.judgesUnix() || p.net.datagrams || !p.landlock.JudgesConnect()
}

// judges reports whether policyFn is asked about the syscall.
func (p *Plan) judges(syscall string) bool { return slices.Contains(p.events, syscall) }

// mayListen reports whether a socket that is bound to the port may listen.
func (p *Plan) mayListen(port uint16) bool { return p.net.bind.contains(port) }

// openRuleset opens the paths of the policy and returns the ruleset, close-on-exec,
// owned by the caller. The error is a *StartError that names every wrong path.
func (p *Plan) openRuleset() (fd int, err error) {
	fd, err = p.landlock.Open()
	if err == nil {
		return fd, nil
	}
	return -1, rulesetError(err)
}

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

func sortedSet[T ~uint32](list []T) []T {
	return slices.Compact(slices.Sorted(slices.Values(list)))
}
