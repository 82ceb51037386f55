package core

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

// full is a kernel that has everything.
func full() Kernel {
	return Kernel{Release: "6.18.0", Machine: "x86_64", LandlockABI: 7,
		UserNotification: true, AddFDSend: true, WaitKillableRecv: true, SyncWakeUp: true, Yama: 1,
		CPUs: []uint32{0, 1, 2, 3}}
}

func TestAtLeast(t *testing.T) {
	for _, tt := range []struct {
		release      string
		major, minor int
		want         bool
	}{
		{"6.18.44-fc", 6, 6, true}, {"6.6-rc1", 6, 6, true}, {"6.5.13", 6, 6, false}, {"7.0.0", 6, 6, true},
		{"5.19", 5, 19, true}, {"5.9.1", 5, 14, false}, {"10.1", 6, 18, true}, {"", 5, 0, false}, {"odd", 0, 0, false}, {"6.", 6, 0, false},
	} {
		if got := (Kernel{Release: tt.release}).AtLeast(tt.major, tt.minor); got != tt.want {
			t.Errorf("%q at least %d.%d: %t", tt.release, tt.major, tt.minor, got)
		}
	}
}

func TestParseCPUList(t *testing.T) {
	for text, want := range map[string][]uint32{
		"0": {0}, "0-3": {0, 1, 2, 3}, "0,2-3,8": {0, 2, 3, 8}, "": nil, "0-": nil, "3-1": nil, "0,x": nil, "0-99999999": nil,
	} {
		if got := parseCPUList(text); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestProbeChangesNothing(t *testing.T) {
	state := func() string {
		text, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		var kept []string
		for line := range strings.Lines(string(text)) {
			for _, field := range []string{"Seccomp", "NoNewPrivs", "Cap", "Umask"} {
				if strings.HasPrefix(line, field) {
					kept = append(kept, line)
				}
			}
		}
		return strings.Join(kept, "")
	}
	before := state()
	k := Probe()
	if after := state(); after != before || !strings.Contains(before, "Seccomp_filters") {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if k.Release == "" || k.Machine == "" || len(k.CPUs) == 0 {
		t.Errorf("%+v", k)
	}
	if k.AtLeast(5, 19) && k.SeccompProblem == "" && !k.WaitKillableRecv {
		t.Errorf("Linux %s without WAIT_KILLABLE_RECV", k.Release)
	}
	if abi := LandlockABIVersion(); abi != k.LandlockABI && !(abi == -1 && k.LandlockABI == 0) {
		t.Errorf("ABI %d and %d", abi, k.LandlockABI)
	}
}

func TestCheck(t *testing.T) {
	without := func(edit func(k *Kernel)) Kernel {
		k := full()
		edit(&k)
		return k
	}
	abi := func(n int) Kernel { return without(func(k *Kernel) { k.LandlockABI = n }) }
	all := []Protection{FSRefer, FSTruncate, NetTCP, FSIoctlDev, SignalScope, AbstractUnixSocketScope}
	for _, tt := range []struct {
		name   string
		kernel Kernel
		edit   func(p *Policy)
		want   []string // each line of the error, or its beginning
	}{
		{"full", full(), func(p *Policy) { p.PolicyFn, p.NetAllow = allow, []string{"tcp://:80"} }, nil},
		{"old", abi(1), func(p *Policy) {}, []string{
			`required protection fs-refer: host Landlock ABI is v1, requires v2 (Linux 5.19); allow_degraded=["fs-refer"] does without it on this kernel`,
			`required protection fs-truncate: host Landlock ABI is v1, requires v3 (Linux 6.2); allow_degraded=["fs-truncate"] does without it on this kernel, disable=["fs-truncate"] on every kernel`,
			`required protection fs-ioctl-dev: host Landlock ABI is v1, requires v5 (Linux 6.10)`,
			`required protection signal-scope: host Landlock ABI is v1, requires v6 (Linux 6.12)`,
			`required protection abstract-unix-socket-scope: host Landlock ABI is v1, requires v6 (Linux 6.12)`,
		}},
		{"old, degraded", abi(1), func(p *Policy) { p.AllowDegraded = all }, nil},
		{"old, disabled", abi(2), func(p *Policy) { p.Disable = all[1:] }, nil},
		{"6.2 with TCP", abi(3), func(p *Policy) {
			p.NetAllow, p.Disable = []string{"tcp://:80"}, []Protection{FSIoctlDev, SignalScope, AbstractUnixSocketScope}
		}, []string{`required protection net-tcp: host Landlock ABI is v3, requires v4 (Linux 6.7); allow_degraded=["net-tcp"] does without it on this kernel, disable=["net-tcp"] on every kernel`}},
		{"6.2 with TCP, degraded", abi(3), func(p *Policy) {
			p.NetAllowBind, p.AllowDegraded = []string{"80"}, all
		}, nil},
		{"6.10 without scopes", abi(5), func(p *Policy) { p.Disable = []Protection{SignalScope} }, []string{
			`required protection abstract-unix-socket-scope: host Landlock ABI is v5, requires v6 (Linux 6.12)`}},

		{"no Landlock", without(func(k *Kernel) { k.LandlockABI, k.LandlockProblem = 0, "it is off" }),
			func(p *Policy) { p.AllowDegraded = all }, []string{"Landlock: it is off"}},
		{"no seccomp", without(func(k *Kernel) { k.SeccompProblem = "no filters" }), func(p *Policy) {}, []string{"no filters"}},
		{"no notifications, none needed", without(func(k *Kernel) { k.UserNotification = false }), func(p *Policy) {}, nil},
		{"no listener, none needed", without(func(k *Kernel) { k.ListenerProblem = "x" }), func(p *Policy) { p.FSWritable = []string{"/tmp"} }, nil},
		{"no listener for files of its own", without(func(k *Kernel) { k.ListenerProblem = "x" }),
			func(p *Policy) { p.FSReadable, p.NumCPUs = []string{"/proc"}, ptr(uint32(1)) }, nil},
		{"no listener for a denied path", without(func(k *Kernel) { k.ListenerProblem = "it is taken" }),
			func(p *Policy) { p.FSReadable, p.FSDenied = []string{"/tmp"}, []string{"/tmp/x"} },
			[]string{"the policy needs a seccomp listener for "}},
		{"no notifications for listen", without(func(k *Kernel) { k.UserNotification = false }),
			func(p *Policy) { p.NetAllow = []string{"tcp://:80"} },
			[]string{"the policy needs seccomp user notifications (Linux 5.0) for listen"}},
		{"5.15 with policy_fn", without(func(k *Kernel) { k.WaitKillableRecv = false }), func(p *Policy) { p.PolicyFn = allow },
			[]string{"a policy_fn that judges execve needs SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (Linux 5.19)"}},
		{"5.15 with a policy_fn that is not asked", without(func(k *Kernel) { k.WaitKillableRecv = false }),
			func(p *Policy) { p.PolicyFn, p.PolicyEvents = allow, []string{} }, nil},
		{"Yama 2 with an address", without(func(k *Kernel) { k.Yama = 2 }), func(p *Policy) {
			p.MaxProcesses, p.NetAllow = nil, []string{"tcp://192.0.2.1"}
		}, []string{"rules for addresses, net_deny_bind, port_remap, and a policy_fn that judges connect or bind, need pidfd_getfd(2) to make these calls"}},
		{"Yama 2 with a denied bind", without(func(k *Kernel) { k.Yama = 2 }), func(p *Policy) {
			p.MaxProcesses, p.NetDenyBind = nil, []string{"22"}
		}, []string{"net_allow_bind needs pidfd_getfd(2)", "rules for addresses"}},
		{"no pidfd_getfd", without(func(k *Kernel) { k.GetFDProblem = "pidfd_getfd: operation not permitted" }), func(p *Policy) {
			p.NetDeny = []string{"private"}
		}, []string{"rules for addresses, net_deny_bind, port_remap, and a policy_fn that judges connect or bind, need pidfd_getfd(2) (Linux 5.6) to make these calls on the command's behalf: pidfd_getfd: operation not permitted"}},
		{"no pidfd_getfd, a port", without(func(k *Kernel) { k.GetFDProblem = "x" }), func(p *Policy) { p.NetAllow = []string{"tcp://:80"} }, nil},
		{"Yama 2", without(func(k *Kernel) { k.Yama = 2 }), func(p *Policy) { p.PolicyFn = allow },
			[]string{"a policy_fn that judges execve needs ptrace(2), which /proc/sys/kernel/yama/ptrace_scope=2 forbids here"}},
		{"Yama 2 with CAP_SYS_PTRACE", without(func(k *Kernel) { k.Yama, k.CanPtrace = 2, true }), func(p *Policy) { p.PolicyFn = allow }, nil},
		{"Yama 3", without(func(k *Kernel) { k.Yama, k.CanPtrace = 3, true }), func(p *Policy) { p.PolicyFn = allow },
			[]string{"a policy_fn that judges execve needs ptrace(2), which"}},
		{"Yama 3 without policy_fn", without(func(k *Kernel) { k.Yama = 3 }), func(p *Policy) {}, nil},
		{"Yama 2 with max_processes", without(func(k *Kernel) { k.Yama = 2 }), func(p *Policy) { p.MaxProcesses = ptr(uint32(5)) },
			[]string{`max_processes needs ptrace(2), which /proc/sys/kernel/yama/ptrace_scope=2 forbids here; 1 is enough, and max_processes="unlimited" does without`}},
		{"Yama 2 with a port to listen on", without(func(k *Kernel) { k.Yama = 2 }), func(p *Policy) { p.NetAllowBind = []string{"80"} },
			[]string{"net_allow_bind needs pidfd_getfd(2) to carry out listen(2), which /proc/sys/kernel/yama/ptrace_scope=2 forbids here; 1 is enough"}},
		{"Yama 3 with every port", without(func(k *Kernel) { k.Yama = 3 }), func(p *Policy) { p.NetAllowBind = []string{"*"} }, nil},
		{"Yama 3 with a port to connect to", without(func(k *Kernel) { k.Yama = 3 }), func(p *Policy) { p.NetAllow = []string{"tcp://:80"} }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := NewPolicy()
			p.MaxProcesses = nil
			tt.edit(p)
			plan, err := p.CompileFor(tt.kernel)
			if err != nil {
				t.Fatal(err)
			}
			err = plan.check(tt.kernel)
			if tt.want == nil {
				if err != nil {
					t.Errorf("error %v", err)
				}
				return
			}
			var start *StartError
			if !errors.Is(err, ErrNotSupported) || !errors.As(err, &start) || start.Step != "kernel" {
				t.Fatalf("error %v", err)
			}
			lines := strings.Split(strings.TrimPrefix(err.Error(), "kernel: "), "\n")
			if len(lines) != len(tt.want) {
				t.Fatalf("%d lines, want %d:\n%v", len(lines), len(tt.want), err)
			}
			for i, line := range lines {
				if !strings.HasPrefix(line, tt.want[i]) {
					t.Errorf("got  %s\nwant %s", line, tt.want[i])
				}
			}
		})
	}
}

func TestCheckCores(t *testing.T) {
	p := NewPolicy()
	p.CPUCores = []uint32{1, 0, 7}
	plan, err := p.CompileFor(full())
	if err != nil {
		t.Fatal(err)
	}
	err = plan.check(full())
	if err == nil || errors.Is(err, ErrNotSupported) || !strings.Contains(err.Error(), "core 7 does not exist") {
		t.Errorf("error %v", err)
	}
	unknown := full()
	unknown.CPUs = nil
	if err := plan.check(unknown); err != nil {
		t.Errorf("CPUs unknown: %v", err)
	}
}

// A plan made for a newer kernel asks landlock_create_ruleset for too much.
func TestCheckOtherKernel(t *testing.T) {
	p := NewPolicy()
	p.AllowDegraded = []Protection{FSTruncate, FSIoctlDev, SignalScope, AbstractUnixSocketScope}
	plan, err := p.CompileFor(full())
	if err != nil {
		t.Fatal(err)
	}
	old := full()
	old.LandlockABI = 2
	if err := plan.check(old); !errors.Is(err, ErrNotSupported) || !strings.Contains(err.Error(), "compiled for Landlock ABI v7, this host has v2") {
		t.Errorf("error %v", err)
	}
}

func TestKernelReport(t *testing.T) {
	var r map[string]any
	if err := json.Unmarshal(KernelReport(), &r); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"kernel", "arch", "landlock_abi", "protections", "seccomp", "yama", "policy_fn", "not_enforced_yet", "sandbox_ready", "reason"} {
		if _, ok := r[key]; !ok {
			t.Errorf("%s is missing", key)
		}
	}
	k := full()
	k.LandlockABI = 5
	want := `{"kernel":"6.18.0","arch":"x86_64","landlock_abi":5,"protections":{` +
		`"abstract-unix-socket-scope":{"min_abi":6,"min_kernel":"6.12","available":false},` +
		`"fs-ioctl-dev":{"min_abi":5,"min_kernel":"6.10","available":true},` +
		`"fs-refer":{"min_abi":2,"min_kernel":"5.19","available":true},` +
		`"fs-truncate":{"min_abi":3,"min_kernel":"6.2","available":true},` +
		`"net-tcp":{"min_abi":4,"min_kernel":"6.7","available":true},` +
		`"signal-scope":{"min_abi":6,"min_kernel":"6.12","available":false}},` +
		`"seccomp":{"filter":true,"user_notification":true,"listener":true,"addfd_send":true,"wait_killable_recv":true,"sync_wake_up":true},` +
		`"yama":1,"policy_fn":false,"not_enforced_yet":["max_disk"],` +
		`"sandbox_ready":false,"reason":"kernel: required protection signal-scope`
	if got := string(k.report()); !strings.HasPrefix(got, want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	k = full()
	k.Yama = -1
	for _, part := range []string{`"yama":null`, `"policy_fn":true`, `"sandbox_ready":true,"reason":""}`} {
		if got := string(k.report()); !strings.Contains(got, part) {
			t.Errorf("no %s in %s", part, got)
		}
	}
}

func TestProtections(t *testing.T) {
	for i, want := range []int{2, 3, 4, 5, 6, 6} {
		p := Protection(i)
		if MinABI(p) != want {
			t.Errorf("%v: ABI %d, want %d", p, MinABI(p), want)
		}
		if got, err := ParseProtection(p.String()); got != p || err != nil {
			t.Errorf("%v: %v, %v", p, got, err)
		}
	}
	if MinABI(6) != 0 || Protection(6).Valid() || Protection(6).String() != "Protection(6)" {
		t.Error("6 is a protection")
	}
	if _, err := ParseProtection("fs"); err == nil {
		t.Error(`"fs" is a protection`)
	}
}
