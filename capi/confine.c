/* Landlock and no_new_privs are of one thread each (credentials(7)), and a thread of the
 * host or of the Go runtime that was left out would be a way around them. Before Linux 7.0
 * (LANDLOCK_RESTRICT_SELF_TSYNC) the kernel restricts the calling thread alone, so here
 * each does it by itself, in a handler of a signal.
 *
 * All or nothing, as far as that can be had: the threads are gathered in the handler
 * first, where they wait. One that does not come is an error before anything was changed.
 * When a list of the threads has none that is not there, no more can come, since nobody is
 * left who could make one. Then the caller restricts itself, and what it is refused is an
 * error before anything else was changed; then the others do. */
#define _GNU_SOURCE
#include "confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "host.h"

#ifndef SYS_landlock_restrict_self
#define SYS_landlock_restrict_self 446
#endif

/* The signal with which glibc has all threads change their user (nptl(7)): sigprocmask(3)
 * never blocks it, and no program has a handler for it. glibc's own is passed what is not
 * from here. */
enum { SIGNAL = 33 };

/* How long a thread may take: one in a vfork(2) waits for its child's exec. */
enum { PATIENCE_MS = 10000 };

enum { TIDS = 1 << 22 };           /* PID_MAX_LIMIT of the kernel */
enum { IO_WORKER = 0x10 };         /* PF_IO_WORKER of the kernel, in /proc/PID/stat */

/* What the gathered threads do next: the lowest two bits of all.phase. */
enum { GATHER, RESTRICT, FILTER, IDLE };

static struct {
	_Atomic uint32_t phase;   /* futex; above those bits, the number of the call */
	_Atomic uint32_t came;    /* futex: how many threads are in the handler */
	_Atomic uint32_t done;    /* futex: how many have carried out the phase */
	_Atomic uint32_t *of;     /* by thread: the phase that it came in, kept for good */
	_Atomic int failed;       /* the thread that failed first */
	int step, error;          /* … at what, and how */
	int ruleset;
	uint64_t capabilities;
	struct sock_fprog filter;
} all = { .phase = IDLE };

/* As the kernel has it; glibc's own functions refuse the signal. */
struct action {
	void (*handler)(int, siginfo_t *, void *);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};
static struct action before;

#if defined(__x86_64__)
void sl_restorer(void) __attribute__((visibility("hidden")));
__asm__(".text\n.type sl_restorer,@function\nsl_restorer:\n\tmov $15, %eax\n\tsyscall\n"); /* rt_sigreturn */
#define RESTORER sl_restorer
#define RESTORER_FLAG 0x04000000ul /* SA_RESTORER */
#else
#define RESTORER NULL /* the vDSO has one */
#define RESTORER_FLAG 0ul
#endif

static long act(const struct action *new, struct action *old)
{
	return syscall(SYS_rt_sigaction, SIGNAL, new, old, sizeof new->mask);
}

static void wait_while(_Atomic uint32_t *word, uint32_t value, long ms)
{
	struct timespec limit = { ms / 1000, ms % 1000 * 1000000 };

	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, ms ? &limit : NULL);
}

static void count(_Atomic uint32_t *word)
{
	atomic_fetch_add(word, 1);
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1);
}

static void next_phase(uint32_t phase)
{
	atomic_store(&all.phase, phase);
	syscall(SYS_futex, &all.phase, FUTEX_WAKE_PRIVATE, INT32_MAX);
}

/* ---- what each thread does -------------------------------------------------- */

static bool keep_capabilities(uint64_t keep)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct sets[2];
	int i;

	if (syscall(SYS_capget, &head, sets) != 0)
		return false;
	for (i = 0; i < 2; i++) {
		sets[i].effective &= (uint32_t)(keep >> (32 * i));
		sets[i].permitted &= (uint32_t)(keep >> (32 * i));
		sets[i].inheritable = 0;
	}
	return syscall(SYS_capset, &head, sets) == 0;
}

/* Returns the step that failed, errno saying how, or -1. */
static int carry_out(int phase)
{
	if (phase == FILTER)
		return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &all.filter) == 0 ? -1 : STEP_FILTER;
	if (syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return STEP_PRIVS;
	if (syscall(SYS_landlock_restrict_self, all.ruleset, 0) != 0)
		return STEP_LANDLOCK;
	return keep_capabilities(all.capabilities) ? -1 : STEP_CAPS;
}

