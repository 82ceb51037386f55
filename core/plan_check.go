package core

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sandlock/sandlock/core/internal/landlock"
)

// check compares what the plan needs with what the kernel has. The error is a
// *StartError with everything that is missing; errors.Is finds ErrNotSupported
// in it.
func (p *Plan) check(k Kernel) error {
	missing := p.lacking(k)
	lack := func(format string, args ...any) { missing = append(missing, fmt.Sprintf(format, args...)) }

	if p.traps && !k.UserNotification {
		lack("the policy needs seccomp user notifications (Linux 5.0) for %s", strings.Join(p.trapped, ", "))
	}
	if p.traps && k.UserNotification && k.ListenerProblem != "" {
		lack("the policy needs a seccomp listener for %s: %s", strings.Join(p.trapped, ", "), k.ListenerProblem)
	}
	if p.judgesExec() && !p.argvWeak {
		switch {
		case k.UserNotification && !k.WaitKillableRecv:
			lack("a policy_fn that judges execve needs SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (Linux 5.19): before it an exec can't be followed to its end; argv_safety=\"landlock\" judges it without its arguments")
		case !k.traces():
			lack("a policy_fn that judges execve needs ptrace(2), which /proc/sys/kernel/yama/ptrace_scope=%d forbids here; 1 is enough, and argv_safety=\"landlock\" judges it without its arguments", k.Yama)
		}
	}
	if p.judgesFiles {
		const what = "a denied path, a policy_fn that is asked about opens, and record_denials need "
		switch {
		case k.UserNotification && !k.WaitKillableRecv:
			lack(what + "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (Linux 5.19): before it a call that is carried out for its caller can be interrupted when it is done")
		case !k.traces():
			lack(what+"ptrace(2), which /proc/sys/kernel/yama/ptrace_scope=%d forbids here; 1 is enough", k.Yama)
		}
	}
	if p.maxProcesses != nil && !k.traces() {
		lack("max_processes needs ptrace(2), which /proc/sys/kernel/yama/ptrace_scope=%d forbids here; 1 is enough, and max_processes=\"unlimited\" does without", k.Yama)
	}
	if p.trapsListen && !p.net.bind.empty() && !k.traces() {
		// Without a port to listen on, each listen is denied, whatever the reason.
		lack("net_allow_bind needs pidfd_getfd(2) to carry out listen(2), which /proc/sys/kernel/yama/ptrace_scope=%d forbids here; 1 is enough", k.Yama)
	}
	if (p.net.onBehalf || p.net.bindOnBehalf) && !k.traces() {
		lack("rules for addresses, net_deny_bind, port_remap, and a policy_fn that judges connect or bind, need pidfd_getfd(2) to make these calls on the command's behalf, which /proc/sys/kernel/yama/ptrace_scope=%d forbids here; 1 is enough", k.Yama)
	}
	if (p.net.onBehalf || p.net.bindOnBehalf) && k.GetFDProblem != "" {
		lack("rules for addresses, net_deny_bind, port_remap, and a policy_fn that judges connect or bind, need pidfd_getfd(2) (Linux 5.6) to make these calls on the command's behalf: %s", k.GetFDProblem)
	}
	if p.net.remap && !k.Children {
		lack("port_remap needs /proc/PID/task/TID/children (CONFIG_PROC_CHILDREN, and a /proc that is mounted)")
	}
	p.checkUnix(k, lack)
	if (p.maxMemory != nil || p.maxCPU != nil) && !k.Children {
		lack("max_memory and max_cpu need /proc/PID/task/TID/children (CONFIG_PROC_CHILDREN, and a /proc that is mounted)")
	}
	if len(missing) > 0 {
		return &StartError{Step: "kernel", Err: unsupported(strings.Join(missing, "\n"))}
	}

	// sched_setaffinity(2) takes a mask that holds one core that exists and drops
	// the others without a word.
	for _, cpu := range p.cores {
		if k.CPUs != nil && !slices.Contains(k.CPUs, cpu) {
			return &StartError{Step: "sched_setaffinity", Err: fmt.Errorf("cpu_cores: core %d does not exist or is offline; there are %v", cpu, k.CPUs)}
		}
	}
	return nil
}

// lacking says what the kernel lacks of what the ruleset and the filter need, one sentence each.
func (p *Plan) lacking(k Kernel) []string {
	var missing []string
	lack := func(format string, args ...any) { missing = append(missing, fmt.Sprintf(format, args...)) }

	if k.LandlockABI == 0 {
		lack("Landlock: %s", k.LandlockProblem)
	} else {
		for _, protection := range p.required() {
			if need := MinABI(protection); k.LandlockABI < need {
				lack("required protection %v: host Landlock ABI is v%d, requires v%d (Linux %s); allow_degraded=[%q] does without it on this kernel%s",
					protection, k.LandlockABI, need, protections[protection].minKernel, protection.String(), orDisable(protection))
			}
		}
		if p.landlock.ABI > k.LandlockABI {
			lack("the plan was compiled for Landlock ABI v%d, this host has v%d; compile it here", p.landlock.ABI, k.LandlockABI)
		}
	}
	if k.SeccompProblem != "" {
		lack("%s", k.SeccompProblem)
	}
	return missing
}

func orDisable(protection Protection) string {
	if protection == FSRefer {
		return "" // disable refuses it
	}
	return fmt.Sprintf(", disable=[%q] on every kernel", protection.String())
}

// required are the protections that the kernel must have.
func (p *Plan) required() []Protection {
	var list []Protection
	for i := range protections {
		protection := Protection(i)
		switch {
		case slices.Contains(p.disabled, protection), slices.Contains(p.degradable, protection):
		case protection == NetTCP && !p.net.tcp:
			// The filter lets no inet socket be made, which is as strict.
		default:
			list = append(list, protection)
		}
	}
	return list
}

// followsExec reports whether each exec is followed to its end: its arguments are judged, or
// what is loaded is.
func (p *Plan) followsExec() bool { return p.judgesExec() || p.judgesFiles }

func (p *Plan) judgesExec() bool {
	return slices.ContainsFunc(execEvents, p.judges)
}

// rulesetError makes a StartError of what landlock.Spec.Open says.
func rulesetError(err error) error {
	var call *landlock.RulesetError
	if errors.As(err, &call) {
		return &StartError{Step: call.Step, Err: call.Err}
	}
	return &StartError{Step: "landlock_add_rule", Err: err}
}
