package attacks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sandlock/sandlock/core"
	"golang.org/x/sys/unix"
)

// tree makes a directory with something denied in it, as the victim files knows it.
func tree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) {
		_ = os.Chmod(d, 0o755) // an ordinary user walks through
	}
	must(t, os.Mkdir(filepath.Join(dir, "denied"), 0o755))
	for name, text := range map[string]string{"denied/secret": "SECRET", "file": "SECRET", "other": "other"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755))
	}
	for name, target := range map[string]string{"link-to-denied": "denied", "link-to-file": "file", "dangling": "denied/new"} {
		must(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	must(t, os.Link(filepath.Join(dir, "file"), filepath.Join(dir, "hard")))
	must(t, os.Link(filepath.Join(dir, "denied/secret"), filepath.Join(dir, "hard-secret")))
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// snapshot is all that could have been changed of a tree.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var s strings.Builder
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		fmt.Fprintf(&s, "%s ino %d mode %o links %d owner %d:%d size %d mtime %v", strings.TrimPrefix(path, dir), st.Ino, st.Mode, st.Nlink, st.Uid, st.Gid, st.Size, st.Mtim)
		if st.Mode&unix.S_IFMT == unix.S_IFREG {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&s, " %q", text)
		}
		attrs := make([]byte, 256)
		n, err := unix.Llistxattr(path, attrs)
		if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
		fmt.Fprintf(&s, " %q\n", attrs[:max(n, 0)])
		return nil
	}))
	return s.String()
}

// deniedTree is a policy that lets all of a tree be written but what is denied in it.
func deniedTree(dir string) *core.Policy {
	p := policy()
	p.FSReadable = append(p.FSReadable, "/proc", "/dev/fd")
	p.FSWritable = []string{dir}
	p.FSDenied = []string{filepath.Join(dir, "denied"), filepath.Join(dir, "file"), filepath.Join(dir, "missing")}
	return p
}

// Section 12: whatever the spelling and the call, nothing of what is denied is read or
// changed.
func TestDenied(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		dir := tree(t)
		before := snapshot(t, dir)
		r := inside(t, deniedTree(dir), victim("files"), dir)
		got := attempts(string(r.Stdout))
		if strings.Contains(string(r.Stdout), "SECRET") {
			t.Errorf("it was read: %s", r.Stdout)
		}
		if after := snapshot(t, dir); after != before {
			t.Errorf("before:\n%safter:\n%s", before, after)
		}
		if r.ExitCode != 0 || len(got) < 300 {
			t.Errorf("%d attempts, %+v, %s", len(got), r, r.Stderr)
		}
		free := func(name string) bool { // it does nothing to a file, and what is done by way of it is refused
			return name == "chdir" || strings.HasPrefix(name, "open-path:")
		}
		for name, a := range got {
			switch {
			case free(name):
			case name == "openat2":
				if a.errno != syscall.ENOSYS {
					t.Errorf("%s: %+v", name, a)
				}
			case a.result != -1 || a.errno != syscall.EACCES:
				t.Errorf("%s: %+v", name, a)
			}
		}
	})
	t.Run("control", func(t *testing.T) {
		dir := tree(t)
		before := snapshot(t, dir)
		out := outside(t, victim("files"), dir)
		if !strings.Contains(out, "SECRET") || snapshot(t, dir) == before {
			t.Errorf("%s", out)
		}
		worked := 0
		for _, a := range attempts(out) {
			if a.result >= 0 {
				worked++
			}
		}
		if worked < 100 {
			t.Errorf("%d attempts worked", worked)
		}
	})
}