/* The handler. Nothing in it may lock or allocate: the thread stands anywhere. */
static void answer(int sig, siginfo_t *info, void *context)
{
	int saved = errno, step, tid = (int)syscall(SYS_gettid), none = 0;
	uint32_t came, seen, now;

	if (info->si_code != SI_QUEUE || info->si_value.sival_ptr != &all) {
		if (before.flags & SA_SIGINFO)
			before.handler(sig, info, context);
		errno = saved;
		return;
	}
	came = seen = atomic_load(&all.phase);
	if (came % 4 == GATHER) { /* or it comes late, or again */
		atomic_store(&all.of[tid], came);
		count(&all.came);
		for (;;) {
			while ((now = atomic_load(&all.phase)) == seen)
				wait_while(&all.phase, seen, 0);
			if (now / 4 != came / 4 || now % 4 == IDLE)
				break;
			seen = now;
			step = carry_out(now % 4);
			if (step >= 0 && atomic_compare_exchange_strong(&all.failed, &none, tid)) {
				all.error = errno;
				all.step = step;
			}
			count(&all.done);
		}
	}
	errno = saved;
}

/* ---- gathering -------------------------------------------------------------- */

struct entry { /* struct linux_dirent64 of getdents64(2) */
	uint64_t ino;
	int64_t off;
	unsigned short len;
	unsigned char type;
	char name[];
};

enum kind { GONE, ORDINARY, WORKER, UNKNOWN };

/* By its /proc/self/task/TID/stat, proc_pid_stat(5): the name in brackets may hold
 * anything, the flags are the seventh after it. Neither here nor in what calls it is there
 * a function that could take a lock, which a gathered thread may hold, or be a cancellation
 * point (pthreads(7)). */
static enum kind kind_of(int tasks, const char *tid)
{
	char path[32] = "", text[1024], *at;
	long fd, n;
	int field;

