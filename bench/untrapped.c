/*
 * untrapped NAME N [filter]: what a system call costs that nothing asks about.
 * Prints the mean of N calls of getppid a few times, each as a sample NAME; with
 * "filter" under a filter of one instruction, which allows everything: the least
 * that any sandbox with seccomp can cost.
 */
#include "bench.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int n = argc > 2 ? atoi(argv[2]) : 0;

	if (n <= 0) {
		fprintf(stderr, "usage: untrapped NAME N [filter]\n");
		return 2;
	}
	if (argc > 3) {
		struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
		struct sock_fprog program = { 1, &allow };
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
		    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
			die("filter");
	}
	for (int round = 0; round < 20; round++) {
		double start = now_us();
		for (int i = 0; i < n; i++)
			syscall(SYS_getppid);
		sample(argv[1], (now_us() - start) / n);
	}
	return 0;
}
