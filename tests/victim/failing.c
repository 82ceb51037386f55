/* failing ROUNDS JUNK: execs that fail, most after they were allowed, by the leader and by
 * another thread, beside threads in each way to be busy or to wait. After each exec every
 * thread has to answer. JUNK is an executable file of no format. ADVERSARY section 3. */
#include "try.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <time.h>

enum { THREADS = 7 };

static volatile unsigned asked; /* rises by one a round */
static volatile unsigned long counts[THREADS];
static int pipes[THREADS][2];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static sem_t answers;
static int interrupted; /* calls that failed as no call may: signal(7) */

static void expect(int ok)
{
	if (!ok)
		__atomic_add_fetch(&interrupted, 1, __ATOMIC_RELAXED);
}

/* Waits until somebody asks anew. */
static void await(int i, unsigned seen)
{
	struct pollfd p = { pipes[i][0], POLLIN, 0 };
	struct timespec ms = { 0, 1000000 };
	struct epoll_event e = { .events = EPOLLIN };
	int n, fd;
	char c;

	switch (i) {
	case 0:
		while (asked == seen)
			counts[i]++;
		break;
	case 1:
		while (asked == seen)
			sched_yield();
		break;
	case 2:
		while (asked == seen)
			expect(nanosleep(&ms, NULL) == 0);
		break;
	case 3:
		pthread_mutex_lock(&lock);
		while (asked == seen)
			expect(pthread_cond_wait(&changed, &lock) == 0);
		pthread_mutex_unlock(&lock);
		break;
	case 4:
		expect(read(pipes[i][0], &c, 1) == 1);
		break;
	case 5:
		expect(poll(&p, 1, -1) == 1 && read(pipes[i][0], &c, 1) == 1);
		break;
	case 6:
		fd = epoll_create1(EPOLL_CLOEXEC);
		epoll_ctl(fd, EPOLL_CTL_ADD, pipes[i][0], &e);
		while ((n = epoll_wait(fd, &e, 1, -1)) == -1 && errno == EINTR)
			; /* which is not restarted after any stop */
		expect(n == 1 && read(pipes[i][0], &c, 1) == 1);
		close(fd);
	}
	counts[i]++;
}

static void *answer(void *p)
{
	for (unsigned seen = 0;; seen++) {
		await((int)(intptr_t)p, seen);
		sem_post(&answers);
	}
	return NULL;
}

/* Every thread answers, or this never returns. */
static int all_run(void)
{
	static unsigned long before[THREADS];
	int advanced = 0;
	pthread_mutex_lock(&lock);
	asked++;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	for (int i = 0; i < THREADS; i++)
		if (i >= 4 && write(pipes[i][1], "x", 1) != 1)
			exit(4);
	for (int i = 0; i < THREADS; i++)
		while (sem_wait(&answers) != 0)
			;
	for (int i = 0; i < THREADS; i++)
		advanced += counts[i] != before[i], before[i] = counts[i];
	return advanced == THREADS;
}

static int rounds, eperm, enoent, eacces, e2big, enoexec, advanced;
static char *junk;

static void *fail(void *p)
{
	static char big[131073];
	char *args[] = { (char *)"good", NULL }, *evil[] = { (char *)"evil", NULL }, *env[] = { big, NULL };
	memset(big, 'x', sizeof big - 1);
	for (int i = 0; i < rounds; i++) {
		eperm += execv("/usr/nothing", evil) == -1 && errno == EPERM, advanced += all_run();
		enoent += execv("/usr/nothing", args) == -1 && errno == ENOENT, advanced += all_run();
		eacces += execv("/usr", args) == -1 && errno == EACCES, advanced += all_run();
		e2big += execve(junk, args, env) == -1 && errno == E2BIG, advanced += all_run();
		enoexec += execv(junk, args) == -1 && errno == ENOEXEC, advanced += all_run();
	}
	return p;
}

int main(int argc, char **argv)
{
	pthread_t t;
	if (argc < 3)
		return 2;
	rounds = atoi(argv[1]), junk = argv[2];
	sem_init(&answers, 0, 0);
	for (int i = 0; i < THREADS; i++)
		if (pipe(pipes[i]) != 0 || pthread_create(&t, NULL, answer, (void *)(intptr_t)i) != 0)
			return 4;
	fail(NULL);
	pthread_create(&t, NULL, fail, NULL);
	pthread_join(t, NULL);
	say("eperm", eperm), say("enoent", enoent), say("eacces", eacces), say("e2big", e2big), say("enoexec", enoexec);
	say("advanced", advanced), say("interrupted", interrupted);
	return 0;
}
