/*
 * What a supervised program does, to be run by supervise.c:
 *
 * storm exec NAME N RATE [restart|beside]: starts and waits for /bin/true N times, each by a
 * child that executes it under a storm of signals, again and again until that is not
 * interrupted. Prints for each how often it was (EINTR), as NAME, and how long all took,
 * as NAME-us. RATE is how often a second a timer of the child's sends the signal, 0 never.
 * Its handler does nothing; with "restart" it is installed with SA_RESTART: signal(7),
 * "Interruption of system calls". With "beside" another task does the same meanwhile,
 * without a storm.
 * storm fork NAME N: a child that does nothing, forked and waited for.
 * storm signal NAME N: a signal to itself, handled.
 * storm spin: a task that only burns, for as long as its parent lives.
 */
#include "bench.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Its default is to be ignored, so one that comes after the exec harms nobody. */
enum { SIGNAL = SIGURG };

static volatile sig_atomic_t handled;
static void handle(int sig) { (void)sig, handled++; }

static void install(int flags)
{
	struct sigaction action = { .sa_handler = handle, .sa_flags = flags };
	if (sigaction(SIGNAL, &action, NULL) < 0)
		die("sigaction");
}

/* The first at a random moment, or it would always be the same place of the child's way.
 * A timer is its process's own and gone with the exec: timer_create(2). */
static void start_timer(long rate)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGNAL };
	struct itimerspec when = { 0 };
	timer_t timer;

	when.it_interval.tv_nsec = 1000000000 / rate;
	when.it_value.tv_nsec = 1 + random() % when.it_interval.tv_nsec;
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) < 0 || timer_settime(timer, 0, &when, NULL) < 0)
		_exit(126);
}

static void run(long rate, volatile int *interrupted)
{
	static char *command[] = { "/bin/true", NULL }, *none[] = { NULL };
	int status;
	pid_t pid = vfork();

	if (pid == 0) {
		if (rate)
			start_timer(rate);
		while (execve(command[0], command, none) < 0 && errno == EINTR)
			++*interrupted;
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		die(command[0]);
}

static void executions(const char *name, int n, long rate)
{
	char label[64];

	snprintf(label, sizeof label, "%s-us", name);
	for (int i = 0; i < n; i++) {
		volatile int interrupted = 0; /* in memory that the child shares: vfork(2) */
		double start = now_us();

		run(rate, &interrupted);
		sample(label, now_us() - start);
		sample(name, interrupted);
	}
}

/* Returns what to set when it is to end. */
static volatile int *execute_beside(pid_t *pid)
{
	volatile int *over = mmap(NULL, sizeof *over, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	volatile int interrupted;

	if (over == MAP_FAILED || (*pid = fork()) < 0)
		die("fork");
	if (*pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (!*over)
			run(0, &interrupted);
		_exit(0);
	}
	return over;
}

static void forks(const char *name, int n)
{
	for (int i = 0; i < n; i++) {
		double start = now_us();
		pid_t pid = fork();
		int status;

		if (pid == 0)
			_exit(0);
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
			die("fork");
		sample(name, now_us() - start);
	}
}

static void signals(const char *name, int n)
{
	install(0);
	for (int i = 0; i < n; i++) {
		double start = now_us();
		if (raise(SIGNAL) != 0 || handled != i + 1)
			die("raise");
		sample(name, now_us() - start);
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	int n = argc > 3 ? atoi(argv[3]) : 0;
	volatile int *over = NULL;
	pid_t beside;

	if (!strcmp(what, "spin")) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (volatile int i = 0;; i++)
			;
	} else if (!strcmp(what, "exec") && n > 0 && argc > 4) {
		srandom((unsigned)getpid());
		install(argc > 5 && !strcmp(argv[5], "restart") ? SA_RESTART : 0);
		if (argc > 5 && !strcmp(argv[5], "beside"))
			over = execute_beside(&beside);
		executions(argv[2], n, atol(argv[4]));
		if (over) {
			*over = 1;
			waitpid(beside, NULL, 0);
		}
	} else if (!strcmp(what, "fork") && n > 0) {
		forks(argv[2], n);
	} else if (!strcmp(what, "signal") && n > 0) {
		signals(argv[2], n);
	} else {
		fprintf(stderr, "usage: storm exec NAME N RATE [restart|beside] | fork NAME N | signal NAME N | spin\n");
		return 2;
	}
	return 0;
}
