/*
 * opens NAME N FILE [DIR]: what open(2) and close(2) of a file cost. Prints the mean of N
 * of them a few times, each as a sample NAME. With DIR under Landlock rules that grant
 * reading beneath it and the directories of a sandbox, and a filter that allows all: the least
 * that any sandbox of this kind can cost.
 */
#include "bench.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static void restricted(const char *dir)
{
	const char *const dirs[] = { "/usr", "/lib", "/lib64", "/bin", "/etc", dir };
	struct landlock_ruleset_attr attr = { .handled_access_fs = (1ULL << 15) - 1 };
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = { 1, &allow };
	int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);

	for (unsigned i = 0; i < sizeof dirs / sizeof *dirs; i++) {
		struct landlock_path_beneath_attr rule = { LANDLOCK_ACCESS_FS_READ_FILE, open(dirs[i], O_PATH) };
		if (rule.parent_fd >= 0 && syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0))
			die("rule");
		close(rule.parent_fd);
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_landlock_restrict_self, ruleset, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		die("restrict");
}

int main(int argc, char **argv)
{
	int n = argc > 3 ? atoi(argv[2]) : 0;

	if (n <= 0) {
		fprintf(stderr, "usage: opens NAME N FILE [DIR]\n");
		return 2;
	}
	if (argc > 4)
		restricted(argv[4]);
	for (int round = 0; round < 10; round++) {
		double start = now_us();
		for (int i = 0; i < n; i++) {
			int fd = open(argv[3], O_RDONLY | O_CLOEXEC);
			if (fd < 0)
				die("open");
			close(fd);
		}
		sample(argv[1], (now_us() - start) / n);
	}
	return 0;
}
