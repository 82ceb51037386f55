package core

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// popen starts a shell with all streams piped, and closes what is left.
func popen(t *testing.T, plan *Plan, cmd Command, modes ...StreamMode) (*Sandbox, [3]*os.File) {
	t.Helper()
	s, ends, err := plan.Popen(cmd, [3]StreamMode(modes))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	var files [3]*os.File
	for i, fd := range ends {
		if (fd >= 0) != (modes[i] == Piped) {
			t.Fatalf("stream %d has the end %d", i, fd)
		}
		if fd >= 0 {
			files[i] = os.NewFile(uintptr(fd), "pipe")
			t.Cleanup(func() { files[i].Close() })
		}
	}
	return s, files
}

func exited(t *testing.T, s *Sandbox, code int) {
	t.Helper()
	r, err := s.Wait(0)
	if err != nil || r.Reason != Exited || r.ExitCode != code || len(r.Stdout)+len(r.Stderr) > 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestPopenStreams sends more than pipes and max_output hold, which is nobody's here.
func TestPopenStreams(t *testing.T) {
	p := policy()
	p.MaxOutput = 10
	plan := mustCompile(t, p)
	s, f := popen(t, plan, Command{Argv: []string{"sh", "-c", "cat; echo errs >&2; exit 3"}}, Piped, Piped, Piped)
	const size = 8 << 20
	go func(in *os.File) {
		in.Write(make([]byte, size))
		in.Close()
	}(f[0])
	if got, err := io.ReadAll(f[1]); len(got) != size || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if got, err := io.ReadAll(f[2]); string(got) != "errs\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	exited(t, s, 3)

	s, f = popen(t, plan, Command{Argv: []string{"sh", "-c", "cat; echo lost; echo found >&2"}}, Null, Null, Piped)
	if got, err := io.ReadAll(f[2]); string(got) != "found\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	exited(t, s, 0)

	// Inherited from a host whose descriptor 0 is what it is.
	var mine, its unix.Stat_t
	if err := unix.Fstat(0, &mine); err != nil {
		t.Fatal(err)
	}
	s, f = popen(t, plan, Command{Argv: []string{"sleep", "1000"}, Files: []File{{0, 5}}}, Inherit, Piped, Inherit)
	if err := unix.Stat("/proc/"+strconv.Itoa(s.PID())+"/fd/5", &its); err != nil || its.Ino != mine.Ino || its.Dev != mine.Dev {
		t.Errorf("%v, %+v, want %+v", err, its, mine)
	}
	s.Kill()
}

// TestFilesOfACommand: it has those that it is given, and no other.
func TestFilesOfACommand(t *testing.T) {
	plan := mustCompile(t, policy())
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	fd := int(w.Fd())
	for _, c := range []struct {
		files []File
		want  string
	}{
		{nil, "0 1 2 3"}, // 3 is what ls reads
		{[]File{{fd, 200}, {fd, 7}, {fd, 3}}, "0 1 2 200 3 4 7"},
		{[]File{{-1, 0}, {-1, 2}, {fd, 9}}, "0 1 9"},
	} {
		for _, notified := range []bool{false, true} {
			plan := plan
			if notified {
				p := policy()
				p.PolicyFn = func(*Event, *Context) Verdict { return Allow }
				plan = mustCompile(t, p)
			}
			got, err := plan.Run(Command{Argv: []string{"ls", "/proc/self/fd"}, Stdin: -1, Files: c.files}, 0)
			if err != nil || strings.Join(strings.Fields(string(got.Stdout)), " ") != c.want {
				t.Errorf("%v, %v: %+v, %v", c.files, notified, got, err)
			}
		}
	}
	for _, files := range [][]File{{{fd, -1}}, {{fd, 8192}}, {{fd, 1 << 30}}, {{fd, 4}, {fd, 4}}, {{-2, 4}}, {{99999, 4}}} {
		closed := 0
		if _, err := plan.Create(Command{Argv: []string{"true"}, Files: files, OnClose: func() { closed++ }}); err == nil || closed != 1 {
			t.Errorf("%v: %v, closed %d times", files, err, closed)
		}
	}
}

// TestPopenErrors: what can't be executed is an error, and leaves nothing.
func TestPopenErrors(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	script := func(name, text string) string {
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		return dir + "/" + name
	}
	p := policy()
	p.FSReadable = append(p.FSReadable, dir)
	plan := mustCompile(t, p)
	before := descriptors(t)
	for _, c := range []struct {
		argv0 string
		want  unix.Errno
	}{
		{"no-such-command", unix.ENOENT},
		{script("noexec", "no program"), unix.ENOEXEC},
		{script("nointerpreter", "#!/no/such/interpreter\n"), unix.ENOENT},
	} {
		closed := 0
		s, ends, err := plan.Popen(Command{Argv: []string{c.argv0}, OnClose: func() { closed++ }}, [3]StreamMode{Piped, Piped, Piped})
		if !errors.Is(err, c.want) || s != nil || ends != [3]int{-1, -1, -1} || closed != 1 {
			t.Errorf("%s: %v, %v, closed %d times", c.argv0, err, ends, closed)
		}
	}
	if _, _, err := plan.Popen(Command{Argv: []string{"true"}}, [3]StreamMode{Null, 3, Null}); err == nil || !strings.Contains(err.Error(), "mode 3") {
		t.Error(err)
	}
	if after := descriptors(t); after != before {
		t.Errorf("descriptors: %v, before %v", after, before)
	}
	p.PolicyFn = func(*Event, *Context) Verdict { return Verdict(unix.EACCES) }
	if _, _, err := mustCompile(t, p).Popen(Command{Argv: []string{"true"}}, [3]StreamMode{Null, Null, Null}); !errors.Is(err, unix.EACCES) {
		t.Error(err)
	}
}

func TestSignalOfTheCommandAlone(t *testing.T) {
	plan := mustCompile(t, policy())
	s, f := popen(t, plan, Command{Argv: []string{"sh", "-c", `trap 'echo heard; exit 5' USR1; (trap 'echo no' USR1; echo ready; read x) <&3 & wait`}, Files: []File{{openPipe(t), 3}}}, Null, Piped, Inherit)
	ready := make([]byte, 6)
	if _, err := io.ReadFull(f[1], ready); err != nil {
		t.Fatal(err)
	}
	if err := s.Signal(unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(f[1]); string(got) != "heard\n" {
		t.Errorf("%q", got)
	}
	exited(t, s, 5)
	if err := s.Signal(unix.SIGUSR1); err == nil {
		t.Error("a signal to a command that is over")
	}
}

// openPipe returns the read end of a pipe whose write end stays open.
func openPipe(t *testing.T) int {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return int(r.Fd())
}

// TestPopenIsBackInTime: neither late nor before the exec.
func TestPopenIsBackInTime(t *testing.T) {
	p := policy()
	asked, answer := make(chan bool), make(chan bool)
	p.PolicyFn = func(*Event, *Context) Verdict { asked <- true; <-answer; return Allow }
	plan := mustCompile(t, p)
	back := make(chan error)
	go func() {
		s, _, err := plan.Popen(Command{Argv: []string{"sleep", "1000"}}, [3]StreamMode{Null, Null, Null})
		if err == nil {
			exe, _ := os.Readlink("/proc/" + strconv.Itoa(s.PID()) + "/exe")
			if !strings.Contains(exe, "sleep") && !strings.Contains(exe, "coreutils") && !strings.Contains(exe, "busybox") {
				err = errors.New("executes " + exe)
			}
			s.Close()
		}
		back <- err
	}()
	<-asked
	select {
	case err := <-back:
		t.Errorf("back before the exec: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	answer <- true
	if err := <-back; err != nil {
		t.Error(err)
	}
}
