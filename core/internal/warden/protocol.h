/* The wire format between the host and the warden. protocol.go says the same in
 * Go; both sides are built from one tree and the version word guards the rest.
 * Native byte order: both ends are on one machine.
 *
 * Descriptors that the warden inherits, with n = number given as argv[1]:
 *   0 … n-1  the command's own, in place, but for gaps: see struct request
 *   n + FD_EXEC …  see enum fd_slot
 */
#ifndef SANDLOCK_WARDEN_PROTOCOL_H
#define SANDLOCK_WARDEN_PROTOCOL_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;
typedef long long s64;

enum {
	REQUEST_MAGIC = 0x534c5744, /* "SLWD" */
	PROTOCOL_VERSION = 3,
	REQUEST_MAX = 16 << 20, /* argv and envp are at most 6 MiB: execve(2) */
	CPU_BYTES = 1024,       /* 8192 CPUs: CONFIG_NR_CPUS of x86-64 */
	FILES_MAX = 8192,       /* descriptors of the command */
};

enum fd_slot {
	FD_EXEC,    /* write end of a pipe that ends with the command's exec, or before it */
	FD_CTL,     /* SOCK_SEQPACKET: request, orders to the parent, messages back */
	FD_ORDER,   /* SOCK_SEQPACKET: struct killer_order, and what the killer says by it */
	FD_HOST,    /* pidfd of the host, opened by the host */
	FD_RULESET, /* Landlock ruleset of the command */
	FD_CWD,     /* O_PATH directory */
	FD_CGROUP,  /* directory of a cgroup, for the command */
	FD_SLOTS,
};

enum request_flag {
	REQ_PARK = 1 << 0,        /* wait for ORDER_GO before the exec */
	REQ_LISTENER = 1 << 1,    /* NEW_LISTENER, handed over in MSG_CREATED */
	REQ_INTERACTIVE = 1 << 2, /* stay in the host's session */
	REQ_NO_CORE = 1 << 3,
	REQ_NO_THP = 1 << 4,
	REQ_NO_RANDOMIZE = 1 << 5,
	REQ_NOFILE = 1 << 6,
	REQ_AFFINITY = 1 << 7,
	REQ_RULESET = 1 << 8,
	REQ_CWD = 1 << 9,
	REQ_WAIT_KILLABLE = 1 << 10, /* WAIT_KILLABLE_RECV, Linux 5.19 */
	REQ_MAX_PROCESSES = 1 << 11,
	REQ_EXECS = 1 << 12, /* each exec is a notification that ORDER_APPROVE answers */
	REQ_WRITES_MEMORY = 1 << 13, /* files on a tmpfs, for max_memory */
	REQ_EXEC = 1 << 14, /* FD_EXEC is there */
	REQ_TERMINAL = 1 << 15, /* the command's descriptor 0 is its session's terminal */
	REQ_CGROUP = 1 << 16, /* FD_CGROUP is there, and has a limit of max_memory */
	REQ_LOG_DENIALS = 1 << 17, /* the kernel's audit is told what Landlock denies, Linux 6.15 */
	REQ_JOBS = 1 << 18, /* MSG_STOPPED is wanted */
};

/* First datagram starts with this; the rest of total bytes follows, in as many
 * datagrams as it takes: filter, then path, argv and envp as strings. */
struct request {
	u32 magic, version, total, flags;
	u32 filter_len; /* instructions of struct sock_filter, 8 bytes each */
	u32 argc, envc;
	u32 killer_scope; /* scope bits of the killer's domain; 0: walk instead */
	u64 nofile;
	u64 keep_caps; /* capabilities that the command keeps, if it has them */
	s32 tty;       /* command descriptor that is the terminal, -1 none */
	s32 tty_pgrp;  /* foreground process group to give it back to */
	u32 max_processes; /* REQ_MAX_PROCESSES */
	u32 max_cpu;       /* percent of one core, 0: no limit */
	u64 max_memory;    /* bytes, 0: no limit */
	u8 cpus[CPU_BYTES];
	u8 gaps[FILES_MAX / 8]; /* bits of the numbers below n that the command is not to have */
};