// Section 14: what Landlock does not see can be changed beneath the writable paths, and
// nowhere else, by no call.
func TestAttributesOutside(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		dir, other := tree(t), tree(t)
		p := policy()
		p.FSReadable = append(p.FSReadable, other, "/proc")
		p.FSWritable = []string{dir}
		before := snapshot(t, other)
		must(t, os.Symlink(filepath.Join(other, "other"), filepath.Join(dir, "out")))
		for name, path := range map[string]string{"file": "other", "dir": "denied", "top": "."} {
			path = filepath.Join(other, path)
			got := attempts(string(inside(t, p, victim("attributes"), name, path).Stdout))
			if len(got) != 26 {
				t.Errorf("%d attempts", len(got))
			}
			for name, a := range got {
				if a.result != -1 || a.errno != syscall.EACCES && name != "FS_IOC_SETFLAGS" {
					t.Errorf("%s: %+v", name, a)
				}
			}
		}
		got := attempts(string(inside(t, p, victim("attributes"), "link", filepath.Join(dir, "out")).Stdout))
		for name, a := range got {
			if a.result != -1 && name != "link:lchown" { // which is the link's own
				t.Errorf("%s: %+v", name, a)
			}
		}
		if after := snapshot(t, other); after != before {
			t.Errorf("before:\n%safter:\n%s", before, after)
		}
		// The same where it may be.
		for name, path := range map[string]string{"file": "other", "dir": "denied", "top": "."} {
			before := snapshot(t, dir)
			got := attempts(string(inside(t, p, victim("attributes"), name, filepath.Join(dir, path)).Stdout))
			for name, a := range got {
				if a.result != 0 && name != "FS_IOC_SETFLAGS" {
					t.Errorf("beneath a writable path %s: %+v", name, a)
				}
			}
			if snapshot(t, dir) == before {
				t.Error("nothing has changed")
			}
		}
	})
	t.Run("control", func(t *testing.T) {
		dir := tree(t)
		before := snapshot(t, dir)
		for name, a := range attempts(outside(t, victim("attributes"), "file", filepath.Join(dir, "other"))) {
			if a.result != 0 && (name != "FS_IOC_SETFLAGS" || a.errno != syscall.EOPNOTSUPP && a.errno != syscall.ENOTTY) {
				t.Errorf("%s: %+v", name, a) // but for a file system that has none
			}
		}
		if snapshot(t, dir) == before {
			t.Error("nothing has changed")
		}
	})
}

// Section 15: nothing beneath /proc can be written to, whatever is granted, and the rest of
// what is granted can.
func TestProcIsNotWritable(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		dir := tree(t)
		script := `
say() { "$@" 2>/dev/null && echo "$name 0 0" || echo "$name -1 13"; }
w() { ( : >> "$1" ); }
name=adj; say w /proc/self/oom_score_adj
name=comm; say w /proc/self/comm
name=mem; say w /proc/self/mem
name=root; say w /proc/self/root/proc/self/comm
name=sys; say w /proc/sys/kernel/core_pattern
name=sysrq; say w /proc/sysrq-trigger
name=tree; say w "$0/new"
name=other; say w "$0/other"`
		p := policy()
		p.FSWritable = []string{"/"}
		got := attempts(string(inside(t, p, "/bin/sh", "-c", script, dir).Stdout))
		refused(t, got, []string{"adj", "comm", "mem", "root", "sys", "sysrq"}, syscall.EACCES)
		if got["tree"].result != 0 || got["other"].result != 0 {
			t.Errorf("%+v", got)
		}
		p.FSWritable = []string{"/proc", "/dev/null"}
		got = attempts(string(inside(t, p, "/bin/sh", "-c", script, dir).Stdout))
		refused(t, got, []string{"adj", "comm", "mem", "root", "sys", "sysrq", "tree"}, syscall.EACCES)

		control := attempts(outside(t, "/bin/sh", "-c", script, dir))
		for _, name := range []string{"adj", "comm", "mem", "root"} {
			if control[name].result != 0 {
				t.Errorf("control %s: %+v", name, control[name])
			}
		}
		if os.Getuid() == 0 && control["sys"].result != 0 {
			t.Errorf("control %+v", control)
		}
	})
}

// Section 15: what lies in /proc of the machine's secrets, and of processes outside.
func TestProcSecrets(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		p := policy()
		p.FSReadable, p.FSWritable = append(p.FSReadable, "/proc"), []string{"/dev/null"}
		for _, p := range []*core.Policy{p, deniedWith(p, t)} {
			r := inside(t, p, "/bin/sh", "-c", `
head -c 1 /proc/kcore && echo KCORE
cut -c1-16 /proc/kallsyms | tr -d 0 | tr -d '\n'
for f in environ maps mem auxv root/etc/hostname cwd/. fd/0 exe map_files task/$0/environ; do
	head -c 1 /proc/$0/$f >/dev/null 2>&1 && echo OPEN $f
done
cat /proc/self/maps >/dev/null && cat /proc/self/environ >/dev/null && echo own`, fmt.Sprint(os.Getpid()))
			if string(r.Stdout) != "own\n" {
				t.Errorf("%q %s", r.Stdout, r.Stderr)
			}
		}
		out := outside(t, "/bin/sh", "-c", "head -c 1 /proc/$0/environ >/dev/null && head -c 1 /proc/$0/maps >/dev/null && echo read", fmt.Sprint(os.Getpid()))
		if out != "read\n" {
			t.Errorf("control %q", out)
		}
	})
}

