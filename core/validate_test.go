package core

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func allow(*Event, *Context) Verdict { return Allow }

func ptr[T any](v T) *T { return &v }

func TestValidateFields(t *testing.T) {
	long := strings.Repeat("p", 4096)
	for _, tt := range []struct {
		name string
		edit func(p *Policy)
		want string // one whole line of the error; "" is valid
	}{
		{"defaults", func(p *Policy) {}, ""},
		{"zero", func(p *Policy) { *p = Policy{} }, ""},

		{"paths", func(p *Policy) { p.FSReadable = []string{"/a", "b/c", ".", "\xff\n", "/", "/a"} }, ""},
		{"empty", func(p *Policy) { p.FSReadable = []string{""} }, `fs_readable: "": a path is not empty`},
		{"NUL", func(p *Policy) { p.FSWritable = []string{"/a\x00b"} }, `fs_writable: "/a\x00b": a path holds no NUL byte`},
		{"long", func(p *Policy) { p.FSExecutable = []string{long} },
			`fs_executable: "` + long[:100] + `"… (4096 bytes): a path has at most 4095 bytes`},
		{"longest", func(p *Policy) { p.FSReadable = []string{long[1:]} }, ""},
		{"no executable", func(p *Policy) { p.FSExecutable = []string{} }, ""},
		{"cwd", func(p *Policy) { p.Cwd = "sub/dir" }, ""},
		{"cwd NUL", func(p *Policy) { p.Cwd = "\x00" }, `cwd: "\x00": a path holds no NUL byte`},

		{"env", func(p *Policy) { p.Env = map[string]string{"A": "", "B_1": "x=y\n\xff"} }, ""},
		{"env empty key", func(p *Policy) { p.Env = map[string]string{"": "x"} }, `env: "": the name of a variable is not empty`},
		{"env = key", func(p *Policy) { p.Env = map[string]string{"A=B": "x"} }, `env: "A=B": the name of a variable holds no = and no NUL byte`},
		{"env NUL key", func(p *Policy) { p.Env = map[string]string{"A\x00": "x"} }, `env: "A\x00": the name of a variable holds no = and no NUL byte`},
		{"env NUL value", func(p *Policy) { p.Env = map[string]string{"A": "\x00"} }, `env: "A"="\x00": a value holds no NUL byte`},

		{"name", func(p *Policy) { p.Name = strings.Repeat("n", 64) }, ""},
		{"name dots", func(p *Policy) { p.Name = "..." }, ""},
		{"name long", func(p *Policy) { p.Name = strings.Repeat("n", 65) },
			`name: "` + strings.Repeat("n", 65) + `": a name has at most 64 bytes`},
		{"name slash", func(p *Policy) { p.Name = "a/b" }, `name: "a/b": a name holds no / and no NUL byte`},
		{"name NUL", func(p *Policy) { p.Name = "a\x00" }, `name: "a\x00": a name holds no / and no NUL byte`},
		{"name .", func(p *Policy) { p.Name = "." }, `name: ".": a name is neither . nor ..`},
		{"name ..", func(p *Policy) { p.Name = ".." }, `name: "..": a name is neither . nor ..`},

		{"files", func(p *Policy) { p.MaxOpenFiles = ptr(uint32(1)) }, ""},
		{"no files", func(p *Policy) { p.MaxOpenFiles = ptr(uint32(0)) }, `max_open_files: 0: no program can run without descriptors; give at least 1`},
		{"output", func(p *Policy) { p.MaxOutput = 0 }, ""},
		{"cores", func(p *Policy) { p.CPUCores = []uint32{0, 0, 8191} }, ""},
		{"no cores", func(p *Policy) { p.CPUCores = []uint32{} }, `cpu_cores: []: name at least one core, or leave the field out`},
		{"core", func(p *Policy) { p.CPUCores = []uint32{8192} }, `cpu_cores: 8192: there is no such core; the highest is 8191`},

		{"net", func(p *Policy) { p.NetAllow = []string{"tcp://:80,443", "tcp://*:22"} }, ""},
		{"net malformed", func(p *Policy) { p.NetAllow = []string{"tcp://:80,"} }, `net_allow: "tcp://:80,": at byte 10: a port is missing`},
		{"net name", func(p *Policy) { p.NetAllow = []string{"tcp://example.com:443"} }, ""},
		{"net deny name", func(p *Policy) { p.NetDeny = []string{"example.com"} },
			`net_deny: "example.com": at byte 0: "example.com" is a host name, which says nothing about other names of the same address; deny addresses, networks or private`},
		{"bind", func(p *Policy) { p.NetAllowBind = []string{"80", "1-2,5"} }, ""},
		{"deny bind", func(p *Policy) { p.NetDenyBind = []string{"22", "6000-6063"} }, ""},
		{"deny bind any", func(p *Policy) { p.NetDenyBind = []string{"*"} },
			`--net-deny-bind: net_deny_bind: "*": * is for net_allow_bind; without one no port may be bound`},
		{"deny bind wrong", func(p *Policy) { p.NetDenyBind = []string{"x"} },
			`--net-deny-bind: net_deny_bind: "x": "x" is not a port number; write N, LO-HI or a comma list of them`},
		{"both binds", func(p *Policy) { p.NetAllowBind, p.NetDenyBind = []string{"80"}, []string{"22"} },
			`--net-deny-bind: net_deny_bind: "22": together with net_allow_bind, which says what may be bound; leave one of them out`},
		{"bind reversed", func(p *Policy) { p.NetAllowBind = []string{"9-8"} },
			`--net-allow-bind: net_allow_bind: "9-8": the range 9-8 is reversed; write 8-9`},

		{"degraded", func(p *Policy) { p.AllowDegraded = []Protection{FSRefer, NetTCP, NetTCP} }, ""},
		{"degraded unknown", func(p *Policy) { p.AllowDegraded = []Protection{6} },
			`allow_degraded: 6: unknown protection; known are fs-refer, fs-truncate, net-tcp, fs-ioctl-dev, signal-scope, abstract-unix-socket-scope, or 0 to 5`},
		{"disable", func(p *Policy) { p.Disable = []Protection{FSTruncate, AbstractUnixSocketScope} }, ""},
		{"disable unknown", func(p *Policy) { p.Disable = []Protection{1 << 31} },
			`disable: 2147483648: unknown protection; known are fs-refer, fs-truncate, net-tcp, fs-ioctl-dev, signal-scope, abstract-unix-socket-scope, or 0 to 5`},
		{"disable refer", func(p *Policy) { p.Disable = []Protection{FSRefer} },
			`disable: fs-refer: it can't be disabled: without it a file could be moved to where more is granted`},

		{"events", func(p *Policy) { p.PolicyEvents = []string{"execve", "execveat", "execve"} }, ""},
		{"no events", func(p *Policy) { p.PolicyEvents = []string{} }, ""},
		{"events unknown", func(p *Policy) { p.PolicyEvents = []string{"fork"} },
			`policy_events: "fork": unknown event; there are bind, connect, execve, execveat, sendmmsg, sendmsg, sendto, openat`},
		{"timeout", func(p *Policy) { p.PolicyTimeout = 0 }, ""},
		{"timeout negative", func(p *Policy) { p.PolicyTimeout = -time.Second },
			`policy_timeout: -1s: a timeout is not negative; 0 waits for ever`},
		{"timeout absurd", func(p *Policy) { p.PolicyTimeout = 1 << 62 },
			`policy_timeout: 1281023h53m38.427387904s: give at most 8760h0m0s; 0 waits for ever`},

		{"proc without policy_fn", func(p *Policy) { p.FSWritable = []string{"/", "/proc"} }, ""},
		{"proc without exec events", func(p *Policy) {
			p.FSWritable, p.PolicyFn, p.PolicyEvents = []string{"/"}, allow, []string{}
		}, ""},
		{"proc", func(p *Policy) { p.FSWritable, p.PolicyFn = []string{"/usr/../proc/self"}, allow },
			`fs_writable: "/usr/../proc/self": together with a policy_fn that judges execve: /proc/<pid>/mem would be writable, and with it an argv that has been judged; grant narrower paths`},
		{"process", func(p *Policy) { p.FSWritable, p.PolicyFn = []string{"/process"}, allow }, ""},
		{"debug", func(p *Policy) { p.ExtraAllowSyscalls, p.MaxProcesses = []string{"debug"}, nil }, ""},
		{"debug and max_processes", func(p *Policy) { p.ExtraAllowSyscalls = []string{"debug"} },
			`extra_allow_syscalls: "debug": together with max_processes: the kernel gives a task one tracer, and a limit needs it; give max_processes "unlimited", or leave the group out`},
		{"max_processes", func(p *Policy) { p.MaxProcesses = ptr(uint32(0)) }, `max_processes: 0: the command itself is a process; give at least 1`},
		{"max_memory", func(p *Policy) { p.MaxMemory = ptr(uint64(0)) }, `max_memory: 0: no program runs in no memory; leave it out for no limit`},
		{"max_cpu 0", func(p *Policy) { p.MaxCPU = ptr(uint32(0)) }, `max_cpu: 0: max_cpu must be 1-100, got 0`},
		{"max_cpu 101", func(p *Policy) { p.MaxCPU = ptr(uint32(101)) }, `max_cpu: 101: max_cpu must be 1-100, got 101`},
		{"num_cpus", func(p *Policy) { p.NumCPUs = ptr(uint32(0)) }, `num_cpus: 0: no program runs without a CPU; give at least 1`},
		{"gpu_devices", func(p *Policy) { p.GPUDevices = []uint32{0, 5000} }, `gpu_devices: 5000: there is no such device; the highest is 1023`},
		{"term_grace", func(p *Policy) { p.TermGrace = -1 }, `term_grace: -1ns: a grace period is not negative; 0 is none`},
		{"debug and policy_fn", func(p *Policy) {
			p.ExtraAllowSyscalls, p.PolicyFn, p.MaxProcesses = []string{"debug"}, allow, nil
		},
			`extra_allow_syscalls: "debug": together with a policy_fn that judges execve: a debugger can change an argv that has been judged; leave one of them out`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := NewPolicy()
			tt.edit(p)
			err := p.Validate()
			if tt.want == "" {
				if err != nil {
					t.Errorf("error %v", err)
				}
				return
			}
			if err == nil || err.Error() != "invalid sandbox: "+tt.want {
				t.Errorf("got  %v\nwant invalid sandbox: %s", err, tt.want)
			}
			if _, compiled := p.Compile(); compiled == nil || compiled.Error() != err.Error() {
				t.Errorf("Compile says %v", compiled)
			}
		})
	}
}

