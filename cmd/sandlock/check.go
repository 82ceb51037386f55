package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/sandlock/sandlock/core"
)

// meaning says what is lost where a kernel lacks a protection.
var meaning = map[core.Protection]string{
	core.FSRefer:                 "files can't be moved or linked between directories of the sandbox",
	core.FSTruncate:              "a file that may be read could be truncated",
	core.NetTCP:                  "no rule for TCP ports can be enforced by the kernel; without rules there is no network, here too",
	core.FSIoctlDev:              "any ioctl can be made on a device that may be opened",
	core.SignalScope:             "processes of the same user outside could be signalled; ending a sandbox takes a walk over its tasks",
	core.AbstractUnixSocketScope: "abstract unix sockets outside could be connected to",
}

func checkCommand(args []string) int {
	asJSON := false
	_, code, done := parse("check", "", args, []option{
		{long: "json", help: "the report as JSON", set: set(&asJSON)},
	}, 0, 0)
	if done {
		return code
	}
	doc := core.KernelReport()
	var r kernelReport
	if err := json.Unmarshal(doc, &r); err != nil {
		return fail(err)
	}
	if asJSON {
		fmt.Printf("%s\n", doc)
	} else {
		fmt.Print(r.text(core.Probe()))
	}
	if !r.Ready {
		return 1
	}
	return 0
}

// kernelReport is what is used here of core's.
type kernelReport struct {
	Protections map[string]struct {
		MinABI    int    `json:"min_abi"`
		MinKernel string `json:"min_kernel"`
		Available bool   `json:"available"`
	} `json:"protections"`
	PolicyFn bool   `json:"policy_fn"`
	Ready    bool   `json:"sandbox_ready"`
	Reason   string `json:"reason"`
}

func (r kernelReport) text(k core.Kernel) string {
	out := fmt.Sprintf("kernel: Linux %s %s\n", k.Release, k.Machine)
	line := func(have bool, name, needs, without string) {
		if have {
			out += fmt.Sprintf("  yes  %s\n", name)
		} else {
			out += fmt.Sprintf("  no   %s (%s): %s\n", name, needs, without)
		}
	}
	if k.LandlockABI == 0 {
		out += fmt.Sprintf("Landlock: none: %s\n", k.LandlockProblem)
	} else {
		out += fmt.Sprintf("Landlock: ABI %d\n", k.LandlockABI)
	}
	for p := core.Protection(0); p.Valid(); p++ {
		have := r.Protections[p.String()]
		line(have.Available, p.String(), fmt.Sprintf("Landlock ABI %d, Linux %s", have.MinABI, have.MinKernel), meaning[p])
	}
	out += "seccomp\n"
	line(k.SeccompProblem == "", "filters", "CONFIG_SECCOMP_FILTER", "nothing can be run: "+k.SeccompProblem)
	line(k.UserNotification, "user notifications", "Linux 5.0", "nothing can be asked of the supervisor: no policy_fn, no rule for addresses, no listening on some ports only")
	line(k.ListenerProblem == "", "a listener for a sandbox", "no sandbox around this process that has one", "no policy_fn, no denied path, no rule for addresses; modes and times of files can't be changed")
	line(k.AddFDSend, "descriptors in answers", "Linux 5.14", "the supervisor can't open files for the sandbox")
	line(k.WaitKillableRecv, "killable waits", "Linux 5.19", "no policy_fn can judge the arguments of an exec")
	line(k.SyncWakeUp, "synchronous wake-up", "Linux 6.6", "each question to the supervisor takes about 40 µs longer")
	switch {
	case k.Yama < 0:
		out += "ptrace: not restricted by Yama\n"
	case k.Yama < 2 || k.Yama == 2 && k.CanPtrace:
		out += fmt.Sprintf("ptrace: allowed by Yama (ptrace_scope=%d)\n", k.Yama)
	default:
		out += fmt.Sprintf("ptrace: forbidden by Yama (ptrace_scope=%d): no policy_fn, and only max_processes=\"unlimited\"; 1 is enough\n", k.Yama)
	}
	line(k.Children, "/proc/PID/task/TID/children", "CONFIG_PROC_CHILDREN, /proc mounted", "no max_memory, no max_cpu")
	line(k.MemoryCgroup != "", "max_memory by a cgroup", k.MemoryCgroupProblem, "it is measured")
	if !r.Ready {
		return out + fmt.Sprintf("The default policy can't be started:\n%s\n", r.Reason)
	}
	if !r.PolicyFn {
		out += "No policy_fn can judge an exec here.\n"
	}
	if os.Geteuid() == 0 {
		out += "You are root: what the sandbox may write it can do much to; an ordinary user's sandbox is the safer one.\n"
	}
	return out + "Sandboxes can be started.\n"
}
