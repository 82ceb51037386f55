package notify_test

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sandlock/sandlock/core/internal/notify"
	"github.com/sandlock/sandlock/core/internal/warden"
	"golang.org/x/sys/unix"
)

// twoTraps is a filter of chdir and getppid, which are decided by work, and at once.
func twoTraps() []byte {
	one, other := trap(unix.SYS_CHDIR), trap(unix.SYS_GETPPID)
	// The first falls through to the second, which loads the number again.
	return append(one[:3*8:3*8], other...)
}

type served struct {
	l      *notify.Listener
	warden *warden.Warden
	out    *os.File
}

// serveShell runs a shell under twoTraps. The queue of what chdir asked is decided by work.
func serveShell(t *testing.T, script string, decide func(r *notify.Request)) *served {
	t.Helper()
	r, wr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	w, err := warden.Start(&warden.Spec{
		Path: "/usr/bin/python3", Argv: []string{"python3", "-c", script}, Filter: twoTraps(), Listener: true,
		Stdio: []int{0, int(wr.Fd()), 2}, Ruleset: -1, Cwd: -1, TTY: -1, KeepCaps: ^uint64(0), KillerScope: 1 << 1,
	})
	wr.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Kill(); w.Reap(); w.Close(); r.Close() })
	_, fd, err := w.Receive()
	if err != nil {
		t.Fatal(err)
	}
	s := &served{warden: w, out: r}
	queue := make(chan *notify.Request, 1024)
	var l *notify.Listener
	l, err = notify.New(fd, notify.Service{
		Handlers: map[int32]notify.Handler{
			unix.SYS_CHDIR: func(r *notify.Request) {
				r.Listener().Hold()
				queue <- r
				r.Listener().Ring()
			},
			unix.SYS_GETPPID: func(r *notify.Request) { r.Return(4242) },
		},
		Work: func() {
			for len(queue) > 0 {
				r := <-queue
				decide(r)
				r.Listener().Release()
			}
		},
		Tick:   time.Minute,
		Broken: func(err error) { t.Errorf("broken: %v", err); w.Kill() },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.l = l
	l.Start()
	return s
}

// While work waits for what another task's call brings about, that call is answered; and
// after it, the service's own thread receives again.
func TestAnotherReceivesWhileWorkWaits(t *testing.T) {
	const script = `
import os, threading
def other():
    for _ in range(3): print(os.getppid(), flush=True)
for _ in range(20):
    t = threading.Thread(target=other); t.start()
    os.chdir("/")
    t.join()
print(os.getppid())`
	line := make(chan string)
	s := serveShell(t, script, func(r *notify.Request) {
		for range 3 {
			<-line // printed by the other thread once its call was answered
		}
		carryOn(r)
	})
	n := 0
	buf := make([]byte, 1)
	for {
		if _, err := io.ReadFull(s.out, buf); err != nil {
			break
		}
		if buf[0] == '\n' {
			if n++; n <= 60 {
				line <- ""
			}
		}
	}
	s.l.Wait()
	if n != 61 {
		t.Errorf("%d lines, want 61", n)
	}
}

// The tasks end while work waits: the service is over though its own thread does not
// come back.
func TestServiceEndsWhileWorkWaits(t *testing.T) {
	stuck, free := make(chan struct{}), make(chan struct{})
	s := serveShell(t, `import os; os.chdir("/")`, func(r *notify.Request) { close(stuck); <-free })
	<-stuck
	s.warden.Kill()
	s.l.Wait()
	close(free)
}

// Rings from elsewhere, at any time, are all answered.
func TestRingsFromElsewhere(t *testing.T) {
	decided := 0
	s := serveShell(t, "import os\nfor _ in range(2000): os.chdir('/')\nprint('done')", func(r *notify.Request) {
		decided++
		l := r.Listener()
		l.Hold()
		go func() { // as a second event does
			l.Ring()
			carryOn(r)
			l.Release()
		}()
	})
	out, _ := io.ReadAll(s.out)
	s.l.Wait()
	if strings.TrimSpace(string(out)) != "done" || decided != 2000 {
		t.Errorf("%q, %d decided", out, decided)
	}
}
