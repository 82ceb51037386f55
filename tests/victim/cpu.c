/* Uses CPU time: cpu WAY MILLISECONDS [N]. Prints "used MILLISECONDS 0", of CPU time. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long *used; /* microseconds, of all that have ended */

static long clock_ms(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void burn(long ms) /* of the wall */
{
	long end = clock_ms(CLOCK_MONOTONIC) + ms;
	while (clock_ms(CLOCK_MONOTONIC) < end)
		;
}

static void add_own(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	__atomic_fetch_add(used, t.tv_sec * 1000000 + t.tv_nsec / 1000, __ATOMIC_SEQ_CST);
}

static long wall;

static void *thread(void *unused)
{
	burn(wall);
	return unused;
}

int main(int argc, char **argv)
{
	int i, n = argc > 3 ? atoi(argv[3]) : 1;
	long end;

	wall = atol(argv[2]);
	used = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	end = clock_ms(CLOCK_MONOTONIC) + wall;
	if (strcmp(argv[1], "threads") == 0) {
		pthread_t t[64];
		for (i = 0; i < n; i++)
			pthread_create(&t[i], NULL, thread, NULL);
		for (i = 0; i < n; i++)
			pthread_join(t[i], NULL);
	} else if (strcmp(argv[1], "processes") == 0) {
		for (i = 0; i < n; i++)
			if (fork() == 0) {
				burn(wall);
				add_own();
				_exit(0);
			}
		while (wait(NULL) > 0)
			;
	} else if (strcmp(argv[1], "short") == 0 || strcmp(argv[1], "ignored") == 0 || strcmp(argv[1], "unwaited") == 0) {
		struct sigaction unwaited = { .sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT };
		if (argv[1][0] == 'i') /* so that nobody waits for them, and has their time */
			signal(SIGCHLD, SIG_IGN);
		else if (argv[1][0] == 'u')
			sigaction(SIGCHLD, &unwaited, NULL);
		while (clock_ms(CLOCK_MONOTONIC) < end) {
			for (i = 0; i < 4; i++)
				if (fork() == 0) {
					burn(n);
					add_own();
					_exit(0);
				}
			while (wait(NULL) > 0)
				;
		}
	} else if (strcmp(argv[1], "forks") == 0) { /* of some milliseconds each: of much memory */
		char *much = malloc(64 << 20);
		memset(much, 1, 64 << 20);
		while (clock_ms(CLOCK_MONOTONIC) < end)
			if (fork() == 0)
				_exit(much[0] != 1);
			else
				wait(NULL);
	} else if (strcmp(argv[1], "stopped") == 0) { /* a job that was stopped, by a shell for instance */
		int status = 0;
		pid_t pid = fork();
		if (pid == 0) {
			raise(SIGSTOP);
			_exit(0);
		}
		waitpid(pid, &status, WUNTRACED);
		printf("stopped %d 0\n", WIFSTOPPED(status));
		burn(wall);
		printf("continued %d 0\n", waitpid(pid, &status, WNOHANG | WCONTINUED) > 0);
		kill(pid, SIGKILL);
	} else if (strcmp(argv[1], "job") == 0) { /* as a shell waits for one, which stops once by itself */
		int status, stops = 0;
		pid_t pid = fork();
		if (pid == 0) {
			burn(wall);
			raise(SIGSTOP);
			add_own();
			_exit(0);
		}
		while (waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status)) {
			stops++;
			kill(pid, SIGCONT);
		}
		printf("stops %d 0\n", stops);
	} else if (strcmp(argv[1], "continues") == 0) { /* itself, by a timer too, which undoes stops */
		struct sigevent continues = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGCONT };
		struct itimerspec often = { { 0, 1000000 }, { 0, 1000000 } };
		timer_t timer;
		if (timer_create(CLOCK_MONOTONIC, &continues, &timer) != 0 || timer_settime(timer, 0, &often, NULL) != 0)
			return 1;
		while (clock_ms(CLOCK_MONOTONIC) < end)
			kill(getpid(), SIGCONT);
	} else if (strcmp(argv[1], "idle") == 0) {
		usleep((useconds_t)wall * 1000);
	} else {
		return 2;
	}
	add_own();
	printf("used %ld 0\n", *used / 1000);
	return 0;
}
