package core

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sandlock/sandlock/core/internal/sys"
)

// usage is about what the processes of a sandbox hold in memory. What several of them share
// counts for each; the limit itself is not enforced by this number.
type usage struct {
	sandbox *Sandbox

	mu    sync.Mutex // guards what follows
	bytes uint64
	next  time.Time
}

const (
	// usageCost is how long after it took so long to look is not looked again: the sandbox
	// says how often it is asked for, and a twentieth of a CPU is what that may cost.
	usageCost    = 20
	maxUsers     = 4096 // processes that are looked at
	maxUserTasks = 65536
)

// now is the number, in bytes.
func (u *usage) now() uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	if start := time.Now(); start.After(u.next) {
		u.bytes = u.look()
		end := time.Now()
		u.next = end.Add(usageCost * end.Sub(start))
	}
	return u.bytes
}

func (u *usage) look() (bytes uint64) {
	killer := strconv.Itoa(u.sandbox.killer)
	left := append(childrenOf(strconv.Itoa(u.sandbox.warden.PID())), childrenOf(killer)...)
	tasks := 0
	for n := 0; len(left) > 0 && n < maxUsers && tasks < maxUserTasks; n++ {
		pid := left[0]
		left = left[1:]
		if pid == killer {
			continue
		}
		status, err := sys.ReadStatus("/proc/"+pid+"/status", 1<<16)
		if err != nil {
			continue
		}
		for _, field := range []string{"RssAnon", "RssShmem", "VmSwap", "VmPTE", "HugetlbPages"} {
			kib, _ := strconv.ParseUint(strings.TrimSuffix(status.Field(field), " kB"), 10, 64)
			bytes += kib * 1024
		}
		threads := sys.TasksOf(pid)
		tasks += len(threads)
		left = append(left, sys.ChildrenOf(pid, threads, maxChildren)...)
	}
	return bytes
}

// maxChildren bounds a list of children, in bytes.
const maxChildren = 1 << 20

// childrenOf are those of all threads of a process.
func childrenOf(pid string) []string { return sys.ChildrenOf(pid, sys.TasksOf(pid), maxChildren) }
