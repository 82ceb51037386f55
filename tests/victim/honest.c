/* honest MODE N: programs that cheat nobody, and execute a lot. Each child is this program
 * without arguments, which exits with 7; "good" counts those, "bad" all others. */
#include "try.h"

#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>

static char *self;
extern char **environ;

static int good, bad;
static void count(int ok) { __atomic_add_fetch(ok ? &good : &bad, 1, __ATOMIC_RELAXED); }

static void collect(pid_t pid)
{
	int status = -1;
	int ok = pid > 0 && waitpid(pid, &status, 0) == pid && status == 7 << 8;
	if (!ok)
		fprintf(stderr, "child %d, wait status %#x: %m\n", pid, status);
	count(ok);
}

static pid_t spawned(void)
{
	char *args[] = { self, NULL };
	pid_t pid = -1;
	errno = posix_spawn(&pid, self, NULL, NULL, args, environ);
	return errno == 0 ? pid : -1;
}

static pid_t forked(void)
{
	char *args[] = { self, NULL };
	pid_t pid = fork();
	if (pid == 0) {
		execv(self, args);
		_exit(1);
	}
	return pid;
}

static int vforked(void)
{
	char *args[] = { self, NULL };
	return run(args);
}

static void in_threads(int n, void *(*body)(void *))
{
	pthread_t t[1000];
	pthread_attr_t small;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 1 << 17);
	for (intptr_t i = 0; i < n; i++)
		if (pthread_create(&t[i], &small, body, (void *)i) != 0)
			exit(4);
	for (int i = 0; i < n; i++)
		pthread_join(t[i], NULL);
}

/* Every thread executes, in each way that there is, in children. */
static void *every_way(void *p)
{
	for (int i = 0; i < 4; i++)
		collect(forked()), collect(spawned()), count(vforked() == 7 << 8);
	return p;
}

/* All threads spawn at once. */
static pthread_barrier_t all;
static void *at_once(void *p)
{
	pthread_barrier_wait(&all);
	collect(spawned());
	return p;
}

/* Each thread in turn becomes the program, in the middle of the others' work. */
static int turn;
static void *maybe_become(void *p)
{
	char *args[] = { self, NULL };
	pthread_barrier_wait(&all);
	if ((intptr_t)p == turn)
		execv(self, args);
	for (;;)
		if (waitpid(spawned(), NULL, 0) < 0)
			pause();
	return p;
}

static void becoming(int n)
{
	for (turn = 0; turn < n; turn++) {
		pid_t pid = fork();
		if (pid == 0) {
			pthread_barrier_init(&all, NULL, (unsigned)n);
			in_threads(n, maybe_become);
		}
		collect(pid);
	}
}

/* Processes that do nothing but vfork and execute. */
static void storm(int n)
{
	pid_t pids[8];
	int status;
	for (int k = 0; k < 8; k++) {
		if ((pids[k] = fork()) != 0)
			continue;
		for (int i = 0; i < n; i++)
			if (vforked() != 7 << 8)
				_exit(1);
		_exit(0);
	}
	for (int k = 0; k < 8; k++)
		count(waitpid(pids[k], &status, 0) == pids[k] && status == 0);
}

int main(int argc, char **argv)
{
	self = argv[0];
	if (argc < 3)
		return 7;
	int n = atoi(argv[2]);
	pthread_barrier_init(&all, NULL, (unsigned)n);
	if (!strcmp(argv[1], "every-way"))
		in_threads(n, every_way);
	else if (!strcmp(argv[1], "at-once"))
		in_threads(n, at_once);
	else if (!strcmp(argv[1], "becoming"))
		becoming(n);
	else if (!strcmp(argv[1], "storm"))
		storm(n);
	say("good", good), say("bad", bad);
	return 0;
}
