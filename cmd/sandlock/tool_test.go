package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	version = "0.0.0-test"
	testscript.Main(m, map[string]func(){"sandlock": main})
}

// The behaviour of the tool, as it is told in testdata/script.
func TestScripts(t *testing.T) {
	hostCache, goRoot := goEnv(t, "GOCACHE"), goEnv(t, "GOROOT")
	warden, err := filepath.Abs("../../core/internal/warden")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(hostCache, 0o777); err != nil {
		t.Log(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exitcode": exitCode},
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			env.Setenv("HOME", home)
			env.Setenv("XDG_RUNTIME_DIR", filepath.Join(env.WorkDir, "run"))
			env.Setenv("LC_ALL", "C")
			env.Setenv("SECRET", "of the host")
			env.Setenv("HOSTCACHE", hostCache)
			env.Setenv("GOROOT", goRoot)
			env.Setenv("WARDEN", warden)
			if err := os.Mkdir(filepath.Join(env.WorkDir, "run"), 0o700); err != nil {
				return err
			}
			if err := os.Mkdir(home, 0o700); !errors.Is(err, os.ErrExist) { // or of the script's files
				return err
			}
			return nil
		},
	})
}

// The built-in profiles are TOML, without a key twice, and profiles.
func TestBuiltIn(t *testing.T) {
	files, err := builtIn.ReadDir("profiles")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		content, err := builtIn.ReadFile("profiles/" + file.Name())
		if err != nil {
			t.Fatal(err)
		}
		p, err := parseProfile(source{shown: file.Name(), path: "as one of the user's", content: content}, false)
		if err != nil || p.description == "" {
			t.Errorf("%s: %q, %v", file.Name(), p.description, err)
		}
	}
}

// exitCode is "exitcode N COMMAND…": the command exits with N.
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exitcode N COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exited *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exited) {
		got = exited.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v: %v", args[1:], err)
	}
	if got != want {
		ts.Fatalf("%v: exit code %d, want %d\n%s", args[1:], got, want, ts.ReadFile("stderr"))
	}
}

func goEnv(t *testing.T, name string) string {
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Logf("go env %s: %v", name, err)
	}
	return strings.TrimSpace(string(out))
}
