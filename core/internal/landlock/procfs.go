package landlock

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// errProc is why KeepProc refuses a path.
var errProc = errors.New("it would make a proc file system writable, and /proc/<pid>/mem with it, which can change the arguments of an exec after policy_fn has judged them; grant narrower paths, or leave execve and execveat out of policy_events")

// procWrites are the rights that no rule gives beneath a proc file system: writing there
// changes the machine (/proc/sys, sysrq-trigger) or other processes, whatever the user meant
// to grant. Nothing can be made or removed there, so the other rights do nothing.
const procWrites = ll.AccessFSWriteFile | ll.AccessFSTruncate | ll.AccessFSIoctlDev

// procKeeper finds the paths that hold a proc file system or lie in one.
type procKeeper struct {
	refuse bool     // … and refuses those that would be writable
	mounts []string // where one is mounted; read for the first directory
	read   bool
}

// add makes the rule for an open path, or several: what would be writable beneath a proc file
// system is not. A directory that such a mount lies beneath is granted without those rights,
// and what stands beside the way to the mount with them. So a file that is made in such a
// directory itself later, the root mostly, can't be written to.
func (k *procKeeper) add(ruleset, fd int, dir bool, access uint64) error {
	rule := func(fd int, access uint64) error {
		if access == 0 {
			return nil
		}
		return ll.LandlockAddPathBeneathRule(ruleset, &ll.PathBeneathAttr{AllowedAccess: access, ParentFd: fd}, 0)
	}
	if access&procWrites == 0 {
		return rule(fd, access)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return fmt.Errorf("fstatfs: %w", err)
	}
	switch {
	case fs.Type == unix.PROC_SUPER_MAGIC && k.refuse:
		return errProc
	case fs.Type == unix.PROC_SUPER_MAGIC:
		return rule(fd, access&^procWrites)
	case !dir:
		return rule(fd, access)
	}
	beneath, err := k.beneath(fd)
	switch {
	case err != nil:
		return err
	case len(beneath) == 0:
		return rule(fd, access)
	case k.refuse:
		return errProc
	}
	if err := rule(fd, access&^procWrites); err != nil {
		return err
	}
	return k.around(fd, beneath, func(child int, dir bool) error {
		granted := access
		if !dir {
			granted &= fileRights
		}
		return rule(child, granted)
	})
}

// beneath returns the mount points of proc file systems beneath an open directory, from it.
func (k *procKeeper) beneath(fd int) ([]string, error) {
	if !k.read {
		mounts, err := procMounts()
		if err != nil {
			return nil, fmt.Errorf("can't tell where proc file systems are mounted: %w", err)
		}
		k.mounts, k.read = mounts, true
	}
	real, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return nil, err
	}
	var list []string
	for _, mount := range k.mounts {
		if rest, ok := strings.CutPrefix(mount, strings.TrimSuffix(real, "/")+"/"); ok {
			list = append(list, rest)
		}
	}
	return list, nil
}

// around calls grant for what stands beside the ways to the mount points, in each directory
// on these ways.
func (k *procKeeper) around(dir int, mounts []string, grant func(fd int, dir bool) error) error {
	ways := map[string][]string{} // the next name → what is left of each way
	for _, m := range mounts {
		name, rest, _ := strings.Cut(m, "/")
		ways[name] = append(ways[name], rest)
	}
	list, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(list)
	names, err := sys.ReadNames(list)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := k.grantChild(dir, name, ways[name], grant); err != nil {
			return fmt.Errorf("%s: %w", printable(name), err)
		}
	}
	return nil
}

func (k *procKeeper) grantChild(dir int, name string, ways []string, grant func(fd int, dir bool) error) error {
	if slices.Contains(ways, "") {
		return nil // the mount itself
	}
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil // gone meanwhile
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	switch kind := st.Mode & unix.S_IFMT; {
	case kind == unix.S_IFLNK:
		return nil // its own rights are those of what it leads to
	case len(ways) > 0:
		return k.around(fd, ways, grant)
	default:
		return grant(fd, kind == unix.S_IFDIR)
	}
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
