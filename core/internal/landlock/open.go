package landlock

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// ABI returns the kernel's Landlock ABI, 1 or more. When there is none the error
// says what would mend it, and wraps the errno.
func ABI() (int, error) {
	abi, err := ll.LandlockGetABIVersion()
	if err != nil {
		return 0, abiError(err)
	}
	return abi, nil
}

func abiError(err error) error {
	switch {
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("this kernel has no Landlock (Linux 5.13 or later, built with CONFIG_SECURITY_LANDLOCK, has it), or an outer sandbox hides it: %w", err)
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("Landlock is built into this kernel but off; add landlock to the lsm= list of the kernel's command line: %w", err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("an outer seccomp filter refuses landlock_create_ruleset(2): %w", err)
	}
	return fmt.Errorf("landlock_create_ruleset: %w", err)
}

// threadSignals is the erratum 2 of landlock(7): threads of one process that stand in
// different domains can signal each other, whatever the scopes.
const threadSignals = 1 << 1

// LetsThreadsSignal reports whether they can.
func LetsThreadsSignal() bool {
	fixed, err := ll.LandlockGetErrata()
	return err == nil && fixed&threadSignals != 0
}

// PathError is a path of the policy that can't be made a rule.
type PathError struct {
	Field, Path string
	Err         error // wraps the errno
}

func (e *PathError) Error() string {
	return fmt.Sprintf("%s: %s: %v", e.Field, printable(e.Path), e.Err)
}

func (e *PathError) Unwrap() error { return e.Err }

// PathErrors are all the wrong paths of one policy, at least one.
type PathErrors []*PathError

func (e PathErrors) Error() string {
	text := make([]string, len(e))
	for i, p := range e {
		text[i] = p.Error()
	}
	return strings.Join(text, "; ")
}

func (e PathErrors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, p := range e {
		errs[i] = p
	}
	return errs
}

// RulesetError is a failed system call that concerns no path.
type RulesetError struct {
	Step string
	Err  error
}

func (e *RulesetError) Error() string { return e.Step + ": " + e.Err.Error() }
func (e *RulesetError) Unwrap() error { return e.Err }

// Open creates the ruleset and returns its descriptor, close-on-exec, owned by
// the caller. It restricts nobody. Symbolic links in the paths are followed
// here, once; relative paths start at the working directory of the caller. The
// error is a PathErrors with every wrong path, or a *RulesetError.
func (s Spec) Open() (fd int, err error) {
	// An ABI before 10 knows a shorter struct; it takes a longer one whose rest is
	// zero (copy_struct_from_user).
	fd, err = ll.LandlockCreateRuleset(&ll.RulesetAttr{
		HandledAccessFS:  s.HandledFS,
		HandledAccessNet: s.HandledNet,
		Scoped:           s.Scoped,
	}, 0)
	if err != nil {
		return -1, &RulesetError{"landlock_create_ruleset", err}
	}
	keep := &procKeeper{refuse: s.KeepProc}
	var wrong PathErrors
	for _, r := range s.Paths {
		if err := addPath(fd, r, keep); err != nil && !mayBeMissing(r, err) {
			wrong = append(wrong, &PathError{r.Field, r.Path, err})
		}
	}
	if wrong != nil {
		unix.Close(fd)
		return -1, wrong
	}
	for _, r := range s.Ports {
		for port := uint64(r.Ports.Lo); port <= uint64(r.Ports.Hi); port++ {
			attr := ll.NetPortAttr{AllowedAccess: r.Access, Port: port}
			if err := ll.LandlockAddNetPortRule(fd, &attr, 0); err != nil {
				unix.Close(fd)
				return -1, &RulesetError{fmt.Sprintf("landlock_add_rule(port %d)", port), err}
			}
		}
	}
	return fd, nil
}

func addPath(ruleset int, r PathRule, keep *procKeeper) error {
	fd, err := openPath(r.Path)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	access, dir := r.Access, st.Mode&unix.S_IFMT == unix.S_IFDIR
	if !dir {
		access &= fileRights
	}
	return keep.add(ruleset, fd, dir, access)
}

// openPath retries: an open on FUSE or NFS is interruptible.
func openPath(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// mayBeMissing holds for optional rules and for the directories that a distribution with a merged /usr
// or without multilib lacks.
func mayBeMissing(r PathRule, err error) bool {
	if r.Optional {
		return errors.Is(err, unix.ENOENT)
	}
	switch filepath.Clean(r.Path) {
	case "/lib", "/lib64", "/bin", "/sbin":
		return errors.Is(err, unix.ENOENT)
	}
	return false
}

// printable leaves an ordinary path as it is and quotes one that would break
// the line.
func printable(path string) string {
	for _, r := range path {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return fmt.Sprintf("%q", path)
		}
	}
	return path
}
