package core

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// openPty returns both ends of a new pseudo-terminal, pty(7).
func openPty(t *testing.T) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	master = os.NewFile(uintptr(fd), "ptmx")
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	fd, err = unix.Open(fmt.Sprintf("/dev/pts/%d", n), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, os.NewFile(uintptr(fd), "pts")
}

// TestInteractiveHost is the host of TestInteractive: it has a terminal.
func TestInteractiveHost(t *testing.T) {
	if os.Getenv("SANDLOCK_TEST_INTERACTIVE") == "" {
		t.Skip("run by TestInteractive")
	}
	script := `stty -echo raw; IFS= read -r line; echo "got $line"; exit 5`
	if os.Getenv("SANDLOCK_TEST_INTERACTIVE") == "interrupt" {
		script = `echo ready; exec sleep 1000`
	}
	p := policy()
	p.FSWritable = []string{"/dev"}
	before, err := unix.IoctlGetTermios(0, unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	code, err := mustCompile(t, p).RunInteractive(Command{Argv: []string{"sh", "-c", script}})
	after, _ := unix.IoctlGetTermios(0, unix.TCGETS)
	pgrp, _ := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	fmt.Printf("code %d err %v pgrp %v modes %v\n", code, err, pgrp == unix.Getpgrp(), *before == *after)
}

// interactive runs TestInteractiveHost on a terminal of its own, types and
// returns all that the terminal showed.
func interactive(t *testing.T, mode, waitFor, typed string) string {
	master, slave := openPty(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestInteractiveHost$", "-test.v")
	cmd.Env = append(os.Environ(), "SANDLOCK_TEST_INTERACTIVE="+mode)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	var seen bytes.Buffer
	buf := make([]byte, 4096)
	for waitFor != "" && !strings.Contains(seen.String(), waitFor) {
		n, err := master.Read(buf)
		if err != nil {
			t.Fatalf("%v after %q", err, seen.String())
		}
		seen.Write(buf[:n])
	}
	io.WriteString(master, typed)
	for {
		n, err := master.Read(buf)
		seen.Write(buf[:n])
		if err != nil {
			break // EIO: every slave is closed
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("host: %v\n%s", err, seen.String())
	}
	return seen.String()
}

func TestInteractive(t *testing.T) {
	out := interactive(t, "read", "", "hello\n")
	if !strings.Contains(out, "got hello") || !strings.Contains(out, "code 5 err <nil> pgrp true modes true") {
		t.Errorf("%q", out)
	}
}

// Ctrl-C goes to the command's process group alone: the host lives on and has
// its terminal back.
func TestInteractiveInterrupt(t *testing.T) {
	out := interactive(t, "interrupt", "ready", "\x03")
	if !strings.Contains(out, "code -1 err <nil> pgrp true modes true") {
		t.Errorf("%q", out)
	}
}
