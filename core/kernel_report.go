package core

import "encoding/json"

// notEnforcedYet are the limits of policy.md that this library doesn't carry out
// yet.
var notEnforcedYet = []string{"max_disk"}

// KernelReport returns a JSON object that says what the running kernel offers
// and whether the default policy can be started on it:
//
//	kernel, arch       as uname -r and -m have them
//	landlock_abi       0 when there is none
//	protections        name → min_abi, min_kernel, available
//	seccomp            filter, user_notification, addfd_send, wait_killable_recv, sync_wake_up
//	yama               /proc/sys/kernel/yama/ptrace_scope, null without Yama
//	policy_fn          whether a policy_fn can judge an exec here
//	not_enforced_yet   names of limits that are not built yet
//	sandbox_ready      whether the default policy starts
//	reason             why it doesn't, "" when it does
func KernelReport() []byte { return Probe().report() }

type kernelReport struct {
	Kernel         string                      `json:"kernel"`
	Arch           string                      `json:"arch"`
	LandlockABI    int                         `json:"landlock_abi"`
	Protections    map[string]protectionReport `json:"protections"`
	Seccomp        seccompReport               `json:"seccomp"`
	Yama           *int                        `json:"yama"`
	PolicyFn       bool                        `json:"policy_fn"`
	NotEnforcedYet []string                    `json:"not_enforced_yet"`
	SandboxReady   bool                        `json:"sandbox_ready"`
	Reason         string                      `json:"reason"`
}

type protectionReport struct {
	MinABI    int    `json:"min_abi"`
	MinKernel string `json:"min_kernel"`
	Available bool   `json:"available"`
}

type seccompReport struct {
	Filter           bool `json:"filter"`
	UserNotification bool `json:"user_notification"`
	Listener         bool `json:"listener"` // a sandbox can have one here
	AddFDSend        bool `json:"addfd_send"`
	WaitKillableRecv bool `json:"wait_killable_recv"`
	SyncWakeUp       bool `json:"sync_wake_up"`
}

func (k Kernel) report() []byte {
	r := kernelReport{
		Kernel: k.Release, Arch: k.Machine, LandlockABI: k.LandlockABI,
		Protections: map[string]protectionReport{},
		Seccomp: seccompReport{
			Filter:           k.SeccompProblem == "",
			UserNotification: k.UserNotification,
			Listener:         k.UserNotification && k.ListenerProblem == "",
			AddFDSend:        k.AddFDSend,
			WaitKillableRecv: k.WaitKillableRecv,
			SyncWakeUp:       k.SyncWakeUp,
		},
		NotEnforcedYet: notEnforcedYet,
	}
	for _, p := range protections {
		r.Protections[p.name] = protectionReport{p.minABI, p.minKernel, k.LandlockABI >= p.minABI}
	}
	if k.Yama >= 0 {
		r.Yama = &k.Yama
	}
	err := k.starts(nil)
	r.SandboxReady = err == nil
	if err != nil {
		r.Reason = err.Error()
	}
	r.PolicyFn = k.starts(func(*Event, *Context) Verdict { return Deny }) == nil

	doc, err := json.Marshal(r)
	if err != nil {
		panic("BUG(sandlock): the kernel report is no JSON, please report: " + err.Error())
	}
	return doc
}

// starts says why the default policy can't be started on the kernel.
func (k Kernel) starts(fn PolicyFunc) error {
	p := NewPolicy()
	p.PolicyFn = fn
	plan, err := p.CompileFor(k)
	if err != nil {
		return err
	}
	return plan.check(k)
}
