/* threads MODE ROUNDS: execs of programs with several threads. ADVERSARY section 3. What
 * is executed is this program in the mode "say", which prints its next argument: "good"
 * may run, "evil" may not. */
#include "try.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/resource.h>

static char *self;
extern char **environ;

static void *many(void *rounds)
{
	char *args[] = { self, (char *)"say", (char *)"good", NULL };
	for (intptr_t i = 0; i < (intptr_t)rounds; i++)
		if (run(args) != 7 << 8)
			return (void *)1;
	return NULL;
}

static void crowd(int rounds)
{
	pthread_t t[32];
	long failed = 0;
	void *r;
	for (int i = 0; i < 32; i++)
		pthread_create(&t[i], NULL, many, (void *)(intptr_t)rounds);
	for (int i = 0; i < 32; i++)
		pthread_join(t[i], &r), failed += r != NULL;
	say("failed", failed);
}

static void *from_thread(void *word)
{
	char *args[] = { self, (char *)"say", word, NULL };
	TRY("thread-exec", execv(self, args));
	return NULL;
}

/* The leader waits; the exec of a thread that is not it takes its id. */
static void thread(char *word)
{
	pthread_t t;
	pthread_create(&t, NULL, from_thread, word);
	pthread_join(t, NULL);
	say("alive", 1);
}

static volatile unsigned long beats;
static void *beat(void *p)
{
	for (;;)
		beats++;
	return p;
}

/* 1,000 threads in each way to be busy or idle, with execs that fail, then one by a
 * thread that is not the leader. */
static volatile int failing = 1;
static void *idle(void *p)
{
	intptr_t i = (intptr_t)p;
	char c;
	int fd[2];
	if (i % 250 == 0)
		return beat(NULL);
	if (i % 3 == 0 && pipe(fd) == 0)
		return read(fd[0], &c, 1) == 1 ? p : NULL;
	while (i % 3 == 1)
		usleep(100000);
	while (i % 50 == 2 && failing) { /* its children come and go */
		pid_t pid = vfork();
		if (pid == 0)
			_exit(0);
		if (pid > 0)
			waitpid(pid, NULL, 0);
		usleep(1000);
	}
	for (;;)
		pause();
}

static void thousand(int rounds)
{
	char *args[] = { self, (char *)"say", (char *)"good", NULL };
	pthread_attr_t attr;
	pthread_t t;
	int enoent = 0;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 1 << 16);
	for (intptr_t i = 0; i < 1000; i++)
		if (pthread_create(&t, &attr, idle, (void *)i) != 0)
			exit(4);
	for (int i = 0; i < rounds; i++)
		enoent += execv("/usr/nothing", args) == -1 && errno == ENOENT;
	unsigned long before = beats;
	while (beats == before)
		sched_yield();
	failing = 0;
	say("enoent", enoent);
	pthread_create(&t, &attr, from_thread, args[2]);
	pthread_join(t, NULL);
}

/* Execs by a thread that is not the leader, which waits or has ended, that fail when the
 * other threads are gone already: there is no address space for the new program. */
static void *doom(void *p)
{
	char *args[] = { self, (char *)"say", (char *)"good", NULL };
	struct rlimit none = { 1 << 16, 1 << 16 };
	usleep(p ? 1000 : 0); /* let the leader end */
	setrlimit(RLIMIT_AS, &none);
	execv(self, args);
	_exit(1);
}

static void doomed(int rounds)
{
	char *args[] = { self, (char *)"say", (char *)"good", NULL };
	int status, ended = 0;
	for (intptr_t i = 0; i < rounds; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			pthread_t t;
			pthread_create(&t, NULL, doom, (void *)(i % 2));
			if (i % 2)
				pthread_exit(NULL);
			pause();
		}
		ended += waitpid(pid, &status, 0) == pid && WIFSIGNALED(status);
	}
	say("ended", ended), say("ran", run(args));
}

/* Execs by a thread while its leader ends. */
static void *inherit(void *p)
{
	char *args[] = { self, (char *)"say", (char *)"good", NULL };
	for (volatile intptr_t hold = (intptr_t)p; hold > 0; hold--)
		;
	execv(self, args);
	_exit(1);
}

