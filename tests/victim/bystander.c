/* bystander: a process outside of every sandbox. It says each signal that it gets, and
 * ends with SIGRTMAX, the last in the order of delivery, signal(7); then it says too
 * whether its I/O priority has changed, which nobody else can see without a call. */
#include "try.h"

#include <linux/ioprio.h>
#include <signal.h>

int main(void)
{
	sigset_t all;
	long priority = syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		int sig = sigwaitinfo(&all, NULL);
		if (sig == SIGRTMAX) {
			if (syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0) != priority)
				printf("io priority\n");
			return 0;
		}
		printf("signal %d\n", sig);
		fflush(stdout);
	}
}
