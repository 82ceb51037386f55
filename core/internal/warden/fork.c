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

/* A process that has ended counts until its parent has waited for it, as it has its number
 * until then; of that nothing tells, so these are looked at when room is needed. */
static u32 count;
static u32 limit, most; /* now, and at the start */
static u64 born;
static int begun;

/* Who is let through, and its child, if that was seen first. */
static struct { s32 tid, child; u32 ticket; } forking;
static s32 waiting[WAITING]; /* in their stop, first come first */
static u32 first, nwaiting;

static int known(s32 pid)
{
	struct task *t = task_of(pid);
	return t && t->process == LIVE;
}

static struct task *add(s32 pid)
{
	struct task *t = task_make(pid);

	if (!t)
		return 0;
	if (!t->process)
		count++;
	t->process = LIVE;
	t->alive = 1;
	born++;
	return t;
}

/* What can't be read is taken for one that is still there. */
static int zombie(s32 pid)
{
	struct task_stat stat;
	return read_stat(pid, &stat) ? stat.state == 'Z' : sys2(__NR_kill, pid, 0) != -ESRCH;
}

/* Forgets the processes that have been waited for. A number that lives again may be
 * anybody's: it counts as long as whoever has it is a zombie too. */
static void look(void)
{
	u32 i = 0;

	while (i < tasks_room()) {
		struct task *t = task_at(i);
		if (!t || t->process != ENDED || zombie(t->tid)) {
			i++;
			continue;
		}
		count--;
		t->process = 0;
		if (t->alive)
			i++;
		else
			task_forget(t); /* and another may have its place */
	}
}

static int at_least(u32 n) /* once the dead are not counted that nobody knows any more */
{
	if (count >= n)
		look();
	return count >= n;
}

/* ---- stops ------------------------------------------------------------------ */

/* A stop uses up the interrupt that a freeze has queued: ptrace_stop() of kernel/signal.c,
 * "any trap clears pending STOP trap". */
static long resume(int how, s32 tid)
{
	if (tracee_interrupted(tid))
		sys4(__NR_ptrace, PTRACE_INTERRUPT, tid, 0, 0);
	return go_on(how, tid, 0);
}

/* After a task's first stop its exec is followed: one by another thread ends a forker that
 * leads its group without a word. Not before, since most commands make no thread. */
static void options(s32 tid)
{
	sys4(__NR_ptrace, PTRACE_SETOPTIONS, tid, 0, BORN_OPTIONS | PTRACE_O_TRACEEXEC);
}

/* ---- signals that wait for a fork ------------------------------------------------ */

/* The kernel begins a fork anew when a signal comes before it (copy_process of its fork.c,
 * ERESTARTNOINTR). With the stop before it, one every 0.1 ms would always be in time. So the
 * forker blocks all signals from that stop to the next, and its child, which inherits that,
 * up to its first.
 *
 * Of a forker that is killed between the two nobody tells whose child a process is that
 * nobody knows; so what is blocked says it. The highest signals, TICKET_BITS of them, are
 * blocked or not like the bits of a number, another one for each fork. */
enum { TICKET_BITS = 10, TICKET_SHIFT = 64 - TICKET_BITS, TICKETS = 1 << TICKET_BITS };
static u64 blocked_by[TICKETS];
static u32 tickets;

static u64 blocked(s32 tid)
{
	u64 set = 0;
	sys4(__NR_ptrace, PTRACE_GETSIGMASK, tid, sizeof set, &set);
	return set;
}

static void block(s32 tid, u64 set) { sys4(__NR_ptrace, PTRACE_SETSIGMASK, tid, sizeof set, &set); }

static void block_all(s32 tid)
{
	u32 n = tickets++ * 683 % TICKETS; /* so that no signal is left out many times in turn */

	forking.ticket = n;
	blocked_by[n] = blocked(tid);
	block(tid, ~0ull >> TICKET_BITS | (u64)n << TICKET_SHIFT);
}

