//go:build ignore
// (for the go command, which would want cgo: the Makefile builds this)

/* The tasks that are traced from birth, by their number, and how they are held: not by a
 * signal, which a shell takes for a stopped job and SIGCONT undoes, but each in the stop
 * that PTRACE_INTERRUPT makes, or in whatever other stop it comes to first. The killer asks
 * for it, by the words that both tasks of the warden share. */
#include "warden.h"

static struct task *tasks; /* open-addressed, never more than half full */
static u32 mask, used;

u32 tasks_room(void) { return mask + 1; }
struct task *task_at(u32 place) { return tasks[place].tid ? &tasks[place] : 0; }

static u32 home_of(s32 tid) { return ((u32)tid * 2654435761u) & mask; }

static u32 place_of(s32 tid)
{
	u32 i = home_of(tid);
	while (tasks[i].tid && tasks[i].tid != tid)
		i = (i + 1) & mask;
	return i;
}

struct task *task_of(s32 tid) { return task_at(place_of(tid)); }

long tasks_begin(void)
{
	struct task *old = tasks;
	u32 was = old ? mask + 1 : 0, to = was ? 2 * was : 64, i;
	long r = sys6(__NR_mmap, 0, to * sizeof *tasks, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (r < 0 && r > -4096)
		return r;
	tasks = (struct task *)r;
	mask = to - 1;
	for (i = 0; i < was; i++)
		if (old[i].tid)
			tasks[place_of(old[i].tid)] = old[i];
	if (was)
		sys2(__NR_munmap, old, was * sizeof *tasks);
	return 0;
}

struct task *task_make(s32 tid)
{
	struct task *t = task_of(tid);

	if (t)
		return t;
	if (2 * (used + 1) > mask && tasks_begin() < 0) {
		sys2(__NR_kill, tid, SIGKILL); /* nobody could hold it */
		if (used == mask) /* place_of ends at an empty one */
			return 0;
	}
	t = &tasks[place_of(tid)];
	*t = (struct task){ 0 };
	t->tid = tid;
	used++;
	return t;
}

/* Those behind it that could have been where it is move up. */
void task_forget(struct task *t)
{
	u32 at = (u32)(t - tasks), i = at;

	used--;
	tasks[at].tid = 0;
	for (;;) {
		i = (i + 1) & mask;
		if (!tasks[i].tid)
			return;
		if (((i - home_of(tasks[i].tid)) & mask) < ((i - at) & mask))
			continue;
		tasks[at] = tasks[i];
		tasks[i].tid = 0;
		at = i;
	}
}

/* ---- held --------------------------------------------------------------------- */

int hold_fd = -1;
static volatile u32 asked, answered; /* futexes; the killer's and the parent's */
static volatile u32 wanted;          /* killer */
static int holding;                  /* parent */

long go_on(int how, s32 tid, s32 sig)
{
	struct task *t = holding ? task_of(tid) : 0;

	if (!t)
		return sys4(__NR_ptrace, how, tid, 0, sig);
	t->how = how;
	t->sig = sig;
	return 0;
}

/* Who is born meanwhile begins with a stop; who has ended is no matter; who waits in the
 * kernel, for a disk or in vfork(2), stops before it runs another instruction. SIGKILL ends
 * a tracee in any stop. The interrupt of one that listens to a group-stop reports that stop
 * again: ptrace(2), "LISTEN". */
void hold_answer(void)
{
	u32 now = __atomic_load_n(&asked, __ATOMIC_SEQ_CST), hold = wanted, i;

	if (now == answered || !tasks)
		return;
	if (hold)
		holding = 1;
	for (i = 0; i <= mask; i++) {
		struct task *t = task_at(i);
		if (!t || !t->alive)
			continue;
		if (hold) {
			if (!t->how)
				sys4(__NR_ptrace, PTRACE_INTERRUPT, t->tid, 0, 0);
		} else if (t->how) {
			sys4(__NR_ptrace, t->how, t->tid, 0, t->sig);
			t->how = 0;
		}
	}
	if (!hold)
		holding = 0;
	__atomic_store_n(&answered, now, __ATOMIC_SEQ_CST);
	futex_wake(&answered);
}

/* The parent may be stopped by somebody outside; or have to wait for the host, or for a CPU. */
static int unheard(u64 since)
{
	struct task_stat stat;
	return now_ns() - since > 1000000000ull || !read_stat(parent_pid, &stat) || stat.state == 'T' || stat.state == 't';
}

int hold_ask(int hold)
{
	u64 one = 1, since;
	u32 now, seen;

	if (!all_traced())
		return 0;
	wanted = (u32)hold;
	now = __atomic_add_fetch(&asked, 1, __ATOMIC_SEQ_CST);
	sys3(__NR_write, fd_of(FD_CTL), &one, sizeof one);
	if (!hold)
		return 1;
	since = now_ns();
	while ((seen = __atomic_load_n(&answered, __ATOMIC_SEQ_CST)) != now) {
		struct timespec some = { 0, 20 * 1000 * 1000 };
		if (sys4(__NR_futex, &answered, FUTEX_WAIT, seen, &some) == -ETIMEDOUT && unheard(since))
			return 0;
	}
	return 1;
}

/* ---- how long they have run ---------------------------------------------------- */

static volatile u64 dead_cpu;

u64 cpu_of_the_dead(void) { return __atomic_load_n(&dead_cpu, __ATOMIC_SEQ_CST); }

/* The time of a process that has ended, before anybody has waited for it: afterwards it can
 * be gone, as that of children whose parent ignores SIGCHLD. Once, though an orphan is waited
 * for a second time, as a child. */
static void count(s32 pid)
{
	struct task *t = task_of(pid);
	long err = 0;
	u64 cpu = t && t->alive ? cpu_of(pid, &err) : 0;

	if (err >= 0) /* not of a thread */
		__atomic_fetch_add(&dead_cpu, cpu, __ATOMIC_SEQ_CST);
}

/* Which waits twice, as nobody can be counted who is gone: who has ended, or stopped, and
 * then for that one. */
long wait_and_count(s32 *status)
{
	struct { s32 signo, err, code, pad, pid, uid, status, rest[25]; } info; /* siginfo_t */
	long r;

	do {
		info.pid = 0;
		r = sys5(__NR_waitid, P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | WALL, 0);
		if (r < 0 || !info.pid)
			return r;
		if (info.code != CLD_TRAPPED) {
			count(info.pid);
			return sys4(__NR_wait4, info.pid, status, WNOHANG | WALL, 0);
		}
		r = sys5(__NR_waitid, P_PID, info.pid, &info, WSTOPPED | WNOHANG | WALL, 0);
	} while (r < 0 || !info.pid); /* it has been killed meanwhile */
	*status = info.status << 8 | 0x7f;
	return info.pid;
}
