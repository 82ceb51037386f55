package core

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sandlock/sandlock/core/internal/audit"
	"golang.org/x/sys/unix"
)

// denialsOf runs a shell script and returns what it was refused.
func denialsOf(t *testing.T, p *Policy, script string, args ...string) *Result {
	t.Helper()
	p.FSReadable = append(p.FSReadable, "/usr", "/lib", "/lib64", "/bin", "/etc")
	plan, err := p.Compile()
	if err != nil {
		t.Fatal(err)
	}
	r, err := plan.Run(Command{Argv: append([]string{"bash", "-c", script, "script"}, args...), Stdin: -1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// only is the one denial of that call and path.
func only(t *testing.T, r *Result, syscalls string, want func(d *Denial) bool) *Denial {
	t.Helper()
	var found []*Denial
	for i := range r.Denials {
		if d := &r.Denials[i]; slices.Contains(strings.Split(syscalls, "|"), d.Syscall) && want(d) {
			found = append(found, d)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d denials of %s, of %s\nstderr: %s\nlog: %q", len(found), syscalls, r.DenialsJSON(), r.Stderr, r.Log)
	}
	return found[0]
}

func TestDenialOfAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	connect := fmt.Sprintf("for i in 1 2 3; do : > /dev/tcp/127.0.0.1/%d; done", port)
	for _, test := range []struct {
		name              string
		policy            func(p *Policy)
		rule, value, text string
		errno             unix.Errno
	}{
		{"no rule", func(p *Policy) { p.NetAllow = []string{"tcp://192.0.2.1"} }, "net_allow", fmt.Sprintf("tcp://127.0.0.1:%d", port), "no rule", unix.EACCES},
		{"denied", func(p *Policy) { p.NetDeny = []string{"127.0.0.0/8"} }, "net_deny", "", "a rule denies", unix.EACCES},
		{"callback", func(p *Policy) {
			p.NetAllow, p.PolicyEvents = []string{"127.0.0.1"}, []string{"connect"}
			p.PolicyFn = func(*Event, *Context) Verdict { return Verdict(unix.ENOTCONN) }
		}, "policy_fn", "", "did not allow", unix.ENOTCONN},
		{"taken away", func(p *Policy) {
			p.NetAllow, p.PolicyEvents = []string{"127.0.0.1"}, []string{"connect"}
			p.PolicyFn = func(_ *Event, ctx *Context) Verdict { _ = ctx.RestrictNetwork(nil); return Allow }
		}, "policy_fn", "", "taken the address away", unix.EACCES},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := NewPolicy()
			test.policy(p)
			d := only(t, denialsOf(t, p, connect), "connect", func(*Denial) bool { return true })
			if d.Host != "127.0.0.1" || int(d.Port) != port || d.Protocol != "tcp" || d.Errno != int(test.errno) || d.Count != 3 ||
				d.Rule != test.rule || d.Value != test.value || !strings.Contains(d.Why, test.text) ||
				d.Command != "bash" || filepath.Base(d.Exe) != "bash" || d.PID == 0 || d.Time.IsZero() {
				t.Errorf("%+v", d)
			}
		})
	}
}

func TestDenialOfListen(t *testing.T) {
	p := NewPolicy()
	p.NetDenyBind = []string{"8123"}
	r := denialsOf(t, p, `/usr/bin/python3 -c 'import socket; socket.socket().bind(("127.0.0.1", 8123))'`)
	if d := only(t, r, "bind", func(*Denial) bool { return true }); d.Rule != "net_deny_bind" || d.Value != "" || d.Host != "127.0.0.1" || d.Port != 8123 {
		t.Errorf("%+v", d)
	}
	p = NewPolicy()
	p.NetAllowBind = []string{"8124"}
	r = denialsOf(t, p, `/usr/bin/python3 -c 'import socket; socket.socket().listen()'`)
	if d := only(t, r, "listen", func(*Denial) bool { return true }); d.Rule != "net_allow_bind" || d.Value != "0" {
		t.Errorf("%+v", d)
	}
}

func TestDenialOfFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"readable", "writable", "outside", "denied"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{"file", "mode"} {
			if err := os.WriteFile(filepath.Join(dir, name, file), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Symlink("../outside/file", filepath.Join(dir, "readable/link")); err != nil {
		t.Fatal(err)
	}
	p := NewPolicy()
	p.FSReadable = []string{filepath.Join(dir, "readable")}
	p.FSWritable = []string{filepath.Join(dir, "writable"), "/dev/null"}
	p.FSDenied = []string{filepath.Join(dir, "readable/file"), filepath.Join(dir, "denied")}
	r := denialsOf(t, p, `
		cd "$1"/readable
		exec 2>/dev/null
		: < file
		: < ../outside/../outside//file
		: < link
		: > mode
		mkdir new
		mv ../outside/mode ../writable/moved
		chmod 600 ../outside/mode
		ls ../denied/
		: < ../writable/file > ../writable/new
		: < /proc/1/environ
	`, dir)
	at := func(path string) func(d *Denial) bool {
		return func(d *Denial) bool { return d.Path == filepath.Join(dir, path) }
	}
	for _, want := range []struct{ calls, path, rule, value string }{
		{"openat|open", "readable/file", "fs_denied", ""},
		{"openat|open", "outside/file", "fs_readable", "outside/file"},
		{"openat|open|creat", "readable/mode", "fs_writable", "readable/mode"},
		{"mkdir|mkdirat", "readable/new", "fs_writable", "readable"},
		{"rename|renameat|renameat2", "outside/mode", "fs_writable", "outside"},
		{"chmod|fchmodat|fchmodat2", "outside/mode", "fs_writable", "outside/mode"},
		{"openat|open", "denied", "fs_denied", ""},
	} {
		d := only(t, r, want.calls, at(want.path))
		value := ""
		if want.value != "" {
			value = filepath.Join(dir, want.value)
		}
		if d.Rule != want.rule || d.Value != value || d.Errno != int(unix.EACCES) && d.Errno != int(unix.EXDEV) || d.Why == "" {
			t.Errorf("%s %s: %+v", want.calls, want.path, d)
		}
	}
	if d := only(t, r, "openat|open", at("outside/file")); d.Count != 2 {
		t.Errorf("the object reached in two ways: %+v", d)
	}
	for _, d := range r.Denials {
		if strings.HasPrefix(d.Path, filepath.Join(dir, "writable")) {
			t.Errorf("what is granted: %+v", d)
		}
	}
}

func TestDenialOfExecAndFork(t *testing.T) {
	p := NewPolicy()
	few := uint32(3)
	p.MaxProcesses = &few
	p.PolicyFn = func(ev *Event, _ *Context) Verdict {
		if ev.Argv != nil && ev.Argv[0] == "id" {
			return Deny
		}
		return Allow
	}
	r := denialsOf(t, p, `id "$(printf '\033[2J')"; exec /usr/bin/python3 -c '
import os
r, w = os.pipe()
while True:
    try:
        if os.fork() == 0:
            os.close(w)
            os.read(r, 1)
            os._exit(0)
    except BlockingIOError:
        break
'`)
	d := only(t, r, "execve", func(*Denial) bool { return true })
	if d.Rule != "policy_fn" || d.Argv != `["id" "\x1b[2J"]` || d.Errno != int(unix.EPERM) || d.Command != "bash" {
		t.Errorf("%+v", d)
	}
	if d := only(t, r, "fork", func(*Denial) bool { return true }); d.Rule != "max_processes" || d.Errno != int(unix.EAGAIN) || d.PID != 0 {
		t.Errorf("%+v", d)
	}
}

// However much is refused, what is kept is bounded, and the rest is counted.
func TestDenialsEnd(t *testing.T) {
	l := &denialLog{plan: &Plan{}, restricted: func(netProtocol, netip.AddrPort) bool { return false }}
	calls := 0
	who := func() *audit.Who { calls++; return &audit.Who{PID: 1, Command: "c"} }
	for i := range maxDenials + 10 {
		for range 2 {
			if l.Wants() {
				l.Refused(who, audit.Refusal{Syscall: "open", Path: fmt.Sprint("/", i), By: audit.ByRead})
			}
		}
	}
	var r Result
	l.fill(&r)
	if len(r.Denials) != maxDenials || r.DenialsDropped != 20 || calls > maxDenials+1 || r.Denials[0].Count != 2 {
		t.Errorf("%d denials, %d dropped, %d looks at who it was, %+v", len(r.Denials), r.DenialsDropped, calls, r.Denials[0])
	}
	l = &denialLog{plan: &Plan{}}
	for i := range maxDenials {
		if l.Wants() {
			l.Refused(nil, audit.Refusal{Path: fmt.Sprint(i, strings.Repeat("x", 4000)), By: audit.ByDenied})
		}
	}
	if l.fill(&r); r.DenialsDropped < 700 || len(r.Denials) < 200 {
		t.Errorf("%d kept, %d dropped: names of 4,000 bytes go beyond 1 MiB", len(r.Denials), r.DenialsDropped)
	}
}

func TestDenialJSON(t *testing.T) {
	d := Denial{Syscall: "open", Command: "a\x1b[31m\"\n\xff", Path: "/é\x7f", Errno: int(unix.EACCES), Count: 1}
	var got map[string]any
	if err := json.Unmarshal([]byte(d.JSON()), &got); err != nil {
		t.Fatalf("%s: %v", d.JSON(), err)
	}
	if got["errno_name"] != "EACCES" || got["path"] != "/é\x7f" || got["pid"] != nil || got["host"] != nil || got["port"] != nil {
		t.Errorf("%s", d.JSON())
	}
	if strings.ContainsAny(d.JSON(), "\x1b\n\xff\x7f") || !strings.Contains(d.JSON(), `\udcff`) {
		t.Errorf("%q", d.JSON())
	}
}

// A command that can't be started says what was refused of it.
func TestDenialOfCommand(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	content, err := os.ReadFile("/bin/true")
	if err == nil {
		err = os.WriteFile(program, content, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	p := NewPolicy()
	p.RecordDenials = true
	run := func() error {
		plan, err := p.Compile()
		if err != nil {
			t.Fatal(err)
		}
		_, err = plan.Run(Command{Argv: []string{program}, Stdin: -1}, 0)
		return err
	}
	if err := run(); err == nil || !strings.Contains(err.Error(), "fs_readable with "+quote(program)+" would allow it") {
		t.Error(err)
	}
	p.FSReadable = []string{program}
	if err := run(); err == nil || !strings.Contains(err.Error(), "ld-") || strings.Contains(err.Error(), quote(program)+":") {
		t.Error(err)
	}
	p.FSReadable = append(p.FSReadable, "/usr", "/lib", "/lib64")
	if err := run(); err != nil {
		t.Error(err)
	}
}

// What the kernel would refuse by itself is told where that is asked for, and refused alike.
func TestRecordDenials(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"secret", "program"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	granted := filepath.Join(dir, "granted")
	if err := os.Mkdir(granted, 0o755); err != nil {
		t.Fatal(err)
	}
	interpreter := filepath.Join(dir, "interpreter")
	if err := os.WriteFile(interpreter, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(granted, "script"), []byte("#! "+interpreter+" x\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	mode := filepath.Join(dir, "mode")
	if err := os.WriteFile(mode, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	script := fmt.Sprintf(`
		exec 2>&1
		: < "$1"/secret
		"$1"/program
		"$1"/mode
		"$1"/granted/script
		: > /dev/tcp/127.0.0.1/%d
		exec /usr/bin/python3 -S -c '
import ctypes, os, socket
def attempt(name, call, *args):
    try:
        call(*args)
        print(name, "is done")
    except OSError as e:
        print(name, e.strerror)
attempt("bind", socket.socket().bind, ("127.0.0.1", 8125))
attempt("udp", socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
attempt("vsock", socket.socket, socket.AF_VSOCK)
attempt("chmod", os.chmod, "/usr", 0o700)
attempt("sethostname", socket.sethostname, "x")
def ipc():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.shmget(0, 1, 0) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
attempt("ipc", ipc)
'`, port)
	policy := func(record bool) *Policy {
		p := NewPolicy()
		p.RecordDenials = record
		p.FSReadable = []string{granted}
		p.NetAllow, p.NetAllowBind = []string{"tcp://*:1"}, []string{"8126"}
		return p
	}
	without := denialsOf(t, policy(false), script, dir)
	with := denialsOf(t, policy(true), script, dir)
	if string(with.Stdout) != string(without.Stdout) || strings.Contains(string(with.Stdout), "is done") {
		t.Errorf("recorded\n%s\nand not\n%s", with.Stdout, without.Stdout)
	}
	if len(without.Denials) != 0 {
		t.Errorf("not asked for: %s", without.DenialsJSON())
	}
	for _, want := range []struct{ calls, path, rule, value string }{
		{"openat|open", filepath.Join(dir, "secret"), "fs_readable", filepath.Join(dir, "secret")},
		{"execve", filepath.Join(dir, "program"), "fs_readable", filepath.Join(dir, "program")},
		{"execve", interpreter, "fs_readable", interpreter},
		{"connect", "", "net_allow", fmt.Sprintf("tcp://127.0.0.1:%d", port)},
		{"bind", "", "net_allow_bind", "8125"},
		{"socket", "", "net_allow", ""},
		{"chmod", "", "fs_writable", ""},
		{"sethostname", "", "", ""},
		{"shmget", "", "extra_allow_syscalls", "shmget"},
	} {
		d := only(t, with, want.calls, func(d *Denial) bool { return d.Path == want.path && (d.Syscall != "socket" || d.Protocol == "udp") })
		if d.Rule != want.rule || d.Value != want.value || d.Why == "" || d.PID == 0 || d.Command == "" {
			t.Errorf("%s: %+v", want.calls, d)
		}
	}
	only(t, with, "execve", func(d *Denial) bool { return d.Path == mode && d.Rule == "" && strings.Contains(d.Why, "permissions") })
}
