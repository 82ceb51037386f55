/* processes MODE [N]: makes processes, and says how that went. ADVERSARY section 23.
 *   fork, rawfork, vfork, clone, thread-forks, group, silent, parent, daemon N
 *                  tries to have N children at a time, each way; "made" says how many
 *   zombies N      the same with children that end at once and are not waited for
 *   churn N        N children one after the other, in five ways of losing them
 *   killed N       N times a child that forks without end is killed while it does; "masks" says
 *                  how often a process had not the signals blocked that its forker had
 *   together N     N times a child that makes a sibling is killed together with it; "zombies"
 *                  says how many of these there are
 *   overtaken N    N times a thread executes while the leader of its group forks
 *   bomb N         every process forks, until about N; "alive" says how many there are then
 *   threads N      N threads at a time
 *   storm N        N forks under signals, 10,000 a second, whose handler does not restart system
 *                  calls, in each of three ways, some beyond the limit; "masks" as above
 *   stops          a child that stops and goes on, as its parent sees it
 *   traced         its own filter's SECCOMP_RET_TRACE, flags that would shed a tracer, and a
 *                  listener of its own, which would let forks through */
#include "try.h"

#include <pthread.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>

static char *self;
static int hold[2]; /* a pipe; children live as long as the first process has its write end */

static int *wrong; /* masks, of all processes together */

static unsigned long blocked(void)
{
	unsigned long set = 0;
	syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &set, sizeof set);
	return set;
}

/* Blocks other signals for each i, but SIGALRM; 32 and 33 are the C library's. */
static unsigned long block_some(int i)
{
	unsigned long set = ((unsigned long)i + 1) * 0x9e3779b97f4a7c15ul;

	set &= ~(1ul << (SIGKILL - 1) | 1ul << (SIGSTOP - 1) | 1ul << (SIGALRM - 1) | 3ul << 31);
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &set, NULL, sizeof set);
	return set;
}

static void check_blocked(unsigned long want)
{
	if (blocked() != want)
		__atomic_fetch_add(wrong, 1, __ATOMIC_SEQ_CST);
}

static void live(void)
{
	char byte;
	close(hold[1]);
	if (read(hold[0], &byte, 1) != 0)
		_exit(1);
	_exit(0);
}

static int living(void *unused)
{
	(void)unused;
	live();
	return 0;
}

static char stack[1 << 16];

static void *forks(void *result)
{
	pid_t pid = fork();
	if (pid == 0)
		live();
	*(long *)result = pid < 0 ? -errno : pid;
	return NULL;
}

static long one(const char *way)
{
	long pid = -1;

	if (!strcmp(way, "fork")) {
		pid = fork();
	} else if (!strcmp(way, "rawfork")) {
#ifdef SYS_fork
		pid = syscall(SYS_fork);
#else
		pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
#endif
	} else if (!strcmp(way, "vfork")) {
		char number[16], *args[] = { self, "live", number, NULL };
		snprintf(number, sizeof number, "%d", hold[0]);
		pid = vfork();
		if (pid == 0) {
			execv(self, args);
			_exit(1);
		}
		return pid;
	} else if (!strcmp(way, "clone")) { /* its memory shared, on the stack of the one before: it only sleeps */
		return clone(living, malloc(1 << 14) + (1 << 14), CLONE_VM | SIGCHLD, NULL);
	} else if (!strcmp(way, "silent")) { /* no signal at its end: only __WALL waits for it */
		return clone(living, stack + sizeof stack, 0, NULL);
	} else if (!strcmp(way, "parent")) { /* a sibling, not a child */
		return clone(living, stack + sizeof stack, CLONE_PARENT | SIGCHLD, NULL);
	} else if (!strcmp(way, "thread-forks")) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, forks, &pid) != 0)
			return -1;
		pthread_join(thread, NULL);
		errno = (int)(pid < 0 ? -pid : 0);
		return pid < 0 ? -1 : pid;
	} else if (!strcmp(way, "group") || !strcmp(way, "daemon")) {
		pid = fork();
		if (pid == 0 && setsid() > 0 && !strcmp(way, "daemon")) {
			pid_t second = fork();
			if (second != 0)
				_exit(second < 0);
		}
	}
	if (pid == 0)
		live();
	return pid;
}

static int at_a_time(const char *way, int n)
{
	int made = 0, why = 0;

	for (int i = 0; i < n; i++) {
		long pid = one(way);
		if (pid < 0) {
			why = errno;
			break;
		}
		if (!strcmp(way, "daemon")) { /* the first of the two ends; did the second live? */
			int status;
			waitpid((pid_t)pid, &status, 0);
			if (status != 0)
				break;
		}
		made++;
	}
	printf("made %d %d\n", made, why);
	fflush(stdout);
	close(hold[1]);
	while (waitpid(-1, NULL, __WALL) > 0)
		;
	/* Room again. */
	TRY("again", fork() == 0 ? (_exit(0), 0L) : waitpid(-1, NULL, 0) > 0 ? 0L : -1L);
	return 0;
}

