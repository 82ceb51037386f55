package attacks

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sandlock/sandlock/core"
	"golang.org/x/sys/unix"
)

// delegated is the directory where sandboxes have their cgroups.
func delegated(t testing.TB) string {
	dir, why := core.Probe().MemoryCgroup, core.Probe().MemoryCgroupProblem
	if dir == "" {
		t.Skip("takes a delegated cgroup with a memory controller, as make test-vm has: ", why)
	}
	return dir
}

// cgroupsOf lists those that a host has there.
func cgroupsOf(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(dir + "/sandlock-*")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// slack is what a task that is being killed may still take, so that it comes to its end.
const slack = 256 << 10

// A limit that the cgroup keeps, and nothing of it is left.
func TestMemoryCgroup(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		dir := delegated(t)
		p := limited()
		p.FSReadable = append(p.FSReadable, "/proc", "/sys/fs/cgroup")
		plan, err := p.Compile()
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("max_memory: %d bytes, by a cgroup in %s\n", 64*mib, dir); !strings.Contains(plan.String(), want) {
			t.Errorf("the plan has no %q", want)
		}
		const peak = `IFS=: read -r _ _ cg </proc/self/cgroup; read -r peak </sys/fs/cgroup$cg/memory.peak; echo $peak`
		for _, way := range []string{"populate 200", "huge 200", "threads 200 4", "processes 200 20", "memfd-written 200", "hidden-memfd 200", "in-flight-hidden 200 4"} {
			r := inside(t, p, "/bin/sh", "-c", victim("memory")+" "+way+"; "+peak)
			words := append([]string{""}, strings.Fields(string(r.Stdout))...)
			most, err := strconv.ParseUint(words[len(words)-1], 10, 64)
			if err != nil || most == 0 || most > 64*mib+slack {
				t.Errorf("%s: %q, %v: it held more, or nothing", way, r.Stdout, err)
			}
			if r.Limits&core.LimitMemory == 0 || len(r.Log) != 1 || !strings.HasPrefix(r.Log[0], "max_memory: the kernel has killed ") {
				t.Errorf("%s: %+v", way, r)
			}
			t.Logf("%s: at most %d bytes, %q", way, most, r.Log)
		}
		if left := cgroupsOf(t, dir); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	})
}

// escapes tries to change the cgroup from within.
const escapes = `while IFS=: read -r n c p; do if [ "$n" = 0 ]; then cg=/sys/fs/cgroup$p; fi; done </proc/self/cgroup
try() { if (eval "$2") 2>/dev/null; then echo "$1 0 0"; else echo "$1 -1 13"; fi; }
try max 'echo max >$cg/memory.max'
try swap 'echo max >$cg/memory.swap.max'
try child 'mkdir $cg/child'
try sibling 'mkdir ${cg%/*}/sibling-$$ && echo 0 >${cg%/*}/sibling-$$/cgroup.procs'
try leave 'echo 0 >${cg%/*}/host/cgroup.procs'
try kill 'echo 1 >$cg/cgroup.kill'
`

func TestMemoryCgroupIsOutOfReach(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		dir := delegated(t)
		control := fmt.Sprintf("%s/control-%d", dir, os.Getpid())
		if err := os.Mkdir(control, 0o755); err != nil {
			t.Fatal(err)
		}
		defer func() {
			made, _ := filepath.Glob(dir + "/sibling-*")
			for _, name := range append(made, control+"/child", control) {
				os.Remove(name)
			}
		}()
		group, err := os.Open(control)
		if err != nil {
			t.Fatal(err)
		}
		defer group.Close()
		cmd := exec.Command("/bin/sh", "-c", escapes)
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
		out, _ := cmd.Output() // its last attempt may be its end
		names := []string{"max", "swap", "child", "sibling", "leave", "kill"}
		done := attempts(string(out))
		for _, name := range names {
			// It ends itself by the last.
			if a, ok := done[name]; name != "kill" && (!ok || a.result != 0) {
				t.Errorf("control: %s: %q", name, out)
			}
		}
		p := limited()
		p.FSReadable = append(p.FSReadable, "/proc", "/sys")
		r := inside(t, p, "/bin/sh", "-c", escapes)
		refused(t, attempts(string(r.Stdout)), names, unix.EACCES)
		if !r.Success() || len(r.Log) != 0 {
			t.Errorf("%+v", r)
		}

		// A policy that would let it change that: the memory is measured instead.
		for _, path := range []string{"/sys/fs/cgroup", "/sys", dir} {
			p := limited()
			p.FSWritable = []string{path}
			r := inside(t, p, victim("memory"), "private", "200")
			if r.Limits&core.LimitMemory == 0 || len(r.Log) == 0 || !strings.HasPrefix(r.Log[0], "max_memory is measured, without a cgroup: a path of fs_writable holds cgroups") {
				t.Errorf("%s: %+v", path, r)
			}
		}
	})
}

