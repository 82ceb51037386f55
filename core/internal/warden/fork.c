//go:build ignore
// (for the go command, which would want cgo: the Makefile builds this)

/* How many processes there are, and that there are no more: max_processes.
 *
 * Every task is traced from its birth, and the filter returns SECCOMP_RET_TRACE for
 * fork(2), vfork(2) and the clone(2) of a process: the forker stops before the call
 * (PTRACE_EVENT_SECCOMP), after it (PTRACE_EVENT_FORK and its like, or the end of a call
 * that has failed), and the child before its first instruction (PTRACE_EVENT_STOP).
 * Unlike a notification, none of these stops can fail with EINTR: ptrace(2), seccomp(2).
 *
 * One call at a time is let through, so the count is exact: whoever comes meanwhile waits
 * in its stop. */
#include "warden.h"

enum { PID_LIMIT = 1 << 22, WAITING = 1 << 15 }; /* proc_sys_kernel(5), pid_max */

/* The processes, by pid, in an open-addressed hash table that is never more than half
 * full. A process that has ended counts until its parent has waited for it, as it has its
 * number until then; of that nothing tells, so these are looked at when room is needed. */
enum { EMPTY, LIVE, ENDED };
static struct process { s32 pid; u32 state; } *table;
static u32 mask, count;
static u32 limit, most; /* now, and at the start: at most mask / 2 */
static u64 born;
static int begun;

static struct { s32 tid, child; } forking; /* who is let through; its child, if that was seen first */
static s32 waiting[WAITING];               /* in their stop, first come first */
static u32 first, nwaiting;

static u32 home_of(s32 pid) { return ((u32)pid * 2654435761u) & mask; }

static struct process *slot_of(s32 pid)
{
	u32 i = home_of(pid);
	while (table[i].state != EMPTY && table[i].pid != pid)
		i = (i + 1) & mask;
	return &table[i];
}

static int known(s32 pid)
{
	struct process *p = slot_of(pid);
	return p->state == LIVE;
}

static void add(s32 pid)
{
	struct process *p = slot_of(pid);
	if (p->state == EMPTY) {
		if (count == mask) /* who is too many is killed; and slot_of ends at an empty one */
			return;
		count++;
	}
	p->pid = pid;
	p->state = LIVE;
	born++;
}

/* Those behind it that could have been where it is move up. */
static void take_out(u32 at)
{
	u32 i = at;

	count--;
	table[at].state = EMPTY;
	for (;;) {
		i = (i + 1) & mask;
		if (table[i].state == EMPTY)
			return;
		if (((i - home_of(table[i].pid)) & mask) < ((i - at) & mask))
			continue;
		table[at] = table[i];
		table[i].state = EMPTY;
		at = i;
	}
}

/* What can't be read is taken for one that is still there. */
static int zombie(s32 pid)
{
	char state = task_state(pid, 0);
	return state == 'Z' || (!state && sys2(__NR_kill, pid, 0) != -ESRCH);
}

/* Forgets the processes that have been waited for. A number that lives again may be
 * anybody's: it counts as long as whoever has it is a zombie too. */
static void look(void)
{
	u32 i = 0;

	while (i <= mask) {
		if (table[i].state == ENDED && !zombie(table[i].pid))
			take_out(i); /* and another may have its place */
		else
			i++;
	}
}

/* ---- stops ------------------------------------------------------------------ */

/* A stop uses up the interrupt that a freeze has queued: ptrace_stop() of kernel/signal.c,
 * "any trap clears pending STOP trap". */
static long resume(int how, s32 tid)
{
	if (tracee_interrupted(tid))
		sys4(__NR_ptrace, PTRACE_INTERRUPT, tid, 0, 0);
	return sys4(__NR_ptrace, how, tid, 0, 0);
}

/* After a task's first stop its exec is followed: one by another thread ends a forker that
 * leads its group without a word. Not before, since most commands make no thread. */
static void options(s32 tid)
{
	sys4(__NR_ptrace, PTRACE_SETOPTIONS, tid, 0, BORN_OPTIONS | PTRACE_O_TRACEEXEC);
}

#if defined(__x86_64__)
enum { AT_RAX = 8 * 10, AT_ORIG_RAX = 8 * 15 }; /* struct user_regs_struct, sys/user.h */
static int creates(u64 nr) { return nr == __NR_clone || nr == __NR_fork || nr == __NR_vfork; }
static long skip(s32 tid, long result)
{
	long r = sys4(__NR_ptrace, PTRACE_POKEUSER, tid, AT_ORIG_RAX, -1);
	return r < 0 ? r : sys4(__NR_ptrace, PTRACE_POKEUSER, tid, AT_RAX, result);
}
#else
enum { NT_PRSTATUS = 1, NT_ARM_SYSTEM_CALL = 0x404 }; /* elf.h */
static int creates(u64 nr) { return nr == __NR_clone; }
static long skip(s32 tid, long result)
{
	struct { u64 regs[31], sp, pc, pstate; } regs; /* struct user_pt_regs */
	struct iovec iov = { &regs, sizeof regs };
	s32 none = -1;
	long r = sys4(__NR_ptrace, PTRACE_GETREGSET, tid, NT_PRSTATUS, &iov);

	if (r < 0)
		return r;
	regs.regs[0] = (u64)result;
	r = sys4(__NR_ptrace, PTRACE_SETREGSET, tid, NT_PRSTATUS, &iov);
	if (r < 0)
		return r;
	iov = (struct iovec){ &none, sizeof none };
	return sys4(__NR_ptrace, PTRACE_SETREGSET, tid, NT_ARM_SYSTEM_CALL, &iov);
}
#endif

