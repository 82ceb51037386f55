/* A C host of the library: host RUNS. Prints what it holds before its first run and
 * after its last: descriptors, threads, children, KiB of memory. */
#define _GNU_SOURCE
#include <sandlock.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define CHECK(x) do { if (!(x)) { \
	const char *why = sandlock_last_error(); \
	fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #x, why ? why : ""); exit(1); } } while (0)

static int asked;

static int32_t judge(const sandlock_event_t *event, sandlock_ctx_t *ctx, void *user_data)
{
	(void)event, (void)ctx, (void)user_data;
	asked++;
	return 0;
}

static int by_number(const struct dirent **a, const struct dirent **b)
{
	return atoi((*a)->d_name) - atoi((*b)->d_name);
}

static int numbered(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static void print_holdings(void)
{
	struct dirent **entries;
	char line[256];
	FILE *status;
	int i, n = scandir("/proc/self/fd", &entries, numbered, by_number);

	for (i = 0; i < n; i++) {
		printf("%s%s", i ? "," : "", entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	n = scandir("/proc/self/task", &entries, numbered, by_number);
	for (i = 0; i < n; i++)
		free(entries[i]);
	free(entries);
	printf(" %d %s", n, waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD ? "none" : "some");
	CHECK((status = fopen("/proc/self/status", "r")) != NULL);
	while (fgets(line, sizeof line, status))
		if (strncmp(line, "VmRSS:", 6) == 0)
			printf(" %ld\n", atol(line + 6));
	fclose(status);
	fflush(stdout);
}

static sandlock_sandbox_t *policy(int judged)
{
	static const char *const readable[] = { "/usr", "/lib", "/lib64", "/bin", "/etc" };
	sandlock_builder_t *b = sandlock_sandbox_builder_new();
	sandlock_sandbox_t *p;
	size_t i;

	for (i = 0; i < sizeof readable / sizeof *readable; i++)
		b = sandlock_sandbox_builder_fs_read(b, readable[i]);
	if (judged)
		b = sandlock_sandbox_builder_policy_fn(b, judge, NULL, NULL);
	p = sandlock_sandbox_build(b, NULL, NULL);
	CHECK(p != NULL);
	return p;
}

static void expect_output(const sandlock_sandbox_t *p, const char *const *argv, unsigned argc, const char *want)
{
	sandlock_result_t *r = sandlock_run(p, NULL, argv, argc);
	uintptr_t length;
	const uint8_t *out;

	CHECK(r != NULL && sandlock_result_success(r));
	out = sandlock_result_stdout_bytes(r, &length);
	CHECK(length == strlen(want) && memcmp(out, want, length) == 0);
	sandlock_result_free(r);
}

int main(int argc, char **argv)
{
	static const char *const echo[] = { "/bin/echo", "plain" };
	static const char *const shell[] = { "/bin/sh", "-c", "echo judged; exec /bin/true" };
	static const char *const missing[] = { "/nonexistent" };
	static const char *const sleeper[] = { "/bin/sleep", "1000" };
	int runs = argc > 1 ? atoi(argv[1]) : 0, i;
	sandlock_sandbox_t *plain = policy(0);
	sandlock_handle_t *h;
	sandlock_result_t *r;

	CHECK(runs > 0);
	print_holdings();
	for (i = 0; i < runs; i++) {
		sandlock_sandbox_t *judged;
		switch (i % 8) {
		case 0:
			asked = 0;
			judged = policy(1);
			expect_output(judged, shell, 3, "judged\n");
			sandlock_sandbox_free(judged);
			CHECK(asked == 2);
			break;
		case 1:
			r = sandlock_run(plain, NULL, missing, 1);
			CHECK(r == NULL || !sandlock_result_success(r));
			sandlock_result_free(r);
			break;
		case 2:
			h = sandlock_create(plain, NULL, echo, 2);
			CHECK(h != NULL);
			sandlock_handle_free(h);
			break;
		case 3:
			h = sandlock_create(plain, NULL, sleeper, 2);
			CHECK(h != NULL && sandlock_start(h) == 0 && sandlock_handle_kill(h) == 0);
			r = sandlock_handle_wait(h);
			CHECK(r != NULL && sandlock_result_reason(r) == SANDLOCK_KILLED);
			sandlock_result_free(r);
			sandlock_handle_free(h);
			break;
		default:
			expect_output(plain, echo, 2, "plain\n");
		}
	}
	print_holdings();
	sandlock_sandbox_free(plain);
	return 0;
}
