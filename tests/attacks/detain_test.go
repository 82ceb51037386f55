package attacks

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/sandlock/sandlock/core"
	"golang.org/x/sys/unix"
)

// endless is for runs that end by themselves, if the supervisor does not wait for ever.
const endless = time.Minute

// ends runs argv, and fails the test when that does not end, once free has let go what it
// waits for.
func ends(t *testing.T, p *core.Policy, free func(), argv ...string) map[string]attempt {
	t.Helper()
	late := time.AfterFunc(endless, func() {
		t.Error("the run does not end")
		free()
	})
	defer late.Stop()
	return attempts(string(inside(t, p, argv...).Stdout))
}

// A unix listener whose queue is full keeps nobody who connects for the sandbox, which
// changes the timeout of its socket all the time.
func TestFullQueue(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		dir := t.TempDir()
		name := filepath.Join(dir, "full")
		fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		free := func() { syscall.Shutdown(fd, syscall.SHUT_RDWR) }
		defer syscall.Close(fd)
		if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: name}); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Listen(fd, 0); err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("unix", name)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		p := policy()
		p.FSReadable = append(p.FSReadable, dir)
		p.UnixAllow = []string{dir}
		got := ends(t, p, free, victim("detain"), "wait", name, "5000")
		if _, returned := got["connected"]; returned || got["rounds"].result != 5000 {
			t.Errorf("%+v", got)
		}
	})
}

// A socket that lingers keeps nobody who has its last descriptor, at the end of the run.
func TestLinger(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		port := l.Addr().(*net.TCPAddr).Port
		peers := make(chan net.Conn, 1)
		go func() {
			c, _ := l.Accept() // and nobody reads
			peers <- c
		}()
		p := policy()
		p.NetAllow, p.PolicyEvents = []string{"tcp://*"}, []string{"connect"}
		running := make(chan *core.Sandbox, 1)
		dials := 0
		p.PolicyFn = func(ev *core.Event, _ *core.Context) core.Verdict {
			if dials++; dials == 2 {
				task, err := unix.PidfdOpen(int(ev.PID), 0)
				if err != nil {
					t.Error(err)
					return core.Deny
				}
				defer unix.Close(task)
				(<-running).Kill()
				dead := []unix.PollFd{{Fd: int32(task), Events: unix.POLLIN}}
				for n := 0; n <= 0; {
					n, _ = unix.Poll(dead, -1)
				}
			}
			return core.Allow
		}
		plan, err := p.Compile()
		if err != nil {
			t.Fatal(err)
		}
		s, err := plan.Spawn(core.Command{Argv: []string{victim("detain"), "linger", strconv.Itoa(port)}, Stdin: -1})
		if err != nil {
			t.Fatal(err)
		}
		running <- s
		late := time.AfterFunc(endless, func() {
			t.Error("the run does not end")
			(<-peers).Close()
		})
		r, err := s.Wait(0)
		s.Close()
		late.Stop()
		if err != nil || dials != 2 || r.Reason != core.Killed {
			t.Errorf("%v, %v after %d dials: %s", err, r, dials, r.Stdout)
		}
	})
}

// Whoever takes a connect back, while its caller waits, has it not made once more by
// a verdict of before.
func TestTakenBack(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		port := full(t)
		p := policy()
		p.NetAllow, p.PolicyEvents = []string{"tcp://127.0.0.1"}, []string{"connect"}
		p.PolicyFn = func(ev *core.Event, ctx *core.Context) core.Verdict {
			if ev.Port != 1 {
				return core.Allow
			}
			if err := ctx.RestrictNetwork(nil); err != nil {
				t.Error(err)
			}
			return core.Deny
		}
		plan, err := p.Compile()
		if err != nil {
			t.Fatal(err)
		}
		r, err := plan.Run(core.Command{Argv: []string{victim("detain"), "again", port}, Stdin: -1}, endless)
		if err != nil {
			t.Fatal(err)
		}
		const closed = 7 // TCP_CLOSE
		got := attempts(string(r.Stdout))
		if got["close"].errno != syscall.EPERM || got["take-back"].result != 0 || got["dial"].result != -1 || got["state"].result != closed {
			t.Errorf("%v: %+v", r.Reason, got)
		}
		control := attempts(outside(t, victim("detain"), "again", port))
		if control["dial"].result != -1 || control["state"].result != closed {
			t.Errorf("control: %+v", control)
		}
	})
}

// A connect on the caller's behalf is made when it is judged, not with the first data.
func TestDeferredConnect(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		const established = 1 // TCP_ESTABLISHED
		r := record(t)
		for name, p := range onBehalf() {
			got := attempts(string(inside(t, p, victim("detain"), "defer", r.port).Stdout))
			if got["option"].result != 0 || got["connect"].result != 0 || got["state"].result != established {
				t.Errorf("%s: %+v", name, got)
			}
		}
		control := attempts(outside(t, victim("detain"), "defer", r.port))
		if control["connect"].result != 0 || control["state"].result == established {
			t.Skipf("fast open is off here: %+v", control) // net.ipv4.tcp_fastopen
		}
	})
}

// The descriptors of the host are not for the sandbox to use up.
func TestHostDescriptors(t *testing.T) {
	if secondUser() {
		t.Skip("as root")
	}
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	few := syscall.Rlimit{Cur: 512, Max: before.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before)
	r := record(t)
	got := inside(t, untraced(onBehalf()["rules"]), victim("dial"), "crowd", r.port, full(t), "500")
	if crowd := attempts(string(got.Stdout)); crowd["waiting"].result != 500 || crowd["open"].result != 0 || len(got.Log) > 0 {
		t.Errorf("%+v %q", crowd, got.Log)
	}
	syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before)

	p := policy()
	p.NetAllow = []string{"udp://127.0.0.1"}
	const carriers = 20
	got = inside(t, p, victim("detain"), "carry", fmt.Sprint(carriers))
	carried := attempts(string(got.Stdout))
	if carried["refused"].result != carriers-1 || carried["carried"].result != 253 || carried["too-many"].errno != syscall.EINVAL {
		t.Errorf("%+v", carried)
	}
	control := attempts(outside(t, victim("detain"), "carry", "1"))
	if control["carried"].result != 253 || control["too-many"].errno != syscall.EINVAL {
		t.Errorf("control: %+v", control)
	}
}