/* ---- before the call ---------------------------------------------------------------- */

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
	if (at_least(limit)) {
		__atomic_fetch_or(&limits_met, LIMIT_PROCESSES, __ATOMIC_RELAXED);
		refuse(tid, -EAGAIN);
		return;
	}
	options(tid);
	block_all(tid);
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

static void born_of_forking(s32 pid)
{
	struct task *t = add(pid);

	if (t) {
		t->process = BORN;
		t->blocked = blocked_by[forking.ticket];
	}
}

static void first_stop(s32 tid)
{
	struct task *t = task_of(tid);
	u32 ticket, others;

	if (t && t->process == BORN) {
		block(tid, t->blocked);
		t->process = LIVE;
	} else if (!known(tid) && sys3(__NR_tgkill, tid, tid, 0) == 0) {
		ticket = blocked(tid) >> TICKET_SHIFT;
		add(tid);
		block(tid, blocked_by[ticket]);
		if (forking.tid && forking.ticket == ticket) {
			forking.child = tid;
			return;
		}
		/* Its forker was killed before it could tell of it, so that its place may have been
		 * given away. */
		others = forking.tid && !forking.child;
		if (at_least(most + 1 - others))
			sys2(__NR_kill, tid, SIGKILL);
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
			if (sys4(__NR_ptrace, PTRACE_GETEVENTMSG, tid, 0, &child) == 0 && (s32)child != forking.child) {
				born_of_forking((s32)child);
				/* That was another's, which has lagged behind by as many forks as there are tickets. */
				if (forking.child && at_least(most + 1))
					sys2(__NR_kill, forking.child, SIGKILL);
			}
			block(tid, blocked_by[forking.ticket]);
			resume(PTRACE_CONT, tid);
			next();
		} else {
			resume(PTRACE_CONT, tid); /* a thread */
		}
		return 1;
	case PTRACE_EVENT_EXEC:
		sys4(__NR_ptrace, PTRACE_GETEVENTMSG, tid, 0, &child); /* what it was called before */
		if ((s32)child != tid && task_of((s32)child))
			task_forget(task_of((s32)child));
		if (forking.tid && (forking.tid == tid || forking.tid == (s32)child))
			next();
		return 0;
	case 0:
		if (sig != (SIGTRAP | 0x80))
			return 0;
		if (tid == forking.tid)
			block(tid, blocked_by[forking.ticket]);
		resume(PTRACE_CONT, tid);
		if (tid == forking.tid)
			next();
		return 1;
	case PTRACE_EVENT_STOP:
		first_stop(tid);
		options(tid);
		return 0;
	}
	return 0;
}

void fork_died(s32 tid)
{
	struct task *t = task_of(tid);

	/* Killed together with its forker, before either could tell of it; and a zombie, as its
	 * parent need not be its forker (CLONE_PARENT). */
	if ((!t || !t->process) && sys3(__NR_tgkill, tid, tid, 0) == 0)
		t = add(tid);
	if (t) {
		t->alive = 0;
		t->how = 0;
		if (t->process)
			t->process = ENDED;
		else
			task_forget(t);
	}
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
	struct task_stat stat;
	return !read_stat(pid, &stat) || stat.state == 'Z' || stat.state == 'X';
}

long fork_begin(s32 pid)
{
	long r = tasks_begin();

	if (r < 0)
		return r;
	limit = most = req->max_processes < PID_LIMIT ? req->max_processes : PID_LIMIT;
	r = sys4(__NR_ptrace, PTRACE_SEIZE, pid, 0, BORN_OPTIONS | (req->flags & REQ_EXECS ? PTRACE_O_TRACEEXEC : 0));
	if (r == 0)
		add(pid);
	begun = r == 0;
	/* One that was killed meanwhile can't be traced, and needs no tracer. */
	return r < 0 && dead(pid) ? 0 : r;
}
