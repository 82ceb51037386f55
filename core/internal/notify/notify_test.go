package notify_test

import (
	"encoding/binary"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sandlock/sandlock/core/internal/notify"
	"github.com/sandlock/sandlock/core/internal/warden"
	"golang.org/x/sys/unix"
)

// carryOn lets the kernel run the call.
func carryOn(r *notify.Request) {
	if r.Claim() {
		r.ContinueClaimed()
	}
}

// trap is a filter that notifies of one system call and allows all others.
func trap(nr uint32) []byte {
	var b []byte
	for _, ins := range []struct {
		op     uint16
		jt, jf uint8
		k      uint32
	}{
		{0x20, 0, 0, 0},          // load nr
		{0x15, 0, 1, nr},         // if it is the one
		{0x06, 0, 0, 0x7fc00000}, // SECCOMP_RET_USER_NOTIF
		{0x06, 0, 0, 0x7fff0000}, // SECCOMP_RET_ALLOW
	} {
		b = binary.NativeEndian.AppendUint16(b, ins.op)
		b = append(b, ins.jt, ins.jf)
		b = binary.NativeEndian.AppendUint32(b, ins.k)
	}
	return b
}

// serve runs a shell under a filter that traps nr, with h as its handler, and
// returns what the shell printed.
func serve(t *testing.T, nr uint32, script string, poll bool, h notify.Handler, broken func(error, *warden.Warden)) string {
	t.Helper()
	r, wr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w, err := warden.Start(&warden.Spec{
		Path: "/bin/sh", Argv: []string{"sh", "-c", script}, Filter: trap(nr), Listener: true,
		Files: []int{0, int(wr.Fd()), 2}, Exec: -1, Ruleset: -1, Cwd: -1, Cgroup: -1, TTY: -1, KeepCaps: ^uint64(0), KillerScope: 1 << 1,
	})
	wr.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { w.Kill(); w.Reap(); w.Close() }()
	m, fd, err := w.Receive()
	if err != nil || m.Type != warden.Created || fd < 0 {
		t.Fatalf("%+v, descriptor %d, %v", m, fd, err)
	}
	handlers := map[int32]notify.Handler{}
	if h != nil {
		handlers[int32(nr)] = h
	}
	l := notify.Serve(fd, poll, 50*time.Millisecond, handlers, func(err error) { broken(err, w) })
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	l.Wait(time.Minute)
	return strings.TrimSpace(string(out))
}

func fatal(t *testing.T) func(error, *warden.Warden) {
	return func(err error, w *warden.Warden) { t.Errorf("broken: %v", err); w.Kill() }
}

func TestAnswersReachTheCaller(t *testing.T) {
	for _, poll := range []bool{false, true} {
		got := serve(t, unix.SYS_GETPPID, "echo $PPID", poll, func(r *notify.Request) {
			r.Return(4242)
			r.Return(1) // a second answer goes nowhere
		}, fatal(t))
		if got != "4242" {
			t.Errorf("poll %v: %q", poll, got)
		}
	}
}

func TestErrnoAndContinue(t *testing.T) {
	got := serve(t, unix.SYS_CHDIR, "cd / && echo yes || echo no", false, func(r *notify.Request) { r.Errno(unix.EACCES) }, fatal(t))
	if got != "no" {
		t.Errorf("errno: %q", got)
	}
	got = serve(t, unix.SYS_CHDIR, "cd / && echo yes || echo no", false, carryOn, fatal(t))
	if got != "yes" {
		t.Errorf("continue: %q", got)
	}
}

func TestWithoutHandlerTheCallIsDenied(t *testing.T) {
	if got := serve(t, unix.SYS_CHDIR, "cd / && echo yes || echo no", false, nil, fatal(t)); got != "no" {
		t.Errorf("%q", got)
	}
}

func TestDeadlineRunsWhileHeld(t *testing.T) {
	got := serve(t, unix.SYS_CHDIR, "cd / && echo yes || echo no", false, func(r *notify.Request) {
		l := r.Listener()
		l.Hold()
		cancel := l.After(time.Hour, func() { t.Error("cancelled deadline ran") })
		l.After(50*time.Millisecond, func() {
			cancel()
			r.Errno(unix.EPERM)
			l.Release()
		})
	}, fatal(t))
	if got != "no" {
		t.Errorf("%q", got)
	}
}

func TestMemoryIsReadAndChecked(t *testing.T) {
	got := serve(t, unix.SYS_CHDIR, "cd /tmp/../tmp && echo yes", false, func(r *notify.Request) {
		buf := make([]byte, 12)
		n, err := r.ReadMemory(r.Data.Args[0], buf)
		if err != nil || !strings.HasPrefix(string(buf[:n]), "/tmp") || !r.Valid() {
			t.Errorf("%q, %v, valid %v", buf[:n], err, r.Valid())
		}
		if _, err := r.ReadMemory(0, buf); err == nil {
			t.Error("page zero was read")
		}
		carryOn(r)
		if r.Valid() {
			t.Error("valid after the answer")
		}
	}, fatal(t))
	if got != "yes" {
		t.Errorf("%q", got)
	}
}

// A handler that panics ends the service, and the one who runs it the sandbox.
func TestPanicBreaksTheServiceNotTheHost(t *testing.T) {
	broken := make(chan error, 1)
	got := serve(t, unix.SYS_CHDIR, "cd /; echo alive", false, func(*notify.Request) { panic("handler") }, func(err error, w *warden.Warden) {
		broken <- err
		w.Kill()
	})
	if err := <-broken; got != "" || !strings.Contains(err.Error(), "handler") {
		t.Errorf("%q, %v", got, err)
	}
}
