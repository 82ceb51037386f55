package core

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Each use of a file that is carried out for a command is told, as what it is.
func TestObserve(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"read", "write", "cut", "gone", "from", "mode"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("text\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := NewPolicy()
	p.FSReadable, p.FSWritable = []string{"/usr", "/lib", "/lib64", "/bin", "/etc"}, []string{dir, "/dev/null"}
	p.Cwd, p.PolicyEvents = dir, []string{"openat"}
	p.PolicyFn = func(*Event, *Context) Verdict { return Allow }
	plan, err := p.Compile()
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	used := map[string]Access{}
	cmd := Command{Stdin: -1, Argv: []string{"sh", "-ec", "cat read; ls . missing || :; echo x >> write; : > cut; rm gone; mv from to; mkdir made; chmod 644 mode; : > new; exit 7"}}
	cmd.Observe = func(a Access) {
		mu.Lock()
		defer mu.Unlock()
		before := used[a.Path]
		used[a.Path] = Access{Dir: before.Dir || a.Dir, Write: before.Write || a.Write, Name: before.Name || a.Name, Exec: before.Exec || a.Exec}
	}
	r, err := plan.Run(cmd, 0)
	if err != nil {
		t.Fatal(err)
	}
	if r.ExitCode != 7 {
		t.Fatalf("exit code %d: %s%s", r.ExitCode, r.Stdout, r.Stderr)
	}
	mu.Lock() // the kernel has ordered it all; the race detector does not see that
	defer mu.Unlock()
	for name, want := range map[string]Access{
		"read":  {},
		"":      {Dir: true},
		"write": {Write: true},
		"cut":   {Write: true},
		"gone":  {Name: true},
		"from":  {Name: true},
		"to":    {Name: true},
		"made":  {Name: true},
		"mode":  {Write: true},
		"new":   {Write: true, Name: true},
	} {
		if got, ok := used[filepath.Join(dir, name)]; !ok || got != want {
			t.Errorf("%q: %+v (told: %t), want %+v", name, got, ok, want)
		}
	}
	if got, ok := used[filepath.Join(dir, "missing")]; ok {
		t.Errorf("a file that is not there was told: %+v", got)
	}
	cat, err := filepath.EvalSymlinks("/bin/cat")
	if err != nil {
		t.Fatal(err)
	}
	if !used[cat].Exec {
		t.Errorf("%s was executed, and told as %+v", cat, used[cat])
	}
}
