package attacks

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandlock/sandlock/core"
	"golang.org/x/sys/unix"
)

// operations makes random calls by path, of the kinds and in the form of the victim fsops.
type operations struct{ *rand.Rand }

func (o operations) pick(list ...string) string { return list[o.IntN(len(list))] }

// path is mostly one of a few short names, so that they meet.
func (o operations) path() string {
	var parts []string
	switch o.IntN(12) {
	case 0:
		parts = append(parts, "$")
	case 1:
		parts = append(parts, "..")
	case 2:
		parts = append(parts, "ro")
	case 3:
		parts = append(parts, "none")
	case 4, 5, 6, 7, 8:
		parts = append(parts, "rw")
	}
	for range o.IntN(4) {
		parts = append(parts, o.pick("a", "b", "c", "d", "a", "b", "c", "d", "..", ".", "link", "other", "e"))
	}
	p := strings.Join(parts, o.pick("/", "/", "/", "//"))
	switch {
	case p == "":
		return o.pick("@", ".", "a")
	case o.IntN(12) == 0:
		p += "/"
	}
	return p
}

func (o operations) line() string {
	dir, flags, mode := -1, 0, []int{0o700, 0o755, 0o777}[o.IntN(3)]
	if o.IntN(5) == 0 {
		dir = o.IntN(8)
	}
	p, q := o.path(), o.path()
	op := o.pick("open", "open", "open", "open", "open", "open", "open-plain", "open-creat", "truncate", "mkdir", "rmdir", "unlink", "unlinkat",
		"rename", "rename", "link", "symlink", "mknod", "chmod", "chown", "utimens", "setxattr", "lsetxattr", "removexattr",
		"chdir", "umask", "ftruncate", "write", "list", "close")
	switch op {
	case "open":
		flags = []int{unix.O_RDONLY, unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR}[o.IntN(4)]
		for _, f := range []int{unix.O_CREAT, unix.O_EXCL, unix.O_TRUNC, unix.O_APPEND, unix.O_DIRECTORY, unix.O_NOFOLLOW, unix.O_CLOEXEC} {
			if o.IntN(4) == 0 {
				flags |= f
			}
		}
		switch o.IntN(10) {
		case 0:
			flags = unix.O_PATH | flags&(unix.O_DIRECTORY|unix.O_NOFOLLOW)
		case 1:
			flags = unix.O_TMPFILE | unix.O_RDWR
		case 2:
			flags = unix.O_RDONLY | unix.O_DIRECTORY
		}
		if flags&(unix.O_CREAT|unix.O_DIRECTORY) == unix.O_CREAT|unix.O_DIRECTORY && flags&unix.O_TMPFILE != unix.O_TMPFILE {
			flags &^= unix.O_DIRECTORY // kernels differ
		}
	case "open-plain":
		dir = -1
	case "truncate", "ftruncate":
		flags = o.IntN(20)
	case "unlinkat":
		flags = []int{0, unix.AT_REMOVEDIR}[o.IntN(2)]
	case "rename":
		flags = []int{0, 0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE}[o.IntN(4)]
	case "link":
		flags = []int{0, unix.AT_SYMLINK_FOLLOW}[o.IntN(2)]
	case "symlink":
		q = o.pick("a", "../a", "$/rw/b", "..", "link", "$/ro/c", "/nowhere", "../none/a")
	case "mknod":
		mode = []int{unix.S_IFREG, unix.S_IFIFO, unix.S_IFSOCK, 0}[o.IntN(4)] | 0o644
	case "chown", "utimens":
		flags = []int{0, unix.AT_SYMLINK_NOFOLLOW}[o.IntN(2)]
	case "chdir":
		p = o.pick("$", "$/rw", "$/rw", "a", "b", "..", "$/ro")
		dir = -1
	case "umask":
		mode = []int{0, 0o022, 0o077}[o.IntN(3)]
	}
	return fmt.Sprintf("%s %d %d %d %s %s\n", op, dir, flags, mode, p, q)
}

// forest makes the same random tree under each of the roots, and says what lies in it.
func (o operations) forest(t *testing.T, roots ...string) (paths []string) {
	t.Helper()
	make := func(f func(root string) error) {
		for _, root := range roots {
			must(t, f(root))
		}
	}
	paths = []string{"rw", "ro", "none"}
	dirs := []string{"rw", "ro", "none", "rw"}
	var files []string
	for _, d := range paths {
		make(func(root string) error { return os.Mkdir(filepath.Join(root, d), 0o755) })
	}
	for range 30 {
		path := filepath.Join(dirs[o.IntN(len(dirs))], o.pick("a", "b", "c", "d", "e", "link", "other"))
		if _, err := os.Lstat(filepath.Join(roots[0], path)); err == nil {
			continue
		}
		switch o.IntN(5) {
		case 0, 1:
			make(func(root string) error { return os.Mkdir(filepath.Join(root, path), 0o755) })
			dirs = append(dirs, path)
		case 2:
			target := o.pick("a", "b", "..", "../a", "../rw/b", "$/rw/c", "link", "../none", ".")
			make(func(root string) error {
				return os.Symlink(strings.ReplaceAll(target, "$", root), filepath.Join(root, path))
			})
		case 3:
			if len(files) > 0 {
				of := files[o.IntN(len(files))]
				make(func(root string) error { return os.Link(filepath.Join(root, of), filepath.Join(root, path)) })
				break
			}
			fallthrough
		default:
			make(func(root string) error { return os.WriteFile(filepath.Join(root, path), []byte(path), 0o755) })
			files = append(files, path)
		}
		paths = append(paths, path)
	}
	return paths
}

