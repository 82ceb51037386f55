package core

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestEnviron(t *testing.T) {
	base := []string{"PATH=/bin", "SECRET=x", "HOME=/h", "A=1", "odd", "A=2", "LANG=C", "PATHX=1"}
	for _, tt := range []struct {
		name  string
		clean bool
		env   map[string]string
		want  []string
	}{
		{"as it is", false, nil, []string{"PATH=/bin", "SECRET=x", "HOME=/h", "A=1", "odd", "LANG=C", "PATHX=1"}},
		{"clean", true, nil, []string{"PATH=/bin", "HOME=/h", "LANG=C"}},
		{"set", false, map[string]string{"Z": "", "A": "3", "B": "b=c"},
			[]string{"PATH=/bin", "SECRET=x", "HOME=/h", "odd", "LANG=C", "PATHX=1", "A=3", "B=b=c", "Z="}},
		{"clean and set", true, map[string]string{"SECRET": "y", "PATH": "/usr/bin"},
			[]string{"HOME=/h", "LANG=C", "PATH=/usr/bin", "SECRET=y"}},
	} {
		p := Plan{cleanEnv: tt.clean, env: tt.env}
		if got := p.environ(base); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	t.Setenv("SANDLOCK_TEST_VARIABLE", "here")
	if p := (Plan{}); !slices.Contains(p.environ(nil), "SANDLOCK_TEST_VARIABLE=here") {
		t.Error("nil is not the host's environment")
	}
	if p := (Plan{}); len(p.environ([]string{})) != 0 {
		t.Error("an empty base is not empty")
	}
}

func TestLookPath(t *testing.T) {
	d := t.TempDir()
	for path, mode := range map[string]os.FileMode{
		"a/tool": 0o755, "b/tool": 0o755, "b/only": 0o755, "a/plain": 0o644, "a/both": 0o644, "b/both": 0o755, "cwd/here": 0o755,
	} {
		file := filepath.Join(d, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(d+"/a/dir", 0o755); err != nil {
		t.Fatal(err)
	}
	path := "PATH=" + d + "/missing:" + d + "/a/:" + d + "/b"
	if err := os.Mkdir(d+"/closed", 0); err != nil { // an ordinary user can't search it
		t.Fatal(err)
	}
	var p Plan
	for _, tt := range []struct {
		argv0, env, cwd, want string
		err                   error
		text                  string
	}{
		{argv0: "tool", env: path, want: d + "/a/tool"},
		{argv0: "only", env: path, want: d + "/b/only"},
		{argv0: "both", env: path, want: d + "/b/both"},
		{argv0: "nope", env: path, err: unix.ENOENT, text: "execve(nope): command not found in PATH (" + path[5:] + "): no such file or directory"},
		{argv0: "plain", env: path, err: unix.EACCES, text: "execve(plain): found as " + d + "/a/plain: it is not executable: permission denied"},
		{argv0: "dir", env: path, err: unix.EACCES, text: "execve(dir): found as " + d + "/a/dir: it is a directory: permission denied"},
		{argv0: "tool", env: "PATH=" + d + "/closed:" + d + "/b", want: d + "/b/tool"},
		{argv0: "tool", env: "PATH=" + d + "/closed", err: unix.ENOENT,
			text: "execve(tool): command not found in PATH (" + d + "/closed): no such file or directory"},
		{argv0: "sh", env: "HOME=/", want: "/bin/sh"},
		{argv0: "", env: path, err: unix.ENOENT, text: "execve: the command's name is empty: no such file or directory"},
		{argv0: "a\nb", env: path, err: unix.ENOENT, text: `execve("a\nb"): command not found in PATH (` + path[5:] + "): no such file or directory"},

		{argv0: d + "/a/tool", want: d + "/a/tool"},
		{argv0: d + "/a/nope", err: unix.ENOENT, text: "execve(" + d + "/a/nope): no such file or directory"},
		{argv0: d + "/a/plain", err: unix.EACCES, text: "execve(" + d + "/a/plain): it is not executable: permission denied"},
		{argv0: d + "/a/tool/x", err: unix.ENOTDIR, text: "execve(" + d + "/a/tool/x): not a directory"},
		{argv0: d, err: unix.EACCES, text: "execve(" + d + "): it is a directory: permission denied"},

		{argv0: "./here", cwd: d + "/cwd", want: "./here"},
		{argv0: "../a/tool", cwd: d + "/cwd", want: "../a/tool"},
		{argv0: "here", env: "PATH=", cwd: d + "/cwd", want: "here"},
		{argv0: "here", env: "PATH=/nope:.", cwd: d + "/cwd", want: "./here"},
		{argv0: "tool", env: "PATH=../a", cwd: d + "/cwd", want: "../a/tool"},
		{argv0: "here", env: "PATH=.", err: unix.ENOENT, text: "execve(here): command not found in PATH (.): no such file or directory"},
	} {
		got, err := p.lookPath(tt.argv0, []string{"X=1", tt.env}, tt.cwd)
		if got != tt.want || !errors.Is(err, tt.err) || err != nil && err.Error() != tt.text {
			t.Errorf("%q in %s from %q: %q, %v; want %q, %s", tt.argv0, tt.env, tt.cwd, got, err, tt.want, tt.text)
		}
		var start *StartError
		if err != nil && !errors.As(err, &start) {
			t.Errorf("%q: %T is no *StartError", tt.argv0, err)
		}
	}
}
