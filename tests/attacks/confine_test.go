package attacks

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Every thread of a process that has confined itself is confined: the caller, those that
// were alive at the call, whatever they were doing, those that are made during it and after
// it, and the programs that each of them starts.
func TestConfinedThreads(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		dir := t.TempDir()
		secret, granted := filepath.Join(dir, "secret"), filepath.Join(dir, "granted")
		if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(granted, 0o700); err != nil {
			t.Fatal(err)
		}
		pid, address := beside(t)
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		udp, err := net.ListenPacket("udp4", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer udp.Close()
		argv := func(mode string) []string {
			_, port, _ := net.SplitHostPort(listener.Addr().String())
			return []string{victim("confine"), mode, secret, granted, pid, address, port}
		}

		threads := []string{"caller", "reading", "polling", "spinning", "blocking", "allocating", "filtered", "spawning", "later"}
		outcomes := map[string]syscall.Errno{
			"read": syscall.EACCES, "write": syscall.EACCES, "chmod": syscall.EPERM, "kill": syscall.EPERM, "memory": syscall.EPERM,
			"socket": syscall.EACCES, "udp": syscall.EACCES, "connect": syscall.EACCES, "spawn": syscall.EACCES,
		}
		free := attempts(outside(t, argv("free")...))
		for _, thread := range threads {
			for what := range outcomes {
				if a, made := free[thread+"-"+what]; !made || a.result < 0 {
					t.Errorf("control: %s %s: %+v", thread, what, a)
				}
			}
			if err := os.Remove(secret + "." + thread); err != nil {
				t.Errorf("control: %v", err)
			}
		}
		if a := free["born-read"]; a.result < 0 {
			t.Errorf("control: born: %+v", a)
		}

		// More than once, as the threads that come and go are elsewhere each time.
		for range max(1, rounds()/200) {
			out := outside(t, argv("confine")...)
			got := attempts(out)
			for _, thread := range threads {
				for what, errno := range outcomes {
					refused(t, got, []string{thread + "-" + what}, errno)
				}
				if a := got[thread+"-granted"]; a.result != 1 {
					t.Errorf("%s: nothing written where it may: %+v", thread, a)
				}
			}
			born := 0
			for line := range strings.Lines(out) {
				if strings.HasPrefix(line, "born-read ") {
					born++
					if line != fmt.Sprintf("born-read -1 %d\n", syscall.EACCES) {
						t.Errorf("made during the call: %s", line)
					}
				}
			}
			if born == 0 {
				t.Error("no thread was made during the call")
			}
		}
		if left, err := filepath.Glob(secret + ".*"); err != nil || len(left) > 0 {
			t.Errorf("written outside: %q, %v", left, err)
		}
	})
}

// beside starts a process that belongs to the same user and is not confined, and returns its
// number and an address in it that can be read.
func beside(t *testing.T) (pid, address string) {
	t.Helper()
	cmd := exec.Command(victim("confine"), "outside")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error("the process outside:", err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, address, _ = strings.Cut(strings.TrimSpace(line), " ")
	return pid, address
}
