package core

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// String prints the whole plan, for people. It is the same for the same policy
// and kernel.
func (p *Plan) String() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%s: %s\n", name, fmt.Sprintf(format, args...))
	}
	line("compiled for", "Linux %s %s", p.kernel.Release, p.kernel.Machine)
	line("name", "%s", orElse(p.name != "", quote(p.name), "made for each run"))
	line("cwd", "%s", orElse(p.cwd != "", quote(p.cwd), "the host's"))
	line("environment", "%s", orElse(p.cleanEnv, "keeps "+strings.Join(keptByCleanEnv, " "), "the host's"))
	for _, key := range slices.Sorted(maps.Keys(p.env)) {
		fmt.Fprintf(&b, "  %s (%d bytes)\n", key, len(p.env[key])) // the value may be a secret
	}
	line("max_processes", "%s", shownLimit(p.maxProcesses, ""))
	line("max_memory", "%s", shownLimit(p.maxMemory, " bytes, "+orElse(p.kernel.MemoryCgroup != "",
		"by a cgroup in "+p.kernel.MemoryCgroup, "measured, without a cgroup: "+p.kernel.MemoryCgroupProblem)))
	line("max_cpu", "%s", shownLimit(p.maxCPU, " % of one core"))
	line("num_cpus", "%s", shownLimit(p.numCPUs, ""))
	line("term_grace", "%v", p.termGrace)
	if p.maxOpenFiles != nil {
		line("max_open_files", "%d", *p.maxOpenFiles)
	}
	line("max_output", "%d bytes a stream", p.maxOutput)
	line("cpu_cores", "%s", orElse(p.cores != nil, fmt.Sprint(p.cores), "the host's"))
	line("no_coredump", "%t", p.noCoredump)
	line("no_huge_pages", "%t", p.noHugePages)
	line("no_randomize_memory", "%t", p.noRandomize)
	line("network", "%v", &p.net)
	line("net_allow_private_names", "%t", p.net.privateNames)
	line("port_remap", "%t", p.net.portRemap)
	line("unix sockets", "%v", p.unix)
	for _, path := range p.unixAllow {
		fmt.Fprintf(&b, "  unix_allow %s\n", quote(path))
	}
	line("tcp bind", "%v", p.net.bind)
	line("allow_degraded", "%v", p.degradable)
	line("disable", "%v", p.disabled)
	if p.policyFn == nil {
		line("policy_fn", "none")
	} else {
		line("policy_fn", "asked about %v, each answer within %s", p.events,
			orElse(p.policyTimeout > 0, p.policyTimeout.String(), "any time"))
		line("record_execs", "%t", p.recordExecs)
		line("argv_safety", "%s", orElse(p.argvWeak, "landlock", "strict"))
	}
	if p.recordDenials {
		line("record_denials", "true")
	}
	for _, path := range p.fsDenied {
		fmt.Fprintf(&b, "fs_denied %s\n", quote(path))
	}
	if p.guardsProc {
		line("/proc", "of the sandbox's own processes, opened by the library")
	} else if p.procOpen {
		line("/proc", "of all: %s", p.procProblem())
	}
	if p.views != nil {
		line("files of its own", "%v", p.views)
	}
	if len(p.writable) > 0 {
		line("modes, owners, times, attributes", "%s", orElse(p.guardsAttributes, "beneath fs_writable, by the library", "never changed: "+p.listenerProblem()))
	}
	line("trapped", "%v", p.trapped)
	b.WriteString(p.landlock.String())
	fmt.Fprintf(&b, "seccomp program, %d instructions\n", p.filter.Len())
	b.WriteString(p.filter.String())
	return b.String()
}

// listenerProblem is why [Policy.guardsAttributes] is false though something is writable, and
// why files can't be shown.
func (p *Plan) listenerProblem() string {
	switch {
	case p.kernel.ListenerProblem != "":
		return p.kernel.ListenerProblem
	case !p.kernel.WaitKillableRecv:
		return "it needs SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (Linux 5.19)"
	default:
		return "Yama forbids ptrace(2)"
	}
}

// procProblem is why [Policy.guardsProc] is false though /proc may be read.
func (p *Plan) procProblem() string {
	if p.kernel.carriesOut() {
		return "extra_allow_syscalls has " + restrictSelf
	}
	return p.listenerProblem()
}

func shownLimit[T uint32 | uint64](limit *T, unit string) string {
	if limit == nil {
		return "unlimited"
	}
	return fmt.Sprint(*limit) + unit
}

func orElse(cond bool, yes, no string) string {
	if cond {
		return yes
	}
	return no
}
