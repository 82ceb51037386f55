package core

import (
	"path/filepath"
	"strings"

	"github.com/sandlock/sandlock/core/internal/sys"
)

// writesMemory reports whether files beneath the paths can be memory: whether one of them
// is on a tmpfs, or has one beneath. What can't be found out is taken to be so.
func writesMemory(paths []string) bool { return writesAny(paths, mount.isMemory) }

// writesAny reports whether one of the paths is on such a file system, or has one beneath.
func writesAny(paths []string, such func(mount) bool) bool {
	if len(paths) == 0 {
		return false
	}
	text, err := sys.ReadFile("/proc/self/mountinfo", sys.MaxMountinfo)
	return err != nil || anyOn(paths, parseMounts(string(text)), such)
}

type mount struct{ at, kind string }

// parseMounts reads mountinfo.
func parseMounts(text string) []mount {
	var mounts []mount
	for line := range strings.Lines(text) {
		if at, kind, ok := sys.ParseMount(line); ok {
			mounts = append(mounts, mount{at, kind})
		}
	}
	return mounts
}

func anyOn(paths []string, mounts []mount, such func(mount) bool) bool {
	for _, name := range paths {
		name, err := filepath.Abs(name)
		if err == nil {
			name, err = filepath.EvalSymlinks(name)
		}
		if err != nil {
			return true
		}
		on := mount{}
		for _, m := range mounts {
			if such(m) && beneath(m.at, name) {
				return true
			}
			if beneath(name, m.at) && len(m.at) >= len(on.at) { // a later one covers an earlier one
				on = m
			}
		}
		if such(on) {
			return true
		}
	}
	return false
}

func (m mount) isMemory() bool {
	return m.kind == "tmpfs" || m.kind == "ramfs" || m.kind == "devtmpfs" || m.kind == "hugetlbfs"
}

func (m mount) isCgroup() bool { return m.kind == "cgroup2" }

// beneath reports whether name is dir or lies in it; both are clean and absolute.
func beneath(name, dir string) bool {
	return dir == "/" || name == dir || strings.HasPrefix(name, dir+"/")
}
