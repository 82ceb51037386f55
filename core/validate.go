package core

import (
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sandlock/sandlock/core/internal/bpf"
)

const (
	// maxPath is PATH_MAX without the terminating NUL.
	maxPath = 4095
	// maxCPU is the last CPU of the largest kernel configuration (NR_CPUS 8192).
	maxCPU = 8191
	// maxPolicyTimeout catches units that were mistaken.
	maxPolicyTimeout = 365 * 24 * time.Hour
	maxName          = 64
)

// Syscalls that a PolicyFn can be asked about, policy.md section 9.
var (
	builtEvents = []string{"bind", "connect", "execve", "execveat", "sendmmsg", "sendmsg", "sendto"}
	namedEvents = []string{fileEvent} // asked about when they are named, as they are many
)

// execEvents are the events whose argv has to be protected.
var execEvents = []string{"execve", "execveat"}

// Validate returns a *ValidationError with every fault of the policy, or nil.
// What only a start can find, such as a path that doesn't exist, is not among
// them.
func (p *Policy) Validate() error {
	var f faults
	p.validate(&f)
	return f.err()
}

func (p *Policy) validate(f *faults) {
	checkPaths(f, "fs_readable", p.FSReadable)
	checkPaths(f, "fs_writable", p.FSWritable)
	checkPaths(f, "fs_executable", p.FSExecutable)
	checkPaths(f, "fs_denied", p.FSDenied)
	checkPaths(f, "unix_allow", p.UnixAllow)
	if p.Cwd != "" {
		checkPath(f, "cwd", p.Cwd)
	}
	p.checkEnv(f)
	if p.Name != "" {
		if problem := checkName(p.Name); problem != "" {
			f.add("name", quote(p.Name), "%s", problem)
		}
	}
	if p.MaxOpenFiles != nil && *p.MaxOpenFiles == 0 {
		f.add("max_open_files", "0", "no program can run without descriptors; give at least 1")
	}
	p.checkCPUs(f)
	p.checkLimits(f)
	p.checkNet(f)
	parseBindPorts(p.NetAllowBind, f)
	checkProtections(f, "allow_degraded", p.AllowDegraded)
	checkProtections(f, "disable", p.Disable)
	if slices.Contains(p.Disable, FSRefer) {
		f.add("disable", FSRefer.String(), "it can't be disabled: without it a file could be moved to where more is granted")
	}
	p.checkSyscalls(f)
	p.checkEvents(f)
	p.checkArgvSafety(f)
	p.checkFiles(f)
}

func checkPaths(f *faults, field string, paths []string) {
	for _, name := range paths {
		checkPath(f, field, name)
	}
}

func checkPath(f *faults, field, name string) {
	if problem := pathProblem(name); problem != "" {
		f.add(field, quote(name), "%s", problem)
	}
}

// pathProblem says what is wrong with a path, "" when it is right.
func pathProblem(name string) string {
	switch {
	case name == "":
		return "a path is not empty"
	case strings.Contains(name, "\x00"):
		return "a path holds no NUL byte"
	case len(name) > maxPath:
		return "a path has at most " + strconv.Itoa(maxPath) + " bytes"
	}
	return ""
}

func (p *Policy) checkEnv(f *faults) {
	for _, key := range slices.Sorted(maps.Keys(p.Env)) {
		switch {
		case key == "":
			f.add("env", quote(key), "the name of a variable is not empty")
		case strings.ContainsAny(key, "=\x00"):
			f.add("env", quote(key), "the name of a variable holds no = and no NUL byte")
		}
		if value := p.Env[key]; strings.Contains(value, "\x00") {
			f.add("env", quote(key)+"="+quote(value), "a value holds no NUL byte")
		}
	}
}

// checkName says what is wrong with the name of a run, "" when it is right.
func checkName(name string) string {
	switch {
	case name == "":
		return "a name is not empty"
	case len(name) > maxName:
		return "a name has at most " + strconv.Itoa(maxName) + " bytes"
	case strings.ContainsAny(name, "/\x00"):
		return "a name holds no / and no NUL byte"
	case name == "." || name == "..":
		return "a name is neither . nor .."
	}
	return ""
}

func (p *Policy) checkCPUs(f *faults) {
	if p.CPUCores != nil && len(p.CPUCores) == 0 {
		f.add("cpu_cores", "[]", "name at least one core, or leave the field out")
	}
	for _, cpu := range p.CPUCores {
		if cpu > maxCPU {
			f.add("cpu_cores", strconv.FormatUint(uint64(cpu), 10), "there is no such core; the highest is %d", maxCPU)
		}
	}
}

// maxGPU is far above what one machine holds.
const maxGPU = 1023

