/*
 * exec NAME N TASKS: starts and waits for /bin/true N times by vfork and execve, with
 * TASKS other tasks that sleep.
 * exec NAME N TASKS LIBRARY: the same in a sandbox whose policy function is in C.
 * LIBRARY is what this program is linked with.
 */
#include "bench.h"

#include <sandlock.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static int32_t allow(const sandlock_event_t *event, sandlock_ctx_t *ctx, void *user_data)
{
	(void)event, (void)ctx, (void)user_data;
	return 0;
}

static int judged(char **argv)
{
	static const char *const readable[] = { "/usr", "/lib", "/lib64", "/bin", "/etc", NULL };
	const char *command[] = { argv[0], argv[1], argv[2], argv[3], NULL };
	sandlock_builder_t *b = sandlock_sandbox_builder_new();
	char *why = NULL, *out;
	int i;

	for (i = 0; readable[i]; i++)
		b = sandlock_sandbox_builder_fs_read(b, readable[i]);
	b = sandlock_sandbox_builder_fs_read(b, argv[0]);
	b = sandlock_sandbox_builder_fs_read(b, argv[4]);
	b = sandlock_sandbox_builder_max_processes(b, 1100);
	b = sandlock_sandbox_builder_policy_fn(b, allow, NULL, NULL);
	sandlock_sandbox_t *policy = sandlock_sandbox_build(b, NULL, &why);
	sandlock_result_t *result = policy ? sandlock_run(policy, NULL, command, 4) : NULL;
	if (!sandlock_result_success(result)) {
		fprintf(stderr, "%s\n", why ? why : sandlock_last_error());
		return 1;
	}
	out = sandlock_result_stdout(result);
	fputs(out, stdout);
	sandlock_string_free(out);
	sandlock_result_free(result);
	sandlock_sandbox_free(policy);
	return 0;
}

int main(int argc, char **argv)
{
	char *command[] = { "/bin/true", NULL }, *none[] = { NULL };
	int i, status, rounds, tasks;

	if (argc < 4) {
		fprintf(stderr, "usage: exec NAME N TASKS [LIBRARY]\n");
		return 2;
	}
	if (argc > 4)
		return judged(argv);
	rounds = atoi(argv[2]), tasks = atoi(argv[3]);
	pid_t self = getpid();
	for (i = 0; i < tasks; i++) {
		pid_t pid = fork();
		if (pid < 0)
			die("fork");
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			while (getppid() == self)
				pause();
			_exit(0);
		}
	}
	for (i = 0; i < rounds; i++) {
		double start = now_us();
		pid_t pid = vfork();
		if (pid == 0) {
			execve(command[0], command, none);
			_exit(127);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
			die("/bin/true");
		sample(argv[1], now_us() - start);
	}
	return 0;
}
