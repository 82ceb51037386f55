/* storm MODE ROUNDS: execs under signals whose handler does not restart system calls, or
 * does in the mode "restart". ADVERSARY section 11. What is executed is this program in
 * the mode "say", which prints its next argument: "good" may run, "evil" may not. */
#include "try.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>

/* What became of the attempts with one word. */
struct outcomes { int ran, lost, eperm, enoent, eintr, other; };

/* Counted in memory that forked children share. */
static struct count { volatile sig_atomic_t handled; struct outcomes good, evil, missing; } *count;
static char *self;
static long interval; /* between two signals, ns */

static void handle(int sig) { (void)sig, count->handled++; }

/* 10 kHz, or a signal for each exec where one takes longer: with more of them than a slow
 * machine can receive notifications, none would ever come through. */
static void choose_interval(void)
{
	char *args[] = { self, (char *)"say", (char *)"good", NULL };
	struct timespec from, to;
	for (int i = 0; i < 20; i++) {
		clock_gettime(CLOCK_MONOTONIC, &from);
		execv("/usr/nothing", args);
		clock_gettime(CLOCK_MONOTONIC, &to);
		long took = (to.tv_sec - from.tv_sec) * 1000000000 + to.tv_nsec - from.tv_nsec;
		if (i == 0 || took < interval)
			interval = took;
	}
	if (interval < 100000)
		interval = 100000;
}

/* Sends SIGURG, which is ignored by default: one that comes after the exec harms nobody.
 * The timer is gone with the exec: timer_create(2). Its first signal comes at any moment. */
static void begin_storm(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGURG };
	struct itimerspec when = { { 0, interval }, { 0, 1 + random() % interval } };
	timer_t timer;
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0 || timer_settime(timer, 0, &when, NULL) != 0)
		_exit(3);
}

/* Executes, again and again until it is not interrupted. */
static void insist(const char *path, char *word, struct outcomes *o)
{
	char *args[] = { self, (char *)"say", word, NULL };
	for (;;) {
		execv(path, args);
		switch (errno) {
		case EINTR: o->eintr++; continue;
		case EPERM: o->eperm++; return;
		case ENOENT: o->enoent++; return;
		default: o->other++; return;
		}
	}
}

static void child(const char *path, char *word, struct outcomes *o)
{
	int status;
	pid_t pid = vfork();
	if (pid == 0) {
		begin_storm();
		insist(path, word, o);
		_exit(1);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		exit(4);
	if (status == 7 << 8)
		o->ran++;
	else if (status != 1 << 8)
		o->lost++;
}

/* The same with a thread beside, which is stopped for each exec and is stormed too. */
static volatile int over;
static void *beside(void *p)
{
	while (!over)
		;
	return p;
}

static void threads(int rounds)
{
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		pthread_t t;
		pthread_create(&t, NULL, beside, NULL);
		begin_storm();
		while (!count->handled)
			;
		for (int i = 0; i < rounds; i++) {
			insist("/usr/nothing", (char *)"good", &count->missing);
			insist(self, (char *)"evil", &count->evil);
		}
		insist(self, (char *)"good", &count->good);
		_exit(1);
	}
	waitpid(pid, &status, 0);
	count->good.ran += status == 7 << 8;
	count->good.lost += status != 7 << 8;
}

static void report(const char *word, struct outcomes *o)
{
	printf("%s-ran %d 0\n%s-lost %d 0\n%s-eperm %d 0\n", word, o->ran, word, o->lost, word, o->eperm);
	printf("%s-enoent %d 0\n%s-eintr %d 0\n%s-other %d 0\n", word, o->enoent, word, o->eintr, word, o->other);
}

int main(int argc, char **argv)
{
	if (is_say(argc, argv))
		return 7;
	if (argc < 3)
		return 2;
	self = argv[0];
	count = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (count == MAP_FAILED)
		return 3;
	srandom((unsigned)getpid());
	struct sigaction action = { .sa_handler = handle, .sa_flags = strcmp(argv[1], "restart") ? 0 : SA_RESTART };
	sigaction(SIGURG, &action, NULL);
	int rounds = atoi(argv[2]);
	choose_interval();
	if (!strcmp(argv[1], "threads"))
		threads(rounds);
	else
		for (int i = 0; i < rounds; i++) {
			child(self, (char *)"good", &count->good);
			child(self, (char *)"evil", &count->evil);
			child("/usr/nothing", (char *)"good", &count->missing);
		}
	char *after[] = { self, (char *)"say", (char *)"good", NULL };
	say("after", run(after));
	say("handled", count->handled), say("interval", interval);
	report("good", &count->good), report("evil", &count->evil), report("missing", &count->missing);
	return 0;
}
