package bpf

import "golang.org/x/sys/unix"

// rule looks at the arguments of a syscall. Most arguments here are an int or
// unsigned int of the kernel, which then has only the low word of the register;
// comparing that alone is exact, and comparing more would let a dirty high word
// around the rule. Where the kernel takes 64 bits, so does the rule.
type rule struct {
	name string // for the dump, and the same for the same code
	// write writes the rule: every path ends in a jump to pass or to an errno.
	write func(c *compiler, pass label)
	// lift: extra_allow_syscalls may take the rule away, it only keeps the
	// sandbox's hands off the time and the limits of processes outside.
	lift bool
}

var rules = map[string]rule{
	"clone":              {name: "clone flags", write: writeClone},
	"socket":             {name: "socket", write: writeSocket("socket")},
	"socketpair":         {name: "socket pair", write: writeSocket("socketpair")},
	"setsockopt":         {name: "socket option", write: writeSockopt},
	"sendto":             {name: "send flags (argument 3)", write: writeSend("sendto", 3)},
	"sendmsg":            {name: "send flags (argument 2)", write: writeSend("sendmsg", 2)},
	"sendmmsg":           {name: "send flags of messages", write: writeSend("sendmmsg", 3)},
	"ioctl":              {name: "ioctl command", write: writeIoctl},
	"prctl":              {name: "prctl option", write: writePrctl},
	"seccomp":            {name: "seccomp flags", write: writeSeccomp},
	"personality":        {name: "personality", write: writePersonality},
	"setrlimit":          {name: "mark", write: writeSetrlimit},
	"prlimit64":          {name: "limits", write: writePrlimit, lift: true},
	"setpriority":        {name: "own priority", write: writeOwn(unix.PRIO_PROCESS), lift: true},
	"ioprio_set":         {name: "own I/O priority", write: writeOwn(ioprioWhoProcess), lift: true},
	"sched_setaffinity":  {name: "own scheduling", write: writePid0, lift: true},
	"sched_setscheduler": {name: "own scheduling", write: writePid0, lift: true},
	"sched_setparam":     {name: "own scheduling", write: writePid0, lift: true},
	"sched_setattr":      {name: "own scheduling", write: writePid0, lift: true},
}

// cloneRefused are flags of clone(2). The flags are the first argument on both
// architectures, and sys_clone takes their low 32 bits.
//   - CLONE_NEW*: namespaces. CLONE_NEWTIME is a part of the exit signal here, not
//     a flag; no signal has that bit.
//   - CLONE_PTRACE, CLONE_UNTRACED: the child would be traced when the warden does
//     not expect it, or not be traced when it relies on it.
//
// CLONE_PARENT stays: a sandbox in a sandbox starts its command with it, and a child
// of the warden that it did not ask for is one more orphan to reap.
const cloneRefused = unix.CLONE_NEWTIME | unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS |
	unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
	unix.CLONE_PTRACE | unix.CLONE_UNTRACED

// CLONE_FILES without CLONE_THREAD is refused where the supervisor relies on it (OwnFiles):
// nothing but a sandbox in a sandbox is known to want it.
func writeClone(c *compiler, pass label) {
	c.load(low(0))
	if c.spec.OwnFiles {
		c.and(unix.CLONE_FILES | unix.CLONE_THREAD)
		c.ifEqual(unix.CLONE_FILES, c.errno(unix.EPERM), next)
		c.load(low(0))
	}
	if !c.spec.CountTasks {
		c.ifAny(cloneRefused, c.errno(unix.EPERM), pass)
		return
	}
	c.ifAny(cloneRefused, c.errno(unix.EPERM), next)
	c.ifAny(unix.CLONE_THREAD, c.ret(retAllow), pass)
}

// forks are what makes processes; clone(2) makes threads too, see writeClone.
var forks = []string{"fork", "vfork", "clone"}

// writeSeccomp: SECCOMP_RET_USER_NOTIF goes before SECCOMP_RET_TRACE, seccomp(2), so a
// listener inside could let a fork through that the tracer has not. It gets the EBUSY
// that a second listener would.
func writeSeccomp(c *compiler, pass label) {
	if !c.spec.CountTasks {
		c.goTo(pass)
		return
	}
	c.load(low(1))
	c.ifAny(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, c.errno(unix.EBUSY), pass)
}

// personaKept are the bits of personality(2) that a program may set: what uname(2)
// says (PER_LINUX32, UNAME26), and a fixed layout, which debuggers, SBCL and
// no_randomize_memory want. The others make old interfaces of the kernel reachable
// or the memory of set-user-ID programs weaker.
const personaKept = 0x0000008 | 0x0020000 | 0x0040000 // PER_LINUX32, UNAME26, ADDR_NO_RANDOMIZE

func writePersonality(c *compiler, pass label) {
	c.load(low(0))
	c.ifEqual(0xffffffff, pass, next) // asks only
	c.ifAny(^uint32(personaKept), c.errno(unix.EPERM), pass)
}

// writePrlimit: prlimit64(2) reaches every process of the user, inside or not; there
// is no hook for Landlock. Own limits, and the reading of others'. A call for
// getpid(2) can't be told from one for another process and gets EPERM.
func writePrlimit(c *compiler, pass label) {
	refuse := c.errno(unix.EPERM)
	own := pass
	if c.spec.KeepMarks {
		own = c.label("own limit")
	}
	c.load(low(0))
	c.ifEqual(0, own, next)
	c.load(low(2)) // new_limit, an address
	c.ifEqual(0, next, refuse)
	c.load(high(2))
	c.ifEqual(0, pass, refuse)
	if c.spec.KeepMarks {
		c.place(own)
		c.load(low(1))
		c.ifEqual(rlimitLocks, next, pass)
		c.load(low(2))
		c.ifEqual(0, next, refuse)
		c.load(high(2))
		c.ifEqual(0, pass, refuse)
	}
}

// rlimitLocks is RLIMIT_LOCKS, which limits nothing: getrlimit(2).
const rlimitLocks = 10

// writeSetrlimit: see Spec.KeepMarks.
func writeSetrlimit(c *compiler, pass label) {
	if !c.spec.KeepMarks {
		c.goTo(pass)
		return
	}
	c.load(low(0))
	c.ifEqual(rlimitLocks, c.errno(unix.EPERM), pass)
}

// ioprioWhoProcess is IOPRIO_WHO_PROCESS, linux/ioprio.h.
const ioprioWhoProcess = 1

// writeOwn: setpriority(2) and ioprio_set(2), on the calling task alone: which says
// that who is one, and 0 is the caller. A process group may have members outside in
// an interactive run, and a user has.
func writeOwn(which uint32) func(*compiler, label) {
	return func(c *compiler, pass label) {
		refuse := c.errno(unix.EPERM)
		c.load(low(0))
		c.ifEqual(which, next, refuse)
		c.load(low(1))
		c.ifEqual(0, pass, refuse)
	}
}

// writePid0: sched_setaffinity(2) and its like reach every process of the user, the
// warden and the host too: pinned to one core, or to SCHED_IDLE, they starve. There
// is no hook for Landlock. So only the caller may be meant, by 0.
// pthread_setaffinity_np(3) names its thread by id and gets EPERM: what can't do
// without is allowed sched_setaffinity by the policy.
func writePid0(c *compiler, pass label) {
	c.load(low(0))
	c.ifEqual(0, pass, c.errno(unix.EPERM))
}
