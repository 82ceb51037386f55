package core

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// keptByCleanEnv are the variables that clean_env leaves.
var keptByCleanEnv = []string{"PATH", "HOME", "USER", "TERM", "LANG"}

// environ returns the environment of the command, made from base (nil is the
// host's): clean_env first, then env, whose variables come in the order of their
// names after those of base that they don't replace.
func (p *Plan) environ(base []string) []string {
	if base == nil {
		base = os.Environ()
	}
	out := make([]string, 0, len(base)+len(p.env))
	seen := make(map[string]bool, len(base))
	for _, entry := range base {
		key, _, ok := strings.Cut(entry, "=")
		if p.cleanEnv && (!ok || !slices.Contains(keptByCleanEnv, key)) {
			continue
		}
		if _, set := p.env[key]; set && ok {
			continue
		}
		if ok && seen[key] {
			continue // getenv(3) would not have found it
		}
		seen[key] = ok
		out = append(out, entry)
	}
	for _, key := range slices.Sorted(maps.Keys(p.env)) {
		out = append(out, key+"="+p.env[key])
	}
	return out
}

// overlaid puts the variables of over in the place of those of base, or behind them.
func overlaid(base, over []string) []string {
	if len(over) == 0 {
		return base
	}
	replaced := map[string]bool{}
	for _, entry := range over {
		key, _, _ := strings.Cut(entry, "=")
		replaced[key] = true
	}
	base = slices.DeleteFunc(base, func(entry string) bool {
		key, _, ok := strings.Cut(entry, "=")
		return ok && replaced[key]
	})
	return append(base, over...)
}

// defaultPath is where execvp(3) looks when there is no PATH.
const defaultPath = "/bin:/usr/bin"

// lookPath returns the path to execute for argv[0], as execvp(3) would find it
// for a command with that environment and working directory ("" is the host's).
// A relative result counts from cwd. The error is a *StartError whose Err wraps
// ENOENT, EACCES or what else stands in the way.
func (p *Plan) lookPath(argv0 string, env []string, cwd string) (string, error) {
	fail := func(format string, args ...any) (string, error) {
		return "", &StartError{Step: "execve", Path: argv0, Err: fmt.Errorf(format, args...)}
	}
	if argv0 == "" {
		return fail("the command's name is empty: %w", unix.ENOENT)
	}
	if strings.Contains(argv0, "/") {
		if _, err := executable(argv0, cwd); err != nil {
			return fail("%w", err)
		}
		return argv0, nil
	}
	path := defaultPath
	for _, entry := range env {
		if value, ok := strings.CutPrefix(entry, "PATH="); ok {
			path = value
			break
		}
	}
	var denied error
	for dir := range strings.SplitSeq(path, ":") {
		candidate := argv0 // an empty entry is the working directory
		if dir != "" {
			candidate = strings.TrimSuffix(dir, "/") + "/" + argv0
		}
		exists, err := executable(candidate, cwd)
		if err == nil {
			return candidate, nil
		}
		if exists && denied == nil {
			denied = fmt.Errorf("found as %s: %w", printable(candidate), err)
		}
	}
	if denied != nil {
		return fail("%w", denied)
	}
	return fail("command not found in PATH (%s): %w", printable(path), unix.ENOENT)
}

// executable says why execve(2) would refuse the file, as far as it can be known
// before: EACCES for a directory too. What lies behind a directory that can't be
// searched doesn't exist.
func executable(path, cwd string) (exists bool, err error) {
	at := path
	if cwd != "" && !filepath.IsAbs(path) {
		at = cwd + "/" + path
	}
	var st unix.Stat_t
	if err := sys.Retry(func() error { return unix.Stat(at, &st) }); err != nil {
		return false, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return true, fmt.Errorf("it is a directory: %w", unix.EACCES)
	}
	err = sys.Retry(func() error { return unix.Faccessat(unix.AT_FDCWD, at, unix.X_OK, unix.AT_EACCESS) })
	if errors.Is(err, unix.EACCES) {
		err = fmt.Errorf("it is not executable: %w", err)
	}
	return true, err
}
