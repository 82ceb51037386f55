package attacks

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sandlock/sandlock/core"
)

// pinned is a name that only the resolver of these tests knows.
const pinned = "pinned.sandlock.example"

func resolvePinned(t *testing.T) {
	t.Helper()
	core.SetResolver(func(name string) ([]netip.Addr, error) {
		if name != pinned {
			return nil, fmt.Errorf("no such host %q", name)
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	})
}

// view is a file that is shown, under the policy that has it shown.
type view struct {
	name, file, mark string
	policy           *core.Policy
}

// views are some of each kind: by the look of opens alone, and beside all that else has opens
// trapped.
func views(t *testing.T) []view {
	resolvePinned(t)
	named := policy()
	named.FSReadable = append(named.FSReadable, "/etc", "/proc", "/dev/fd")
	named.ExtraAllowSyscalls = []string{"landlock_restrict_self"} // so that /proc has no opens trapped
	named.NetAllow, named.NetAllowPrivateNames = []string{"tcp://" + pinned + ":80"}, true
	denied := deniedWith(named, t)
	later := *named
	later.PolicyFn = func(*core.Event, *core.Context) core.Verdict { return core.Allow }
	judged := later
	judged.PolicyEvents = []string{"openat"}
	memory := policy()
	memory.FSReadable, memory.ExtraAllowSyscalls = append(memory.FSReadable, "/proc", "/dev/fd"), named.ExtraAllowSyscalls
	limit := uint64(96 << 20)
	memory.MaxMemory = &limit
	guardedNamed, guardedMemory := *named, *memory
	guardedNamed.ExtraAllowSyscalls, guardedMemory.ExtraAllowSyscalls = nil, nil
	const total = "MemTotal:          98304 kB"
	return []view{
		{"hosts", "/etc/hosts", pinned, named}, {"meminfo", "/proc/meminfo", total, memory},
		{"denied elsewhere", "/etc/hosts", pinned, denied}, {"denied later", "/etc/hosts", pinned, &later}, {"opens judged", "/etc/hosts", pinned, &judged},
		{"meminfo, denied elsewhere", "/proc/meminfo", total, deniedWith(memory, t)},
		{"/proc guarded", "/etc/hosts", pinned, &guardedNamed}, {"meminfo, /proc guarded", "/proc/meminfo", total, &guardedMemory},
	}
}

// writable adds a directory for the victim to make links in.
func (v view) writable(t *testing.T) (*core.Policy, string) {
	dir := tree(t)
	p := *v.policy
	p.FSWritable = []string{dir}
	return &p, dir
}

// Whatever the spelling, it is the view that is read.
func TestViewsByAnyWay(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for _, v := range views(t) {
			p, dir := v.writable(t)
			r := inside(t, p, victim("views"), "ways", v.file, v.mark, dir)
			got := attempts(string(r.Stdout))
			if len(got) != 22 {
				t.Errorf("%s: %d attempts: %s%s", v.name, len(got), r.Stdout, r.Stderr)
			}
			for name, a := range got {
				missing := (name == "openat2" || name == "no-symlinks" || name == "beneath") && a.errno == syscall.ENOSYS
				if a.result != 1 && !(missing && v.name != "hosts" && v.name != "meminfo") {
					t.Errorf("%s: %s: %+v", v.name, name, a)
				}
			}
		}
		// Outside, and where nothing is pinned, the file has no such text.
		for name, a := range attempts(outside(t, victim("views"), "ways", "/etc/hosts", pinned, tree(t))) {
			if a.result != 0 {
				t.Errorf("control %s: %+v", name, a)
			}
		}
		if t.Name() == "TestViewsByAnyWay" && !strings.Contains(outside(t, victim("views"), "ways", "/etc/hosts", "localhost", tree(t)), "by-cwd 1 0") {
			t.Error("control: the file is not read")
		}
	})
}

