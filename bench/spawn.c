/*
 * spawn N MIB [BWRAP]: starts and waits for /bin/true N times, by posix_spawn, by
 * sandlock_run and, when its path is given, by bubblewrap, one after the other in
 * each round, with MIB resident in this process.
 *
 * sandlock_run also collects the output; posix_spawn does not. bubblewrap gets
 * what comes closest to the policy: the same directories read-only, nothing else,
 * namespaces of its own, no network. It filters no system calls.
 */
#include "bench.h"

#include <sandlock.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
static const char *const readable[] = { "/usr", "/lib", "/lib64", "/bin", "/etc" };

static void spawn(char *const *argv)
{
	extern char **environ;
	pid_t pid;
	int status;

	if (posix_spawn(&pid, argv[0], NULL, NULL, argv, environ) != 0 || waitpid(pid, &status, 0) != pid)
		die(argv[0]);
	if (status != 0) {
		fprintf(stderr, "%s: status %#x\n", argv[0], (unsigned)status);
		exit(1);
	}
}

static sandlock_sandbox_t *make_policy(void)
{
	sandlock_builder_t *b = sandlock_sandbox_builder_new();
	sandlock_sandbox_t *policy;
	char *why = NULL;
	size_t i;

	for (i = 0; i < COUNT(readable); i++)
		b = sandlock_sandbox_builder_fs_read(b, readable[i]);
	policy = sandlock_sandbox_build(b, NULL, &why);
	if (policy == NULL) {
		fprintf(stderr, "%s\n", why);
		exit(1);
	}
	return policy;
}

int main(int argc, char **argv)
{
	static const char *const command[] = { "/bin/true", NULL };
	char *bare[] = { "/bin/true", NULL }, *bwrap[4 * COUNT(readable) + 8], **p = bwrap;
	int rounds = argc > 2 ? atoi(argv[1]) : 0, i;
	size_t resident = argc > 2 ? strtoul(argv[2], NULL, 10) << 20 : 0;
	sandlock_sandbox_t *policy = make_policy();

	if (rounds <= 0) {
		fprintf(stderr, "usage: spawn N MIB [BWRAP]\n");
		return 2;
	}
	if (resident > 0) {
		char *memory = mmap(NULL, resident, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory == MAP_FAILED)
			die("mmap");
		madvise(memory, resident, MADV_NOHUGEPAGE); /* as many page tables as can be */
		memset(memory, 1, resident);
	}
	if (argc > 3) {
		*p++ = argv[3];
		*p++ = "--unshare-all";
		*p++ = "--die-with-parent";
		*p++ = "--new-session";
		for (i = 0; i < (int)COUNT(readable); i++) {
			*p++ = "--ro-bind-try";
			*p++ = (char *)readable[i];
			*p++ = (char *)readable[i];
		}
		*p++ = "/bin/true";
		*p = NULL;
	}
	for (i = 0; i < rounds; i++) {
		double start = now_us();
		spawn(bare);
		sample("posix_spawn", now_us() - start);

		start = now_us();
		sandlock_result_t *r = sandlock_run(policy, NULL, command, 1);
		if (r == NULL || !sandlock_result_success(r)) {
			fprintf(stderr, "sandlock_run: %s\n", r == NULL ? sandlock_last_error() : "failed");
			return 1;
		}
		sandlock_result_free(r);
		sample("sandlock_run", now_us() - start);

		if (argc > 3) {
			start = now_us();
			spawn(bwrap);
			sample("bubblewrap", now_us() - start);
		}
	}
	sandlock_sandbox_free(policy);
	return 0;
}
