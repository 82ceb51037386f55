package core

import "time"

// Policy says what a command may do; everything is denied unless granted. It is
// plain data: it may be edited between runs, and nothing in it is checked before
// Compile. The zero Policy grants nothing at all; use [NewPolicy] for the
// documented defaults.
type Policy struct {
	// Relative paths count from the host's working directory at the start of each
	// run, and symbolic links in them are followed then, once. Paths are bytes.

	FSReadable []string // read, execute and list beneath these paths
	FSWritable []string // the same, and write, create, remove
	// FSExecutable, when not nil, restricts execution to what lies beneath these
	// paths and is readable too. That holds for the dynamic loader of a program
	// and the interpreter of a script as well. It is a rule for execve(2): code in
	// a readable file can still be loaded by a program that may run.
	FSExecutable []string
	// FSDenied are objects within the grants that nothing may be done to, nor to what lies
	// beneath them: EACCES. Other names of them, and other objects that get their names, are
	// denied too. Of each path the last component may be missing, and stays so.
	FSDenied []string
	// UnixAllow are named unix sockets, and directories with some, that may be reached beside
	// those beneath FSWritable; "/" is all. Without a path in either, no unix sockets but
	// connected pairs can be made.
	UnixAllow []string
	Cwd       string // working directory; "" is the host's

	Env      map[string]string // set or overridden after CleanEnv
	CleanEnv bool              // keep only PATH, HOME, USER, TERM, LANG of the base environment

	Name string // default name of a run; "" is sandbox-<pid>-<counter>

	// Limits of all tasks of the sandbox together; nil is no limit.

	MaxProcesses *uint32 // processes at a time, threads not counted; fork(2) beyond it fails with EAGAIN
	MaxMemory    *uint64 // bytes of anonymous and shared memory; beyond it the largest process is killed; /proc/meminfo shows it
	MaxCPU       *uint32 // percent of one core, 1 to 100
	NumCPUs      *uint32 // how many of the CPUs that it may run on it sees, in /proc/cpuinfo too, and uses

	// GPUDevices are the indices of the NVIDIA devices that may be used; nil is none,
	// the empty list is every GPU, and /dev/dri.
	GPUDevices []uint32

	// TermGrace is how long a command whose time is over has between SIGTERM, which every
	// task of the sandbox gets then, and SIGKILL. 0 is SIGKILL at once.
	TermGrace time.Duration

	MaxOpenFiles      *uint32 // RLIMIT_NOFILE, soft and hard; clamped to the inherited limits
	NoCoredump        bool
	NoHugePages       bool
	NoRandomizeMemory bool
	MaxOutput         uint64   // captured bytes kept per stream
	CPUCores          []uint32 // sched_setaffinity; nil leaves it alone

	ExtraDenySyscalls  []string
	ExtraAllowSyscalls []string

	// NetAllow are rules for what may be reached, [scheme://]target[:ports]: tcp, udp and
	// icmp, or none for TCP and UDP; an address, a network, or * or nothing for any. NetDeny
	// is taken from that, or, alone, from everything. What names resolve to at the start of a
	// run is in the /etc/hosts that it sees.
	NetAllow, NetDeny []string
	// NetAllowPrivateNames lets names in NetAllow, which are resolved once, at the start of
	// each run, have addresses that are not of the public Internet. localhost may anyway.
	NetAllowPrivateNames bool
	// NetDenyBind are TCP ports that may not be bound, all others may; not with NetAllowBind.
	NetDenyBind []string
	// PortRemap gives the sandbox TCP ports of its own: a port that is taken on the host can
	// be bound all the same, and is another one there, see [Sandbox.Ports].
	PortRemap    bool
	NetAllowBind []string // N, "a,b", "lo-hi", "*"; port 0 is one that the kernel chooses

	AllowDegraded []Protection // may be missing on the kernel that it runs on
	Disable       []Protection // off on every kernel

	PolicyFn      PolicyFunc
	PolicyEvents  []string      // which syscalls PolicyFn is asked about; nil is all that are built, empty is none
	PolicyTimeout time.Duration // a verdict that has not come by then is a denial; 0 waits for ever
	RecordExecs   bool          // keep what becomes of each exec that PolicyFn is asked about in Result.Execs
	// RecordDenials has Result.Denials hold what the kernel would refuse by itself, too: the
	// library carries out, or looks at first, each call that takes a path, connect and bind of
	// TCP, and what the system call filter refuses.
	RecordDenials bool
	ArgvSafety    ArgvSafety // what becomes of an exec whose argv can't be protected
}

// ArgvSafety says what becomes of an exec that PolicyFn judges and whose arguments can't
// be kept from changing afterwards: tracing is refused, or the policy itself lets others
// write into the caller's memory. The values are those of the C ABI.
type ArgvSafety int

const (
	ArgvStrict   ArgvSafety = 0 // it fails with EPERM, and such a policy is an error
	ArgvLandlock ArgvSafety = 1 // PolicyFn gets an event without argv; Landlock alone bounds what runs
)

// Defaults of policy.md, sections 4 and 9.
const (
	DefaultMaxProcesses  = 64
	DefaultMaxOutput     = 64 << 20
	DefaultPolicyTimeout = 30 * time.Second
)

// NewPolicy returns a policy with the documented defaults and no grants.
func NewPolicy() *Policy {
	processes := uint32(DefaultMaxProcesses)
	return &Policy{MaxOutput: DefaultMaxOutput, PolicyTimeout: DefaultPolicyTimeout, MaxProcesses: &processes}
}
