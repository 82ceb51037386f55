package attacks

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sandlock/sandlock/core"
	"golang.org/x/sys/unix"
)

// Section 12: another name of a file whose directory is denied, which the sandbox can't list,
// nor a thread that opens for it.
func TestDeniedByAnotherName(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		dir := tree(t)
		p := policy()
		for _, name := range []string{"other", "hard-secret"} {
			p.FSReadable = append(p.FSReadable, filepath.Join(dir, name))
		}
		p.FSReadable = append(p.FSReadable, "/etc")
		for _, deny := range []bool{true, false} {
			p.PolicyFn = func(e *core.Event, ctx *core.Context) core.Verdict {
				if deny && slices.Equal(e.Argv, []string{"deny"}) {
					must(t, ctx.DenyPath(filepath.Join(dir, "denied")))
				}
				return core.Allow
			}
			r := inside(t, p, victim("kept"), "linked", dir)
			got := attempts(string(r.Stdout))
			if r.ExitCode != 0 || len(got) != 3 || got["other"].result < 0 {
				t.Errorf("%+v, %s", r, r.Stdout)
			}
			if secret := got["hard-secret"]; deny != (secret.result == -1 && secret.errno == syscall.EACCES) || deny == strings.Contains(string(r.Stdout), "SECRET") {
				t.Errorf("denied: %t: %s", deny, r.Stdout)
			}
		}
	})
}

// Section 12: a directory that gets a denied name while the sandbox runs is denied from within
// as well: by the working directory, by a descriptor, by /proc.
func TestDeniedDirectoryMadeLater(t *testing.T) {
	prepare := func(t *testing.T) (dir string) {
		dir = tree(t)
		must(t, unix.Mkfifo(filepath.Join(dir, "go"), 0o666))
		go func() { // as who deploys a new version does
			w, err := os.OpenFile(filepath.Join(dir, "go"), os.O_WRONLY, 0)
			if err != nil {
				t.Error(err)
				return
			}
			_ = os.Rename(filepath.Join(dir, "denied"), filepath.Join(dir, "old"))
			for _, name := range []string{"denied", "missing", "denied/sub", "missing/sub"} {
				_ = os.Mkdir(filepath.Join(dir, name), 0o755)
				_ = os.WriteFile(filepath.Join(dir, name, "secret"), []byte("SECRET"), 0o755)
			}
			w.Close()
		}()
		return dir
	}
	bothUsers(t, func(t *testing.T) {
		for _, names := range [][]string{{"denied", "missing"}, {"missing"}} {
			dir := prepare(t)
			p := deniedTree(dir)
			p.FSDenied = nil
			for _, name := range names {
				p.FSDenied = append(p.FSDenied, filepath.Join(dir, name))
			}
			r := inside(t, p, victim("kept"), "late", dir)
			got := attempts(string(r.Stdout))
			if r.ExitCode != 0 || len(got) != 44 {
				t.Errorf("%d attempts, %+v, %s", len(got), r, r.Stdout)
			}
			for name, a := range got {
				denied := slices.ContainsFunc(names, func(of string) bool { return strings.HasPrefix(name, of) })
				if denied && (a.result != -1 || a.errno != syscall.EACCES) {
					t.Errorf("%s: %+v", name, a)
				}
				if name == "denied:by-cwd" && !denied && a.result < 0 {
					t.Errorf("what is not denied: %s: %+v", name, a)
				}
			}
		}
	})
	out := outside(t, victim("kept"), "late", prepare(t))
	if got := attempts(out); !strings.Contains(out, "SECRET") || got["missing:by-cwd"].result < 0 || got["missing:mkdir"].result != 0 {
		t.Errorf("control: %s", out)
	}
}

// Section 12: a descriptor with O_PATH, which may be had of what is denied, leads to nothing,
// whatever kind of file it is, and when the file is removed neither.
func TestDeniedByDescriptor(t *testing.T) {
	prepare := func(t *testing.T) (dir string) {
		dir = tree(t)
		denied := filepath.Join(dir, "denied")
		must(t, os.Mkdir(filepath.Join(denied, "sub"), 0o755))
		must(t, os.WriteFile(filepath.Join(denied, "sub/secret"), []byte("SECRET"), 0o644))
		must(t, unix.Mkfifo(filepath.Join(denied, "fifo"), 0o666))
		must(t, unix.Mkfifo(filepath.Join(dir, "go"), 0o666))
		must(t, os.Remove(filepath.Join(dir, "hard-secret")))
		go func() { // as an editor does that saves a file
			w, err := os.OpenFile(filepath.Join(dir, "go"), os.O_WRONLY, 0)
			if err != nil {
				t.Error(err)
				return
			}
			_ = os.WriteFile(filepath.Join(denied, "new"), []byte("new"), 0o644)
			_ = os.Rename(filepath.Join(denied, "new"), filepath.Join(denied, "secret"))
			_ = os.RemoveAll(filepath.Join(denied, "sub"))
			w.Close()
		}()
		return dir
	}
	bothUsers(t, func(t *testing.T) {
		dir := prepare(t)
		r := inside(t, deniedTree(dir), victim("kept"), dir)
		got := attempts(string(r.Stdout))
		if r.ExitCode != 0 || len(got) != 8 || strings.Contains(string(r.Stdout), "SECRET") {
			t.Errorf("%+v, %s", r, r.Stdout)
		}
		for name, a := range got {
			if a.result != -1 || a.errno != syscall.EACCES {
				t.Errorf("%s: %+v", name, a)
			}
		}
	})
	t.Run("control", func(t *testing.T) {
		out := outside(t, victim("kept"), prepare(t))
		if strings.Count(out, "SECRET") != 3 {
			t.Errorf("%s", out)
		}
	})
}

// Section 13: those that wait for the other end of a FIFO keep nobody from a file, and none of
// them stays in this process when the sandbox is over.
func TestWaitersForAFifo(t *testing.T) {
	dir := tree(t)
	fifo := filepath.Join(dir, "go")
	must(t, unix.Mkfifo(fifo, 0o666))
	p := deniedTree(dir)
	many := uint32(200)
	p.MaxProcesses = &many
	r := inside(t, p, victim("kept"), "wait", dir, "100")
	if got := attempts(string(r.Stdout)); r.ExitCode != 0 || got["other"].result < 0 || len(got) != 1 {
		t.Fatalf("%+v, %s", r, r.Stdout)
	}
	// A writer finds no reader as soon as the threads are back, which nothing tells of.
	for end := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		fd, err := unix.Open(fifo, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err == unix.ENXIO {
			return
		}
		if err != nil || time.Now().After(end) {
			t.Fatal(fmt.Sprint("a reader is left: ", err))
		}
		unix.Close(fd)
	}
}
