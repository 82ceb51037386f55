package core

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// openPTY returns the two sides of a pseudo-terminal: pts(4).
func openPTY(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

func onTerminal(slave *os.File, argv ...string) Command {
	fd := int(slave.Fd())
	return Command{Argv: argv, Terminal: true, Files: []File{{fd, 0}, {fd, 1}, {fd, 2}}}
}

// readUntil reads what a terminal shows until it has the text in it.
func readUntil(t *testing.T, master *os.File, text string) string {
	t.Helper()
	var seen strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(seen.String(), text) {
		n, err := master.Read(buf)
		if err != nil {
			t.Fatalf("%v; seen %q, want %q", err, &seen, text)
		}
		seen.Write(buf[:n])
	}
	return seen.String()
}

// TestTerminalOfASandbox: its keys are signals for the command, and it is nobody else's.
func TestTerminalOfASandbox(t *testing.T) {
	plan := mustCompile(t, policy())
	for key, want := range map[string]unix.Signal{"\x03": unix.SIGINT, "\x1c": unix.SIGQUIT} {
		master, slave := openPTY(t)
		s, err := plan.Create(onTerminal(slave, "sh", "-c", "test -t 0 && echo ready; exec sleep 1000"))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		slave.Close()
		s.Start()
		readUntil(t, master, "ready")
		pgrp, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPGRP)
		if err != nil || pgrp != s.PID() {
			t.Errorf("foreground process group %d, %v, want %d", pgrp, err, s.PID())
		}
		master.WriteString(key)
		if r, err := s.Wait(0); err != nil || r.Signal != int(want) {
			t.Errorf("%q: %+v, %v", key, r, err)
		}
		if _, err := master.Read(make([]byte, 100)); err == nil {
			// What the line discipline has echoed of the key; then there is nobody any more.
			_, err = master.Read(make([]byte, 100))
			if !errors.Is(err, unix.EIO) {
				t.Errorf("%v, want EIO", err)
			}
		}
	}
	// One that is none.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, err := plan.Run(Command{Argv: []string{"true"}, Stdin: int(r.Fd()), Terminal: true}, 0); !errors.Is(err, unix.ENOTTY) {
		t.Errorf("%v, want ENOTTY", err)
	}
}
