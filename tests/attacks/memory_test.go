package attacks

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sandlock/sandlock/core"
)

const mib = 1 << 20

// limited is a policy with 64 MiB of memory.
func limited() *core.Policy {
	p := policy()
	limit := uint64(64 * mib)
	p.MaxMemory = &limit
	return p
}

// walked64 is the same for a sandbox that has no signal scope.
func walked64() *core.Policy {
	p := limited()
	p.Disable = []core.Protection{core.SignalScope}
	return p
}

// controls runs victims outside, some at once, and returns what they print.
func controls(t *testing.T, argvs [][]string) []string {
	out := make([]string, len(argvs))
	var wg sync.WaitGroup
	turn := make(chan struct{}, 6)
	for i, argv := range argvs {
		wg.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			out[i] = outside(t, argv...)
		})
	}
	wg.Wait()
	return out
}

// shmDir is a directory on a tmpfs, "" where there is none that this user may write to.
func shmDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "sandlock-")
	if err != nil {
		t.Logf("no files on a tmpfs: %v", err)
		return ""
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Chains of tasks that fork and exit, whose dead would fill a list faster than it is read, do
// not keep the look at the memory of the others from coming to an end. Untraced: their number is
// not limited.
func TestMaxMemoryAmongForks(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		argv := []string{victim("memory"), "among", "800", "20"}
		if out := controls(t, [][]string{argv})[0]; attempts(out)["among"].result != 1 {
			t.Errorf("control: %q", out)
		}
		r := inside(t, untraced(limited()), argv...)
		if _, done := attempts(string(r.Stdout))["among"]; done || r.Limits&core.LimitMemory == 0 {
			t.Errorf("%+v", r)
		}
		t.Logf("%s", r.Error)
	})
}

// Section 23: memory by every way to it. Each gets 200 MiB outside, and is killed inside.
func TestMaxMemory(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		ways := []string{
			"private 200", "brk 200", "huge 200", "populate 200", "threads 200 4", "late 200", "shared 200", "dropped 200",
			"leader 200", "hidden 200", "memfd-mapped 200", "memfd-written 200", "memfd-many 200 100", "table 200",
			"hidden-memfd 200", "in-flight 200 4", "in-flight-hidden 200 4", "processes 200 20", "stopped 200 20",
			"copied 40 5", "tables 200", "moving 200",
		}
		p := limited()
		if dir := shmDir(t); dir != "" {
			p.FSWritable = []string{dir}
			ways = append(ways, "file 200 1 "+filepath.Join(dir, "named"), "file 200 0 "+filepath.Join(dir, "deleted"))
		}
		ways = brief(ways)
		var argvs [][]string
		for _, way := range ways {
			argvs = append(argvs, append([]string{victim("memory")}, strings.Fields(way)...))
		}
		for i, out := range controls(t, argvs) {
			if name := argvs[i][1]; attempts(out)[name].result != 1 {
				t.Errorf("control %s: %q", ways[i], out)
			}
		}
		for i, argv := range argvs {
			if dir := filepath.Dir(argv[len(argv)-1]); dir != "." {
				os.Remove(argv[len(argv)-1])
			}
			for name, p := range map[string]*core.Policy{"domain": p, "walk": walked64()} {
				if name == "walk" && i > 0 && argv[1] != "processes" && argv[1] != "moving" {
					continue
				}
				r := inside(t, p, argv...)
				if got, done := attempts(string(r.Stdout))[argv[1]]; done || r.Limits&core.LimitMemory == 0 {
					t.Errorf("%s, %s: %+v, %+v", name, ways[i], got, r)
				}
				if r.Reason == core.Killed && !strings.Contains(r.Error, "max_memory: ") {
					t.Errorf("%s, %s: error %q", name, ways[i], r.Error)
				}
				t.Logf("%s, %s: %q", name, ways[i], r.Log)
			}
		}
	})
}

// What stays below the limit lives, however much it seems to be: copies that share, two
// processes with the same memory, a terabyte that is only reserved.
func TestBelowMaxMemory(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		ways := []string{
			"private 45", "huge 40", "shared 40", "dropped 40", "memfd-mapped 40", "memfd-written 40", "memfd-many 40 40",
			"in-flight 40 2", "hidden 45", "processes 40 10", "copies 40 10", "vforks 40 10", "reserve 1000000", "moving 30",
		}
		p := limited()
		if dir := shmDir(t); dir != "" {
			p.FSWritable = []string{dir}
			ways = append(ways, "file 40 0 "+filepath.Join(dir, "deleted"))
		}
		var wg sync.WaitGroup
		for _, way := range brief(ways) {
			wg.Go(func() {
				p := *p
				if !strings.HasPrefix(way, "file") {
					p.FSWritable = nil
				}
				argv := append([]string{victim("memory")}, strings.Fields(way)...)
				plan, err := p.Compile()
				if err != nil {
					t.Error(err)
					return
				}
				r, err := plan.Run(core.Command{Argv: argv, Stdin: -1}, 0)
				if err != nil || attempts(string(r.Stdout))[argv[1]].result != 1 || r.Limits != 0 || !r.Success() {
					t.Errorf("%s: %+v, %v", way, r, err)
				}
			})
			// One at a time where all that the machine gains counts.
			wg.Wait()
		}
	})
}

// A callback lowers the limit under what there is: the process is dead when it returns.
func TestRestrictMaxMemory(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for name, bytes := range map[string]uint64{"lowered": 16 * mib, "raised": 1 << 40} {
			p := limited()
			p.FSReadable = append(p.FSReadable, "/dev/null") // the input of a job
			*p.MaxMemory = 256 * mib
			var errs []error
			p.PolicyFn = func(ev *core.Event, ctx *core.Context) core.Verdict {
				if strings.HasSuffix(ev.Argv[0], "true") {
					errs = append(errs, ctx.RestrictMaxMemory(bytes))
				}
				return core.Allow
			}
			script := fmt.Sprintf("(exec %s private 40) & sleep 0.5; /bin/true; wait $!; echo ended $?", victim("memory"))
			r := inside(t, p, "/bin/sh", "-c", script)
			want := map[string]string{"lowered": "ended 137\n", "raised": "private 1 0\nended 0\n"}[name]
			if string(r.Stdout) != want || len(errs) != 1 || errs[0] != nil || (r.Limits&core.LimitMemory != 0) != (name == "lowered") {
				t.Errorf("%s: %q, %+v, %v", name, r.Stdout, r, errs)
			}
		}
	})
}