// Whatever ends a sandbox, its cgroup goes too.
func TestMemoryCgroupGoes(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		dir := delegated(t)
		reap := reapAll(t)
		gone := func(what string) {
			t.Helper()
			reap()
			if left := cgroupsOf(t, dir); len(left) > 0 {
				t.Errorf("%s: left: %q", what, left)
			}
		}
		for name, p := range map[string]*core.Policy{"domain": limited(), "walk": walked64()} {
			l := newLife(t)
			s := l.create(t, p, "stay", "5")
			if s.Start(); len(cgroupsOf(t, dir)) != 1 {
				t.Errorf("%s: %q", name, cgroupsOf(t, dir))
			}
			l.await(t, 6)
			s.Close()
			l.awaitEnd(t)
			gone(name)

			// All of the warden at once; what had a session of its own goes as well.
			l = newLife(t)
			s = l.create(t, p, "stay", "5")
			s.Start()
			l.await(t, 6)
			unix.Kill(-parentOf(t, s.PID()), unix.SIGKILL)
			if r, err := s.Wait(time.Minute); err != nil || r.Reason != core.Killed || strings.Contains(r.Error, "left behind") {
				t.Errorf("%s: %+v, %v", name, r, err)
			}
			l.awaitEnd(t)
			s.Close()
			gone(name + ", the warden killed")
		}
		l := newLife(t)
		cmd, _ := startHost(t, l, "held", "stay")
		if len(cgroupsOf(t, dir)) != 1 {
			t.Error("the host's sandbox has none")
		}
		cmd.Process.Kill()
		cmd.Wait()
		l.awaitEnd(t)
		gone("the host killed")

		// The next host removes what one has left that was killed with its warden.
		if err := os.Mkdir(dir+"/sandlock-1-1", 0o755); err != nil {
			t.Fatal(err)
		}
		l = newLife(t)
		cmd, command := startHost(t, l, "held", "stay")
		if left := cgroupsOf(t, dir); len(left) != 1 || left[0] == dir+"/sandlock-1-1" {
			t.Errorf("%q", left)
		}
		unix.Kill(command, unix.SIGKILL)
		cmd.Process.Kill()
		cmd.Wait()
		l.awaitEnd(t)
		gone("the host killed, after another")
	})
}

// TestFaults, with a cgroup to be made. Without one, for a fault, the memory is measured.
func TestMemoryCgroupFaults(t *testing.T) {
	dir := delegated(t)
	reapAll(t)
	for _, who := range []string{"host", "warden"} {
		everyFault(t, who, "memory")
		if left := cgroupsOf(t, dir); len(left) > 0 {
			t.Errorf("%s: left: %q", who, left)
		}
	}
}

// BenchmarkMaxMemory is what a run costs with the limit and without: by a cgroup, in a host for
// which there is one, and else measured.
func BenchmarkMaxMemory(b *testing.B) {
	for _, argv := range [][]string{{"/bin/true"}, {victim("memory"), "private", "45"}} {
		for _, c := range []struct {
			name   string
			policy *core.Policy
		}{{"unlimited", policy()}, {"limited", limited()}} {
			b.Run(filepath.Base(argv[0])+"/"+c.name, func(b *testing.B) {
				for b.Loop() {
					inside(b, c.policy, argv...)
				}
			})
		}
	}
}
