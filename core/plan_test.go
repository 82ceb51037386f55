package core

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func compile(t *testing.T, edit func(p *Policy)) *Plan {
	t.Helper()
	p := NewPolicy()
	edit(p)
	plan, err := p.CompileFor(full())
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func TestPlanString(t *testing.T) {
	edit := func(p *Policy) {
		p.FSReadable, p.FSWritable = []string{"/usr", "/lib"}, []string{"/tmp"}
		p.FSExecutable = []string{"/usr/bin"}
		p.Cwd, p.Name = "/tmp", "build"
		p.Env = map[string]string{"B": "2", "A": "1\n", "C": ""}
		p.CleanEnv, p.NoCoredump, p.NoHugePages, p.NoRandomizeMemory = true, true, true, true
		p.MaxOpenFiles, p.CPUCores = ptr(uint32(64)), []uint32{2, 0, 2}
		p.NetAllow, p.NetAllowBind = []string{"tcp://:443,80"}, []string{"8000-8010"}
		p.Disable, p.AllowDegraded = []Protection{FSIoctlDev}, []Protection{SignalScope, FSRefer}
		p.PolicyFn, p.PolicyEvents = allow, []string{"execve", "execveat"}
		p.UnixAllow = []string{"/", "/run/x"}
	}
	text := compile(t, edit).String()
	want := `compiled for: Linux 6.18.0 x86_64
name: "build"
cwd: "/tmp"
environment: keeps PATH HOME USER TERM LANG
  A (2 bytes)
  B (1 bytes)
  C (0 bytes)
max_processes: 64
max_memory: unlimited
max_cpu: unlimited
num_cpus: unlimited
term_grace: 0s
max_open_files: 64
max_output: 67108864 bytes a stream
cpu_cores: [0 2]
no_coredump: true
no_huge_pages: true
no_randomize_memory: true
network: in the kernel
  tcp: allow * ports 80,443
net_allow_private_names: false
port_remap: false
unix sockets: by the kernel
  unix_allow "/"
  unix_allow "/run/x"
tcp bind: 8000-8010
allow_degraded: [fs-refer signal-scope]
disable: [fs-ioctl-dev]
policy_fn: asked about [execve execveat], each answer within 30s
record_execs: false
argv_safety: strict
modes, owners, times, attributes: beneath fs_writable, by the library
trapped: [chmod chown execve execveat fchmod fchmodat fchmodat2 fchown fchownat fremovexattr fsetxattr futimesat lchown listen lremovexattr lsetxattr removexattr setsockopt setxattr utime utimensat utimes]
landlock ABI 7
  handled fs: execute write_file read_file read_dir remove_dir remove_file make_char make_dir make_reg make_sock make_fifo make_block make_sym refer truncate
  handled net: bind_tcp connect_tcp
  scoped: abstract_unix_socket signal
  fs_readable "/usr": read_file read_dir
  fs_readable "/lib": read_file read_dir
  fs_writable "/tmp": write_file read_file read_dir remove_dir remove_file make_dir make_reg make_sock make_fifo make_sym refer truncate
  fs_executable "/usr/bin": execute
  port 80: connect_tcp
  port 443: connect_tcp
  port 8000-8010: bind_tcp
  no writable path may hold a proc file system
seccomp program, `
	if !strings.HasPrefix(text, want) {
		t.Errorf("got\n%s\nwant it to begin with\n%s", text, want)
	}
	for range 3 {
		if again := compile(t, edit).String(); again != text {
			t.Fatal("a second plan of the same policy prints otherwise")
		}
	}
}

func TestPlanIsItsOwn(t *testing.T) {
	p := NewPolicy()
	p.FSReadable, p.FSWritable, p.FSExecutable = []string{"/a"}, []string{"/b"}, []string{"/c"}
	p.Env = map[string]string{"A": "1"}
	p.MaxOpenFiles, p.CPUCores = ptr(uint32(64)), []uint32{0}
	p.NetAllow, p.NetAllowBind = []string{"tcp://:80"}, []string{"80"}
	p.ExtraDenySyscalls = []string{"mkdir"}
	p.AllowDegraded, p.Disable = []Protection{FSTruncate}, []Protection{FSTruncate}
	p.PolicyFn, p.PolicyEvents = allow, []string{"execve"}
	plan, err := p.CompileFor(full())
	if err != nil {
		t.Fatal(err)
	}
	before := plan.String()

	p.FSReadable[0], p.FSWritable[0], p.FSExecutable[0] = "/x", "/x", "/x"
	p.Env["A"], p.Env["B"] = "2", "2"
	*p.MaxOpenFiles, p.CPUCores[0] = 1, 1
	p.NetAllow[0], p.NetAllowBind[0] = "tcp://:1", "1"
	p.ExtraDenySyscalls[0] = "rmdir"
	p.AllowDegraded[0], p.Disable[0] = NetTCP, NetTCP
	p.PolicyFn, p.PolicyEvents[0] = nil, "execveat"
	if after := plan.String(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if plan.judges("execveat") || !plan.judges("execve") || plan.policyFn == nil {
		t.Error("the events changed")
	}
}

func TestTrapped(t *testing.T) {
	paths := slices.Sorted(slices.Values(append((&Plan{judgesFiles: true, needsFiles: true}).trappedFiles(), "execve", "execveat")))
	later := slices.Sorted(slices.Values(append((&Plan{judgesFiles: true}).trappedFiles(), "execve", "execveat")))
	views := slices.Sorted(slices.Values((&Plan{views: []string{"/file"}}).trappedFiles()))
	guarded := slices.Sorted(slices.Values((&Plan{guardsProc: true}).trappedFiles()))
	named := []string{"connect", restrictSelf, "sendmmsg", "sendmsg", "sendto", "setsockopt"}
	for _, tt := range []struct {
		name string
		edit func(p *Policy)
		want []string
	}{
		{"nothing", func(p *Policy) {}, nil},
		{"events without policy_fn", func(p *Policy) { p.PolicyEvents = []string{"execve"} }, nil},
		{"policy_fn", func(p *Policy) { p.PolicyFn = allow }, later},
		{"denied", func(p *Policy) { p.FSDenied = []string{"/a"} }, paths},
		{"opens", func(p *Policy) { p.PolicyFn, p.PolicyEvents = allow, []string{"openat"} }, paths},
		{"one event", func(p *Policy) { p.PolicyFn, p.PolicyEvents = allow, []string{"execveat", "execveat"} }, []string{"execve", "execveat"}},
		{"no event", func(p *Policy) { p.PolicyFn, p.PolicyEvents = allow, []string{} }, nil},
		{"connect", func(p *Policy) { p.NetAllow = []string{"tcp://:80"} }, []string{"listen", "setsockopt"}},
		{"bind", func(p *Policy) { p.NetAllowBind = []string{"80"} }, []string{"listen", "setsockopt"}},
		{"bind any", func(p *Policy) { p.NetAllowBind = []string{"*"} }, nil},
		{"bind port 0", func(p *Policy) { p.NetAllowBind = []string{"0", "80"} }, nil},
		{"without net-tcp", func(p *Policy) { p.NetAllowBind, p.Disable = []string{"80"}, []Protection{NetTCP} }, nil},
		{"denied binds", func(p *Policy) { p.NetDenyBind = []string{"22"} }, []string{"bind", "listen", "setsockopt"}},
		{"judged binds", func(p *Policy) {
			p.NetAllowBind, p.PolicyFn, p.PolicyEvents = []string{"80"}, allow, []string{"bind"}
		}, []string{"bind", "listen", "setsockopt"}},
		{"virtual ports", func(p *Policy) { p.NetAllowBind, p.PortRemap = []string{"*"}, true }, []string{"bind", "getpeername", "getsockname", "setsockopt"}},
		{"virtual ports that are reached", func(p *Policy) {
			p.NetAllow, p.NetAllowBind, p.PortRemap = []string{"tcp://:80"}, []string{"80"}, true
		}, []string{"bind", "connect", "getpeername", "getsockname", "listen", "setsockopt"}},
		{"virtual ports, none to bind", func(p *Policy) { p.PortRemap = true }, nil},
		{"both", func(p *Policy) {
			p.NetAllow, p.PolicyFn, p.PolicyEvents = []string{"tcp://:80"}, allow, []string{"connect", "execve"}
		}, []string{"connect", "execve", "execveat", "listen", "setsockopt"}},
		{"execs only", func(p *Policy) {
			p.NetAllow, p.PolicyFn, p.PolicyEvents = []string{"tcp://:80"}, allow, []string{"execve"}
		}, []string{"execve", "execveat", "listen", "setsockopt"}},
		{"connects only", func(p *Policy) {
			p.NetAllow, p.PolicyFn, p.PolicyEvents = []string{"tcp://:80"}, allow, []string{"connect"}
		}, []string{"connect", "listen", "setsockopt"}},
		{"no file of its own to be seen", func(p *Policy) {
			p.NumCPUs, p.MaxMemory, p.FSReadable = ptr(uint32(1)), ptr(uint64(1<<30)), []string{"/usr", "/etc", "/procx", "proc"}
		}, nil},
		{"a file of its own", func(p *Policy) { p.NumCPUs, p.FSReadable = ptr(uint32(1)), []string{"/sys/"} }, views},
		{"one of memory", func(p *Policy) { p.MaxMemory, p.FSReadable = ptr(uint64(1<<30)), []string{"/proc/meminfo"} }, views},
		{"/proc", func(p *Policy) { p.FSReadable = []string{"/"} }, guarded},
		{"/proc, and a limit", func(p *Policy) { p.FSReadable, p.NumCPUs = []string{"/proc/"}, ptr(uint32(1)) }, guarded},
		{"a file of /proc", func(p *Policy) { p.FSReadable = []string{"/proc/stat", "/proc/sys"} }, nil},
		{"/proc by another name", func(p *Policy) { p.FSReadable = []string{"/proc/self/root"} }, guarded},
		{"a process", func(p *Policy) { p.FSReadable = []string{"/proc/self"} }, guarded},
		{"/proc, and Landlock inside", func(p *Policy) {
			p.FSReadable, p.ExtraAllowSyscalls = []string{"/"}, []string{"landlock_restrict_self"}
		}, nil},
		{"a name", func(p *Policy) { p.NetAllow = []string{"tcp://a.example:80"} }, slices.Sorted(slices.Values(append(slices.Clone(views), "connect", "listen", "setsockopt")))},
		{"a file of its own, and opens judged", func(p *Policy) {
			p.NumCPUs, p.FSReadable, p.FSDenied = ptr(uint32(1)), []string{"/sys/"}, []string{"/a"}
		}, paths},
		{"an address", func(p *Policy) { p.NetAllow = []string{"tcp://:80", "tcp://1.2.3.4"} }, []string{"connect", "listen", "setsockopt"}},
		{"nothing to reach", func(p *Policy) { p.FSReadable = []string{"/usr"} }, nil},
		{"named sockets", func(p *Policy) { p.UnixAllow = []string{"/run/x"} }, named},
		{"all named sockets", func(p *Policy) { p.UnixAllow = []string{"/run/x", "//"} }, nil},
		{"all but some", func(p *Policy) { p.UnixAllow, p.FSDenied = []string{"/"}, []string{"/a"} }, slices.Sorted(slices.Values(slices.Concat(
			slices.DeleteFunc(slices.Clone(named), func(name string) bool { return name == restrictSelf }), paths)))},
		{"named sockets and a port", func(p *Policy) { p.UnixAllow, p.NetAllow = []string{"/run/x"}, []string{"tcp://:80"} },
			[]string{"connect", "listen", "sendmmsg", "sendmsg", "sendto", "setsockopt"}},
		{"any port", func(p *Policy) { p.NetAllow = []string{"tcp://*"} }, []string{"listen", "setsockopt"}},
	} {
		plan := compile(t, tt.edit)
		if !slices.Equal(plan.trapped, tt.want) || plan.traps != (len(tt.want) > 0 || plan.net.netlink != 0) ||
			plan.trapsListen != slices.Contains(tt.want, "listen") {
			t.Errorf("%s: %q, want %q", tt.name, plan.trapped, tt.want)
		}
	}
}

// Netlink sockets are made where sockets of the Internet are, below the limit of descriptors.
func TestNetlinkNumbers(t *testing.T) {
	limit := func(n uint32) *uint32 { return &n }
	for _, tt := range []struct {
		edit func(p *Policy)
		want uint32
	}{
		{func(p *Policy) {}, 0},
		{func(p *Policy) { p.NetAllow = []string{"tcp://:80"} }, 992},
		{func(p *Policy) { p.NetAllow = []string{"icmp://*"} }, 992},
		{func(p *Policy) { p.NetAllowBind = []string{"*"} }, 992},
		{func(p *Policy) { p.NetAllow, p.MaxOpenFiles = []string{"udp://*"}, limit(256) }, 224},
		{func(p *Policy) { p.NetAllow, p.MaxOpenFiles = []string{"udp://*"}, limit(127) }, 0},
		{func(p *Policy) { p.NetAllow, p.MaxOpenFiles = []string{"udp://*"}, limit(1<<20) }, 992},
	} {
		if plan := compile(t, tt.edit); plan.net.netlink != tt.want {
			t.Errorf("%d, want %d", plan.net.netlink, tt.want)
		}
	}
}

func TestPorts(t *testing.T) {
	plan := compile(t, func(p *Policy) { p.NetAllow, p.NetAllowBind = []string{"tcp://:80"}, []string{"8000"} })
	if plan.mayListen(80) || !plan.mayListen(8000) || plan.mayListen(0) {
		t.Error("what may be listened on is not what may be bound")
	}
	if !compile(t, func(p *Policy) { p.NetAllowBind = []string{"*"} }).mayListen(1) {
		t.Error("* does not allow to listen")
	}
}

func TestScopes(t *testing.T) {
	for _, tt := range []struct {
		disable          []Protection
		signal, abstract bool
	}{
		{nil, true, true},
		{[]Protection{SignalScope}, false, true},
		{[]Protection{AbstractUnixSocketScope, SignalScope}, false, false},
	} {
		plan := compile(t, func(p *Policy) { p.Disable = tt.disable })
		if plan.scopeSignal != tt.signal || plan.scopeAbstract != tt.abstract {
			t.Errorf("without %v: %t %t", tt.disable, plan.scopeSignal, plan.scopeAbstract)
		}
	}
}

func TestOpenRuleset(t *testing.T) {
	if LandlockABIVersion() < 1 {
		t.Skip("no Landlock")
	}
	p := NewPolicy()
	p.FSReadable = []string{"/nope", "/usr", "/nope/either"}
	plan, err := p.Compile()
	if err != nil {
		t.Fatal(err)
	}
	_, err = plan.openRuleset()
	want := "landlock_add_rule: fs_readable: /nope: no such file or directory; fs_readable: /nope/either: no such file or directory"
	var start *StartError
	if err == nil || err.Error() != want || !errors.As(err, &start) || !errors.Is(err, unix.ENOENT) {
		t.Errorf("got %v, want %s", err, want)
	}
	p.FSReadable = []string{"/usr"}
	if plan, err = p.Compile(); err != nil {
		t.Fatal(err)
	}
	fd, err := plan.openRuleset()
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
}
