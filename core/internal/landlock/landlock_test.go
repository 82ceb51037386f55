package landlock

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// row is one operation, how it must end under the rules and how without them.
type row struct {
	op       op
	confined string
	free     string
}

func check(t *testing.T, g Grants, rows []row) {
	t.Helper()
	checkABI(t, g, needLandlock(t), rows)
}

func checkABI(t *testing.T, g Grants, abi int, rows []row) {
	t.Helper()
	ops := make([]op, len(rows))
	for i, r := range rows {
		ops[i] = r.op
	}
	confined, free := outcomes(t, Compile(g, abi), ops)
	for i, r := range rows {
		if confined[i] != r.confined {
			t.Errorf("confined %v: %s, want %s", r.op, confined[i], r.confined)
		}
		if free[i] != r.free {
			t.Errorf("unconfined %v: %s, want %s", r.op, free[i], r.free)
		}
	}
}

// tree makes d/{r,w,x}/{f,sub/} and returns d.
func tree(t *testing.T) string {
	t.Helper()
	d := t.TempDir()
	for _, dir := range []string{"r", "w", "x"} {
		if err := os.MkdirAll(filepath.Join(d, dir, "sub"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d, dir, "f"), []byte("data"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func TestFiles(t *testing.T) {
	d := tree(t)
	rows := []row{
		{op{"read", d + "/r/f"}, "ok", "ok"},
		{op{"readdir", d + "/r/sub"}, "ok", "ok"},
		{op{"write", d + "/r/f"}, "EACCES", "ok"},
		{op{"create", d + "/r/new"}, "EACCES", "ok"},
		{op{"remove", d + "/r/f"}, "EACCES", "ok"},
		{op{"mkdir", d + "/r/new"}, "EACCES", "ok"},
		{op{"symlink", d + "/r/new"}, "EACCES", "ok"},
		{op{"truncate", d + "/r/f"}, "EACCES", "ok"},
		{op{"rename", d + "/r/f", d + "/w/g"}, "EACCES", "ok"},

		{op{"read", d + "/w/f"}, "ok", "ok"},
		{op{"write", d + "/w/f"}, "ok", "ok"},
		{op{"create", d + "/w/new"}, "ok", "ok"},
		{op{"remove", d + "/w/f"}, "ok", "ok"},
		{op{"mkdir", d + "/w/new"}, "ok", "ok"},
		{op{"symlink", d + "/w/new"}, "ok", "ok"},
		{op{"truncate", d + "/w/f"}, "ok", "ok"},
		{op{"rename", d + "/w/f", d + "/w/sub/g"}, "ok", "ok"},
		{op{"mknod", d + "/w/fifo", "10644"}, "ok", "ok"},

		{op{"read", d + "/x/f"}, "EACCES", "ok"},
		{op{"readdir", d + "/x"}, "EACCES", "ok"},
		{op{"write", d + "/x/f"}, "EACCES", "ok"},
		{op{"truncate", d + "/x/f"}, "EACCES", "ok"},
		{op{"readdir", d}, "EACCES", "ok"},
		{op{"read", "/etc/passwd"}, "EACCES", "ok"},
	}
	if os.Geteuid() == 0 {
		rows = append(rows,
			row{op{"mknod", d + "/w/null", "20644"}, "EACCES", "ok"},
			row{op{"mknod", d + "/w/ram", "60644"}, "EACCES", "ok"})
	}
	if needLandlock(t) >= 5 {
		// A terminal that is readable only may not be told anything.
		rows = append(rows, row{op{"ioctl", "/dev/ptmx"}, "EACCES", "ok"})
	}
	check(t, Grants{Readable: []string{d + "/r", "/dev/ptmx"}, Writable: []string{d + "/w"}}, rows)
}

func TestWritableDeviceTakesIoctl(t *testing.T) {
	check(t, Grants{Writable: []string{"/dev/ptmx"}}, []row{
		{op{"ioctl", "/dev/ptmx"}, "ok", "ok"},
	})
}

func TestEmptyGrantsNothing(t *testing.T) {
	d := tree(t)
	check(t, Grants{}, []row{
		{op{"read", d + "/r/f"}, "EACCES", "ok"},
		{op{"readdir", "/"}, "EACCES", "ok"},
		{op{"exec", "/bin/true"}, "EACCES", "ok"},
	})
}

func TestFileAndSymlink(t *testing.T) {
	d := tree(t)
	if err := os.Symlink(d+"/x", d+"/link"); err != nil {
		t.Fatal(err)
	}
	check(t, Grants{Readable: []string{d + "/link", d + "/link"}, Writable: []string{d + "/r/f"}}, []row{
		{op{"read", d + "/x/f"}, "ok", "ok"},
		{op{"read", d + "/link/f"}, "ok", "ok"},
		{op{"write", d + "/r/f"}, "ok", "ok"},
		{op{"truncate", d + "/r/f"}, "ok", "ok"},
		{op{"remove", d + "/r/f"}, "EACCES", "ok"},
		{op{"read", d + "/w/f"}, "EACCES", "ok"},
	})
}

func TestExecutable(t *testing.T) {
	d := tree(t)
	copyFile(t, "/bin/true", d+"/x/true")
	copyFile(t, "/bin/true", d+"/w/true")
	if err := os.WriteFile(d+"/x/script", []byte("#!"+d+"/w/true\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d+"/w/script", []byte("#!/bin/true\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	system := []string{"/usr", "/lib", "/lib64", "/bin"}
	with := func(paths ...string) []string { return append(paths, system...) }

	t.Run("readable is executable", func(t *testing.T) {
		check(t, Grants{Readable: with(d + "/x")}, []row{
			{op{"exec", d + "/x/true"}, "ok", "ok"},
			{op{"exec", d + "/w/true"}, "EACCES", "ok"},
		})
	})
	t.Run("only what is executable", func(t *testing.T) {
		check(t, Grants{Readable: with(d), Executable: with(d + "/x"), ExecutableGiven: true}, []row{
			{op{"exec", d + "/x/true"}, "ok", "ok"},
			{op{"exec", d + "/w/true"}, "EACCES", "ok"},
			{op{"exec", d + "/x/script"}, "EACCES", "ok"}, // its interpreter is not
			{op{"exec", d + "/w/script"}, "EACCES", "ok"}, // its interpreter is
		})
	})
	t.Run("writable is not executable either", func(t *testing.T) {
		check(t, Grants{Readable: system, Writable: []string{d}, Executable: system, ExecutableGiven: true}, []row{
			{op{"exec", d + "/w/true"}, "EACCES", "ok"},
			{op{"exec", "/bin/true"}, "ok", "ok"},
		})
	})
	t.Run("nothing", func(t *testing.T) {
		check(t, Grants{Readable: []string{"/"}, ExecutableGiven: true}, []row{
			{op{"exec", "/bin/true"}, "EACCES", "ok"},
			{op{"read", "/bin/true"}, "ok", "ok"},
		})
	})
	t.Run("execute without read is not enough", func(t *testing.T) {
		check(t, Grants{Readable: system, Executable: with(d + "/x"), ExecutableGiven: true}, []row{
			{op{"exec", d + "/x/true"}, "EACCES", "ok"},
		})
	})
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestTCP(t *testing.T) {
	if needLandlock(t) < 4 {
		t.Skip("TCP rules need ABI 4")
	}
	listen := func() (uint16, string) {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		port := l.Addr().(*net.TCPAddr).Port
		return uint16(port), strconv.Itoa(port)
	}
	n1, p1 := listen()
	_, p2 := listen()
	l, err := net.Listen("tcp4", "127.0.0.1:0") // a port that is free once it is closed
	if err != nil {
		t.Fatal(err)
	}
	free := uint16(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	p3 := strconv.Itoa(int(free))

	t.Run("per port", func(t *testing.T) {
		check(t, Grants{Connect: []PortRange{{n1, n1}}, Bind: []PortRange{{free, free}}}, []row{
			{op{"connect", p1}, "ok", "ok"},
			{op{"connect", p2}, "EACCES", "ok"},
			{op{"bind", p3}, "ok", "ok"},
			{op{"bind", "0"}, "EACCES", "ok"},
		})
	})
	t.Run("nothing", func(t *testing.T) {
		check(t, Grants{}, []row{
			{op{"connect", p1}, "EACCES", "ok"},
			{op{"bind", p3}, "EACCES", "ok"},
		})
	})
	t.Run("any", func(t *testing.T) {
		check(t, Grants{BindAny: true, ConnectAny: true}, []row{
			{op{"connect", p1}, "ok", "ok"},
			{op{"bind", p3}, "ok", "ok"},
			{op{"bind", "0"}, "ok", "ok"},
		})
	})
	t.Run("a range, any bind does not allow connect", func(t *testing.T) {
		check(t, Grants{BindAny: true, Connect: []PortRange{{1, n1 - 1}, {n1 + 1, 65535}}}, []row{
			{op{"connect", p1}, "EACCES", "ok"},
			{op{"bind", p3}, "ok", "ok"},
		})
	})
	t.Run("without", func(t *testing.T) {
		check(t, Grants{WithoutTCP: true, Connect: []PortRange{{1, 1}}}, []row{
			{op{"connect", p1}, "ok", "ok"},
			{op{"bind", p3}, "ok", "ok"},
		})
	})
}

func TestScopes(t *testing.T) {
	if needLandlock(t) < 6 {
		t.Skip("scopes need ABI 6")
	}
	name := "landlock-test-" + strconv.Itoa(os.Getpid())
	l, err := net.Listen("unix", "@"+name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	pid := strconv.Itoa(os.Getpid())
	check(t, Grants{}, []row{
		{op{"abstract", name}, "EPERM", "ok"},
		{op{"signal", pid}, "EPERM", "ok"},
	})
	check(t, Grants{WithoutSignalScope: true}, []row{
		{op{"abstract", name}, "EPERM", "ok"},
		{op{"signal", pid}, "ok", "ok"},
	})
	check(t, Grants{WithoutAbstractSocket: true}, []row{
		{op{"abstract", name}, "ok", "ok"},
		{op{"signal", pid}, "EPERM", "ok"},
	})
}

// An older ABI's ruleset on this kernel is what that kernel would enforce.
func TestOlderABIs(t *testing.T) {
	d := tree(t)
	cross := op{"rename", d + "/w/f", d + "/w/sub/g"}
	for _, tt := range []struct {
		abi      int
		rename   string
		truncate string
	}{
		{1, "EXDEV", "ok"}, // refer is denied wherever Landlock is, unless granted
		{2, "ok", "ok"},
		{3, "ok", "EACCES"},
		{6, "ok", "EACCES"},
	} {
		if needLandlock(t) < tt.abi {
			continue
		}
		checkABI(t, Grants{Writable: []string{d + "/w"}}, tt.abi, []row{
			{cross, tt.rename, "ok"},
			{op{"truncate", d + "/x/f"}, tt.truncate, "ok"},
			{op{"write", d + "/x/f"}, "EACCES", "ok"},
		})
	}
}

func TestWrongPaths(t *testing.T) {
	needLandlock(t)
	d := tree(t)
	abi, _ := ABI()
	_, err := Compile(Grants{
		Readable:        []string{"/nope", d, d + "/r/f/below", "/sbin", "/lib64/", "/lib", "/bin"},
		Writable:        []string{d + "/a\nb"},
		Executable:      []string{"/nope/x"},
		ExecutableGiven: true,
	}, abi).Open()
	var wrong PathErrors
	if !errors.As(err, &wrong) {
		t.Fatalf("error %v", err)
	}
	want := strings.Join([]string{
		"fs_readable: /nope: no such file or directory",
		"fs_readable: " + d + "/r/f/below: not a directory",
		"fs_writable: " + strconv.Quote(d+"/a\nb") + ": no such file or directory",
		"fs_executable: /nope/x: no such file or directory",
	}, "; ")
	if err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
	if !errors.Is(err, unix.ENOENT) || !errors.Is(err, unix.ENOTDIR) {
		t.Error("the errnos are not wrapped")
	}
}

func TestUnsuitableFile(t *testing.T) {
	abi := needLandlock(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	path := "/proc/self/fd/" + strconv.Itoa(int(r.Fd()))
	if _, err := Compile(Grants{Readable: []string{path}}, abi).Open(); !errors.Is(err, unix.EBADFD) {
		t.Errorf("a rule for a pipe: %v", err)
	}
}

func TestKeepProc(t *testing.T) {
	abi := needLandlock(t)
	d := tree(t)
	if err := os.Symlink("/proc", d+"/p"); err != nil {
		t.Fatal(err)
	}
	for path, refused := range map[string]bool{
		"/": true, "/proc": true, "/proc/self": true, "/proc/self/comm": true, d + "/p": true, d + "/p/1": true,
		d: false, "/tmp": false, "/dev/null": false,
	} {
		fd, err := Compile(Grants{Writable: []string{path}, KeepProc: true}, abi).Open()
		if errors.Is(err, errProc) != refused {
			t.Errorf("writable %s: %v", path, err)
		}
		if err == nil {
			unix.Close(fd)
		}
		fd, err = Compile(Grants{Readable: []string{path}, KeepProc: true}, abi).Open()
		if err != nil {
			t.Errorf("readable %s: %v", path, err)
			continue
		}
		unix.Close(fd)
	}
}

func TestABIErrors(t *testing.T) {
	for errno, want := range map[unix.Errno]string{
		unix.ENOSYS:     "Linux 5.13 or later",
		unix.EOPNOTSUPP: "lsm= list",
		unix.EPERM:      "outer seccomp filter",
		unix.EINVAL:     "landlock_create_ruleset: invalid argument",
	} {
		if err := abiError(errno); !errors.Is(err, errno) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", errno, err)
		}
	}
}

func TestOpenLeavesNoDescriptors(t *testing.T) {
	abi := needLandlock(t)
	d := tree(t)
	before := descriptors(t)
	for _, g := range []Grants{
		{Readable: []string{d, d + "/r/f"}, Connect: []PortRange{{80, 90}}},
		{Readable: []string{d, "/nope"}},
		{Writable: []string{"/"}, KeepProc: true},
	} {
		if fd, err := Compile(g, abi).Open(); err == nil {
			flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
			if err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("ruleset flags %#x, %v: not close-on-exec", flags, err)
			}
			unix.Close(fd)
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestSpecString(t *testing.T) {
	got := Compile(Grants{
		Readable: []string{"/usr"}, Writable: []string{"/tmp/a b"}, Executable: []string{"/usr/bin"}, ExecutableGiven: true,
		Connect: []PortRange{{80, 80}, {443, 445}}, BindAny: true, WithoutIoctlDev: true,
		WithoutSignalScope: true, KeepProc: true,
	}, 6).String()
	want := `landlock ABI 6
  handled fs: execute write_file read_file read_dir remove_dir remove_file make_char make_dir make_reg make_sock make_fifo make_block make_sym refer truncate
  handled net: connect_tcp
  scoped: abstract_unix_socket
  fs_readable "/usr": read_file read_dir
  fs_writable "/tmp/a b": write_file read_file read_dir remove_dir remove_file make_dir make_reg make_sock make_fifo make_sym refer truncate
  fs_executable "/usr/bin": execute
  port 80: connect_tcp
  port 443-445: connect_tcp
  no writable path may hold a proc file system
`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestKnownGrowsWithTheABI(t *testing.T) {
	var fs, net, scoped uint64
	for abi := 0; abi <= 12; abi++ {
		f, n, s := known(abi)
		if f&fs != fs || n&net != net || s&scoped != scoped {
			t.Errorf("ABI %d lacks rights of ABI %d", abi, abi-1)
		}
		fs, net, scoped = f, n, s
	}
	if fs != 1<<len(fsNames)-1 || net != 1<<len(netNames)-1 || scoped != 1<<len(scopeNames)-1 {
		t.Errorf("rights without a name: %#x %#x %#x", fs, net, scoped)
	}
}
