// Package abi tests the library as a host sees it: its symbols, its header, its ELF
// file, and its behaviour in C programs, which are in testdata and check themselves.
package abi

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	root    string // of the repository
	library string
	bins    string // the directory of the compiled programs, readable by every user
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var err error
	if root, err = filepath.Abs("../.."); err != nil {
		return fail(err)
	}
	library = filepath.Join(root, "build", "libsandlock.so.0")
	if _, err := os.Stat(library); err != nil {
		return fail(fmt.Errorf("%w: run make first", err))
	}
	if bins, err = os.MkdirTemp("", "sandlock-abi-"); err != nil {
		return fail(err)
	}
	defer os.RemoveAll(bins)
	if err := os.Chmod(bins, 0o755); err != nil {
		return fail(err)
	}
	return m.Run()
}

// patience bounds a program that hangs, which none may.
const patience = 4 * time.Minute

// output runs a command that has to succeed and print nothing but its output.
func output(t *testing.T, stdin string, argv ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.WaitDelay = time.Second // what it started may hold its output
	if err := cmd.Run(); err != nil || errs.Len() > 0 {
		t.Fatalf("%q: %v, %v\n%s%s", argv, err, ctx.Err(), out.Bytes(), errs.Bytes())
	}
	return out.String()
}

// warnings that no program of a host may get from the header.
var warnings = []string{"-Wall", "-Wextra", "-Werror"}

// build compiles testdata/NAME, a C program unless it ends with .cc, against the library
// in build/ and returns its path. With linked false the program loads the library by itself.
func build(t *testing.T, name string, linked bool, flags ...string) string {
	t.Helper()
	compiler, source := []string{"gcc", "-std=c99"}, name+".c"
	if strings.HasSuffix(name, ".cc") {
		compiler, source = []string{"g++", "-std=c++11"}, name
	}
	bin := filepath.Join(bins, name+strings.Join(flags, ""))
	argv := append(compiler, "-pthread", "-I", filepath.Join(root, "include"), filepath.Join("testdata", source), "-o", bin)
	argv = append(argv, append(warnings, flags...)...)
	if linked {
		argv = append(argv, library, "-Wl,-rpath,"+filepath.Dir(library))
	}
	output(t, "", append(argv, "-ldl")...)
	return bin
}

// silent runs a program that checks itself: it exits with 0 and prints nothing, and
// neither does the library.
func silent(t *testing.T, argv ...string) {
	t.Helper()
	if out := output(t, "", argv...); out != "" {
		t.Errorf("%q printed %q", argv, out)
	}
}

var declaration = regexp.MustCompile(`\b(sandlock_\w+)\s*\(`)

// declared are the functions of the header, sorted.
func declared(t *testing.T) []string {
	t.Helper()
	// The preprocessor takes the comments out, and their examples.
	text := output(t, "", "gcc", "-E", "-P", filepath.Join(root, "include", "sandlock.h"))
	var names []string
	for _, m := range declaration.FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	slices.Sort(names)
	return names
}

// TestAbuse gives every function what it must not be given.
func TestAbuse(t *testing.T) {
	source, err := os.ReadFile("testdata/abuse.c")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range declared(t) {
		if !regexp.MustCompile(`\b` + name + `\(`).Match(source) {
			t.Errorf("%s: not in abuse.c", name)
		}
	}
	silent(t, build(t, "abuse", true))
}

// TestErrors makes every start and build fail that can, and reads why.
func TestErrors(t *testing.T) { silent(t, build(t, "errors", true), t.TempDir()) }

// TestMany has 20 threads run at once. The soft limit is below the hard one, where
// the Go runtime would raise it.
func TestMany(t *testing.T) {
	rounds := "5"
	if os.Getenv("SANDLOCK_SOAK") != "" {
		rounds = "100"
	}
	silent(t, "sh", "-c", `ulimit -S -n 400 && exec "$@" 400 "$(ulimit -H -n)"`, "sh", build(t, "many", true), rounds)
}

// TestFork forks a host that has run sandboxes.
func TestFork(t *testing.T) {
	silent(t, build(t, "fork", true), library)
}

// TestCrash crashes hosts, in each place and with each handler.
func TestCrash(t *testing.T) { silent(t, build(t, "crash", false), library) }

// TestCallback asks policy functions.
func TestCallback(t *testing.T) { silent(t, build(t, "callback", true)) }

// TestContext changes policies from callbacks.
func TestContext(t *testing.T) { silent(t, build(t, "context", true)) }

// TestStale uses contexts late and from other threads, and a run without any step.
func TestStale(t *testing.T) { silent(t, build(t, "stale", true)) }

// TestDrop counts how often the user data of policy functions is dropped, and when.
func TestDrop(t *testing.T) {
	silent(t, build(t, "drop", true))
	silent(t, build(t, "drop.cc", true))
}

// TestLife leads runs through their states.
func TestLife(t *testing.T) {
	out := output(t, "", build(t, "life", true), t.TempDir())
	// From the run that has the host's own streams.
	if want := "interactive\n"; out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
}

// TestPopen starts commands on streams that the host uses meanwhile.
func TestPopen(t *testing.T) { silent(t, build(t, "popen", true), t.TempDir()) }

// TestPipeline has commands feed one another.
func TestPipeline(t *testing.T) { silent(t, build(t, "pipeline", true), t.TempDir()) }

// TestOutput reads what runs wrote, up to a GiB.
func TestOutput(t *testing.T) { silent(t, build(t, "output", true)) }

func TestLimits(t *testing.T) { silent(t, build(t, "limits", true)) }

// TestAddressSanitizer repeats what hands most memory over the boundary in hosts that
// AddressSanitizer watches. Not for leaks: what the hosts themselves leave at exit.
func TestAddressSanitizer(t *testing.T) {
	t.Setenv("ASAN_OPTIONS", "detect_leaks=0:abort_on_error=1")
	nofile := limits(t)
	for _, argv := range [][]string{{"abuse"}, {"callback"}, {"context"}, {"dlopen", library}, {"drop"}, {"drop.cc"}, {"errors", t.TempDir()},
		{"fork", library}, {"life", t.TempDir()}, append([]string{"many", "2"}, nofile...), {"output"}, {"pipeline", t.TempDir()}, {"popen", t.TempDir()}, {"setters"}, {"stale"}} {
		t.Run(argv[0], func(t *testing.T) {
			output(t, "", append([]string{build(t, argv[0], argv[0] != "dlopen", "-g", "-fsanitize=address")}, argv[1:]...)...)
		})
	}
}

// limits are this process's own of descriptors, soft and hard, as ulimit says them.
func limits(t *testing.T) []string {
	t.Helper()
	return strings.Fields(output(t, "", "sh", "-c", "ulimit -S -n; ulimit -H -n"))
}

// TestSetters compares each setter with the document that sets the same field.
func TestSetters(t *testing.T) { silent(t, build(t, "setters", true)) }

// TestDlopen loads the library into a program that was not linked with it.
func TestDlopen(t *testing.T) { silent(t, build(t, "dlopen", false), library) }
