/* host WORD VICTIM [MODE]: a host that runs sandboxes for ever, to be killed. Descriptor 0
 * is the pipe that the victims hold. WORD "fork": a forked child of it lives on, and holds
 * copies of all that it had. WORD "nested": as "plain", inside of another's. WORD "one": it
 * runs one, of the given MODE, and prints its command's pid. WORD "held": the same, with
 * limits. */
#define _GNU_SOURCE
#include <sandlock.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int32_t allow(const sandlock_event_t *event, sandlock_ctx_t *ctx, void *user_data)
{
	(void)event, (void)ctx, (void)user_data;
	return 0;
}

static void child_lives_on(void)
{
	if (fork() != 0)
		return;
	close(0);
	close(1);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	static const char unlimited[] = "{\"max_processes\": \"unlimited\"}";
	static const char limited[] = "{\"max_processes\": 100, \"max_memory\": \"1G\", \"max_cpu\": 10}";
	static const char *const readable[] = { "/usr", "/lib", "/lib64", "/bin" };
	const char *const command[] = { argc > 2 ? argv[2] : "", argc > 3 ? argv[3] : "daemons", "3" };
	/* It is another program's, in the sandbox, that runs sandboxes of its own. */
	char nested[4096], *slash;
	const char *burning[] = { command[0], "burning", "3" };
	const char *zoo[] = { command[0], "zoo", "5", nested, "nested", command[0] };
	sandlock_sandbox_t *policies[6];
	struct timespec now;
	int i, fork_too = argc > 1 && strcmp(argv[1], "fork") == 0;
	uint32_t protection;
	size_t j;

	for (i = 0; i < 6; i++) {
		char *why = NULL;
		sandlock_builder_t *b = sandlock_sandbox_builder_new();
		for (j = 0; j < sizeof readable / sizeof *readable; j++)
			b = sandlock_sandbox_builder_fs_read(b, readable[j]);
		snprintf(nested, sizeof nested, "%s", command[0]);
		if ((slash = strrchr(nested, '/')) == NULL)
			return 2;
		*slash = 0; /* the victims, and the library beside them */
		b = sandlock_sandbox_builder_fs_read(b, nested);
		b = sandlock_sandbox_builder_fs_read(b, "/proc");
		b = sandlock_sandbox_builder_fs_read(b, "/sys");
		b = sandlock_sandbox_builder_fs_write(b, "/dev/null");
		strcpy(slash, "/nested");
		/* What counts the processes by tracing them could not be nested. */
		b = i < 4 ? sandlock_sandbox_builder_json(b, unlimited, sizeof unlimited - 1)
			  : sandlock_sandbox_builder_json(b, limited, sizeof limited - 1);
		for (protection = 0; protection < 6; protection++) /* make test-vm has old kernels */
			b = sandlock_sandbox_builder_allow_degraded(b, protection);
		if (i == 2 || i == 3 || i == 5) /* the walk, as on kernels before Landlock's ABI 6 */
			b = sandlock_sandbox_builder_disable(b, SANDLOCK_PROTECTION_SIGNAL_SCOPE);
		if (i % 2)
			b = sandlock_sandbox_builder_policy_fn(b, allow, NULL, NULL);
		if ((policies[i] = sandlock_sandbox_build(b, NULL, &why)) == NULL) {
			fprintf(stderr, "%s\n", why);
			return 1;
		}
	}
	if (argc > 1 && (strcmp(argv[1], "one") == 0 || strcmp(argv[1], "held") == 0)) {
		sandlock_handle_t *h = sandlock_spawn(policies[argv[1][0] == 'o' ? 1 : 4], NULL, command, 3, 0, SANDLOCK_SPAWN_PARKED, NULL);
		if (h == NULL || sandlock_start(h) != 0) {
			fprintf(stderr, "%s\n", sandlock_last_error());
			return 1;
		}
		printf("%d\n", (int)sandlock_handle_pid(h));
		fflush(stdout);
		for (;;)
			pause();
	}
	printf("ready\n");
	fflush(stdout);
	clock_gettime(CLOCK_MONOTONIC, &now);
	srandom((unsigned)now.tv_nsec);
	for (i = 0;; i++) {
		int inner = strcmp(argv[1], "nested") == 0, which = (int)(random() % (inner ? 4 : 6)), whole = !inner && random() % 2;
		const char *const *what = !whole ? command : which < 4 ? zoo : burning;
		sandlock_handle_t *h = sandlock_spawn(policies[which], NULL, what, what == zoo ? 6 : 3, 0,
						      random() % 2 ? SANDLOCK_SPAWN_PARKED : 0, NULL);
		if (fork_too && i == 0)
			child_lives_on(); /* while a sandbox is set up */
		if (h == NULL) {
			fprintf(stderr, "%s\n", sandlock_last_error());
			return 1;
		}
		sandlock_start(h); /* of one that was not parked, it is nothing */
		if (fork_too && i == 1)
			child_lives_on();
		/* The menagerie, and who burns, stay until their time is over. */
		sandlock_result_free(sandlock_handle_wait_timeout(h, whole ? 1 + (uint64_t)random() % 80 : 0));
		sandlock_handle_free(h);
	}
}