enum step { /* in the order they are taken */
	STEP_NONE,
	STEP_REQUEST,
	STEP_KILLER_DOMAIN,
	STEP_KILLER_PROOF,
	STEP_KILLER_CLONE,
	STEP_CHILD_CLONE,
	STEP_SESSION,
	STEP_TERMINAL,
	STEP_CWD,
	STEP_CORE_LIMIT,
	STEP_THP,
	STEP_PERSONALITY,
	STEP_CLOSE_RANGE,
	STEP_CAPABILITIES,
	STEP_NO_NEW_PRIVS,
	STEP_LANDLOCK,
	STEP_AFFINITY,
	STEP_SECCOMP,
	STEP_TRACE,
	STEP_NOFILE,
	STEP_EXEC,
	STEP_WALK,
	STEP_LIMITS, /* what a limit needs to know can't be had */
};

enum order_type { /* host -> parent */
	ORDER_GO = 1,
	ORDER_FREEZE,  /* id, tid: stop the other threads of tid's thread group */
	ORDER_THAW,    /* id: they may go on; tid's exec was not approved */
	ORDER_APPROVE, /* id, tid, tgid: seize tid, answer the notification "continue" */
	ORDER_RELEASE, /* id: the exec stop's image may run */
	ORDER_REFUSE,  /* id: it may not: SIGKILL */
	ORDER_LIMIT,   /* id: max_processes from now on, if that is less */
	ORDER_CONT,    /* SIGCONT to the command's process group; id: it has the terminal, or 0 */
};

/* ORDER_APPROVE may be followed by what /proc/<pid>/cmdline has to hold after the exec;
 * then the parent releases that image itself. */
enum { CMDLINE_MAX = 2048 };

struct order {
	u32 type;
	s32 tid;
	u64 id;
	s32 tgid;
	u32 unused;
};

enum killer_order_type {
	KILLER_KILL = 1,
	KILLER_STOP,   /* this and the next two are sent back when they are done */
	KILLER_CONT,
	KILLER_MEMORY, /* value: max_memory is that from now on, if it was more or none */
	KILLER_TERM,   /* SIGTERM */
	KILLER_DONE,   /* killer -> host: it has ended the sandbox */
};

struct killer_order { u32 type, unused; u64 value; };

enum message_type { /* parent -> host */
	MSG_CREATED = 1, /* pid, killer; the listener as SCM_RIGHTS when asked for */
	MSG_FROZEN,      /* id: no other thread of the group runs */
	MSG_EXEC,        /* id, pid: stopped at PTRACE_EVENT_EXEC */
	MSG_RAN,         /* id: was there, with the arguments of the order, and runs */
	MSG_NO_EXEC,     /* id, error: see enum no_exec */
	MSG_END,         /* everything is dead and reaped */
	MSG_STOPPED,     /* pid: the command has stopped, by the signal in status */
};

enum no_exec {
	NO_EXEC_FAILED = 1, /* the exec returned an error, or will be restarted */
	NO_EXEC_DIED,
	NO_EXEC_GONE,    /* the notification was no longer there */
	NO_EXEC_REFUSED, /* not answered: tracing is refused, error has the errno; nobody is frozen */
};

struct message {
	u32 type;
	s32 pid;
	u64 id;
	u32 what;      /* enum no_exec */
	s32 error;     /* errno */
	s32 status;    /* MSG_END: wait status of the command */
	u32 step;      /* MSG_END: enum step that failed */
	u32 ended_by;  /* MSG_END: 1 the command itself or the killer's domain, 2 the walk */
	s32 killer;    /* MSG_CREATED: pid of the killer */
	u64 user_usec, system_usec, max_rss; /* MSG_END: getrusage(2), bytes */
	u64 processes; /* MSG_END: that there were, when they are counted */
	u32 limits;    /* MSG_END: enum limit */
	s32 memory_victim; /* MSG_END: whom max_memory has killed first, 0 nobody */
	u64 memory_found;  /* MSG_END: how much there was then, bytes */
	s32 cgroup_error;  /* MSG_CREATED, MSG_END: why the command could not be born in its cgroup */
	u32 cgroup_killed; /* MSG_END: how many processes its limit has killed */
};

/* Those that the sandbox has met; the values of core.Limits. */
enum limit { LIMIT_PROCESSES = 1 << 0, LIMIT_MEMORY = 1 << 1, LIMIT_CPU = 1 << 2 };

/* protocol.go writes and reads these by offset. */
_Static_assert(sizeof(struct request) == 72 + CPU_BYTES + FILES_MAX / 8, "request");
_Static_assert(sizeof(struct order) == 24, "order");
_Static_assert(sizeof(struct killer_order) == 16, "killer_order");
_Static_assert(sizeof(struct message) == 96, "message");

#endif
