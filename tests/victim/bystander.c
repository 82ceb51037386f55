/* bystander: a process outside of every sandbox. It says each signal that it gets, and
 * ends with SIGRTMAX, the last in the order of delivery: signal(7). */
#include "try.h"

#include <signal.h>

int main(void)
{
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		int sig = sigwaitinfo(&all, NULL);
		if (sig == SIGRTMAX)
			return 0;
		printf("signal %d\n", sig);
		fflush(stdout);
	}
}