// Section 15: /proc has the sandbox's own processes, and nothing of the kernel's own.
func TestProcOfOthers(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		p := policy()
		p.FSReadable, p.FSWritable = append(p.FSReadable, "/proc"), []string{"/dev/null"}
		const script = `
for f in status cmdline stat comm limits task/$0/status; do
	head -c 1 /proc/$0/$f >/dev/null 2>&1 && echo "host $f"
	head -c 1 /proc/$PPID/$f >/dev/null 2>&1 && echo "parent $f"
done
for f in kallsyms keys key-users timer_list; do
	head -c 1 /proc/$f >/dev/null 2>&1 && echo $f
	head -c 1 /proc/self/root/proc/./$f >/dev/null 2>&1 && echo $f again
	(cd /proc; head -c 1 $f >/dev/null 2>&1) && echo $f relative
done
sleep 1000 & child=$!
(setsid sleep 1000 & echo $! > /dev/null)
sh -c 'exec head -c 1 /proc/$$/environ' >/dev/null && sh -c 'exec head -c 1 /proc/$$/maps' >/dev/null && sh -c 'exec ls /proc/$$/fd' >/dev/null &&
	head -c 1 /proc/$child/status >/dev/null && head -c 1 /proc/$child/cmdline >/dev/null &&
	head -c 1 /proc/$$/stat >/dev/null && head -c 1 /proc/meminfo >/dev/null && echo own
n=0 sleepers=0
while [ $sleepers -lt 2 ] && [ $((n += 1)) -lt 10000 ]; do # they may not have begun
	sleepers=0
	for d in /proc/[0-9]*; do
		name=; { read -r name < $d/comm; } 2>/dev/null
		[ "$name" = sleep ] && sleepers=$((sleepers + 1))
	done
done
echo sleepers $sleepers`
		asked := *p
		asked.PolicyFn = func(*core.Event, *core.Context) core.Verdict { return core.Allow }
		linked, rooted := *p, *p
		link := filepath.Join(t.TempDir(), "link")
		must(t, os.Symlink("/proc", link))
		linked.FSReadable = append(slices.Clone(policy().FSReadable), link)
		rooted.FSReadable = append(slices.Clone(policy().FSReadable), "/proc/self/root")
		for name, p := range map[string]*core.Policy{"": p, "denied": deniedWith(p, t), "asked": &asked, "by a link": &linked, "by a process's root": &rooted} {
			r := inside(t, p, "/bin/sh", "-c", script, fmt.Sprint(os.Getpid()))
			if string(r.Stdout) != "own\nsleepers 2\n" {
				t.Errorf("%s: %q %s", name, r.Stdout, r.Stderr)
			}
		}
		p.ExtraAllowSyscalls = []string{"landlock_restrict_self"} // which says that it is not guarded
		control := string(inside(t, p, "/bin/sh", "-c", script, fmt.Sprint(os.Getpid())).Stdout)
		for _, want := range []string{"host status", "host cmdline", "parent stat", "kallsyms", "keys again", "keys relative"} {
			if !strings.Contains(control, want+"\n") {
				t.Errorf("control: no %s: %q", want, control)
			}
		}
	})
}

// deniedWith is a policy with a denial elsewhere besides, so that opens go by way of the library.
func deniedWith(p *core.Policy, t *testing.T) *core.Policy {
	q := *p
	q.FSDenied = []string{filepath.Join(tree(t), "denied")}
	return &q
}