// What is no open for reading is as without a view.
func TestViewsAreForReading(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for _, v := range views(t) {
			without := *v.policy
			without.NetAllow, without.MaxMemory = nil, nil
			var outs []string
			for _, p := range []*core.Policy{v.policy, &without} {
				dir := tree(t)
				q := *p
				q.FSWritable = []string{dir}
				r := inside(t, &q, victim("views"), "others", v.file, v.mark, dir)
				if r.ExitCode != 0 {
					t.Errorf("%s: %+v", v.name, r)
				}
				outs = append(outs, string(r.Stdout))
			}
			if outs[0] != outs[1] || !strings.Contains(outs[0], "write -1 13\n") || !strings.Contains(outs[0], "no-memory -1 14\n") {
				t.Errorf("%s:\n%s\nwithout a view:\n%s", v.name, outs[0], outs[1])
			}
		}
	})
	// Where nothing forbids it, these calls do change a file.
	file := filepath.Join(tree(t), "other")
	if got := attempts(outside(t, victim("views"), "others", file, "x", filepath.Dir(file))); got["read-write"].result < 0 || got["truncate"].result < 0 {
		t.Errorf("control %+v", got)
	}
}

// A descriptor of a view is as good as one of a file, and nobody can change what it shows.
func TestViewsAreSealed(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for _, v := range views(t) {
			p, _ := v.writable(t) // so that modes can be changed
			r := inside(t, p, victim("views"), "descriptor", v.file, v.mark, "")
			got := attempts(string(r.Stdout))
			if len(got) != 28 {
				t.Errorf("%s: %d attempts: %s%s", v.name, len(got), r.Stdout, r.Stderr)
			}
			for name, a := range got {
				want := int64(1)
				switch {
				case name == "not-cloexec", name == "nobody:mode":
					want = 0
				case strings.HasPrefix(name, "change:"), strings.HasPrefix(name, "again:") && name != "again:read" && name != "again:after":
					want = -1
				}
				if a.result != want {
					t.Errorf("%s: %s: %+v", v.name, name, a)
				}
			}
		}
	})
	// Of a file of one's own it is another story.
	file := filepath.Join(tree(t), "file")
	out := attempts(outside(t, victim("views"), "descriptor", file, "SECRET", ""))
	if out["again:write"].result != 1 || out["again:truncate"].result != 0 || out["again:after"].result == 1 {
		t.Errorf("control %+v", out)
	}
}

// Sections 1 and 12: what the path leads to is changed while it is looked at. What is read is
// the view or nothing, and never what may not be.
func TestViewRaces(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		rounds := fmt.Sprint(rounds())
		for _, v := range views(t)[:1] {
			p, dir := v.writable(t)
			secret := filepath.Join(tree(t), "denied", "secret")
			r := inside(t, p, victim("views"), "race", v.file, v.mark, dir, secret, rounds)
			got := attempts(string(r.Stdout))
			if strings.Contains(string(r.Stdout), "SECRET") || fmt.Sprint(got["got"].result+got["refused"].result) != rounds {
				t.Errorf("%s%s", r.Stdout, r.Stderr)
			}
			won(t, v.name, func() bool {
				return strings.Contains(outside(t, victim("views"), "race", v.file, v.mark, dir, secret, rounds), "SECRET")
			})
		}
	})
}

// Section 24, 25: descriptors of the host are not used up by what a sandbox opens, nor its
// own limit passed.
func TestViewsAndDescriptors(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		many := views(t)[:2]
		stat := policy()
		one := uint32(1)
		stat.FSReadable, stat.NumCPUs = append(stat.FSReadable, "/proc"), &one
		for _, v := range append(many, view{"stat", "/proc/stat", "intr", stat}) { // another text each time
			plan, err := v.policy.Compile()
			must(t, err)
			stdin, write, err := os.Pipe()
			must(t, err)
			read, stdout, err := os.Pipe()
			must(t, err)
			before := len(descriptors(t))
			s, err := plan.Create(core.Command{Argv: []string{victim("views"), "many", v.file, v.mark, "1000"}, Stdin: int(stdin.Fd()),
				Files: []core.File{{FD: int(stdout.Fd()), As: 1}}})
			must(t, err)
			must(t, s.Start())
			stdout.Close()
			line := make([]byte, 64)
			n, _ := read.Read(line)
			during := len(descriptors(t))
			if string(line[:n]) != "opened 1000 0\n" || during > before+40 {
				t.Errorf("%s: %q, %d descriptors before, %d during", v.name, line[:n], before, during)
			}
			write.Close()
			if _, err := s.Wait(0); err != nil {
				t.Error(err)
			}
			s.Close()
			stdin.Close()
			read.Close()

			got := attempts(string(inside(t, v.policy, victim("views"), "full", v.file, v.mark, "").Stdout))
			if got["full"].errno != syscall.EMFILE || got["free"].result != 1 {
				t.Errorf("%s: %+v", v.name, got)
			}
		}
	})
}