/* The call has that result and is not made. Where that can't be said, it must not be made. */
static void refuse(s32 tid, long result)
{
	if (skip(tid, result) < 0)
		sys2(__NR_kill, tid, SIGKILL);
	else
		resume(PTRACE_CONT, tid);
}

/* Whether tid stands before a call of the filter's, and not somebody else by its number. */
static int stands(s32 tid, u64 *nr)
{
	struct { u8 op, pad[3]; u32 arch; u64 ip, sp, nr, args[6]; u32 ret_data; } info; /* ptrace_syscall_info */
	long n = sys4(__NR_ptrace, PTRACE_GET_SYSCALL_INFO, tid, sizeof info, &info);

	*nr = info.nr;
	return n > 0 && info.op == PTRACE_SYSCALL_INFO_SECCOMP;
}

/* Lets one through, if there is room. The host's orders first: a limit that it lowered
 * before it answered somebody holds for what that one does then. */
static void admit(s32 tid)
{
	u64 nr;

	take_orders();
	if (!stands(tid, &nr))
		return;
	if (!creates(nr)) { /* a filter of the sandbox's own; without a tracer it would be this */
		refuse(tid, -ENOSYS);
		return;
	}
	if (count >= limit)
		look();
	if (count >= limit) {
		__atomic_fetch_or(&limits_met, LIMIT_PROCESSES, __ATOMIC_RELAXED);
		refuse(tid, -EAGAIN);
		return;
	}
	options(tid);
	/* To the end of a call that fails; one that succeeds stops before. */
	if (resume(PTRACE_SYSCALL, tid) == 0)
		forking.tid = tid;
}

static void next(void)
{
	forking.tid = forking.child = 0;
	while (!forking.tid && nwaiting) {
		s32 tid = waiting[first];
		first = (first + 1) % WAITING;
		nwaiting--;
		admit(tid);
	}
}

int fork_stopped(s32 tid, s32 status)
{
	int event = status >> 16, sig = status >> 8 & 0xff;
	unsigned long child = 0;

	switch (event) {
	case PTRACE_EVENT_SECCOMP:
		if (!forking.tid)
			admit(tid);
		else if (nwaiting == WAITING)
			refuse(tid, -EAGAIN);
		else
			waiting[(first + nwaiting++) % WAITING] = tid;
		return 1;
	case PTRACE_EVENT_FORK:
	case PTRACE_EVENT_VFORK:
	case PTRACE_EVENT_CLONE:
		if (tid == forking.tid) {
			/* Fails for one that was killed in its stop: then the child tells of itself. */
			if (sys4(__NR_ptrace, PTRACE_GETEVENTMSG, tid, 0, &child) == 0) {
				if ((s32)child != forking.child)
					add((s32)child);
				if (count > most)
					sys2(__NR_kill, (s32)child, SIGKILL); /* see below */
			}
			resume(PTRACE_CONT, tid);
			next();
		} else {
			resume(PTRACE_CONT, tid); /* a thread */
		}
		return 1;
	case PTRACE_EVENT_EXEC:
		sys4(__NR_ptrace, PTRACE_GETEVENTMSG, tid, 0, &child); /* what it was called before */
		if (forking.tid && (forking.tid == tid || forking.tid == (s32)child))
			next();
		return 0;
	case 0:
		if (sig != (SIGTRAP | 0x80))
			return 0;
		resume(PTRACE_CONT, tid);
		if (tid == forking.tid)
			next();
		return 1;
	case PTRACE_EVENT_STOP:
		/* A process that nobody knows is one at its first stop. */
		if (sys3(__NR_tgkill, tid, tid, 0) == 0 && !known(tid)) {
			add(tid);
			if (forking.tid && !forking.child)
				forking.child = tid;
			else if (count > most) /* its forker was killed before it could tell of it */
				sys2(__NR_kill, tid, SIGKILL);
		}
		options(tid);
		return 0;
	}
	return 0;
}

void fork_died(s32 tid)
{
	struct process *p = slot_of(tid);

	/* Killed together with its forker, before either could tell of it; and a zombie, as its
	 * parent need not be its forker (CLONE_PARENT). */
	if (p->state == EMPTY && sys3(__NR_tgkill, tid, tid, 0) == 0) {
		add(tid);
		p = slot_of(tid);
	}
	if (p->state == LIVE)
		p->state = ENDED;
	if (tid == forking.tid)
		next();
}

void fork_limit(u32 n)
{
	if (n < limit)
		limit = n;
}

u64 fork_total(void) { return born; }

int all_traced(void) { return begun; }

static int dead(s32 pid)
{
	char state = task_state(pid, 0);
	return !state || state == 'Z' || state == 'X';
}

long fork_begin(s32 pid)
{
	u64 size = 4;
	long r;

	limit = most = req->max_processes < PID_LIMIT ? req->max_processes : PID_LIMIT;
	while (size < 2 * ((u64)limit + 2))
		size *= 2;
	r = sys6(__NR_mmap, 0, size * sizeof *table, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (r < 0 && r > -4096)
		return r;
	table = (struct process *)r;
	mask = (u32)size - 1;
	r = sys4(__NR_ptrace, PTRACE_SEIZE, pid, 0, BORN_OPTIONS | (req->flags & REQ_EXECS ? PTRACE_O_TRACEEXEC : 0));
	begun = r == 0;
	if (begun)
		add(pid);
	/* One that was killed meanwhile can't be traced, and needs no tracer. */
	return r < 0 && dead(pid) ? 0 : r;
}