static int zombies(int n)
{
	int made = 0, why = 0;
	siginfo_t info;

	for (; made < n; made++) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		if (pid < 0) {
			why = errno;
			break;
		}
		waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT); /* dead, and still there */
	}
	printf("made %d %d\n", made, why);
	while (waitpid(-1, NULL, 0) > 0)
		;
	TRY("again", fork() == 0 ? (_exit(0), 0L) : waitpid(-1, NULL, 0) > 0 ? 0L : -1L);
	return 0;
}

static void wake(int sig) { (void)sig; }

/* Each time, the child is gone before the next is made. */
static int churn(int n)
{
	struct sigaction interrupt = { .sa_handler = wake }; /* no SA_RESTART */
	int failed = 0, why = 0;

	sigaction(SIGUSR1, &interrupt, NULL);
	for (int i = 0; i < n; i++) {
		int way = i % 5, status;
		pid_t pid, parent = getpid();

		signal(SIGCHLD, way == 0 ? SIG_IGN : SIG_DFL);
		pid = fork();
		if (pid < 0) {
			failed++, why = errno;
			continue;
		}
		if (pid == 0) {
			if (way == 2)
				kill(parent, SIGUSR1);
			if (way == 4)
				raise(SIGKILL);
			_exit(0);
		}
		switch (way) {
		case 0: /* nobody waits: it is gone when this says so */
			while (waitpid(-1, NULL, 0) >= 0 || errno != ECHILD)
				;
			break;
		case 1:
			while (waitpid(pid, &status, WNOHANG) == 0)
				sched_yield();
			break;
		case 2: /* waits that fail */
			waitpid(pid + 100000, NULL, 0);
			while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
				;
			break;
		default:
			waitpid(pid, &status, 0);
		}
	}
	printf("failed %d %d\n", failed, why);
	return 0;
}