func descriptors(t *testing.T) []os.DirEntry {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return list
}

// What one sandbox does to a view of its own is nothing to another, and it is not there to be
// opened by others.
func TestViewsOfAnotherSandbox(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		v := views(t)[0]
		p, _ := v.writable(t)
		plan, err := p.Compile()
		must(t, err)
		stdin, write, err := os.Pipe()
		must(t, err)
		read, stdout, err := os.Pipe()
		must(t, err)
		s, err := plan.Create(core.Command{Argv: []string{"/bin/sh", "-c", "exec 5</etc/hosts; chmod 0 /proc/self/fd/5; flock -x 5; echo; read line"},
			Stdin: int(stdin.Fd()), Files: []core.File{{FD: int(stdout.Fd()), As: 1}}})
		must(t, err)
		defer s.Close()
		must(t, s.Start())
		stdout.Close()
		if n, err := read.Read(make([]byte, 64)); n != 1 {
			t.Error(err)
		}
		script := fmt.Sprintf("cat /proc/%d/fd/5 && echo OPEN; exec 6</etc/hosts; flock -n -x 6 && cat /etc/hosts", s.PID())
		r := inside(t, p, "/bin/sh", "-c", script)
		if !strings.HasPrefix(string(r.Stdout), "127.0.0.1\t"+pinned) || strings.Contains(string(r.Stdout), "OPEN") {
			t.Errorf("%s%s", r.Stdout, r.Stderr)
		}
		if out := outside(t, "/bin/sh", "-c", fmt.Sprintf("chmod 600 /proc/%d/fd/5; cat /proc/%d/fd/5 && echo OPEN", s.PID(), s.PID())); !strings.Contains(out, pinned) {
			t.Errorf("control %q", out)
		}
		write.Close()
	})
}

// Section 13: what a task has denied itself is not opened for it. Its own text alone a view
// of names shows.
func TestViewsOfTheRestricted(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for _, v := range views(t) {
			got := attempts(string(inside(t, v.policy, victim("views"), "landlock", v.file, v.mark, "/usr").Stdout))
			if got["before"].result != 1 {
				t.Errorf("%s: %+v", v.name, got)
			}
			if v.name == "meminfo" { // elsewhere Landlock is not there
				refused(t, got, []string{"after"}, syscall.EACCES)
			} else if got["restrict"].errno != syscall.ENOSYS {
				t.Errorf("%s: %+v", v.name, got)
			}
		}
		if got := attempts(outside(t, victim("views"), "landlock", "/proc/meminfo", "MemTotal", "/proc")); got["after"].result != 1 {
			t.Errorf("control %+v", got)
		}
	})
}

