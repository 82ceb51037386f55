package broker

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// maxMaps bounds what is read of the maps of a program that has just been loaded: a handful
// of lines.
const maxMaps = 1 << 20

// ErrEnded is what Runs returns of a process that was killed meanwhile.
var ErrEnded = errors.New("the process has ended")

// Runs reports why a process that is stopped after its exec may not run: its program, or
// what the program is loaded with, is denied, or can't be told from what is. What it was
// executed by is not asked: by now it is what it is. nil lets it run.
func (d *Denials) Runs(pid int32) error {
	state := d.now.Load()
	w := walker{caller: hostCaller{}, denied: state}
	exe, err := openAt(unix.AT_FDCWD, fmt.Sprintf("/proc/%d/exe", pid), unix.O_PATH|unix.O_CLOEXEC)
	if err == unix.ENOENT || err == unix.ESRCH {
		return ErrEnded
	}
	if err != nil {
		return fmt.Errorf("its program can't be looked at: %w", err)
	}
	defer unix.Close(exe)
	if err := w.descends(exe); err != nil {
		return fmt.Errorf("its program is denied: %w", err)
	}
	name, err := readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err == unix.ENOENT || err == unix.ESRCH {
		return ErrEnded
	}
	if err != nil {
		return fmt.Errorf("its program has no name: %w", err)
	}
	maps, err := sys.ReadFile(fmt.Sprintf("/proc/%d/maps", pid), maxMaps)
	if err != nil {
		return fmt.Errorf("what it is loaded with can't be looked at: %w", err)
	}
	seen := map[string]bool{name: true}
	for line := range bytes.Lines(maps) {
		_, mapped, ok := strings.Cut(strings.TrimSuffix(string(line), "\n"), " /")
		if mapped = "/" + mapped; !ok || seen[mapped] {
			continue
		}
		seen[mapped] = true
		loader := walker{caller: hostCaller{}, denied: state}
		p, err := loader.walk(unix.AT_FDCWD, strings.ReplaceAll(mapped, "\\012", "\n"))
		found := p.obj >= 0
		p.close()
		if err != nil || !found {
			return fmt.Errorf("it is loaded with %q, which is denied or not to be found", mapped)
		}
	}
	return nil
}
