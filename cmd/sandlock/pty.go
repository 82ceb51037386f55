package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"

	"golang.org/x/sys/unix"
)

// front puts the host's terminal, if standard input is one, in front of a terminal of the
// command's own, which keeps the host's out of the sandbox: pty(7).
type front struct {
	master, slave int
	modes         *unix.Termios // the host's, nil without a terminal
	drained       chan struct{}
}

func newFront() (*front, error) {
	f := &front{slave: -1, drained: make(chan struct{})}
	var err error
	if f.master, err = unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("--pty: /dev/ptmx: %w", err)
	}
	n, err := unix.IoctlGetInt(f.master, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(f.master, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		f.slave, err = unix.Open("/dev/pts/"+strconv.Itoa(n), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("--pty: a terminal can't be made: %w", err)
	}
	f.resize()
	return f, nil
}

// begin passes on what comes and goes, once the command has the other side.
func (f *front) begin() {
	unix.Close(f.slave)
	if modes, err := unix.IoctlGetTermios(0, unix.TCGETS); err == nil {
		raw := *modes
		raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
		raw.Oflag &^= unix.OPOST
		raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
		raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
		raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
		f.modes = modes
		_ = unix.IoctlSetTermios(0, unix.TCSETSW, &raw)
	}
	sizes := make(chan os.Signal, 1)
	signal.Notify(sizes, unix.SIGWINCH)
	go func() {
		for range sizes {
			f.resize()
		}
	}()
	go func() {
		pass(f.master, 0)
		// The end of what is no terminal is the key for the end on one.
		_ = writeAll(f.master, []byte{4})
	}()
	go func() {
		pass(1, f.master) // until EIO: the other side is closed
		close(f.drained)
	}()
}

// end waits for what the command has written last, and gives the terminal back. All that
// had the other side is dead. A tool that is to end itself does not wait: the terminal may
// take no more output.
func (f *front) end(ended <-chan struct{}) {
	select {
	case <-f.drained:
	case <-ended:
	}
	f.restore()
}

func (f *front) restore() {
	if f.modes != nil {
		_ = unix.IoctlSetTermios(0, unix.TCSETS, f.modes)
	}
}

func (f *front) resize() {
	if size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ); err == nil {
		_ = unix.IoctlSetWinsize(f.master, unix.TIOCSWINSZ, size)
	}
}

// pass copies until an end or an error.
func pass(to, from int) {
	buf := make([]byte, 32<<10)
	for {
		n, err := unix.Read(from, buf)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil || n == 0:
			return
		}
		if writeAll(to, buf[:n]) != nil {
			return
		}
	}
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
