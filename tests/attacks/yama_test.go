package attacks

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sandlock/sandlock/core"
	"golang.org/x/sys/unix"
)

const yamaFile = "/proc/sys/kernel/yama/ptrace_scope"

// yamaScope is what the kernel lets be traced: Documentation/admin-guide/LSM/Yama.rst.
func yamaScope(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(yamaFile)
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("needs a kernel with Yama: make test-vm has one")
	}
	scope, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return scope
}

// ofAnOrphan is a script in which a task executes /bin/echo after its parent has ended,
// so that it descends from the warden as its orphan only.
const ofAnOrphan = `mkfifo a b
( { read x <a; exec /bin/echo orphan >b; } & )
echo go >a
cat b`

// Section 27: as far as Yama allows tracing, a policy function sees each command line;
// beyond that such a sandbox is refused with a sentence that says so, and what needs no
// tracing works as ever. Run it under each scope; make test-vm does.
func TestYama(t *testing.T) {
	scope := yamaScope(t)
	bothUsers(t, func(t *testing.T) {
		traces := scope < 2 || scope == 2 && os.Getuid() == 0
		forbids := fmt.Sprintf("/proc/sys/kernel/yama/ptrace_scope=%d forbids", scope)
		inDir := func(p *core.Policy) string {
			dir := t.TempDir()
			p.FSReadable = append(p.FSReadable, "/dev/null") // which a task in the background has
			p.FSWritable, p.Cwd = []string{dir}, dir
			return dir
		}
		notStarted := func(p *core.Policy, argv ...string) {
			t.Helper()
			plan, err := p.Compile()
			if err != nil {
				t.Fatal(err)
			}
			r, err := plan.Run(core.Command{Argv: argv, Stdin: -1}, 0)
			if !errors.Is(err, core.ErrNotSupported) || !strings.Contains(fmt.Sprint(err), forbids) {
				t.Errorf("%+v, %v", r, err)
			}
		}

		t.Run("strict", func(t *testing.T) {
			var j judge
			p := untraced(j.policy())
			dir := inDir(p)
			if !traces {
				notStarted(p, "sh", "-c", ofAnOrphan)
				if _, err := os.Stat(filepath.Join(dir, "a")); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("it has run: %v", err)
				}
				return
			}
			r := inside(t, p, "sh", "-c", ofAnOrphan)
			if r.ExitCode != 0 || string(r.Stdout) != "orphan\n" || len(r.Log) != 0 {
				t.Errorf("%+v", r)
			}
			for _, argv := range [][]string{{"sh", "-c", ofAnOrphan}, {"mkfifo", "a", "b"}, {"/bin/echo", "orphan"}, {"cat", "b"}} {
				if !j.saw(argv...) {
					t.Errorf("%q was not seen: %v", argv, j.events)
				}
			}
			for _, e := range j.events {
				if len(e.Argv) > 0 && e.Argv[0] == "/bin/echo" && e.ParentPID != j.events[0].ParentPID {
					t.Errorf("the orphan's parent is %d, not %d", e.ParentPID, j.events[0].ParentPID)
				}
			}
			// A thread that is not the leader, whose siblings are stopped first.
			if r := inside(t, j.policy(), victim("threads"), "thread", "good"); r.ExitCode != 7 || string(r.Stdout) != "good\n" {
				t.Errorf("%+v", r)
			}
			if r := inside(t, j.policy(), "sh", "-c", "/bin/echo ${0}il; echo $?", "ev"); string(r.Stdout) != "126\n" {
				t.Errorf("%+v", r)
			}
		})

		t.Run("landlock", func(t *testing.T) {
			var j judge
			p := untraced(j.policy())
			p.ArgvSafety = core.ArgvLandlock
			inDir(p)
			r := inside(t, p, "sh", "-c", ofAnOrphan)
			if r.ExitCode != 0 || string(r.Stdout) != "orphan\n" || len(r.Log) != 0 {
				t.Errorf("%+v", r)
			}
			if j.saw("cat", "b") != traces || j.saw() == traces || len(j.events) < 4 {
				t.Errorf("%v", j.events)
			}
			p.PolicyFn = func(*core.Event, *core.Context) core.Verdict { return core.Deny }
			if plan, err := p.Compile(); err != nil {
				t.Error(err)
			} else if r, err := plan.Run(core.Command{Argv: []string{"true"}, Stdin: -1}, 0); err == nil {
				t.Errorf("what was denied has run: %+v", r)
			}
		})

		t.Run("without a policy function", func(t *testing.T) {
			p := untraced(policy())
			inDir(p)
			r := inside(t, p, "sh", "-c", ofAnOrphan)
			if r.ExitCode != 0 || string(r.Stdout) != "orphan\n" || len(r.Log) != 0 {
				t.Errorf("%+v", r)
			}
		})

		// listen(2) is carried out through a descriptor of the caller's, which takes the
		// permission to trace it: pidfd_getfd(2).
		t.Run("listen", func(t *testing.T) {
			s := serve(t)
			reachable, _ := s.ports()
			p := untraced(policy())
			p.NetAllow = []string{"tcp://:" + reachable}
			argv := []string{victim("network"), "serve", freePort(t), reachable}
			r := inside(t, p, argv...)
			for name, a := range attempts(string(r.Stdout)) {
				if strings.HasPrefix(name, "accepting-") && a.result == 1 {
					t.Errorf("%s: %+v", name, a)
				}
			}
			if said := strings.Contains(strings.Join(r.Log, "\n"), "listen of task"); said == traces {
				t.Errorf("%q", r.Log)
			}
			p.NetAllowBind = argv[2:3]
			if !traces {
				notStarted(p, argv...)
			} else if got := attempts(string(inside(t, p, argv...).Stdout)); got["accepting-granted"].result != 1 {
				t.Errorf("%+v", got)
			}
		})

		t.Run("report", func(t *testing.T) {
			var report struct {
				Yama         *int
				SandboxReady bool `json:"sandbox_ready"`
				PolicyFn     bool `json:"policy_fn"`
			}
			if err := json.Unmarshal(core.KernelReport(), &report); err != nil {
				t.Fatal(err)
			}
			ready := core.LandlockABIVersion() >= core.MinLandlockABI
			if report.Yama == nil || *report.Yama != scope || report.SandboxReady != ready || report.PolicyFn != (ready && traces) {
				t.Errorf("%s", core.KernelReport())
			}
		})
	})
}

