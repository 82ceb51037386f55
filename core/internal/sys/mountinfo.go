package sys

import (
	"strconv"
	"strings"
)

// MaxMountinfo bounds what is read of /proc/self/mountinfo: a thousand mounts take some
// 100 KiB.
const MaxMountinfo = 16 << 20

// ParseMount reads a line of mountinfo, proc_pid_mountinfo(5): the mount point, and the kind
// of file system. False: the line is none.
func ParseMount(line string) (at, kind string, ok bool) {
	before, after, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
	fields := strings.Fields(before)
	if !ok || len(fields) < 5 {
		return "", "", false
	}
	kind, _, _ = strings.Cut(after, " ")
	return unescape(fields[4]), kind, true
}

// unescape undoes the kernel's \040 for space, tab, newline and backslash.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
