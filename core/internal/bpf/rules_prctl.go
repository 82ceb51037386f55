package bpf

import (
	"slices"

	"golang.org/x/sys/unix"
)

// prctlAllowed are options of prctl(2) that change or tell of the caller alone. Some
// that needed a thought:
//   - PR_SET_DUMPABLE: 0 shuts the supervisor out; what it then must know is denied.
//   - PR_SET_PTRACER: lets others do more to the caller, not the caller to others.
//   - PR_SET_CHILD_SUBREAPER: orphans stay away from the warden, but in its domain.
//   - PR_SET_SECCOMP: a filter on top can only refuse more, seccomp(2).
//   - PR_SET_SYSCALL_USER_DISPATCH: for the caller's own calls, and exec ends it.
//   - PR_SET_THP_DISABLE: no_huge_pages is for speed, no limit.
var prctlAllowed = []uint32{
	unix.PR_SET_PDEATHSIG, unix.PR_GET_PDEATHSIG, unix.PR_GET_DUMPABLE, unix.PR_SET_DUMPABLE,
	unix.PR_GET_KEEPCAPS, unix.PR_SET_KEEPCAPS, unix.PR_GET_TIMING, unix.PR_SET_TIMING,
	unix.PR_SET_NAME, unix.PR_GET_NAME, unix.PR_GET_SECCOMP, unix.PR_SET_SECCOMP,
	unix.PR_CAPBSET_READ, unix.PR_CAPBSET_DROP, unix.PR_GET_TSC, unix.PR_SET_TSC,
	unix.PR_GET_SECUREBITS, unix.PR_SET_SECUREBITS, unix.PR_SET_TIMERSLACK, unix.PR_GET_TIMERSLACK,
	unix.PR_MCE_KILL, unix.PR_MCE_KILL_GET, unix.PR_SET_CHILD_SUBREAPER, unix.PR_GET_CHILD_SUBREAPER,
	unix.PR_SET_NO_NEW_PRIVS, unix.PR_GET_NO_NEW_PRIVS, unix.PR_GET_TID_ADDRESS,
	unix.PR_SET_THP_DISABLE, unix.PR_GET_THP_DISABLE, unix.PR_CAP_AMBIENT,
	unix.PR_SVE_SET_VL, unix.PR_SVE_GET_VL, unix.PR_GET_SPECULATION_CTRL, unix.PR_SET_SPECULATION_CTRL,
	unix.PR_PAC_RESET_KEYS, unix.PR_SET_TAGGED_ADDR_CTRL, unix.PR_GET_TAGGED_ADDR_CTRL,
	unix.PR_SET_SYSCALL_USER_DISPATCH, unix.PR_PAC_SET_ENABLED_KEYS, unix.PR_PAC_GET_ENABLED_KEYS,
	unix.PR_SME_SET_VL, unix.PR_SME_GET_VL, unix.PR_SET_MDWE, unix.PR_GET_MDWE, unix.PR_GET_MEMORY_MERGE,
	unix.PR_GET_SHADOW_STACK_STATUS, unix.PR_SET_SHADOW_STACK_STATUS, unix.PR_LOCK_SHADOW_STACK_STATUS,
	unix.PR_TIMER_CREATE_RESTORE_IDS, unix.PR_FUTEX_HASH, unix.PR_RSEQ_SLICE_EXTENSION,
	unix.PR_GET_AUXV, unix.PR_SET_VMA, unix.PR_SET_PTRACER,
}

// prctlRefused get EPERM. Options in neither list are those of other architectures
// and of later kernels, and get the EINVAL of a kernel that doesn't know them.
var prctlRefused = []uint32{
	unix.PR_TASK_PERF_EVENTS_DISABLE, unix.PR_TASK_PERF_EVENTS_ENABLE, // perf_event_open(2) is refused
	unix.PR_SET_MM,                                 // what /proc says the arguments and the program are
	unix.PR_SET_IO_FLUSHER, unix.PR_GET_IO_FLUSHER, // the reserves of the page allocator
	unix.PR_SCHED_CORE,       // keeps others off the core
	unix.PR_SET_MEMORY_MERGE, // tells by time what pages others have
}

// prctlCredentials are those that change what a task may do to files, at once or at its next
// exec. A policy that traps prctl has these trapped and no other.
var prctlCredentials = []uint32{unix.PR_SET_SECUREBITS, unix.PR_CAPBSET_DROP, unix.PR_CAP_AMBIENT}

func writePrctl(c *compiler, pass label) {
	refuse := c.errno(unix.EPERM)
	var intervals []interval
	for _, option := range prctlAllowed {
		to := c.ret(retAllow)
		if slices.Contains(prctlCredentials, option) {
			to = pass
		}
		intervals = append(intervals, single(option, to))
	}
	for _, option := range prctlRefused {
		intervals = append(intervals, single(option, refuse))
	}
	c.load(low(0))
	c.branch(c.errno(unix.EINVAL), intervals...)
}
