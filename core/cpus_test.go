package core

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whoever work is handed over to has the CPUs afterwards that it had before, and no thread of
// the runtime's has fewer either, or a sandbox that it starts would.
func TestThreadsKeepTheirCPUs(t *testing.T) {
	cpus := func() map[string]bool {
		all := map[string]bool{}
		files, err := filepath.Glob("/proc/self/task/*/status")
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				continue // it has ended
			}
			_, list, _ := strings.Cut(string(text), "Cpus_allowed_list:\t")
			list, _, _ = strings.Cut(list, "\n")
			all[list] = true
		}
		return all
	}
	before := cpus()
	dir := t.TempDir()
	for i := range 20 {
		p := NewPolicy()
		p.FSReadable, p.FSWritable = []string{"/usr", "/lib", "/lib64", "/bin", "/etc"}, []string{dir, "/dev/null"}
		p.FSDenied = []string{filepath.Join(dir, "denied")}
		p.PolicyFn, p.NetAllow = allow, []string{"127.0.0.1"}
		plan, err := p.Compile()
		if err != nil {
			t.Fatal(err)
		}
		script := "for i in {1..10}; do /bin/true; (cat /etc/hostname; : </dev/tcp/127.0.0.1/1) >/dev/null 2>&1 & done; wait"
		r, err := plan.Run(Command{Argv: []string{"/bin/bash", "-c", script}, Stdin: -1}, 0)
		if err != nil || !r.Success() {
			t.Fatalf("%d: %+v, %v", i, r, err)
		}
	}
	if after := cpus(); len(before) != 1 || fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("before %v, after %v", before, after)
	}
}