// What may not be read is not shown; names are, without what the host's own file says.
func TestViewsOfWhatMayNotBeRead(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		resolvePinned(t)
		own, err := os.ReadFile("/etc/hosts")
		must(t, err)
		p := policy()
		p.NetAllow, p.NetAllowPrivateNames = []string{"tcp://" + pinned + ":80"}, true
		limit, one := uint64(96<<20), uint32(1)
		p.MaxMemory, p.NumCPUs = &limit, &one
		script := `cat /etc/hosts; cat /proc/meminfo; cat /proc/cpuinfo; cat /proc/stat; cat /etc/passwd`
		for _, p := range []*core.Policy{p, deniedWith(p, t)} {
			r := inside(t, p, "/bin/sh", "-c", script)
			want := "127.0.0.1\t" + pinned + "\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
			if string(r.Stdout) != want || strings.Count(string(r.Stderr), "ermission denied") != 4 {
				t.Errorf("%q, %s", r.Stdout, r.Stderr)
			}
		}
		p.FSReadable = append(p.FSReadable, "/etc")
		r := inside(t, p, "cat", "/etc/hosts")
		if !bytes.HasPrefix(r.Stdout, []byte("127.0.0.1\t"+pinned+"\n")) || !bytes.HasSuffix(r.Stdout, own) {
			t.Errorf("%q, of %q", r.Stdout, own)
		}
		p.FSDenied = []string{"/etc/hosts"}
		if r := inside(t, p, "cat", "/etc/hosts"); len(r.Stdout) > 0 {
			t.Errorf("what is denied: %q", r.Stdout)
		}
		p.FSDenied = nil
		p.PolicyFn = func(e *core.Event, ctx *core.Context) core.Verdict {
			if slices.Equal(e.Argv, []string{"cat", "/etc/hosts", "/dev/null"}) {
				must(t, ctx.DenyPath("/etc/hosts"))
			}
			return core.Allow
		}
		p.FSReadable = append(p.FSReadable, "/dev/null")
		r = inside(t, p, "/bin/sh", "-c", "cat /etc/hosts; echo then; cat /etc/hosts /dev/null; cat < /etc/hosts; echo end")
		if first, then, _ := strings.Cut(string(r.Stdout), "then\n"); !strings.Contains(first, pinned) || then != "end\n" {
			t.Errorf("what is denied later: %q %s", r.Stdout, r.Stderr)
		}
		if out := outside(t, "/bin/sh", "-c", script); !strings.Contains(out, "MemTotal") || strings.Contains(out, pinned) {
			t.Error("control")
		}
	})
}

// The host's file as it is when it is opened: replaced, readable for some alone, or not there
// at all. In a namespace of mounts, as /etc/hosts itself is to stay.
func TestViewsOfAnotherHostsFile(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts")
	}
	if os.Getenv("SANDLOCK_MOUNTED") == "" {
		out := outside(t, "unshare", "--mount", "sh", "-ec", `
mkdir "$1/etc"; cp -a /etc/nsswitch.conf /etc/passwd "$1/etc"; mount --bind "$1/etc" /etc
SANDLOCK_MOUNTED=1 SANDLOCK_VICTIMS=$2 "$0" -test.run='^TestViewsOfAnotherHostsFile$' -test.v 2>&1`, selfPath(t), tree(t), victims)
		if !strings.Contains(out, "--- PASS: TestViewsOfAnotherHostsFile") {
			t.Errorf("%s", out)
		}
		return
	}
	resolvePinned(t)
	p := policy()
	p.FSReadable = append(p.FSReadable, "/etc")
	p.NetAllow, p.NetAllowPrivateNames = []string{"tcp://" + pinned + ":80"}, true
	seen := func() string {
		t.Helper()
		var first string
		for _, p := range []*core.Policy{p, deniedWith(p, t)} {
			r := inside(t, p, "/bin/sh", "-c", "cat /etc/hosts; getent hosts "+pinned)
			text := string(r.Stdout)
			if !strings.HasPrefix(text, "127.0.0.1\t"+pinned+"\n") || !strings.HasSuffix(text, "127.0.0.1       "+pinned+"\n") {
				t.Errorf("%q %s", text, r.Stderr)
			}
			if first == "" {
				first = text
			}
			if text != first {
				t.Errorf("%q and %q", first, text)
			}
		}
		return first
	}
	local := "127.0.0.1\tlocalhost\n"
	if text := seen(); !strings.Contains(text, local) {
		t.Errorf("not there: %q", text)
	}
	must(t, os.WriteFile("/etc/hosts", []byte("192.0.2.1 "+pinned+" other\n"), 0o644))
	if text := seen(); !strings.Contains(text, "192.0.2.1\tother\n") || strings.Contains(text, local) {
		t.Errorf("there: %q", text)
	}
	// Saved by an editor while the sandbox runs, and open to root alone.
	must(t, os.WriteFile("/etc/new", []byte("192.0.2.2 new\n"), 0o600))
	plan, err := p.Compile()
	must(t, err)
	stdin, write, err := os.Pipe()
	must(t, err)
	s, err := plan.Create(core.Command{Argv: []string{"/bin/sh", "-c", `read line
cat /etc/hosts
setpriv --reuid 65534 --clear-groups cat /etc/hosts`}, Stdin: int(stdin.Fd())})
	must(t, err)
	must(t, s.Start())
	must(t, os.Rename("/etc/new", "/etc/hosts"))
	write.Close()
	r, err := s.Wait(0)
	must(t, err)
	s.Close()
	want := "127.0.0.1\t" + pinned + "\n192.0.2.2 new\n" + "127.0.0.1\t" + pinned + "\n" + local
	if !strings.HasPrefix(string(r.Stdout), want) {
		t.Errorf("%q %s, want %q", r.Stdout, r.Stderr, want)
	}
}