// The whole of a policy against a model of it: random trees, denials and calls. The same
// calls are made under the same grants, by the kernel alone where nothing that is denied is
// touched, as a naive walk over names tells (victim fsops); the outcomes are compared, and
// the trees at the end. SANDLOCK_SOAK makes 100,000 calls.
func TestFilesAgainstTheModel(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		total, each := 3_000, 300
		switch {
		case os.Getenv("SANDLOCK_SOAK") != "":
			total, each = 100_000, 1_000
		case testing.Short():
			total = 600
		}
		seed := uint64(os.Getpid())
		if s := os.Getenv("SANDLOCK_SEED"); s != "" {
			fmt.Sscan(s, &seed)
		}
		for done := 0; done < total; done += each {
			model(t, seed+uint64(done)<<20, each)
		}
	})
}

func model(t *testing.T, seed uint64, calls int) {
	o := operations{rand.New(rand.NewPCG(seed, 1))}
	base := t.TempDir()
	for d := base; d != "/tmp" && d != "/"; d = filepath.Dir(d) {
		_ = os.Chmod(d, 0o755)
	}
	// Of one length, as some calls fail for the length of a path.
	roots := []string{filepath.Join(base, "1"), filepath.Join(base, "2")}
	for _, root := range roots {
		must(t, os.Mkdir(root, 0o755))
	}
	paths := o.forest(t, roots...)
	var denials []string
	for range 1 + o.IntN(3) {
		p := paths[3+o.IntN(len(paths)-3)]
		if info, err := os.Lstat(filepath.Join(roots[0], p)); err != nil || info.Mode()&os.ModeSymlink != 0 {
			continue // it would be what the link leads to
		}
		denials = append(denials, p)
	}
	if o.IntN(2) == 0 || len(denials) == 0 {
		denials = append(denials, "rw/missing")
	}
	var ops strings.Builder
	for range calls {
		ops.WriteString(o.line())
	}
	list := filepath.Join(base, "ops")
	must(t, os.WriteFile(list, []byte(ops.String()), 0o644))
	var outs, trees []string
	for i, mode := range []string{"model", "plain"} {
		p := policy()
		p.FSReadable = append(p.FSReadable, list, "/proc", filepath.Join(roots[i], "ro"))
		p.FSWritable = []string{filepath.Join(roots[i], "rw")}
		p.Cwd = roots[i]
		if o.IntN(2) == 0 { // opens are looked at for files of its own, and are as if they were not
			all := uint32(1 << 20)
			p.NumCPUs = &all
		}
		argv := []string{victim("fsops"), mode, list}
		for _, d := range denials {
			path := filepath.Join(roots[i], d)
			if mode == "plain" {
				p.FSDenied = append(p.FSDenied, path)
			}
			argv = append(argv, path)
			_ = filepath.WalkDir(path, func(path string, _ os.DirEntry, err error) error {
				var st unix.Stat_t
				if err == nil && unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
					argv = append(argv, fmt.Sprintf("file:%d:%d", st.Dev, st.Ino))
				}
				return nil
			})
		}
		r := inside(t, p, argv...)
		if r.Reason != core.Exited || r.ExitCode != 0 {
			t.Fatalf("seed %d, %s: %+v", seed, mode, r)
		}
		outs = append(outs, string(r.Stdout))
		trees = append(trees, shape(t, roots[i]))
	}
	want, got, lines := strings.Split(outs[0], "\n"), strings.Split(outs[1], "\n"), strings.Split(ops.String(), "\n")
	for i := range want {
		if i >= len(got) || want[i] != got[i] {
			t.Errorf("SANDLOCK_SEED=%d, denied %v: call %d, %s: the model says %q, and it was %q", seed, denials, i, lines[i], want[i], got[min(i, len(got)-1)])
			return
		}
	}
	if trees[0] != trees[1] {
		t.Errorf("SANDLOCK_SEED=%d, denied %v: the trees are\n%s\nby the model, and\n%s", seed, denials, trees[0], trees[1])
	}
}

// shape is a tree without what differs from one run to another.
func shape(t *testing.T, dir string) string {
	t.Helper()
	var s strings.Builder
	for line := range strings.Lines(snapshot(t, dir)) {
		f := strings.Fields(line)
		for i := range f {
			switch {
			case i > 0 && f[i-1] == "ino":
				f[i] = "*"
			case strings.HasPrefix(f[i], "{") && !strings.HasPrefix(f[i], "{1000") && !strings.HasPrefix(f[i], "{2000"):
				f[i] = "{now" // a time that no call has set
			case i > 0 && strings.HasPrefix(f[i-1], "{now"):
				f[i] = "*}"
			case i > 0 && f[i-1] == "size" && strings.Contains(line, "mode 120"):
				f[i] = "*"
			}
		}
		s.WriteString(strings.Join(f, " ") + "\n")
	}
	return s.String()
}