// Section 13: what is opened for a caller is as if it had opened it.
func TestOnBehalf(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		var outs []string
		for i := range 4 {
			dir := tree(t)
			p := policy()
			p.FSReadable, p.FSWritable = append(p.FSReadable, "/proc"), []string{dir}
			switch i {
			case 0:
				outs = append(outs, outside(t, victim("behalf"), dir))
			case 1:
				all := uint32(1 << 20)
				p.NumCPUs = &all // which has opens looked at
				outs = append(outs, string(inside(t, p, victim("behalf"), dir).Stdout))
			case 2:
				p.FSDenied = []string{filepath.Join(dir, "denied")}
				fallthrough
			default:
				r := inside(t, p, victim("behalf"), dir)
				if r.ExitCode != 0 {
					t.Errorf("%+v %s", r, r.Stderr)
				}
				outs = append(outs, string(r.Stdout))
			}
		}
		// The table is full, and the kernel makes no file then, where the library has made one.
		for i := range outs {
			if outs[i] != outs[0] {
				t.Errorf("way %d:\n%s\noutside:\n%s", i, outs[i], outs[0])
			}
		}
		if !strings.Contains(outs[0], "full -1 24\nfull-creat -1 24\n") || !strings.Contains(outs[0], "fifo 7 through\n") {
			t.Error(outs[0])
		}
	})
}

// A file without a path is no way around fs_executable.
func TestMemfdIsNotExecuted(t *testing.T) {
	program := `
import os, sys
def try_(name, f):
    try: print(name, f(), 0)
    except OSError as e: print(name, -1, e.errno)
def run():
    fd = os.memfd_create("copy", 0)
    os.write(fd, open(sys.argv[1], "rb").read())
    pid = os.fork()
    if pid == 0:
        try: os.execv("/proc/self/fd/%d" % fd, ["prog", "which"])
        finally: os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
try_("memfd", run)
try_("sealed", lambda: os.memfd_create("x", 8) and 0)`
	bothUsers(t, func(t *testing.T) {
		p := policy()
		p.FSReadable = append(p.FSReadable, "/proc")
		argv := []string{"/usr/bin/python3", "-c", program, victim("swap")}
		if got := attempts(string(inside(t, p, argv...).Stdout)); got["memfd"].result != 7 || got["sealed"].result != 0 {
			t.Errorf("where all that is readable may be executed: %+v", got)
		}
		p.FSExecutable = []string{"/usr", "/lib", "/lib64", "/bin"}
		got := attempts(string(inside(t, p, argv...).Stdout))
		refused(t, got, []string{"memfd"}, syscall.ENOSYS)
		if got["sealed"].result != 0 {
			t.Errorf("%+v", got)
		}
	})
	if got := attempts(outside(t, "/usr/bin/python3", "-c", program, victim("swap"))); got["memfd"].result != 7 {
		t.Errorf("control: %+v", got)
	}
}

// Section 13: what a task has given up is not done for it.
func TestGivenUpCredentials(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: who has something to give up")
	}
	dir := tree(t)
	mine, theirs := filepath.Join(dir, "mine"), filepath.Join(dir, "theirs")
	must(t, os.WriteFile(mine, []byte("MINE\n"), 0o600))
	must(t, os.WriteFile(theirs, []byte("THEIRS\n"), 0o600))
	must(t, os.Chown(theirs, 65534, 65534))
	script := `cd $0
cat mine theirs
setpriv --reuid 65534 --regid 65534 --clear-groups cat mine theirs
setpriv --bounding-set=-all cat mine theirs
setpriv --securebits=+noroot,+noroot_locked cat mine theirs
true > made && setpriv --reuid 65534 --clear-groups sh -c 'true > made'
cat mine theirs`
	want := "MINE\nTHEIRS\n" + "THEIRS\n" + "MINE\n" + "MINE\n" + "MINE\nTHEIRS\n"
	p := policy()
	p.FSReadable, p.FSWritable = append(p.FSReadable, "/proc", "/etc"), []string{dir}
	p.FSDenied = []string{filepath.Join(dir, "denied")}
	r := inside(t, p, "/bin/sh", "-c", script, dir)
	if string(r.Stdout) != want || strings.Count(string(r.Stderr), "ermission denied") != 4 {
		t.Errorf("%q, want %q\n%s", r.Stdout, want, r.Stderr)
	}
	if out := outside(t, "/bin/sh", "-c", script, dir); out != want {
		t.Errorf("control %q, want %q", out, want)
	}
}