func TestAllErrorsAtOnce(t *testing.T) {
	p := NewPolicy()
	p.FSReadable = []string{"", "/ok", "a\x00"}
	p.Name = "a/b"
	p.MaxOpenFiles = ptr(uint32(0))
	p.NetAllow = []string{"nonsense://", "udp://:0"}
	p.NetAllowBind = []string{"*", "80"}
	p.Disable = []Protection{FSRefer, 77}
	p.ExtraDenySyscalls = []string{"no_such_call"}
	p.PolicyTimeout = -1
	err := p.Validate()
	var all *ValidationError
	if !errors.As(err, &all) {
		t.Fatalf("error %v", err)
	}
	want := []string{"fs_readable", "fs_readable", "name", "max_open_files", "net_allow", "net_allow",
		"net_allow_bind", "disable", "disable", "extra_deny_syscalls", "policy_timeout"}
	counts := map[string]int{}
	for _, e := range all.Errors {
		counts[e.Field]++
		if e.Problem == "" {
			t.Errorf("%s: no problem", e.Field)
		}
	}
	for _, field := range want {
		counts[field]--
	}
	for field, n := range counts {
		if n != 0 {
			t.Errorf("%s: %d too many or too few in:\n%v", field, n, err)
		}
	}
	if lines := strings.Count(err.Error(), "\n") + 1; lines != len(all.Errors) {
		t.Errorf("%d lines for %d errors:\n%v", lines, len(all.Errors), err)
	}
}

func TestExtraSyscalls(t *testing.T) {
	for _, tt := range []struct {
		deny, allow []string
		want        string
	}{
		{[]string{"mkdir", "sysv_ipc"}, nil, ""},
		{nil, []string{"sysv_ipc"}, ""},
		{[]string{"no_such_call"}, nil, "unknown syscall or group name"},
		{nil, []string{"no_such_call"}, "unknown syscall or group name"},
		{[]string{"sysv_ipc"}, []string{"sysv_ipc"}, "sysv_ipc"},
		{nil, []string{"mount"}, "mount"},
	} {
		p := NewPolicy()
		p.ExtraDenySyscalls, p.ExtraAllowSyscalls = tt.deny, tt.allow
		err := p.Validate()
		if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("deny %q, allow %q: %v, want %q", tt.deny, tt.allow, err, tt.want)
		}
	}
}