func selfPath(t *testing.T) string {
	t.Helper()
	self, err := os.Readlink("/proc/self/exe")
	must(t, err)
	return self
}

// What programs and runtimes take for the number of CPUs, and one for the memory, under the
// profile that people start from.
func TestCPUsOfPrograms(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		p := policy()
		p.FSReadable = append(p.FSReadable, "/etc", "/proc", "/sys/devices/system/cpu", "/dev/urandom")
		dir := tree(t)
		p.FSWritable = []string{"/dev/null", dir}
		p.Cwd, p.Env = dir, map[string]string{"HOME": dir}
		one, limit := uint32(1), uint64(1<<30)
		p.NumCPUs, p.MaxMemory = &one, &limit
		for _, tt := range []struct {
			want string
			argv []string
		}{
			{"1", []string{"nproc"}},
			{"1 1", []string{"/usr/bin/python3", "-c", "import os; print(os.cpu_count(), getattr(os, 'process_cpu_count', os.cpu_count)())"}},
			{"1 1073741824", []string{"node", "-p", "os.cpus().length + ' ' + os.totalmem()"}},
			{"1", []string{"getconf", "_NPROCESSORS_ONLN"}},
			{"1", []string{"grep", "-c", "^processor", "/proc/cpuinfo"}},
			{"total, 1 available", []string{"sh", "-c", "java -Xlog:gc+init -Xmx64m -version | grep -o 'total, .* available'"}},
		} {
			r := inside(t, p, tt.argv...)
			if strings.TrimSpace(string(r.Stdout)) != tt.want {
				t.Errorf("%s: %+v %s", tt.argv[0], r, r.Stderr)
			}
		}
		if n := strings.TrimSpace(outside(t, "grep", "-c", "^processor", "/proc/cpuinfo")); n == "1" {
			t.Log("a machine with one CPU shows nothing")
		}
	})
}

// A name that nothing but the start of the run can resolve is one that programs inside can
// use, with or without a grant for /etc.
func TestPinnedNamesWork(t *testing.T) {
	resolvePinned(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello from "+r.Host) }))
	}()
	t.Cleanup(func() { l.Close() })
	host := fmt.Sprintf("%s:%d", pinned, l.Addr().(*net.TCPAddr).Port)
	for _, etc := range []bool{false, true} {
		p := policy()
		if etc {
			p.FSReadable = append(p.FSReadable, "/etc")
		}
		p.FSWritable = []string{"/dev/null"}
		p.NetAllow, p.NetAllowPrivateNames = []string{"tcp://" + host}, true
		argvs := [][]string{
			{"curl", "-sS", "http://" + host},
			{"/usr/bin/python3", "-c", "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())", "http://" + host},
			{"/bin/sh", "-c", "getent hosts " + pinned + " >&2 && echo hello from $0", host},
		}
		if etc { // which node needs
			argvs = append(argvs, []string{"node", "-e", "require('http').get(process.argv[1], r => r.on('data', d => console.log(String(d))))", "http://" + host})
		}
		for _, argv := range argvs {
			r := inside(t, p, argv...)
			if strings.TrimSpace(string(r.Stdout)) != "hello from "+host {
				t.Errorf("%s, /etc %t: %+v %s%s", argv[0], etc, r.ExitCode, r.Stdout, r.Stderr)
			}
		}
	}
	if out := outside(t, "getent", "hosts", pinned); out != "" {
		t.Errorf("control: %q", out)
	}
}
