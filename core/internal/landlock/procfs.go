package landlock

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// errProc is why KeepProc refuses a path.
var errProc = errors.New("it would make a proc file system writable, and /proc/<pid>/mem with it, which can change the arguments of an exec after policy_fn has judged them; grant narrower paths, or leave execve and execveat out of policy_events")

// procKeeper finds the paths that hold a proc file system or lie in one.
type procKeeper struct {
	mounts []string // where one is mounted; read for the first directory
	read   bool
}

// refuse fails when the open path lies in a proc file system or, being a
// directory, has a mount point of one beneath it.
func (k *procKeeper) refuse(fd int, dir bool) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return fmt.Errorf("fstatfs: %w", err)
	}
	if fs.Type == unix.PROC_SUPER_MAGIC {
		return errProc
	}
	if !dir {
		return nil
	}
	if !k.read {
		mounts, err := procMounts()
		if err != nil {
			return fmt.Errorf("can't tell where proc file systems are mounted: %w", err)
		}
		k.mounts, k.read = mounts, true
	}
	real, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return err
	}
	for _, mount := range k.mounts {
		if real == "/" || mount == real || strings.HasPrefix(mount, real+"/") {
			return errProc
		}
	}
	return nil
}

// procMounts lists where proc file systems are mounted, proc_pid_mountinfo(5).
func procMounts() ([]string, error) {
	text, err := sys.ReadFile("/proc/self/mountinfo", sys.MaxMountinfo)
	if err != nil {
		return nil, err
	}
	var mounts []string
	for line := range strings.Lines(string(text)) {
		at, kind, ok := sys.ParseMount(line)
		if !ok {
			return nil, fmt.Errorf("unexpected line %q", line)
		}
		if kind == "proc" {
			mounts = append(mounts, at)
		}
	}
	return mounts, nil
}
