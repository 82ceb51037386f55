package virtual

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Memory is how much a sandbox may have and about has, in bytes.
type Memory struct {
	Limit, Used uint64
}

// Meminfo is a proc_meminfo(5) of a machine with that much memory: the same lines in the
// same order.
func Meminfo(own []byte, m Memory) []byte {
	read := map[string]uint64{}
	for line := range bytes.Lines(own) {
		if name, kib, ok := meminfoLine(line); ok {
			read[name] = kib
		}
	}
	total := min(m.Limit/1024, read["MemTotal"])
	used := min(m.Used/1024, total)
	// The machine may not have what is left.
	left := min(total-used, read["MemAvailable"])
	shown := map[string]uint64{
		"MemTotal": total, "MemFree": left, "MemAvailable": left, "CommitLimit": total,
		"Active": used, "Active(anon)": used, "AnonPages": used, "Committed_AS": used,
	}
	var b bytes.Buffer
	for line := range bytes.Lines(own) {
		name, _, ok := meminfoLine(line)
		kib, given := shown[name]
		switch {
		case !ok || machines(name):
			b.Write(line)
		case given:
			fmt.Fprintf(&b, "%-15s %8d kB\n", name+":", kib)
		default: // caches, swap, and what the kernel uses itself: none is the sandbox's
			fmt.Fprintf(&b, "%-15s %8d kB\n", name+":", 0)
		}
	}
	return b.Bytes()
}

// meminfoLine is a line with an amount of memory.
func meminfoLine(line []byte) (name string, kib uint64, ok bool) {
	name, value, _ := strings.Cut(string(line), ":")
	f := strings.Fields(value)
	if len(f) != 2 || f[1] != "kB" {
		return name, 0, false
	}
	kib, err := strconv.ParseUint(f[0], 10, 64)
	return name, kib, err == nil
}

// machines are lines that say what the hardware and its address space are like.
func machines(name string) bool {
	return strings.HasPrefix(name, "DirectMap") || name == "VmallocTotal" || name == "Hugepagesize"
}
