// Package attacks is the adversary. Each test runs a victim program, which tries one
// thing, inside a sandbox and outside of it: an attack that fails without a sandbox
// too proves nothing. What counts is the effect outside, not only the errno.
package attacks

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sandlock/sandlock/core"
)

// victims is the directory of the compiled victim programs, readable by every user.
var victims string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if len(os.Args) == 2 && os.Args[1] == listInterfaces {
		return printInterfaces()
	}
	if victims = os.Getenv("SANDLOCK_VICTIMS"); victims != "" {
		return m.Run() // as another user
	}
	dir, err := os.MkdirTemp("", "sandlock-victims-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	victims = dir
	sources, err := filepath.Glob("../victim/*.c")
	if err != nil || len(sources) == 0 {
		fmt.Fprintln(os.Stderr, "no victims:", err)
		return 1
	}
	for _, src := range sources {
		bin := filepath.Join(dir, strings.TrimSuffix(filepath.Base(src), ".c"))
		if out, err := exec.Command("gcc", "-O1", "-Wall", "-Werror", "-pthread", "-o", bin, src).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n%s", src, err, out)
			return 1
		}
	}
	if out, err := exec.Command("cp", library, dir).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v: make builds the library\n%s", err, out)
		return 1
	}
	for _, name := range []string{"host", "faults", "confine"} {
		if out, err := exec.Command("gcc", "-Wall", "-Werror", "-pthread", "-I../../include", "-o", filepath.Join(dir, name), "../victim/host/"+name+".c",
			filepath.Join(dir, filepath.Base(library)), "-Wl,-rpath,"+dir).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
			return 1
		}
	}
	// The same as another program, for a sandbox in a sandbox.
	if out, err := exec.Command("cp", filepath.Join(dir, "host"), filepath.Join(dir, "nested")).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		return 1
	}
	return m.Run()
}

const library = "../../build/libsandlock.so.0"

// victim is the path of a compiled victim.
func victim(name string) string { return filepath.Join(victims, name) }

// policy grants what a victim needs to start, and nothing else. Kernels that lack some of
// Landlock do without it, so that the rest is tested there too: make test-vm.
func policy() *core.Policy {
	p := core.NewPolicy()
	p.AllowDegraded = []core.Protection{core.FSRefer, core.FSTruncate, core.NetTCP, core.FSIoctlDev, core.SignalScope, core.AbstractUnixSocketScope}
	p.FSReadable = []string{"/usr", "/lib", "/lib64", "/bin", victims}
	many := uint32(10_000)
	p.MaxProcesses = &many
	if os.Getuid() != 0 {
		p.MaxProcesses = nil // the other way: traced when that is needed, not from birth
	}
	return p
}

// untraced is for where a tracer of all tasks can't be had, or another one is wanted: there
// max_processes is refused, see TestCheck of core.
func untraced(p *core.Policy) *core.Policy {
	p.MaxProcesses = nil
	return p
}

// traced is for where every task is to be traced from birth.
func traced(p *core.Policy) *core.Policy {
	many := uint32(10_000)
	p.MaxProcesses = &many
	return p
}

// secondUser is the run of bothUsers as another user.
func secondUser() bool { return os.Getenv("SANDLOCK_VICTIMS") != "" }

// inside runs argv in a sandbox.
func inside(t testing.TB, p *core.Policy, argv ...string) *core.Result {
	t.Helper()
	plan, err := p.Compile()
	if err != nil {
		t.Fatal(err)
	}
	r, err := plan.Run(core.Command{Argv: argv, Stdin: -1}, 0)
	if err != nil {
		t.Fatalf("%q: %v", argv, err)
	}
	return r
}

// outside runs argv without a sandbox, as the control, and returns its output.
func outside(t testing.TB, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Logf("control %q: %v", argv, err)
	}
	return string(out)
}

// won is for a control that has to win a race: it tries until it does, for how often that is
// is the scheduler's, and a busy machine takes more tries.
func won(t *testing.T, what any, try func() bool) {
	t.Helper()
	for range 100 {
		if try() {
			return
		}
	}
	t.Errorf("%v: a race that was never won", what)
}

// attempt is one line that a victim prints: "NAME RESULT ERRNO", the result being
// what the system call returned.
type attempt struct {
	result int64
	errno  syscall.Errno
}

// attempts parses a victim's output; a line that is none is ignored.
func attempts(out string) map[string]attempt {
	all := map[string]attempt{}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		result, err1 := strconv.ParseInt(f[1], 10, 64)
		errno, err2 := strconv.Atoi(f[2])
		if err1 == nil && err2 == nil {
			all[f[0]] = attempt{result, syscall.Errno(errno)}
		}
	}
	return all
}

// refused checks that each attempt of names was made inside and failed with one of
// the errnos.
func refused(t *testing.T, got map[string]attempt, names []string, errnos ...syscall.Errno) {
	t.Helper()
	for _, name := range names {
		a, made := got[name]
		switch {
		case !made:
			t.Errorf("%s: not tried", name)
		case a.result != -1 || !slices.Contains(errnos, a.errno):
			t.Errorf("%s: result %d, errno %v (%d), want one of %v", name, a.result, a.errno, int(a.errno), errnos)
		}
	}
}

// rounds is how often a race is run: SANDLOCK_ATTACK_ROUNDS, or 1,000; 10,000 in a
// soak.
func rounds() int {
	if n, err := strconv.Atoi(os.Getenv("SANDLOCK_ATTACK_ROUNDS")); err == nil && n > 0 {
		return n
	}
	if os.Getenv("SANDLOCK_SOAK") != "" {
		return 10_000
	}
	return 1_000
}

// brief leaves every other of many ways, for root these and for another user those; all of
// them in a soak, and with -short a few, for the race detector, which looks at the library
// and not at what the kernel does.
func brief(ways []string) []string {
	switch {
	case os.Getenv("SANDLOCK_SOAK") != "":
		return ways
	case testing.Short():
		return ways[:min(2, len(ways))]
	}
	var mine []string
	for i, way := range ways {
		if i%2 == min(os.Getuid(), 1) {
			mine = append(mine, way)
		}
	}
	return mine
}

// bothUsers runs test as root and as an ordinary user, as far as this process can be
// either: root runs the named test again in a child without privileges, but where
// SANDLOCK_ONE_USER says that somebody runs the whole suite as another user.
func bothUsers(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	test(t)
	if os.Getuid() != 0 || os.Getenv("SANDLOCK_ONE_USER") != "" {
		return
	}
	t.Run("ordinary user", func(t *testing.T) {
		self, err := os.ReadFile("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(victims, "attacks.test")
		if err := os.WriteFile(copied, self, 0o755); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(t.Name(), "/")
		cmd := exec.Command(copied, "-test.run=^"+name+"$", "-test.v")
		cmd.Dir = victims
		cmd.Env = append(os.Environ(), "TMPDIR=/tmp", "HOME=/tmp", "SANDLOCK_VICTIMS="+victims)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		} else if testing.Verbose() {
			t.Logf("%s", out)
		}
	})
}
