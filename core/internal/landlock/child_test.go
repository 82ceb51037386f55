package landlock

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// A test hands a ruleset and a list of operations to a copy of the test binary,
// which restricts one thread with it (or does not: the control), carries the
// operations out on that thread and says how each went.

const childEnv = "LANDLOCK_TEST_CHILD"

type op []string // name and arguments of operations

func TestMain(m *testing.M) {
	if mode := os.Getenv(childEnv); mode != "" {
		child(mode == "confined")
		return
	}
	os.Exit(m.Run())
}

// outcomes runs the operations under the spec, and without it, and returns each
// outcome as "ok" or the name of the errno.
func outcomes(t *testing.T, s Spec, ops []op) (confined, free []string) {
	t.Helper()
	needLandlock(t)
	fd, err := s.Open()
	if err != nil {
		t.Fatal(err)
	}
	ruleset := os.NewFile(uintptr(fd), "ruleset")
	defer ruleset.Close()
	return runChild(t, "confined", ruleset, ops), runChild(t, "free", ruleset, ops)
}

func runChild(t *testing.T, mode string, ruleset *os.File, ops []op) []string {
	t.Helper()
	doc, err := json.Marshal(ops)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", string(doc))
	cmd.Env = append(os.Environ(), childEnv+"="+mode)
	cmd.ExtraFiles = []*os.File{ruleset}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s child: %v", mode, err)
	}
	var got []string
	if err := json.Unmarshal(out, &got); err != nil || len(got) != len(ops) {
		t.Fatalf("%s child said %q: %v", mode, out, err)
	}
	return got
}

func needLandlock(t *testing.T) int {
	t.Helper()
	abi, err := ABI()
	if err != nil {
		t.Skip(err)
	}
	return abi
}

func child(confined bool) {
	runtime.LockOSThread()
	if confined {
		must(unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		must(ll.LandlockRestrictSelf(3, 0))
	}
	var ops []op
	must(json.Unmarshal([]byte(os.Args[1]), &ops))
	got := make([]string, len(ops))
	for i, o := range ops {
		got[i] = outcome(operations[o[0]](o[1:]))
	}
	must(json.NewEncoder(os.Stdout).Encode(got))
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func outcome(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	default:
		return err.Error()
	}
}

// operations are the acts that rules are about; those that change something put
// it back, so that the control sees what the confined child saw.
var operations = map[string]func(a []string) error{
	"read":    func(a []string) error { return openFlags(a[0], unix.O_RDONLY) },
	"write":   func(a []string) error { return openFlags(a[0], unix.O_WRONLY) },
	"readdir": func(a []string) error { return openFlags(a[0], unix.O_RDONLY|unix.O_DIRECTORY) },
	"create": func(a []string) error {
		if err := openFlags(a[0], unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL); err != nil {
			return err
		}
		return unix.Unlink(a[0])
	},
	"mkdir": func(a []string) error {
		if err := unix.Mkdir(a[0], 0o755); err != nil {
			return err
		}
		return unix.Rmdir(a[0])
	},
	"symlink": func(a []string) error {
		if err := unix.Symlink("nowhere", a[0]); err != nil {
			return err
		}
		return unix.Unlink(a[0])
	},
	"truncate": func(a []string) error { return unix.Truncate(a[0], 1) },
	"remove": func(a []string) error {
		if err := unix.Unlink(a[0]); err != nil {
			return err
		}
		fd, err := unix.Open(a[0], unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC, 0o644)
		if err == nil {
			unix.Close(fd)
		}
		return err
	},
	"rename": func(a []string) error {
		if err := unix.Rename(a[0], a[1]); err != nil {
			return err
		}
		return unix.Rename(a[1], a[0])
	},
	"mknod": func(a []string) error {
		mode, err := strconv.ParseUint(a[1], 8, 32)
		if err != nil {
			return err
		}
		if err := unix.Mknod(a[0], uint32(mode), int(unix.Mkdev(1, 3))); err != nil {
			return err
		}
		return unix.Unlink(a[0])
	},
	"exec": func(a []string) error {
		pid, err := syscall.ForkExec(a[0], a, &syscall.ProcAttr{Files: []uintptr{2, 2, 2}})
		if err != nil {
			return err
		}
		var status unix.WaitStatus
		if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
			return err
		}
		if status.ExitStatus() != 0 {
			return fmt.Errorf("status %#x", status)
		}
		return nil
	},
	"ioctl": func(a []string) error {
		fd, err := unix.Open(a[0], unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		_, err = unix.IoctlGetTermios(fd, unix.TCGETS)
		return err
	},
	"connect": func(a []string) error {
		return withSocket(func(fd int) error { return unix.Connect(fd, loopback(a[0])) })
	},
	"bind": func(a []string) error {
		return withSocket(func(fd int) error { return unix.Bind(fd, loopback(a[0])) })
	},
	"abstract": func(a []string) error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Connect(fd, &unix.SockaddrUnix{Name: "@" + a[0]})
	},
	"signal": func(a []string) error {
		pid, err := strconv.Atoi(a[0])
		if err != nil {
			return err
		}
		return unix.Kill(pid, 0)
	},
}

func openFlags(path string, flags int) error {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0o644)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func withSocket(act func(fd int) error) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return act(fd)
}

func loopback(port string) *unix.SockaddrInet4 {
	n, err := strconv.Atoi(port)
	must(err)
	return &unix.SockaddrInet4{Port: n, Addr: [4]byte{127, 0, 0, 1}}
}