static int together(int n)
{
	volatile int *there = mmap(NULL, sizeof *there, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int zombies = 0;

	for (int i = 0; i < n; i++) {
		pid_t pid;
		*there = 0;
		pid = fork();
		if (pid == 0) {
			setpgid(0, 0);
			*there = 1;
			syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
			for (;;)
				pause();
		}
		if (pid < 0)
			break; /* no room beside the zombies */
		while (!*there)
			;
		for (volatile int spin = (i * 7919) % (i % 3 ? 3000 : 60000); spin > 0; spin--)
			;
		kill(-pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	while (waitpid(-1, NULL, 0) > 0)
		zombies++;
	printf("zombies %d 0\n", zombies);
	return 0;
}

static void __attribute__((noreturn)) fork_on(int i, int one_by_one)
{
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		unsigned long set = block_some(++i);
		if (syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) == 0) {
			check_blocked(set);
			_exit(0);
		}
		check_blocked(set);
		if (one_by_one)
			waitpid(-1, NULL, 0); /* to the end of all, as SIGCHLD is ignored */
	}
}

static int killed(int n)
{
	int failed = 0, why = 0;
	pid_t other = fork(); /* so that somebody is next when one is killed */

	if (other == 0)
		fork_on(n, 1);
	for (int i = 0; i < n; i++) {
		unsigned long set = block_some(i);
		pid_t pid = fork();
		check_blocked(set);
		if (pid < 0) {
			failed++, why = errno;
			continue;
		}
		if (pid == 0)
			fork_on(i, 0);
		for (int spin = (i * 7919) % 30000; spin > 0; spin--)
			__asm__ volatile("");
		if (i % 16 == 0)
			usleep(1000);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	kill(other, SIGKILL);
	printf("failed %d %d\nmasks %d 0\n", failed, why, *wrong);
	return 0;
}

static void *executes(void *args)
{
	execv(self, args);
	return NULL;
}

static int overtaken(int n)
{
	char rest[16], *args[] = { self, "overtaken", rest, NULL };
	pthread_t thread;

	if (n == 0) {
		puts("done 0 0");
		return 0;
	}
	snprintf(rest, sizeof rest, "%d", n - 1);
	signal(SIGCHLD, SIG_IGN);
	pthread_create(&thread, NULL, executes, args);
	for (;;)
		if (fork() == 0)
			_exit(0);
}

/* Whoever forks counts the child in memory that all share; the count is final when all have
 * given up. In all n, for the control. */
static int bomb(int n)
{
	struct { int alive, tired; } *seen = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t first = getpid();
	int failures = 0;

	seen->alive = 1;
	signal(SIGCHLD, SIG_IGN);
	while (failures < 200 && __atomic_load_n(&seen->alive, __ATOMIC_SEQ_CST) < n) {
		pid_t pid = fork();
		if (pid < 0)
			failures++;
		else if (pid == 0)
			failures = 0;
		else
			__atomic_add_fetch(&seen->alive, 1, __ATOMIC_SEQ_CST);
	}
	__atomic_add_fetch(&seen->tired, 1, __ATOMIC_SEQ_CST);
	if (getpid() != first)
		live();
	while (__atomic_load_n(&seen->tired, __ATOMIC_SEQ_CST) != __atomic_load_n(&seen->alive, __ATOMIC_SEQ_CST))
		sched_yield();
	printf("alive %d 0\n", seen->alive);
	fflush(stdout);
	close(hold[1]);
	return 0;
}

static void *sleeping(void *unused)
{
	char byte;
	if (read(hold[0], &byte, 1) != 0)
		_exit(1);
	return unused;
}

static int threads(int n)
{
	pthread_t *all = calloc((size_t)n, sizeof *all);
	int made = 0;

	while (made < n && pthread_create(&all[made], NULL, sleeping, NULL) == 0)
		made++;
	printf("made %d 0\n", made);
	close(hold[1]);
	for (int i = 0; i < made; i++)
		pthread_join(all[i], NULL);
	return 0;
}

static void *idles(void *unused)
{
	return unused;
}

static int storm(int n)
{
	struct sigaction interrupt = { .sa_handler = wake }; /* no SA_RESTART */
	/* A fork that a signal comes before is begun anew. */
	struct itimerval often = { { 0, 100 }, { 0, 100 } }, never = { { 0, 0 }, { 0, 0 } };
	int failed = 0, why = 0, many = 0;
	pthread_t thread;

	sigaction(SIGALRM, &interrupt, NULL);
	for (int i = 0; i < n; i++) {
		pid_t pid, extra[4];
		unsigned long set = block_some(i);

		/* At the limit, so that one of these fails. */
		if (i % 16 == 0)
			for (many = 0; many < 4 && (extra[many] = fork()) >= 0; many++)
				if (extra[many] == 0)
					live();
		setitimer(ITIMER_REAL, &often, NULL);
		/* Not fork(3), of which some block signals meanwhile. */
		if (i % 16 == 0 || i % 3 == 0)
			pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
		else if (i % 3 == 1)
			pid = vfork();
		else
			pid = (pid_t)syscall(SYS_clone, CLONE_PARENT_SETTID | SIGCHLD, 0, &pid, 0, 0);
		if (pid == 0) {
			check_blocked(set);
			_exit(0);
		}
		check_blocked(set);
		if (i % 64 == 1 && (pthread_create(&thread, NULL, idles, NULL) != 0 || pthread_join(thread, NULL) != 0))
			failed++;
		setitimer(ITIMER_REAL, &never, NULL);
		check_blocked(set);
		if (pid < 0 && many < 3)
			failed++, why = errno;
		if (many == 3 && (pid >= 0 || errno != EAGAIN))
			failed++;
		for (; many > 0; many--) {
			kill(extra[many - 1], SIGKILL);
			while (waitpid(extra[many - 1], NULL, 0) < 0 && errno == EINTR)
				;
		}
		while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	printf("failed %d %d\nmasks %d 0\n", failed, why, *wrong);
	return 0;
}

static int stops(void)
{
	int status = 0, hold[2];
	char c;

	if (pipe(hold) != 0)
		return 1;
	pid_t pid = fork();
	if (pid == 0) {
		close(hold[1]);
		raise(SIGSTOP);
		_exit(read(hold[0], &c, 1) == 0 ? 7 : 1); /* when the parent has seen it go on */
	}
	TRY("stopped", waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status) ? WSTOPSIG(status) : -1);
	kill(pid, SIGCONT);
	TRY("continued", waitpid(pid, &status, WCONTINUED) == pid && WIFCONTINUED(status) ? 0 : -1);
	close(hold[1]);
	TRY("exited", waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1);
	return 0;
}

static int traced(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof code / sizeof *code, code };

	TRY("untraced", clone(living, stack + sizeof stack, CLONE_UNTRACED | SIGCHLD, NULL));
	TRY("ptraced", clone(living, stack + sizeof stack, CLONE_PTRACE | SIGCHLD, NULL));
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		return 1;
	TRY("own", syscall(SYS_getppid));
	TRY("listener", syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program));
	return 0;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	int n = argc > 2 ? atoi(argv[2]) : 0;

	self = argv[0];
	if (!strcmp(mode, "live")) {
		char byte;
		return read(n, &byte, 1) != 0;
	}
	wrong = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (pipe(hold) != 0 || fcntl(hold[1], F_SETFD, FD_CLOEXEC) != 0)
		return 1;
	if (!strcmp(mode, "zombies"))
		return zombies(n);
	if (!strcmp(mode, "churn"))
		return churn(n);
	if (!strcmp(mode, "killed"))
		return killed(n);
	if (!strcmp(mode, "together"))
		return together(n);
	if (!strcmp(mode, "overtaken"))
		return overtaken(n);
	if (!strcmp(mode, "bomb"))
		return bomb(n);
	if (!strcmp(mode, "threads"))
		return threads(n);
	if (!strcmp(mode, "storm"))
		return storm(n);
	if (!strcmp(mode, "stops"))
		return stops();
	if (!strcmp(mode, "traced"))
		return traced();
	return at_a_time(mode, n);
}