	strncat(strncat(path, tid, 16), "/stat", 8);
	fd = syscall(SYS_openat, tasks, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ESRCH ? GONE : UNKNOWN;
	n = syscall(SYS_read, fd, text, sizeof text - 1);
	field = errno;
	syscall(SYS_close, fd);
	if (n < 0 && field != ESRCH) {
		errno = field;
		return UNKNOWN;
	}
	text[n > 0 ? n : 0] = 0;
	if ((at = strrchr(text, ')')) == NULL || at[1] != ' ')
		return GONE;
	if (at[2] == 'Z' || at[2] == 'X')
		return GONE; /* the first thread stays as a zombie while others live */
	for (field = 0; at && field < 7; field++)
		at = strchr(at + 1, ' ');
	return at && strtoul(at, NULL, 10) & IO_WORKER ? WORKER : ORDINARY;
}

static bool fail(struct sl_failure *f, int step, int tid, int error)
{
	*f = (struct sl_failure){ .step = step, .thread = tid, .error = error };
	return false;
}

/* Signals each thread that is not there yet, and sets *missing to how many these are and
 * *last to one of them. */
static bool call_threads(int tasks, uint32_t phase, unsigned *missing, int *last, struct sl_failure *f)
{
	_Alignas(struct entry) char list[1 << 15];
	int pid = getpid(), self = (int)syscall(SYS_gettid), tid;
	long n, at;

	*missing = 0;
	if (lseek(tasks, 0, SEEK_SET) < 0)
		return fail(f, STEP_LIST, 0, errno);
	while ((n = syscall(SYS_getdents64, tasks, list, sizeof list)) > 0) {
		for (at = 0; at < n; at += ((struct entry *)(list + at))->len) {
			const struct entry *e = (struct entry *)(list + at);
			siginfo_t info = { .si_signo = SIGNAL, .si_code = SI_QUEUE };

			tid = atoi(e->name);
			if (tid <= 0 || tid == self || tid >= TIDS || atomic_load(&all.of[tid]) == phase)
				continue;
			switch (kind_of(tasks, e->name)) {
			case GONE:
				continue;
			case WORKER:
				return fail(f, STEP_WORKER, tid, 0);
			case UNKNOWN:
				return fail(f, STEP_LIST, tid, errno);
			case ORDINARY:
				break;
			}
			info.si_pid = pid;
			info.si_uid = getuid();
			info.si_value.sival_ptr = &all;
			if (syscall(SYS_rt_tgsigqueueinfo, pid, tid, SIGNAL, &info) != 0 && errno != ESRCH)
				return fail(f, STEP_SIGNAL, tid, errno);
			++*missing;
			*last = tid;
		}
	}
	return n == 0 || fail(f, STEP_LIST, 0, errno);
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Waits until as many have come, for some time. */
static void wait_for(uint32_t want, long ms)
{
	int64_t until = now_ms() + ms, left;
	uint32_t have;

	while ((int32_t)(want - (have = atomic_load(&all.came))) > 0 && (left = until - now_ms()) > 0)
		wait_while(&all.came, have, (long)left);
}

/* A list in which all are there is looked at twice, since a thread that ends between two
 * getdents64 can hide another. A thread that ends without having come leaves no sign, so
 * the list is read again after a while. */
static bool gather(int tasks, uint32_t phase, struct sl_failure *f)
{
	int64_t deadline = now_ms() + PATIENCE_MS;
	unsigned missing = 0, complete = 0;
	uint32_t want;
	int last = 0;
	long pause = 2;

	while (complete < 2) {
		want = atomic_load(&all.came);
		if (!call_threads(tasks, phase, &missing, &last, f))
			return false;
		complete = missing ? 0 : complete + 1;
		if (missing && now_ms() > deadline)
			return fail(f, STEP_SILENT, last, 0);
		if (missing)
			wait_for(want + missing, pause);
		pause = pause < 256 ? pause * 2 : pause;
	}
	return true;
}

/* Has all that came carry out the phase. */
static bool together(uint32_t phase)
{
	uint32_t done, want = atomic_load(&all.came);

	atomic_store(&all.done, 0);
	next_phase(phase);
	while ((done = atomic_load(&all.done)) != want)
		wait_while(&all.done, done, 0);
	return atomic_load(&all.failed) == 0;
}

/* ---- the call ----------------------------------------------------------------- */

static bool restrict_all(uint32_t gather_phase, struct sl_failure *f)
{
	int step = carry_out(RESTRICT);

	if (step >= 0) {
		fail(f, step, 0, errno);
		f->part = step == STEP_CAPS;
		return false;
	}
	if (!together(gather_phase + RESTRICT))
		goto others;
	step = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &all.filter);
	if (step > 0) { /* a thread that has a filter of its own: each takes this one by itself */
		if (!together(gather_phase + FILTER))
			goto others;
		step = carry_out(FILTER) >= 0 ? -1 : 0;
	}
	if (step < 0) {
		fail(f, STEP_FILTER, 0, errno);
		f->part = true;
	}
	return step == 0;
others:
	fail(f, all.step, atomic_load(&all.failed), all.error);
	f->part = true;
	return false;
}

static bool confine(struct sl_failure *f)
{
	struct action own = { answer, SA_SIGINFO | SA_RESTART | SA_ONSTACK | RESTORER_FLAG, RESTORER, ~UINT64_C(0) };
	uint32_t phase = atomic_load(&all.phase) + 1; /* IDLE is the last */
	uint64_t mask, every = ~UINT64_C(0);
	struct action was;
	bool ok = false;
	int tasks;

	if (all.of == NULL) {
		void *p = mmap(NULL, TIDS * sizeof *all.of, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p == MAP_FAILED)
			return fail(f, STEP_MEMORY, 0, errno);
		all.of = p;
	}
	tasks = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (tasks < 0)
		return fail(f, STEP_LIST, 0, errno);
	/* A handler of the host's must not run on this thread while the others wait for it. */
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &every, &mask, sizeof mask);
	act(NULL, &was);
	if (was.handler != answer)
		before = was;
	atomic_store(&all.came, 0);
	atomic_store(&all.failed, 0);
	atomic_store(&all.phase, phase + GATHER);
	if (act(&own, NULL) != 0)
		fail(f, STEP_SIGNAL, 0, errno);
	else
		ok = gather(tasks, phase, f) && restrict_all(phase, f);
	next_phase(phase + IDLE);
	/* A thread that was called and came late can still have the signal before it. glibc's
	 * handler ignores that; the default action would end the process. */
	if (was.flags & SA_SIGINFO)
		act(&was, NULL);
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof mask);
	syscall(SYS_close, tasks);
	return ok;
}

int sl_confine(int ruleset, uint64_t capabilities, const void *filter, size_t count, struct sl_failure *failure)
{
	static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
	bool ok;

	pthread_mutex_lock(&one);
	/* A thread that spawns a warden could not come before that has started. */
	sl_hold_forks();
	all.ruleset = ruleset;
	all.capabilities = capabilities;
	all.filter = (struct sock_fprog){ (unsigned short)count, (struct sock_filter *)filter };
	ok = confine(failure);
	sl_let_forks();
	pthread_mutex_unlock(&one);
	return ok ? 0 : -1;
}
