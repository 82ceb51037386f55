package core

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sandlock/sandlock/core/internal/broker"
	"github.com/sandlock/sandlock/core/internal/warden"
	"golang.org/x/sys/unix"
)

// Command is what one run starts. It is plain data.
type Command struct {
	// Name of the run; "" takes the policy's, and then sandbox-<pid>-<counter>.
	Name string
	// Argv as bytes. Argv[0] without a slash is looked up in the PATH that the
	// command itself will have.
	Argv []string
	// Executable is looked up in the place of Argv[0], unless it is "".
	Executable string
	// Environ is the base environment, as os.Environ() has it; nil takes that.
	Environ []string
	// Env are variables, as KEY=VALUE, that the command has besides, or instead of those of
	// its policy and its base environment.
	Env []string
	// Stdin is a descriptor that becomes the command's standard input, duplicated
	// during Create; -1 is /dev/null. The zero value is descriptor 0: set it.
	Stdin int
	// Files are descriptors of the host, duplicated during Create, that become the command's.
	// One for 0, 1 or 2 takes the place of Stdin or of the captured stream.
	Files []File
	// Terminal makes the command's descriptor 0, which Stdin or Files has as the slave of a
	// pseudo-terminal, the controlling terminal of its session: signals of its keys, job
	// control and the changes of its size are the command's.
	Terminal bool
	// Interactive hands the host's own 0, 1 and 2 to the command, keeps it in the
	// host's session and gives it the terminal while it runs. Nothing is captured.
	Interactive bool
	// OnClose, when not nil, is called exactly once: when the run is over and its
	// PolicyFn neither runs nor will run again, or when Create fails.
	OnClose func()
	// Observe, when not nil, is told of each use of a file that the library carries out for
	// the command, once it is done, from any goroutine: of all calls that take a path, where
	// the policy has fs_denied, or "openat" in policy_events. It decides nothing.
	Observe func(Access)
	// WatchExec makes the descriptor of ExecFD.
	WatchExec bool
}

// Access is one use of a file: a read, unless its fields say more.
type Access = broker.Access

// File gives the command the host's descriptor FD under the number As. FD -1: it has none
// of that number.
type File struct{ FD, As int }

// check refuses what no policy is needed to refuse.
func (c *Command) check() error {
	if len(c.Argv) == 0 {
		return errors.New("argv is empty: there is no command to run")
	}
	for i, a := range c.Argv {
		if strings.IndexByte(a, 0) >= 0 {
			return fmt.Errorf("argv[%d]: %q holds a NUL byte", i, a)
		}
	}
	if strings.IndexByte(c.Executable, 0) >= 0 {
		return fmt.Errorf("executable: %q holds a NUL byte", c.Executable)
	}
	for i, e := range c.Environ {
		if strings.IndexByte(e, 0) >= 0 {
			return fmt.Errorf("environment entry %d holds a NUL byte", i)
		}
	}
	for i, e := range c.Env {
		if strings.IndexByte(e, 0) >= 0 || strings.IndexByte(e, '=') <= 0 {
			return fmt.Errorf("Env[%d]: %q is no variable", i, e)
		}
	}
	if c.Interactive && (len(c.Files) > 0 || c.Terminal) {
		return errors.New("an interactive command has the host's own standard streams, and no other descriptors")
	}
	seen := map[int]bool{}
	for _, f := range c.Files {
		switch {
		case f.As < 0 || f.As >= warden.FilesMax:
			return fmt.Errorf("descriptor %d for the command: a number from 0 to %d is needed", f.As, warden.FilesMax-1)
		case seen[f.As]:
			return fmt.Errorf("descriptor %d for the command is given twice", f.As)
		case f.FD < -1:
			return fmt.Errorf("descriptor %d is none", f.FD)
		}
		seen[f.As] = true
		if f.FD < 0 {
			continue
		}
		if _, err := unix.FcntlInt(uintptr(f.FD), unix.F_GETFD, 0); err != nil {
			return fmt.Errorf("descriptor %d, which the command is to have as %d: %w", f.FD, f.As, err)
		}
	}
	return nil
}
