package core

import (
	"fmt"
	"github.com/sandlock/sandlock/core/internal/bpf"
	"strconv"
	"strings"
	"sync"

	"github.com/sandlock/sandlock/core/internal/cgroup"
	"github.com/sandlock/sandlock/core/internal/landlock"
	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// Kernel is what a kernel offers. It is plain data, so that a test can ask what
// a policy would get elsewhere.
type Kernel struct {
	Release string // as uname -r has it
	Machine string // as uname -m has it

	LandlockABI     int    // 0: none
	LandlockProblem string // why there is none

	// SeccompProblem says why filters can't be used; "" when they can.
	SeccompProblem string
	// UserNotification: SECCOMP_RET_USER_NOTIF, Linux 5.0.
	UserNotification bool
	// AddFDSend: SECCOMP_ADDFD_FLAG_SEND, Linux 5.14.
	AddFDSend bool
	// WaitKillableRecv: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, Linux 5.19. An
	// exec can be followed to its end only with it.
	WaitKillableRecv bool
	// ListenerProblem says why no filter with a listener can be installed, though the kernel
	// has them; "" when one can.
	ListenerProblem string
	// SyncWakeUp: SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP, Linux 6.6.
	SyncWakeUp bool

	// GetFDProblem says why pidfd_getfd(2) can't be used, which an outer filter may refuse;
	// "" when it can, as far as it goes for a process and itself.
	GetFDProblem string

	Yama      int  // /proc/sys/kernel/yama/ptrace_scope; -1 without Yama
	CanPtrace bool // the process has CAP_SYS_PTRACE

	// Children: /proc/PID/task/TID/children, CONFIG_PROC_CHILDREN.
	Children bool

	// MemoryCgroup is a directory in which cgroups can be made whose memory is limited: the
	// parent of this process's own, if it is delegated. "": MemoryCgroupProblem says why there
	// is none.
	MemoryCgroup, MemoryCgroupProblem string

	// CPUs that are online, in order; nil when unknown.
	CPUs []uint32
}

// hostKernel is the running kernel, asked once.
var hostKernel = sync.OnceValue(Probe)

// Probe asks the running kernel. It changes nothing.
func Probe() Kernel {
	k := Kernel{Yama: -1}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		k.Release = unix.ByteSliceToString(u.Release[:])
		k.Machine = unix.ByteSliceToString(u.Machine[:])
	}

	abi, err := landlock.ABI()
	if err != nil {
		k.LandlockProblem = err.Error()
	}
	k.LandlockABI = abi

	if err := sys.SeccompActionAvailable(unix.SECCOMP_RET_ERRNO); err != nil {
		k.SeccompProblem = fmt.Sprintf("seccomp filters are not available (they need CONFIG_SECCOMP_FILTER, and an outer sandbox that allows seccomp(2)): %v", err)
	}
	k.UserNotification = sys.SeccompActionAvailable(unix.SECCOMP_RET_USER_NOTIF) == nil
	if k.UserNotification {
		err := sys.SeccompFlagsAvailable(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
		k.WaitKillableRecv = err == nil || err == unix.EBUSY && k.AtLeast(5, 19) // a filter that looks at the flags
		if err := sys.SeccompListener(); err != nil {
			k.ListenerProblem = err.Error()
		}
		if k.ListenerProblem == unix.EBUSY.Error() {
			k.ListenerProblem = "a sandbox around this process has the listener, and the kernel allows no second one within (EBUSY, seccomp(2))"
		}
	}
	// Nothing but a listener would tell about these two.
	k.AddFDSend = k.UserNotification && k.AtLeast(5, 14)
	k.SyncWakeUp = k.UserNotification && k.AtLeast(6, 6)

	if err := tryGetFD(); err != nil {
		k.GetFDProblem = err.Error()
	}
	if text, err := sys.ReadFile("/proc/sys/kernel/yama/ptrace_scope", 64); err == nil {
		if scope, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			k.Yama = scope
		}
	}
	k.Children = unix.Access(fmt.Sprintf("/proc/self/task/%d/children", unix.Gettid()), unix.R_OK) == nil
	if dir, err := cgroup.Parent(); err != nil {
		k.MemoryCgroupProblem = err.Error()
	} else {
		k.MemoryCgroup = dir
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if unix.Capget(&header, &caps[0]) == nil {
		k.CanPtrace = caps[0].Effective&(1<<unix.CAP_SYS_PTRACE) != 0
	}
	if text, err := sys.ReadFile("/sys/devices/system/cpu/online", 1<<16); err == nil {
		k.CPUs = parseCPUList(strings.TrimSpace(string(text)))
	}
	return k
}

// tryGetFD takes a descriptor of this process from itself.
func tryGetFD() error {
	pidfd, err := unix.PidfdOpen(unix.Getpid(), 0)
	if err != nil {
		return fmt.Errorf("pidfd_open: %w", err)
	}
	defer unix.Close(pidfd)
	fd, err := unix.PidfdGetfd(pidfd, pidfd, 0)
	if err != nil {
		return fmt.Errorf("pidfd_getfd: %w", err)
	}
	return unix.Close(fd)
}

// receiveEnds: SECCOMP_IOCTL_NOTIF_RECV returns when the last task under the
// filter is gone (Linux 6.11).
func (k Kernel) receiveEnds() bool { return k.AtLeast(6, 11) }

// traces reports whether Yama lets the warden trace the sandbox, and the host reach into
// it, as their ancestors: Documentation/admin-guide/LSM/Yama.rst.
func (k Kernel) traces() bool { return k.Yama < 2 || k.Yama == 2 && k.CanPtrace }

// carriesOut reports whether the supervisor can carry out calls that take a path for their
// callers, without a signal that could end one when it is done.
func (k Kernel) carriesOut() bool {
	return k.WaitKillableRecv && k.ListenerProblem == "" && k.traces()
}

// AtLeast reports whether the release is major.minor or later.
func (k Kernel) AtLeast(major, minor int) bool {
	a, rest, _ := strings.Cut(k.Release, ".")
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	haveMajor, err1 := strconv.Atoi(a)
	haveMinor, err2 := strconv.Atoi(rest[:end])
	if err1 != nil || err2 != nil {
		return false
	}
	return haveMajor > major || haveMajor == major && haveMinor >= minor
}

// parseCPUList reads the "0-3,8" of the CPU files in sysfs; nil when it is
// anything else.
func parseCPUList(text string) []uint32 {
	var cpus []uint32
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		lo, err := strconv.ParseUint(first, 10, 16)
		if err != nil {
			return nil
		}
		hi := lo
		if isRange {
			if hi, err = strconv.ParseUint(last, 10, 16); err != nil || hi < lo {
				return nil
			}
		}
		for cpu := lo; cpu <= hi; cpu++ {
			cpus = append(cpus, uint32(cpu))
		}
	}
	return cpus
}

// SyscallNumber is the number of a system call on this architecture, -1 for a name
// that it does not have.
func SyscallNumber(name string) int {
	if nr, ok := bpf.Number(bpf.NativeArch(), name); ok {
		return nr
	}
	return -1
}
