/*
 * limits NAME N: what a limit of the sandbox could make dearer, N times each: NAME-fork, a
 * fork and wait of a child that does nothing; NAME-thread, a thread that does nothing;
 * NAME-signal, a signal to itself, handled; NAME-map, 1 MiB mapped, touched and unmapped.
 */
#include "bench.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int handled;
static void handle(int sig) { handled += sig == SIGUSR1; }
static void *nothing(void *unused) { return unused; }

static void forks(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(0);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		die("fork");
}

static void thread(void)
{
	pthread_t t;
	if (pthread_create(&t, NULL, nothing, NULL) != 0 || pthread_join(t, NULL) != 0)
		die("pthread_create");
}

static void raises(void)
{
	int before = handled;
	if (raise(SIGUSR1) != 0 || handled != before + 1)
		die("raise");
}

static void map(void)
{
	enum { SIZE = 1 << 20, PAGE = 4096 };
	volatile char *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	for (int i = 0; i < SIZE; i += PAGE)
		p[i] = 1;
	munmap((void *)p, SIZE);
}

int main(int argc, char **argv)
{
	static const struct { const char *name; void (*once)(void); } all[] = {
		{ "fork", forks }, { "thread", thread }, { "signal", raises }, { "map", map },
	};
	int n = argc > 2 ? atoi(argv[2]) : 0;
	char name[64];

	if (n <= 0) {
		fprintf(stderr, "usage: limits NAME N\n");
		return 2;
	}
	signal(SIGUSR1, handle);
	for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
		snprintf(name, sizeof name, "%s-%s", argv[1], all[k].name);
		for (int i = 0; i < n; i++) {
			double start = now_us();
			all[k].once();
			sample(name, now_us() - start);
		}
	}
	return 0;
}
