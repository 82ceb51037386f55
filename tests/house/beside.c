/* beside WAY: a C host with ways of its own, beside sandboxes.
 *   handler  a handler of SIGCHLD that takes every child's status
 *   ignored  SIGCHLD is ignored, so that children leave no status
 *   waiter   a thread in waitpid(-1) all the time
 *   threads  each call comes from a thread that ends right after it */
#define _GNU_SOURCE
#include <sandlock.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(x) do { if (!(x)) { \
	fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #x, sandlock_last_error()); exit(1); } } while (0)

static const char *const command[] = { "/bin/sh", "-c", "(exit 3) & wait $!; echo $?; kill -TERM $$" };
static sandlock_sandbox_t *policy;
static sandlock_handle_t *h;
static atomic_int stopped, over;

/* An end, and no stop: those of the sandbox's tasks are not this process's. */
static void note(int status)
{
	if (!WIFEXITED(status))
		atomic_fetch_add(&stopped, 1);
}

static void take(int sig)
{
	int was = errno, status;

	(void)sig;
	while (waitpid(-1, &status, WNOHANG | WUNTRACED | WCONTINUED) > 0)
		note(status);
	errno = was;
}

static void *waiter(void *arg)
{
	int status;

	(void)arg;
	while (!over)
		if (waitpid(-1, &status, WUNTRACED | WCONTINUED) > 0)
			note(status);
	return NULL;
}

static void *creates(void *arg)
{
	(void)arg;
	CHECK((h = sandlock_create(policy, NULL, command, 3)) != NULL);
	return NULL;
}

static void *starts(void *arg)
{
	(void)arg;
	CHECK(sandlock_start(h) == 0);
	return NULL;
}

static void check(sandlock_result_t *r)
{
	uintptr_t n;
	const uint8_t *out;

	CHECK(r != NULL && sandlock_result_reason(r) == SANDLOCK_SIGNALED && sandlock_result_signal(r) == SIGTERM);
	out = sandlock_result_stdout_bytes(r, &n);
	CHECK(n == 2 && memcmp(out, "3\n", 2) == 0);
	sandlock_result_free(r);
}

static int32_t allow(const sandlock_event_t *event, sandlock_ctx_t *ctx, void *user_data)
{
	(void)event, (void)ctx, (void)user_data;
	return 0;
}

int main(int argc, char **argv)
{
	static const char *const readable[] = { "/usr", "/lib", "/lib64", "/bin", "/dev/null" };
	struct sigaction action = { .sa_flags = SA_RESTART | SA_ONSTACK }, now;
	const char *way = argc > 1 ? argv[1] : "";
	pthread_t thread, waits;
	int round, i;

	action.sa_handler = !strcmp(way, "handler") ? take : !strcmp(way, "ignored") ? SIG_IGN : SIG_DFL;
	CHECK(sigaction(SIGCHLD, &action, NULL) == 0);
	if (!strcmp(way, "waiter"))
		CHECK(pthread_create(&waits, NULL, waiter, NULL) == 0);
	for (round = 0; round < 20; round++) {
		sandlock_builder_t *b = sandlock_sandbox_builder_new();
		for (i = 0; i < 5; i++)
			b = sandlock_sandbox_builder_fs_read(b, readable[i]);
		if (round % 2)
			b = sandlock_sandbox_builder_policy_fn(b, allow, NULL, NULL);
		CHECK((policy = sandlock_sandbox_build(b, NULL, NULL)) != NULL);
		if (!strcmp(way, "threads")) {
			CHECK(pthread_create(&thread, NULL, creates, NULL) == 0 && pthread_join(thread, NULL) == 0);
			CHECK(pthread_create(&thread, NULL, starts, NULL) == 0 && pthread_join(thread, NULL) == 0);
		} else {
			check(sandlock_run(policy, NULL, command, 3));
			creates(NULL);
			starts(NULL);
		}
		check(sandlock_handle_wait(h));
		sandlock_handle_free(h);
		sandlock_sandbox_free(policy);
	}
	over = 1;
	if (!strcmp(way, "waiter"))
		CHECK(pthread_join(waits, NULL) == 0);
	CHECK(stopped == 0);
	CHECK(sigaction(SIGCHLD, NULL, &now) == 0 && now.sa_handler == action.sa_handler);
	puts("done");
	return 0;
}