// The scope is raised while sandboxes run, which the start could not foresee: from then
// on an exec is denied, or judged without its arguments, whether these were read before
// or not. SANDLOCK_VM_RAISE is the scope; it is set in the guest of make test-vm, where
// nobody else is, and where 3, which can't be left, comes last.
func TestYamaRaised(t *testing.T) {
	raise := os.Getenv("SANDLOCK_VM_RAISE")
	if raise == "" {
		t.Skip("changes what everybody may trace: make test-vm")
	}
	if os.Getenv("SANDLOCK_VM_HOST") != "" {
		raisedHost(t)
		return
	}
	before := yamaScope(t)
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "attacks.test")
	for _, dir := range []string{filepath.Dir(copied), filepath.Dir(filepath.Dir(copied))} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(copied, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(copied, "-test.run=^TestYamaRaised$", "-test.v")
	cmd.Dir = victims
	cmd.Env = append(os.Environ(), "SANDLOCK_VM_HOST=1", "TMPDIR=/tmp", "HOME=/tmp", "SANDLOCK_VICTIMS="+victims)
	if raise != "3" { // which binds root too
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	cmd.Stderr = os.Stderr
	gate, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() != "ready" {
			fmt.Println("   ", lines.Text())
			continue
		}
		if err := os.WriteFile(yamaFile, []byte(raise), 0); err != nil {
			t.Error(err)
		}
		gate.Close()
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if now := yamaScope(t); fmt.Sprint(now) != raise {
		t.Errorf("the scope is %d", now)
	}
	if raise != "3" {
		if err := os.WriteFile(yamaFile, fmt.Append(nil, before), 0); err != nil {
			t.Error(err)
		}
	}
}

// raisedHost is the host of the sandboxes: it says that it is ready, and the scope is
// raised before its standard input ends.
func raisedHost(t *testing.T) {
	type run struct {
		safety core.ArgvSafety
		judged bool // the exec is at its verdict while the scope is raised
		judge
		asked, raised chan struct{}
		own           *os.File // of the socket that the command has as its standard input
		*core.Sandbox
	}
	var runs []*run
	for _, safety := range []core.ArgvSafety{core.ArgvStrict, core.ArgvLandlock} {
		for _, judged := range []bool{false, true} {
			r := &run{safety: safety, judged: judged, asked: make(chan struct{}), raised: make(chan struct{})}
			p := untraced(r.policy())
			p.ArgvSafety = safety
			p.PolicyFn = func(e *core.Event, ctx *core.Context) core.Verdict {
				if judged && len(e.Argv) > 0 && e.Argv[0] == "/bin/echo" {
					close(r.asked)
					<-r.raised
				}
				return r.decide(e, ctx)
			}
			plan, err := p.Compile()
			if err != nil {
				t.Fatal(err)
			}
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			r.own = os.NewFile(uintptr(pair[0]), "own")
			defer r.own.Close()
			r.Sandbox, err = plan.Create(core.Command{Argv: []string{"sh", "-c", "echo up >&0; read x; exec /bin/echo ran"}, Stdin: pair[1]})
			unix.Close(pair[1])
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			r.Start()
			if line, err := bufio.NewReader(r.own).ReadString('\n'); line != "up\n" {
				t.Fatal(line, err)
			}
			if judged {
				r.own.WriteString("go\n")
				<-r.asked
			}
			runs = append(runs, r)
		}
	}
	fmt.Println("ready")
	os.Stdin.Read(make([]byte, 1))
	for _, r := range runs {
		if close(r.raised); !r.judged {
			r.own.WriteString("go\n")
		}
		result, err := r.Wait(0)
		if err != nil {
			t.Fatal(err)
		}
		log := strings.Join(result.Log, "\n")
		t.Logf("%v, at its verdict %v: exit code %d, %q", r.safety, r.judged, result.ExitCode, result.Log)
		if r.safety == core.ArgvLandlock {
			if result.ExitCode != 0 || string(result.Stdout) != "ran\n" || !r.saw() {
				t.Errorf("%+v, events %v", result, r.events)
			}
			continue
		}
		why := "its arguments can't be read: process_vm_readv: operation not permitted"
		if r.judged {
			why = "it can't be traced (operation not permitted), so its arguments can't be protected"
		}
		if result.ExitCode != 126 || len(result.Stdout) != 0 || !strings.Contains(log, why) || r.saw() {
			t.Errorf("%+v, events %v", result, r.events)
		}
	}
}