func (p *Policy) checkLimits(f *faults) {
	if p.MaxProcesses != nil && *p.MaxProcesses == 0 {
		f.add("max_processes", "0", "the command itself is a process; give at least 1")
	}
	if p.MaxMemory != nil && *p.MaxMemory == 0 {
		f.add("max_memory", "0", "no program runs in no memory; leave it out for no limit")
	}
	if p.MaxCPU != nil && (*p.MaxCPU < 1 || *p.MaxCPU > 100) {
		value := strconv.FormatUint(uint64(*p.MaxCPU), 10)
		f.add("max_cpu", value, "max_cpu must be 1-100, got %s", value)
	}
	if p.NumCPUs != nil && *p.NumCPUs == 0 {
		f.add("num_cpus", "0", "no program runs without a CPU; give at least 1")
	}
	for _, gpu := range p.GPUDevices {
		if gpu > maxGPU {
			f.add("gpu_devices", strconv.FormatUint(uint64(gpu), 10), "there is no such device; the highest is %d", maxGPU)
		}
	}
	if p.MaxProcesses != nil && slices.Contains(p.ExtraAllowSyscalls, "debug") {
		f.add("extra_allow_syscalls", quote("debug"), `together with max_processes: the kernel gives a task one tracer, and a limit needs it; give max_processes "unlimited", or leave the group out`)
	}
	if p.MaxMemory != nil && p.allowsAny(uncounted) {
		f.add("extra_allow_syscalls", "", "together with max_memory: System V shared memory that nobody has attached, and that of memfd_secret, can't be counted; leave one of them out")
	}
	switch value := p.TermGrace.String(); {
	case p.TermGrace < 0:
		f.add("term_grace", value, "a grace period is not negative; 0 is none")
	case p.TermGrace > maxPolicyTimeout:
		f.add("term_grace", value, "give at most %v", maxPolicyTimeout)
	}
}

// uncounted are the calls that make memory which belongs to no process that could be looked at.
var uncounted = []string{"sysv_ipc", "shmget", "memfd_secret"}

func (p *Policy) allowsAny(names []string) bool {
	return slices.ContainsFunc(p.ExtraAllowSyscalls, func(name string) bool { return slices.Contains(names, name) })
}

func checkProtections(f *faults, field string, list []Protection) {
	for _, protection := range list {
		if !protection.Valid() {
			f.add(field, strconv.FormatUint(uint64(protection), 10), "unknown protection; known are %s, or 0 to %d", protectionNames(), len(protections)-1)
		}
	}
}

func (p *Policy) checkSyscalls(f *faults) {
	arch := bpf.NativeArch()
	known := map[string]bool{}
	for _, err := range bpf.CheckNames(arch, p.ExtraDenySyscalls, nil) {
		f.add("extra_deny_syscalls", "", "%v", err)
		known[err.Error()] = true
	}
	for _, err := range bpf.CheckNames(arch, nil, p.ExtraAllowSyscalls) {
		f.add("extra_allow_syscalls", "", "%v", err)
		known[err.Error()] = true
	}
	for _, err := range bpf.CheckNames(arch, p.ExtraDenySyscalls, p.ExtraAllowSyscalls) {
		if !known[err.Error()] { // the same name in both
			f.add("extra_deny_syscalls and extra_allow_syscalls", "", "%v", err)
		}
	}
}

func (p *Policy) checkEvents(f *faults) {
	for _, name := range p.PolicyEvents {
		switch {
		case slices.Contains(builtEvents, name), slices.Contains(namedEvents, name):
		default:
			f.add("policy_events", quote(name), "unknown event; there are %s", knownEvents())
		}
	}
	value := p.PolicyTimeout.String()
	switch {
	case p.PolicyTimeout < 0:
		f.add("policy_timeout", value, "a timeout is not negative; 0 waits for ever")
	case p.PolicyTimeout > maxPolicyTimeout:
		f.add("policy_timeout", value, "give at most %v; 0 waits for ever", maxPolicyTimeout)
	}
}

func knownEvents() string {
	return strings.Join(slices.Concat(builtEvents, namedEvents), ", ")
}

// judgesExec reports whether PolicyFn is asked about an exec.
func (p *Policy) judgesExec() bool {
	for _, name := range p.events() {
		if slices.Contains(execEvents, name) {
			return true
		}
	}
	return false
}

// events returns what PolicyFn is asked about, sorted, each once.
func (p *Policy) events() []string {
	switch {
	case p.PolicyFn == nil:
		return nil
	case p.PolicyEvents == nil:
		return builtEvents
	}
	return slices.Compact(slices.Sorted(slices.Values(p.PolicyEvents)))
}

// checkArgvSafety refuses what would let a task write into the memory of one
// whose argv has been judged: the proof at the exec stop needs memory that nobody
// else can reach. Where a path only turns out to hold a proc file system when it
// is opened, landlock.Spec.Open refuses it.
func (p *Policy) checkArgvSafety(f *faults) {
	if p.ArgvSafety != ArgvStrict && p.ArgvSafety != ArgvLandlock {
		f.add("argv_safety", strconv.Itoa(int(p.ArgvSafety)), `"strict" (0) or "landlock" (1)`)
	}
	if !p.judgesExec() || p.ArgvSafety == ArgvLandlock {
		return
	}
	const why = "together with a policy_fn that judges execve: "
	for _, name := range p.FSWritable {
		if holdsProc(name) {
			f.add("fs_writable", quote(name), why+"/proc/<pid>/mem would be writable, and with it an argv that has been judged; grant narrower paths")
		}
	}
	for _, name := range p.ExtraAllowSyscalls {
		if name == "debug" {
			f.add("extra_allow_syscalls", quote(name), why+"a debugger can change an argv that has been judged; leave one of them out")
		}
	}
}

func holdsProc(name string) bool {
	clean := cleanAbs(name)
	return clean == "/" || clean == "/proc" || strings.HasPrefix(clean, "/proc/")
}

// argvOpen reports whether the policy lets tasks write into each other's memory, so that
// no argv can be protected.
func (p *Policy) argvOpen() bool {
	return slices.Contains(p.ExtraAllowSyscalls, "debug") || slices.ContainsFunc(p.FSWritable, holdsProc)
}

// cleanAbs returns the shortest spelling of an absolute path, without looking at
// the file system; "" for a relative one.
func cleanAbs(p string) string {
	if !path.IsAbs(p) {
		return ""
	}
	return path.Clean(p)
}
