// Package apps runs ordinary software in a sandbox that grants it what it needs,
// and looks at what comes of it.
package apps

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sandlock/sandlock/core"
)

// patience ends a program that hangs; nothing here takes a tenth of it.
const patience = 4 * time.Minute

// app is a program's sandbox: system directories to read, one directory to write.
type app struct {
	t      *testing.T
	dir    string
	policy *core.Policy
}

// newApp grants what every dynamically linked program needs, and a directory of
// its own, which is its working directory, home and TMPDIR.
func newApp(t *testing.T) *app {
	t.Helper()
	a := &app{t: t, dir: t.TempDir(), policy: core.NewPolicy()}
	if err := os.Mkdir(filepath.Join(a.dir, "tmp"), 0o777); err != nil {
		t.Fatal(err)
	}
	p := a.policy
	p.FSReadable = []string{"/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc", "/proc", "/dev/urandom", "/dev/zero"}
	p.FSWritable = []string{a.dir, "/dev/null"}
	p.Cwd = a.dir
	p.CleanEnv = true
	p.Env = map[string]string{
		"PATH":   "/usr/local/bin:/usr/bin:/bin",
		"HOME":   a.dir,
		"TMPDIR": filepath.Join(a.dir, "tmp"),
		"LC_ALL": "C.UTF-8",
	}
	return a
}

// bothWays runs a test as the kernel alone enforces its policy, and with something denied
// beside the files that it uses, so that the library carries out each call by path.
func bothWays(t *testing.T, test func(t *testing.T, a *app)) {
	t.Helper()
	t.Run("grants", func(t *testing.T) { test(t, newApp(t)) })
	t.Run("one denial", func(t *testing.T) {
		a := newApp(t)
		a.write("denied/secret", "secret")
		a.policy.FSDenied = []string{filepath.Join(a.dir, "denied")}
		test(t, a)
		a.expect("denied\n", "sh", "-c", "cat denied/secret 2>/dev/null || echo denied")
	})
}

// read grants reading beneath the directories, and puts dir/bin of each on the PATH
// when there is one.
func (a *app) read(dirs ...string) {
	for _, dir := range dirs {
		a.policy.FSReadable = append(a.policy.FSReadable, dir)
		bin := filepath.Join(dir, "bin")
		if _, err := os.Stat(bin); err == nil {
			a.policy.Env["PATH"] = bin + ":" + a.policy.Env["PATH"]
		}
	}
}

// memory is max_memory from now on.
func (a *app) memory(bytes uint64) { a.policy.MaxMemory = &bytes }

func (a *app) write(name, content string) {
	a.t.Helper()
	file := filepath.Join(a.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		a.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o666); err != nil {
		a.t.Fatal(err)
	}
}

// run returns the command's standard output; anything but exit status 0 ends the
// test with all that is known about it.
func (a *app) run(argv ...string) string {
	a.t.Helper()
	plan, err := a.policy.Compile()
	if err != nil {
		a.t.Fatal(err)
	}
	r, err := plan.Run(core.Command{Argv: argv, Stdin: -1}, patience)
	if err != nil {
		a.t.Fatalf("%q: %v", argv, err)
	}
	if !r.Success() {
		a.t.Fatalf("%q: reason %d, exit code %d, signal %d, error %q, log %q\nstdout:\n%s\nstderr:\n%s",
			argv, r.Reason, r.ExitCode, r.Signal, r.Error, r.Log, r.Stdout, r.Stderr)
	}
	return string(r.Stdout)
}

// expect runs the command and compares its output.
func (a *app) expect(want string, argv ...string) {
	a.t.Helper()
	if got := a.run(argv...); got != want {
		a.t.Errorf("%q wrote\n%s\nwant\n%s", argv, got, want)
	}
}

// outside returns the output of a command run without a sandbox, or skips the test
// when there is no such program.
func outside(t *testing.T, argv ...string) string {
	t.Helper()
	if _, err := exec.LookPath(argv[0]); err != nil {
		t.Skipf("%s is not installed", argv[0])
	}
	out, err := exec.Command(argv[0], argv[1:]...).Output()
	if err != nil {
		t.Fatalf("%q: %v", argv, err)
	}
	return strings.TrimSpace(string(out))
}
