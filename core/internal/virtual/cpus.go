package virtual

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// CPUList is the list of some CPUs as the files of sysfs have it, "0-2,5". The CPUs are in
// order.
func CPUList(cpus []uint32) []byte {
	var parts []string
	for i := 0; i < len(cpus); {
		first := i
		for i++; i < len(cpus) && cpus[i] == cpus[i-1]+1; i++ {
		}
		part := strconv.FormatUint(uint64(cpus[first]), 10)
		if i-1 > first {
			part += "-" + strconv.FormatUint(uint64(cpus[i-1]), 10)
		}
		parts = append(parts, part)
	}
	return []byte(strings.Join(parts, ",") + "\n")
}

// CPUInfo is what a proc_cpuinfo(5) says of some CPUs, each of which has a paragraph. They
// keep their numbers, which are those that sched_getaffinity(2) and getcpu(2) have.
func CPUInfo(own []byte, cpus []uint32) []byte {
	var kept [][]byte
	for paragraph := range bytes.SplitSeq(own, []byte("\n\n")) {
		if cpu, ok := processor(paragraph); !ok || slices.Contains(cpus, cpu) {
			kept = append(kept, paragraph)
		}
	}
	return bytes.Join(kept, []byte("\n\n"))
}

// processor is the number that a paragraph is about; false: of no CPU.
func processor(paragraph []byte) (uint32, bool) {
	for line := range bytes.Lines(paragraph) {
		name, value, _ := strings.Cut(string(line), ":")
		if strings.TrimSpace(name) == "processor" {
			cpu, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
			return uint32(cpu), err == nil
		}
	}
	return 0, false
}

// Stat is a proc_stat(5) whose times are those of some CPUs. The rest stays the machine's.
func Stat(own []byte, cpus []uint32) []byte {
	var sums []uint64
	var each, rest []byte
	for line := range bytes.Lines(own) {
		f := strings.Fields(string(line))
		if len(f) == 0 || !strings.HasPrefix(f[0], "cpu") {
			rest = append(rest, line...)
			continue
		}
		cpu, err := strconv.ParseUint(f[0][len("cpu"):], 10, 32)
		if err != nil || !slices.Contains(cpus, uint32(cpu)) {
			continue // another one, or the sum of all
		}
		each = append(each, line...)
		for i, text := range f[1:] {
			ticks, _ := strconv.ParseUint(text, 10, 64)
			if i == len(sums) {
				sums = append(sums, 0)
			}
			sums[i] += ticks
		}
	}
	all := []byte("cpu ")
	for _, sum := range sums {
		all = fmt.Appendf(all, " %d", sum)
	}
	return slices.Concat(all, []byte("\n"), each, rest)
}
