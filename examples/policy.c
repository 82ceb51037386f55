/*
 * Runs a command in a sandbox, prints each command line that comes of it before
 * it runs, and denies any that mentions curl.
 *
 *     cc -std=c99 policy.c $(pkg-config --cflags --libs sandlock) -o policy
 *     ./policy sh -c 'ls / | head -n 3; curl --version'
 *
 * The command may read the system's programs and libraries and write the current
 * directory. Its exit status is ours; 125 says that it could not be run.
 */
#include <sandlock.h>

#include <stdio.h>
#include <string.h>

/* Called on a thread of the library, one event at a time. */
static int32_t judge(const sandlock_event_t *event, sandlock_ctx_t *ctx, void *user_data)
{
	int *denied = user_data;
	int32_t verdict = 0; /* allow */
	uint32_t i;

	(void)ctx;
	if (event->argv == NULL)
		return 0; /* not an exec */
	for (i = 0; i < event->argc; i++)
		if (strstr(event->argv[i], "curl") != NULL)
			verdict = -1; /* deny with EPERM */
	if (verdict != 0)
		++*denied;
	fputs(verdict == 0 ? "exec" : "deny", stderr);
	for (i = 0; i < event->argc; i++)
		fprintf(stderr, " %s", event->argv[i]);
	fputc('\n', stderr);
	return verdict;
}

int main(int argc, char **argv)
{
	static const char *const readable[] = { "/usr", "/lib", "/lib64", "/bin", "/etc" };
	static const char *const writable[] = { ".", "/dev/null" };
	sandlock_builder_t *builder = sandlock_sandbox_builder_new();
	sandlock_sandbox_t *policy;
	sandlock_result_t *result;
	const uint8_t *text;
	uintptr_t length;
	char *why = NULL;
	int denied = 0, status;
	size_t i;

	if (argc < 2) {
		fprintf(stderr, "usage: %s COMMAND [ARGUMENT...]\n", argv[0]);
		return 125;
	}
	for (i = 0; i < sizeof readable / sizeof *readable; i++)
		builder = sandlock_sandbox_builder_fs_read(builder, readable[i]);
	for (i = 0; i < sizeof writable / sizeof *writable; i++)
		builder = sandlock_sandbox_builder_fs_write(builder, writable[i]);
	builder = sandlock_sandbox_builder_policy_fn(builder, judge, &denied, NULL);
	policy = sandlock_sandbox_build(builder, NULL, &why);
	if (policy == NULL) {
		fprintf(stderr, "%s\n", why != NULL ? why : "no policy");
		sandlock_string_free(why);
		return 125;
	}

	result = sandlock_run(policy, NULL, (const char *const *)argv + 1, (unsigned int)argc - 1);
	if (result == NULL) {
		fprintf(stderr, "%s: %s\n", argv[1], sandlock_last_error());
		sandlock_sandbox_free(policy);
		return 125;
	}
	text = sandlock_result_stdout_bytes(result, &length);
	if (length > 0)
		fwrite(text, 1, length, stdout);
	text = sandlock_result_stderr_bytes(result, &length);
	if (length > 0)
		fwrite(text, 1, length, stderr);
	fprintf(stderr, "%d command lines denied\n", denied);

	status = sandlock_result_reason(result) == SANDLOCK_EXITED ? sandlock_result_exit_code(result) : 125;
	sandlock_result_free(result);
	sandlock_sandbox_free(policy);
	return status;
}