static void leaving(int rounds)
{
	int status, good = 0;
	for (intptr_t i = 0; i < rounds; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			pthread_t t;
			pthread_create(&t, NULL, inherit, (void *)(i % 64 * 100));
			for (volatile int hold = (int)(i / 64 % 64) * 1000; hold > 0; hold--)
				;
			pthread_exit(NULL);
		}
		good += waitpid(pid, &status, 0) == pid && status == 7 << 8;
	}
	say("good", good);
}

/* Four threads execute at once, and one of them wins; half of them by the other call. */
static pthread_barrier_t all;
static void *at_once(void *p)
{
	char *args[] = { self, (char *)"say", (char *)"good", NULL };
	pthread_barrier_wait(&all);
	if (p)
		syscall(SYS_execveat, AT_FDCWD, self, args, environ, 0);
	else
		execv(self, args);
	_exit(1);
}

static void together(int rounds)
{
	int status, good = 0;
	for (int i = 0; i < rounds; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			pthread_t t;
			pthread_barrier_init(&all, NULL, 4);
			for (intptr_t k = 1; k < 4; k++)
				if (pthread_create(&t, NULL, at_once, (void *)(k % 2)) != 0)
					_exit(4); /* a machine full of tasks: the barrier would wait for ever */
			at_once(NULL);
		}
		good += waitpid(pid, &status, 0) == pid && status == 7 << 8;
	}
	say("good", good);
}

/* Many threads execute at once; each says "r" on descriptor 0 before. */
static void *rush(void *p)
{
	char *args[] = { self, (char *)"say", (char *)"good", NULL };
	pthread_barrier_wait(&all);
	if (write(0, "r", 1) == 1)
		execv(self, args);
	return p;
}

static void rushing(int threads)
{
	pthread_t t;
	pthread_barrier_init(&all, NULL, (unsigned)threads);
	for (int i = 1; i < threads; i++)
		if (pthread_create(&t, NULL, rush, NULL) != 0)
			exit(4);
	rush(NULL);
	pause();
}

/* Several threads whose execs fail, all the time. */
static void *fail_always(void *rounds)
{
	char *args[] = { self, (char *)"say", (char *)"good", NULL };
	volatile intptr_t enoent = 0, i; /* vfork(2) */
	for (i = 0; i < (intptr_t)rounds; i++) {
		pid_t pid = vfork();
		if (pid == 0)
			_exit(0);
		enoent += execv("/usr/nothing", args) == -1 && errno == ENOENT;
		if (pid > 0)
			waitpid(pid, NULL, 0);
	}
	return (void *)enoent;
}

static void failing_together(int rounds)
{
	pthread_t t[8];
	void *r;
	intptr_t enoent = 0;
	for (int i = 0; i < 8; i++)
		pthread_create(&t[i], NULL, fail_always, (void *)(intptr_t)rounds);
	for (int i = 0; i < 8; i++)
		pthread_join(t[i], &r), enoent += (intptr_t)r;
	say("enoent", enoent);
}

int main(int argc, char **argv)
{
	if (is_say(argc, argv))
		return 7;
	if (argc < 3)
		return 2;
	self = argv[0];
	int rounds = atoi(argv[2]);
	if (!strcmp(argv[1], "crowd"))
		crowd(rounds);
	else if (!strcmp(argv[1], "thread"))
		thread(!strcmp(argv[2], "-") ? (char *)"evil" : argv[2]);
	else if (!strcmp(argv[1], "thousand"))
		thousand(rounds);
	else if (!strcmp(argv[1], "doomed"))
		doomed(rounds);
	else if (!strcmp(argv[1], "leaving"))
		leaving(rounds);
	else if (!strcmp(argv[1], "together"))
		together(rounds);
	else if (!strcmp(argv[1], "rushing"))
		rushing(rounds);
	else if (!strcmp(argv[1], "failing-together"))
		failing_together(rounds);
	return 0;
}
