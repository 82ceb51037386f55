package core

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// system is what ordinary programs need to start.
var system = []string{"/usr", "/lib", "/lib64", "/bin", "/etc", "/dev/null", "/dev/zero", "/proc"}

// Kernels that lack some of Landlock do without it: make test-vm.
func policy() *Policy {
	p := NewPolicy()
	p.AllowDegraded = []Protection{FSRefer, FSTruncate, NetTCP, FSIoctlDev, SignalScope, AbstractUnixSocketScope}
	p.FSReadable = slices.Clone(system)
	return p
}

func mustCompile(t testing.TB, p *Policy) *Plan {
	t.Helper()
	plan, err := p.Compile()
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func run(t testing.TB, p *Policy, argv ...string) *Result {
	t.Helper()
	r, err := mustCompile(t, p).Run(Command{Argv: argv, Stdin: -1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRunCollectsOutputAndStatus(t *testing.T) {
	r := run(t, policy(), "sh", "-c", "echo out; echo err >&2; exit 3")
	if string(r.Stdout) != "out\n" || string(r.Stderr) != "err\n" || r.Reason != Exited || r.ExitCode != 3 || r.Success() {
		t.Errorf("%+v", r)
	}
	r = run(t, policy(), "sh", "-c", "kill -TERM $$")
	if r.Reason != Signaled || r.Signal != int(unix.SIGTERM) || r.ExitCode != -1 {
		t.Errorf("%+v", r)
	}
}

func TestRulesetIsEnforced(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("canary"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := run(t, policy(), "cat", secret); r.Success() || strings.Contains(string(r.Stdout), "canary") {
		t.Errorf("%+v", r)
	}
	p := policy()
	p.FSReadable = append(p.FSReadable, dir)
	if r := run(t, p, "cat", secret); string(r.Stdout) != "canary" {
		t.Errorf("%+v", r)
	}
	if r := run(t, p, "sh", "-c", "echo x > "+secret); r.Success() {
		t.Errorf("wrote without a grant: %+v", r)
	}
	p.FSWritable = []string{dir}
	if r := run(t, p, "sh", "-c", "echo x > "+secret); !r.Success() {
		t.Errorf("%+v", r)
	}
}

func TestStartErrors(t *testing.T) {
	for _, c := range []struct {
		argv  []string
		edit  func(*Policy)
		errno error
		text  string
	}{
		{argv: nil, text: "argv is empty"},
		{argv: []string{"no-such-command"}, errno: unix.ENOENT, text: "no-such-command"},
		{argv: []string{"/etc/passwd"}, errno: unix.EACCES, text: "/etc/passwd"},
		{argv: []string{"a\x00b"}, text: "NUL"},
		{argv: []string{"true"}, edit: func(p *Policy) { p.FSReadable = append(p.FSReadable, "/no/such/dir") }, errno: unix.ENOENT, text: "/no/such/dir"},
		{argv: []string{"true"}, edit: func(p *Policy) { p.FSReadable = nil }, errno: unix.EACCES, text: "execve(/"},
		{argv: []string{"true"}, edit: func(p *Policy) { p.Cwd = "/no/such/dir" }, errno: unix.ENOENT, text: "/no/such/dir"},
		{argv: []string{"true"}, edit: func(p *Policy) { p.CPUCores = []uint32{8000} }, text: "sched_setaffinity"},
		{argv: []string{"true"}, edit: func(p *Policy) { p.PolicyFn = func(*Event, *Context) Verdict { return Deny } }, errno: unix.EPERM, text: "policy_fn denied"},
	} {
		p := policy()
		if c.edit != nil {
			c.edit(p)
		}
		closed := 0
		r, err := mustCompile(t, p).Run(Command{Argv: c.argv, Stdin: -1, OnClose: func() { closed++ }}, 0)
		if err == nil || !strings.Contains(err.Error(), c.text) || c.errno != nil && !errors.Is(err, c.errno) {
			t.Errorf("%q: result %+v, error %v, want %q", c.argv, r, err, c.text)
		}
		if closed != 1 {
			t.Errorf("%q: OnClose called %d times", c.argv, closed)
		}
	}
}

func TestTimeoutKillsAndKeepsOutput(t *testing.T) {
	plan := mustCompile(t, policy())
	var r *Result
	var err error
	// More time on a busy machine, until it has come far enough.
	for timeout := 300 * time.Millisecond; timeout < time.Hour && (r == nil || len(r.Stdout) == 0); timeout *= 10 {
		if r, err = plan.Run(Command{Argv: []string{"sh", "-c", "echo started; sleep 1000"}, Stdin: -1}, timeout); err != nil {
			break
		}
	}
	if err != nil || r.Reason != TimedOut || r.ExitCode != -1 || string(r.Stdout) != "started\n" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestOutputIsBounded(t *testing.T) {
	p := policy()
	p.MaxOutput = 1000
	r := run(t, p, "sh", "-c", "head -c 3000000 /dev/zero; echo done >&2")
	if len(r.Stdout) != 1000 || !r.StdoutTruncated || r.StderrTruncated || string(r.Stderr) != "done\n" {
		t.Errorf("%d bytes, %+v", len(r.Stdout), r.StdoutTruncated)
	}
}

func TestCreateStartWait(t *testing.T) {
	s, err := mustCompile(t, policy()).Create(Command{Argv: []string{"sh", "-c", "echo hi"}, Stdin: -1})
	if err != nil {
		t.Fatal(err)
	}
	if s.PID() <= 0 || unix.Kill(s.PID(), 0) != nil {
		t.Errorf("pid %d of the parked child", s.PID())
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if r, err := s.Wait(0); err != nil || string(r.Stdout) != "hi\n" {
			t.Errorf("%+v, %v", r, err)
		}
	}
	s.Close()
	s.Close()
}

func TestClosingAParkedSandboxEndsIt(t *testing.T) {
	s, err := mustCompile(t, policy()).Create(Command{Argv: []string{"true"}, Stdin: -1})
	if err != nil {
		t.Fatal(err)
	}
	pid := s.PID()
	s.Close()
	if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("parked child after Close: %v", err)
	}
}

// recorder is a PolicyFunc that keeps each command line it allowed.
type recorder struct {
	mu    sync.Mutex
	argvs [][]string
	deny  func(argv []string) Verdict
}

func (r *recorder) judge(ev *Event, _ *Context) Verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.argvs = append(r.argvs, ev.Argv)
	if r.deny != nil {
		return r.deny(ev.Argv)
	}
	return Allow
}

func TestPolicyFnSeesEveryCommandLine(t *testing.T) {
	rec := &recorder{}
	p := policy()
	p.PolicyFn = rec.judge
	r := run(t, p, "sh", "-c", "/bin/echo one; /bin/echo two 'a b' ''; /bin/true")
	if string(r.Stdout) != "one\ntwo a b \n" || !r.Success() {
		t.Fatalf("%+v %s", r, r.Stderr)
	}
	want := [][]string{
		{"sh", "-c", "/bin/echo one; /bin/echo two 'a b' ''; /bin/true"},
		{"/bin/echo", "one"}, {"/bin/echo", "two", "a b", ""}, {"/bin/true"},
	}
	if fmt.Sprint(rec.argvs) != fmt.Sprint(want) {
		t.Errorf("%q", rec.argvs)
	}
}

func TestPolicyFnDenies(t *testing.T) {
	for verdict, errno := range map[Verdict]unix.Errno{Deny: unix.EPERM, -77: unix.EPERM, Verdict(unix.ENOENT): unix.ENOENT, 5000: unix.EPERM} {
		p := policy()
		p.PolicyFn = (&recorder{deny: func(argv []string) Verdict {
			if argv[0] == "/bin/echo" {
				return verdict
			}
			return Allow
		}}).judge
		r := run(t, p, "/usr/bin/python3", "-c", `
import os, sys
try: os.execv("/bin/echo", ["/bin/echo", "x"])
except OSError as e: print(e.errno)`)
		if strings.TrimSpace(string(r.Stdout)) != fmt.Sprint(int(errno)) {
			t.Errorf("verdict %d: %q %q", verdict, r.Stdout, r.Stderr)
		}
	}
}

func TestScriptIsSeenForWhatItBecomes(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("#!/bin/echo interpreted\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	rec := &recorder{}
	p := policy()
	p.FSReadable = append(p.FSReadable, dir)
	p.PolicyFn = rec.judge
	r := run(t, p, "sh", "-c", script+" arg; true")
	if string(r.Stdout) != "interpreted "+script+" arg\n" {
		t.Errorf("%q %q", r.Stdout, r.Stderr)
	}
	if n := len(rec.argvs); n != 3 || !slices.Equal(rec.argvs[1], []string{script, "arg"}) ||
		!slices.Equal(rec.argvs[2], []string{"/bin/echo", "interpreted", script, "arg"}) {
		t.Errorf("%q", rec.argvs)
	}
	rec.deny = func(argv []string) Verdict {
		if argv[0] == "/bin/echo" {
			return Deny
		}
		return Allow
	}
	r = run(t, p, "sh", "-c", script+" arg; echo status $?")
	if string(r.Stdout) != "status 137\n" || len(r.Log) == 0 {
		t.Errorf("%q %q %q", r.Stdout, r.Stderr, r.Log)
	}
	// The command itself is such a script.
	r = run(t, p, script)
	if r.Reason != Killed || !strings.Contains(r.Error, "became") {
		t.Errorf("%+v", r)
	}
}

func TestLatePolicyFnDenies(t *testing.T) {
	release := make(chan struct{})
	closed := make(chan struct{})
	p := policy()
	p.PolicyTimeout = 500 * time.Millisecond
	p.PolicyFn = func(ev *Event, _ *Context) Verdict {
		if ev.Argv[0] == "/bin/echo" {
			<-release
		}
		return Allow
	}
	r, err := mustCompile(t, p).Run(Command{Argv: []string{"sh", "-c", "/bin/echo hi; /bin/true || echo denied too"}, Stdin: -1, OnClose: func() { close(closed) }}, 0)
	if err != nil || string(r.Stdout) != "denied too\n" || !strings.Contains(fmt.Sprint(r.Log), "has not answered") {
		t.Errorf("%+v %v", r, err)
	}
	select {
	case <-closed:
		t.Error("OnClose before the function returned")
	default:
	}
	close(release)
	<-closed
}

func TestManyAtOnce(t *testing.T) {
	rec := &recorder{}
	p := policy()
	p.PolicyFn = rec.judge
	plan := mustCompile(t, p)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			for k := range 3 {
				r, err := plan.Run(Command{Argv: []string{"sh", "-c", fmt.Sprintf("/bin/echo %d.%d", i, k)}, Stdin: -1}, 0)
				if err != nil || string(r.Stdout) != fmt.Sprintf("%d.%d\n", i, k) {
					t.Errorf("%+v, %v", r, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestNamesAreUniqueWhileTheyLive(t *testing.T) {
	plan := mustCompile(t, policy())
	s, err := plan.Create(Command{Name: "one", Argv: []string{"true"}, Stdin: -1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plan.Create(Command{Name: "one", Argv: []string{"true"}, Stdin: -1}); err == nil {
		t.Error("two live sandboxes of one name")
	}
	s.Close()
	if s, err = plan.Create(Command{Name: "one", Argv: []string{"true"}, Stdin: -1}); err != nil {
		t.Error(err)
	}
	s.Close()
	if _, err := plan.Create(Command{Name: "a/b", Argv: []string{"true"}, Stdin: -1}); err == nil {
		t.Error("a name with a slash")
	}
}

func BenchmarkTrue(b *testing.B) {
	plan := mustCompile(b, policy())
	for b.Loop() {
		if _, err := plan.Run(Command{Argv: []string{"/bin/true"}, Stdin: -1}, 0); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCreateStartWait(b *testing.B) {
	plan := mustCompile(b, policy())
	for b.Loop() {
		s, err := plan.Create(Command{Argv: []string{"/bin/true"}, Stdin: -1})
		if err != nil {
			b.Fatal(err)
		}
		s.Start()
		if _, err := s.Wait(0); err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}

// With and without the signal scope: by the killer's domain, and by the walk.
func scopes(t *testing.T, test func(t *testing.T, p *Policy)) {
	t.Run("domain", func(t *testing.T) { test(t, policy()) })
	t.Run("walk", func(t *testing.T) {
		p := policy()
		p.Disable = []Protection{SignalScope}
		test(t, p)
	})
}

func TestNothingIsLeftBehind(t *testing.T) {
	scopes(t, func(t *testing.T, p *Policy) {
		r := run(t, p, "sh", "-c", `for i in 1 2 3 4 5; do setsid sh -c 'echo $$; sleep 1000 & exec sleep 1000' & done; sleep 0.2`)
		pids := strings.Fields(string(r.Stdout))
		if len(pids) == 0 || !r.Success() {
			t.Fatalf("%+v", r)
		}
		for _, pid := range pids {
			if _, err := os.Stat("/proc/" + pid); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: %v", pid, err)
			}
		}
	})
}

func TestPauseStopsAndKillEnds(t *testing.T) {
	scopes(t, func(t *testing.T, p *Policy) {
		s, err := mustCompile(t, p).Create(Command{Argv: []string{"sleep", "1000"}, Stdin: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		s.Start()
		state := func() string {
			b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.PID()))
			_, rest, _ := strings.Cut(string(b), ") ")
			return rest[:1]
		}
		if err := s.Pause(); err != nil {
			t.Fatal(err)
		}
		stopped := func() bool { return strings.EqualFold(state(), "t") } // t: a tracer listens, ptrace(2)
		for !stopped() {                                                  // the signal is there; the task takes it a moment later
		}
		if err := s.Resume(); err != nil {
			t.Fatal(err)
		}
		for stopped() {
		}
		s.Pause()
		s.Kill()
		if r, err := s.Wait(0); err != nil || r.Reason != Killed {
			t.Errorf("%+v, %v", r, err)
		}
		if err := s.Pause(); err == nil {
			t.Error("paused what is over")
		}
		if err := s.Kill(); err != nil {
			t.Error(err)
		}
	})
}

func TestKilledWardenEndsTheSandbox(t *testing.T) {
	s, err := mustCompile(t, policy()).Create(Command{Argv: []string{"sleep", "1000"}, Stdin: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Start()
	pidfd, err := unix.PidfdOpen(s.PID(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	if err := unix.Kill(s.warden.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Wait(0); err != nil || r.Reason != Killed || r.Error == "" {
		t.Errorf("%+v, %v", r, err)
	}
	unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, -1)
}

// descriptors lists what this process has open.
func descriptors(t *testing.T) string {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			list = append(list, e.Name()+" "+to)
		}
	}
	return strings.Join(list, "\n")
}

func TestFailedStartsLeaveNothing(t *testing.T) {
	p := policy()
	p.CPUCores = []uint32{0}
	bad := mustCompile(t, p)
	bad.cores = []uint32{8000} // past what the plan itself would refuse, so that a step of the child fails
	denied := policy()
	denied.PolicyFn = func(*Event, *Context) Verdict { return Deny }
	before := descriptors(t)
	for range 5 {
		if _, err := bad.Create(Command{Argv: []string{"true"}, Stdin: -1}); err == nil {
			t.Fatal("started")
		}
		if _, err := bad.Run(Command{Argv: []string{"true"}, Stdin: -1}, 0); err == nil {
			t.Fatal("started")
		}
		if _, err := mustCompile(t, denied).Run(Command{Argv: []string{"true"}, Stdin: -1}, 0); err == nil {
			t.Fatal("started")
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
	if out, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", os.Getpid())); err != nil || len(out) != 0 {
		t.Errorf("children %q, %v", out, err)
	}
}

func TestSteppedRun(t *testing.T) {
	rec := &recorder{}
	p := policy()
	p.PolicyFn = rec.judge
	before := descriptors(t)
	s, err := mustCompile(t, p).Spawn(Command{Argv: []string{"sh", "-c", "head -c 3000000 /dev/zero; /bin/echo done >&2; exit 4"}, Stdin: -1})
	if err != nil {
		t.Fatal(err)
	}
	fd, err := s.StepFD()
	if err != nil {
		t.Fatal(err)
	}
	for {
		pollUntil([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, time.Time{})
		if s.Step() {
			break
		}
	}
	if !s.Step() {
		t.Error("over, and then not")
	}
	if r, err := s.Wait(0); err != nil || r.ExitCode != 4 || len(r.Stdout) != 3000000 || string(r.Stderr) != "done\n" {
		t.Errorf("%v, %v", r, err)
	}
	s.Close()
	if after := descriptors(t); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
	// Without steps, Wait and Close do it.
	for _, end := range []func(s *Sandbox){
		func(s *Sandbox) {
			if r, err := s.Wait(100 * time.Millisecond); err != nil || r.Reason != TimedOut {
				t.Errorf("%+v, %v", r, err)
			}
			s.Close()
		},
		(*Sandbox).Close,
	} {
		if s, err = mustCompile(t, policy()).Spawn(Command{Argv: []string{"sleep", "1000"}, Stdin: -1}); err != nil {
			t.Fatal(err)
		}
		end(s)
	}
	if after := descriptors(t); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
}

// The warden's own domain denies nothing of the file system.
func TestRenameAndLinkAcrossDirectories(t *testing.T) {
	scopes(t, func(t *testing.T, p *Policy) {
		dir := t.TempDir()
		p.FSWritable = []string{dir}
		r := run(t, p, "sh", "-c", "cd "+dir+" && mkdir a b && echo x > a/f && ln a/f b/l && mv a/f b/f && cat b/f b/l")
		if string(r.Stdout) != "x\nx\n" {
			t.Errorf("%s %s", r.Stdout, r.Stderr)
		}
	})
}
