package warden

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	scopeSignal = 1 << 1 // LANDLOCK_SCOPE_SIGNAL
	allCaps     = ^uint64(0)
)

func spec(argv ...string) *Spec {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		panic(err)
	}
	return &Spec{Path: path, Argv: argv, Env: os.Environ(), Files: []int{0, 1, 2}, Exec: -1,
		Ruleset: -1, Cwd: -1, Cgroup: -1, TTY: -1, KeepCaps: allCaps, KillerScope: scopeSignal}
}

func start(t *testing.T, s *Spec) *Warden {
	t.Helper()
	w, err := Start(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Kill(); w.Reap(); w.Close() })
	return w
}

func receive(t *testing.T, w *Warden, want MessageType) Message {
	t.Helper()
	m, _, err := w.Receive()
	if err != nil {
		t.Fatal(err)
	}
	if m.Type != want {
		t.Fatalf("message %+v, want type %v", m, want)
	}
	return m
}

func TestExitStatusComesBack(t *testing.T) {
	m := receive(t, start(t, spec("sh", "-c", "exit 7")), End)
	if ws := unix.WaitStatus(m.Status); !ws.Exited() || ws.ExitStatus() != 7 || m.Step != StepNone || m.Walked {
		t.Errorf("%+v", m)
	}
}

func TestLargeRequest(t *testing.T) {
	s := spec("sh", "-c", `test $# -eq 1500 && test ${#1} -eq 1000 && test "$BIG" = "`+strings.Repeat("y", 9000)+`"`)
	s.Argv = append(s.Argv, "sh")
	for range 1500 {
		s.Argv = append(s.Argv, strings.Repeat("x", 1000))
	}
	s.Env = append(s.Env, "BIG="+strings.Repeat("y", 9000))
	if m := receive(t, start(t, s), End); m.Status != 0 || m.Step != StepNone {
		t.Errorf("%+v", m)
	}
}

func TestFailedStepIsNamed(t *testing.T) {
	s := spec("true")
	s.Path = "/nonexistent/program"
	if m := receive(t, start(t, s), End); m.Step != StepExec || unix.Errno(m.Errno) != unix.ENOENT {
		t.Errorf("%+v", m)
	}
	s = spec("true")
	s.Cores = []uint32{8000}
	if m := receive(t, start(t, s), End); m.Step != StepAffinity || unix.Errno(m.Errno) != unix.EINVAL {
		t.Errorf("%+v", m)
	}
	s = spec("true")
	s.Filter = []byte{0xff, 0xff, 0, 0, 0, 0, 0, 0}
	if m := receive(t, start(t, s), End); m.Step != StepSeccomp || unix.Errno(m.Errno) != unix.EINVAL {
		t.Errorf("%+v", m)
	}
}

func TestParkedChildCanBeKilled(t *testing.T) {
	s := spec("true")
	s.Park = true
	w := start(t, s)
	pid := receive(t, w, Created).PID
	if exe, _ := os.Readlink("/proc/" + strconv.Itoa(int(pid)) + "/exe"); !strings.Contains(exe, "sandlock-warden") {
		t.Errorf("parked child runs %q", exe)
	}
	w.Kill()
	if ws := unix.WaitStatus(receive(t, w, End).Status); ws.Signal() != unix.SIGKILL {
		t.Errorf("status %#x", ws)
	}
}

func TestParkedChildGoes(t *testing.T) {
	s := spec("sh", "-c", "exit 3")
	s.Park = true
	w := start(t, s)
	receive(t, w, Created)
	if err := w.Go(); err != nil {
		t.Fatal(err)
	}
	if ws := unix.WaitStatus(receive(t, w, End).Status); ws.ExitStatus() != 3 {
		t.Errorf("status %#x", ws)
	}
}

// daemons leaves n double-forked sleepers in sessions of their own behind, which
// print their pids first.
const daemons = `i=0; while [ $i -lt 20 ]; do setsid sh -c 'echo $$; exec sleep 1000' & i=$((i+1)); done; sleep 0.3`

func TestNothingSurvivesTheCommand(t *testing.T) {
	for name, scope := range map[string]uint32{"domain": scopeSignal, "walk": 0} {
		t.Run(name, func(t *testing.T) {
			r, wr, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			s := spec("sh", "-c", daemons)
			s.KillerScope = scope
			s.Files = []int{0, int(wr.Fd()), 2}
			w := start(t, s)
			wr.Close()
			m := receive(t, w, End)
			if m.Walked != (scope == 0) || m.Step != StepNone {
				t.Errorf("%+v", m)
			}
			var buf [4096]byte
			n, _ := r.Read(buf[:])
			pids := strings.Fields(string(buf[:n]))
			if len(pids) == 0 {
				t.Fatal("no daemon was started")
			}
			for _, pid := range pids {
				if _, err := os.Stat("/proc/" + pid); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("daemon %s: %v", pid, err)
				}
			}
		})
	}
}

func TestPauseAndResume(t *testing.T) {
	s := spec("sleep", "1000")
	s.Park = true
	w := start(t, s)
	pid := receive(t, w, Created).PID
	w.Go()
	if err := w.Pause(); err != nil {
		t.Fatal(err)
	}
	// The signal is there when Pause returns; a task on a CPU takes it a moment later.
	for state(t, pid) != "T" {
	}
	if err := w.Resume(); err != nil {
		t.Fatal(err)
	}
	if st := state(t, pid); st == "T" {
		t.Errorf("state %s after Resume", st)
	}
	w.Pause()
	w.Kill()
	receive(t, w, End)
	if err := w.Pause(); !errors.Is(err, ErrGone) {
		t.Errorf("Pause after the end: %v", err)
	}
}

func state(t *testing.T, pid int32) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(int(pid)) + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))[0]
}

func TestKilledWardenIsNoticed(t *testing.T) {
	s := spec("sleep", "1000")
	s.Park = true
	w := start(t, s)
	pid := receive(t, w, Created).PID
	w.Go()
	if err := unix.Kill(w.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Receive(); !errors.Is(err, ErrGone) {
		t.Errorf("Receive: %v", err)
	}
	fd, err := unix.PidfdOpen(int(pid), 0)
	if err == nil {
		defer unix.Close(fd)
		unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
	}
	w.AwaitKiller()
}

// A last message is read although an order was on its way that the warden did not: the
// kernel puts ECONNRESET before it.
func TestLastMessageAfterUnreadOrders(t *testing.T) {
	ctl, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	w := &Warden{ctl: ctl[0], order: -1, pidfd: -1}
	defer w.Close()
	if err := w.Thaw(1); err != nil {
		t.Fatal(err)
	}
	last := make([]byte, messageSize)
	native.PutUint32(last, uint32(End))
	if _, err := unix.Write(ctl[1], last); err != nil {
		t.Fatal(err)
	}
	unix.Close(ctl[1])
	receive(t, w, End)
}

func BenchmarkTrue(b *testing.B) {
	for b.Loop() {
		w, err := Start(spec("true"))
		if err != nil {
			b.Fatal(err)
		}
		w.Receive()
		w.Reap()
		w.Close()
	}
}
