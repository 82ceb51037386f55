/* many ROUNDS SOFT HARD: 20 threads run ROUNDS commands each under the same two
 * policies, each with an output of its own. The host is as it was, the limits of its
 * descriptors included, which were SOFT and HARD before the library was loaded. */
#define _GNU_SOURCE
#include "check.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 20 };

extern char **environ;
static int rounds;
static const char *soft, *hard;
static sandlock_sandbox_t *plain, *judged;
static int asked; /* counted by the callbacks of runs at once */

static int32_t judge(const sandlock_event_t *ev, sandlock_ctx_t *ctx, void *user)
{
	(void)ev, (void)ctx;
	__sync_fetch_and_add((int *)user, 1);
	return 0;
}

/* The host's descriptors, in order, as text. */
static void list_descriptors(char *list, size_t size)
{
	char open[1024] = { 0 };
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	size_t at = 0, i;

	CHECK(dir != NULL);
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(dir))
			open[atoi(entry->d_name) % sizeof open] = 1;
	closedir(dir);
	for (i = 0; i < sizeof open; i++)
		if (open[i])
			at += snprintf(list + at, size - at, "%zu ", i);
	CHECK(at < size);
}

static void no_children(void)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *entry;
	char path[300], children[64];
	FILE *f;

	CHECK(waitpid(-1, NULL, WNOHANG | __WALL) == -1 && errno == ECHILD);
	/* Nor any that waitpid would not tell about. */
	while ((entry = readdir(tasks))) {
		snprintf(path, sizeof path, "/proc/self/task/%s/children", entry->d_name);
		if (entry->d_name[0] == '.' || !(f = fopen(path, "r")))
			continue;
		CHECK(fgets(children, sizeof children, f) == NULL);
		fclose(f);
	}
	closedir(tasks);
}

static rlim_t limit_of(const char *text) { return strcmp(text, "unlimited") ? (rlim_t)atoll(text) : RLIM_INFINITY; }

static void same_limits(void)
{
	struct rlimit now;

	CHECK(getrlimit(RLIMIT_NOFILE, &now) == 0);
	CHECK(now.rlim_cur == limit_of(soft) && now.rlim_max == limit_of(hard));
}

/* A child of the host inherits them. */
static void child_has_limits(void)
{
	char script[200];
	char *argv[] = { "sh", "-c", script, NULL };
	pid_t pid;
	int status;

	snprintf(script, sizeof script, "test $(ulimit -S -n) = %s && test $(ulimit -H -n) = %s", soft, hard);
	CHECK(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ) == 0);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

static void *runner(void *number)
{
	int n = *(int *)number, i;
	char script[200], out[200], errs[200];

	for (i = 0; i < rounds; i++) {
		snprintf(script, sizeof script, "echo out %d %d; echo err %d %d >&2; ulimit -S -n; exit %d", n, i, n, i, n);
		snprintf(out, sizeof out, "out %d %d\n%s\n", n, i, soft);
		snprintf(errs, sizeof errs, "err %d %d\n", n, i);
		EXITED(sandlock_run((n + i) % 2 ? plain : judged, NULL, SH(script)), n, out, errs);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	char before[4096], after[4096];
	pthread_t threads[THREADS];
	int numbers[THREADS], i;

	CHECK(argc == 4 && (rounds = atoi(argv[1])) > 0);
	soft = argv[2], hard = argv[3];
	CHECK(sandlock_landlock_abi_version() > 0); /* the first call, when loading is over */
	same_limits();
	child_has_limits();
	no_children();
	list_descriptors(before, sizeof before);

	plain = built(basics());
	judged = built(sandlock_sandbox_builder_policy_fn(basics(), judge, &asked, NULL));
	for (i = 0; i < THREADS; i++) {
		numbers[i] = i;
		CHECK(pthread_create(&threads[i], NULL, runner, &numbers[i]) == 0);
	}
	for (i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	sandlock_sandbox_free(plain);
	sandlock_sandbox_free(judged);

	CHECK(asked == THREADS * rounds / 2);
	no_children();
	list_descriptors(after, sizeof after);
	if (strcmp(before, after)) {
		fprintf(stderr, "descriptors before: %s\nafter: %s\n", before, after);
		return 1;
	}
	same_limits();
	child_has_limits();
	return 0;
}
