/* faults HOW: a host that makes a run when there is too little of something, HOW being one
 * of the ways below, and checks that this is an error or a success, that it has left
 * nothing, and that the next run is one. Prints what came of each.
 *   run, create, spawn, listen, terminal, walk, memory   one run, between two of SIGUSR2, which
 *                                          inject.c takes
 *   nofile, nproc                          one run under each RLIMIT_ of that name, from too
 *                                          little to enough */
#define _GNU_SOURCE
#include <sandlock.h>

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static sandlock_sandbox_t *policy;
static const char *const command[] = { "/bin/true", "-" };

/* The descriptors as text; and how many threads. */
static int holdings(char *fds, size_t size)
{
	struct dirent *e;
	int n = 0, threads = 0;
	DIR *d = opendir("/proc/self/task");

	while ((e = readdir(d)) != NULL)
		threads += e->d_name[0] != '.';
	closedir(d);
	for (fds[0] = 0; n < 4096 && strlen(fds) + 16 < size; n++) {
		if (fcntl(n, F_GETFD) >= 0)
			sprintf(fds + strlen(fds), "%d ", n);
	}
	return threads;
}

static sandlock_result_t *result(const char *how)
{
	sandlock_handle_t *h;
	sandlock_result_t *r = NULL;

	if (!strcmp(how, "create")) {
		if ((h = sandlock_create(policy, NULL, command, 2)) == NULL)
			return NULL;
		if (sandlock_start(h) == 0)
			r = sandlock_handle_wait(h);
	} else if (!strcmp(how, "spawn") || !strcmp(how, "terminal")) {
		uint32_t flags = !strcmp(how, "terminal") ? SANDLOCK_SPAWN_INTERACTIVE : 0;
		if ((h = sandlock_spawn(policy, NULL, command, 2, -1, flags, NULL)) == NULL)
			return NULL;
		r = sandlock_handle_wait(h);
	} else {
		return sandlock_run(policy, NULL, command, 2);
	}
	sandlock_handle_free(h);
	return r;
}

/* What came of it; NULL: the command ran. */
static const char *tried(const char *how)
{
	static char why[1024];
	sandlock_result_t *r = result(how);
	const char *said = NULL;

	if (r == NULL)
		said = sandlock_last_error();
	else if (!sandlock_result_success(r))
		said = sandlock_result_error(r);
	if (said != NULL)
		snprintf(why, sizeof why, "%s", *said ? said : "no reason given");
	sandlock_result_free(r);
	return said ? why : NULL;
}

static int failures;

static void expect(int ok, const char *what, const char *a, const char *b)
{
	if (!ok) {
		printf("FAILED: %s: %s, %s\n", what, a, b);
		failures++;
	}
}

static void works(const char *how)
{
	const char *why = tried(how);

	expect(why == NULL, "a run without faults", why ? why : "", how);
}

static void after(const char *fds, int threads)
{
	char now[65536], a[32], b[32];
	int n = holdings(now, sizeof now);

	expect(!strcmp(fds, now), "descriptors", fds, now);
	snprintf(a, sizeof a, "%d", threads);
	snprintf(b, sizeof b, "%d", n);
	expect(n <= threads + 2, "threads", a, b);
	expect(waitpid(-1, NULL, WNOHANG | __WALL) < 0 && errno == ECHILD, "a child is left", "", "");
}

/* One run under each limit, until one of them is enough. */
static int limited(int resource, const char *fds, int threads)
{
	struct rlimit was, low;
	const char *why = "";
	int n, errors = 0;

	getrlimit(resource, &was);
	for (n = 1; why != NULL && n < 4096; n++) {
		low.rlim_cur = (rlim_t)n;
		low.rlim_max = was.rlim_max;
		setrlimit(resource, &low);
		why = tried("run");
		setrlimit(resource, &was);
		after(fds, threads);
		if (why != NULL) {
			errors++;
			printf("limit %d: %s\n", n, why);
		}
	}
	return errors;
}

int main(int argc, char **argv)
{
	static const char *const readable[] = { "/usr", "/lib", "/lib64", "/bin" };
	const char *how = argc > 1 ? argv[1] : "", *why;
	sandlock_builder_t *b = sandlock_sandbox_builder_new();
	static char fds[65536];
	uint32_t protection;
	int i, threads;

	for (i = 0; i < 4; i++)
		b = sandlock_sandbox_builder_fs_read(b, readable[i]);
	for (protection = 0; protection < 6; protection++)
		b = sandlock_sandbox_builder_allow_degraded(b, protection);
	if (!strcmp(how, "walk"))
		b = sandlock_sandbox_builder_disable(b, SANDLOCK_PROTECTION_SIGNAL_SCOPE);
	if (!strcmp(how, "listen")) /* which is trapped then, so that there is a listener */
		b = sandlock_sandbox_builder_net_allow(b, "tcp://:80");
	/* What counts processes by tracing them can't where inject.c does. */
	b = sandlock_sandbox_builder_json(b, "{\"max_processes\": \"unlimited\"}", 30);
	if (!strcmp(how, "memory"))
		b = sandlock_sandbox_builder_max_memory(b, 64 << 20);
	b = sandlock_sandbox_builder_cwd(b, "/");
	if ((policy = sandlock_sandbox_build(b, NULL, (char **)&why)) == NULL) {
		printf("FAILED: %s\n", why);
		return 1;
	}
	for (i = 0; i < 3; i++)
		works(how);
	threads = holdings(fds, sizeof fds);
	if (!strcmp(how, "nofile")) {
		expect(limited(RLIMIT_NOFILE, fds, threads) > 5, "no run has failed", "", "");
	} else if (!strcmp(how, "nproc")) {
		expect(limited(RLIMIT_NPROC, fds, threads) > 0, "no run has failed", "", "");
	} else {
		raise(SIGUSR2);
		why = tried(how);
		raise(SIGUSR2);
		printf("%s\n", why ? why : "ran");
		after(fds, threads);
	}
	works(how);
	after(fds, threads);
	sandlock_sandbox_free(policy);
	return failures != 0;
}
