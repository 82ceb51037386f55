package bpf

import (
	"slices"
	"sync"
)

// class is what the table says of a syscall.
type class uint8

const (
	// allowed whatever the arguments: the kernel finds this out when the program
	// is attached, and never runs it for such a call.
	allowed class = iota + 1
	// ruled: a rule looks at the arguments; why says what it lets through.
	ruled
	// denied with EPERM; a policy may allow it.
	denied
	// forbidden with EPERM; to allow it would undo the sandbox.
	forbidden
	// missing: ENOSYS, since the kernel has none, or since that is the answer on
	// which software falls back. What the table doesn't know is answered so too.
	missing
)

// row is one syscall. Its numbers are those of arch/x86/entry/syscalls/syscall_64.tbl
// and scripts/syscall.tbl (arm64) of the kernel.
type row struct {
	name       string
	x86, arm64 int16
	class      class
	why        string
}

// none is the number of a syscall that the architecture doesn't have.
const none = -1

func (r *row) number(a Arch) int {
	if a == ARM64 {
		return int(r.arm64)
	}
	return int(r.x86)
}

// table is every syscall of both architectures up to Linux 6.18, and the two that
// came up to 7.0.
var table = slices.Concat(filesTable, descriptorsTable, socketsTable, memoryTable,
	tasksTable, signalsTable, timeTable, ipcTable, systemTable, goneTable)

var byName = sync.OnceValue(func() map[string]*row {
	m := make(map[string]*row, len(table))
	for i := range table {
		m[table[i].name] = &table[i]
	}
	return m
})

// rowsOf is the rows that the architecture has, by number.
func rowsOf(a Arch) []*row {
	var byNumber []*row
	for i := range table {
		n := table[i].number(a)
		if n == none {
			continue
		}
		if n >= len(byNumber) {
			byNumber = append(byNumber, make([]*row, n+1-len(byNumber))...)
		}
		byNumber[n] = &table[i]
	}
	return slices.DeleteFunc(byNumber, func(r *row) bool { return r == nil })
}

// Number is the number of a syscall.
func Number(a Arch, name string) (nr int, ok bool) {
	r := byName()[name]
	if !a.valid() || r == nil || r.number(a) == none {
		return 0, false
	}
	return r.number(a), true
}

// Name is the name of a syscall.
func Name(a Arch, nr int) (string, bool) {
	if !a.valid() || nr < 0 {
		return "", false
	}
	for i := range table {
		if table[i].number(a) == nr {
			return table[i].name, true
		}
	}
	return "", false
}
