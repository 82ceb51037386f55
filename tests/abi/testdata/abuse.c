/* Every function with what it must not be given: NULL, pointers that are no handles,
 * freed handles and handles of another kind. Each is its documented error, with a
 * message, and none touches the objects that live. */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const true_[] = { "/bin/true", NULL };

/* The last error is about p: marked says what it was before. */
static const char *mark(const void *p)
{
	static char before[256];

	CHECK(sandlock_start((sandlock_handle_t *)(p ? NULL : (void *)1)) == -1);
	snprintf(before, sizeof before, "%s", sandlock_last_error());
	CHECK(before[0] != 0);
	return before;
}

static const char *name_of; /* of the bad pointer, for a failure */

/* The call on the bad pointer p is as documented, and the last error is its own. */
#define BAD(p, x) do { \
	const char *before_ = mark(p); \
	if (!(x) || strcmp(before_, sandlock_last_error()) == 0 || !*sandlock_last_error()) { \
		fprintf(stderr, "%d: %s with %s: %s\n", __LINE__, #x, name_of, sandlock_last_error()); _exit(1); } } while (0)

/* The same for a function that returns nothing: NULL is no error for the frees. */
#define BAD_FREE(p, x) do { if (p) BAD(p, (x, 1)); else x; } while (0)

static int32_t allow(const sandlock_event_t *ev, sandlock_ctx_t *ctx, void *user)
{
	(void)ev, (void)ctx, (void)user;
	return 0;
}

/* Keeps its context, which is gone then. */
static int32_t keep(const sandlock_event_t *ev, sandlock_ctx_t *ctx, void *user)
{
	(void)ev;
	*(sandlock_ctx_t **)user = ctx;
	return 0;
}

static void allow_out(void *user, const sandlock_event_t *ev, sandlock_ctx_t *ctx, int32_t *verdict)
{
	(void)ev, (void)ctx, (void)user;
	*verdict = 0;
}

static void bad_builder(sandlock_builder_t *b)
{
	uint32_t core = 0;
	int err = 7;
	char *why = (char *)&err;

	/* Returned as they came. */
	BAD(b, sandlock_sandbox_builder_json(b, "{}", 2) == b);
	BAD(b, sandlock_sandbox_builder_fs_read(b, "/usr") == b);
	BAD(b, sandlock_sandbox_builder_fs_write(b, "/tmp") == b);
	BAD(b, sandlock_sandbox_builder_fs_exec(b, "/usr") == b);
	BAD(b, sandlock_sandbox_builder_fs_deny(b, "/usr") == b);
	BAD(b, sandlock_sandbox_builder_unix_allow(b, "/usr") == b);
	BAD(b, sandlock_sandbox_builder_cwd(b, "/") == b);
	BAD(b, sandlock_sandbox_builder_net_allow(b, "tcp://:80") == b);
	BAD(b, sandlock_sandbox_builder_net_deny(b, "private") == b);
	BAD(b, sandlock_sandbox_builder_net_allow_bind(b, "80") == b);
	BAD(b, sandlock_sandbox_builder_net_deny_bind(b, "80") == b);
	BAD(b, sandlock_sandbox_builder_net_allow_private_names(b, true) == b);
	BAD(b, sandlock_sandbox_builder_port_remap(b, true) == b);
	BAD(b, sandlock_sandbox_builder_clean_env(b, true) == b);
	BAD(b, sandlock_sandbox_builder_env_var(b, "A", "b") == b);
	BAD(b, sandlock_sandbox_builder_max_open_files(b, 10) == b);
	BAD(b, sandlock_sandbox_builder_max_output(b, 10) == b);
	BAD(b, sandlock_sandbox_builder_cpu_cores(b, &core, 1) == b);
	BAD(b, sandlock_sandbox_builder_max_processes(b, 10) == b);
	BAD(b, sandlock_sandbox_builder_max_memory(b, 10) == b);
	BAD(b, sandlock_sandbox_builder_max_cpu(b, 10) == b);
	BAD(b, sandlock_sandbox_builder_num_cpus(b, 10) == b);
	BAD(b, sandlock_sandbox_builder_gpu_devices(b, &core, 1) == b);
	BAD(b, sandlock_sandbox_builder_no_coredump(b, true) == b);
	BAD(b, sandlock_sandbox_builder_no_huge_pages(b, true) == b);
	BAD(b, sandlock_sandbox_builder_no_randomize_memory(b, true) == b);
	BAD(b, sandlock_sandbox_builder_extra_deny_syscalls(b, "getpid") == b);
	BAD(b, sandlock_sandbox_builder_extra_allow_syscalls(b, "debug") == b);
	BAD(b, sandlock_sandbox_builder_allow_degraded(b, 1) == b);
	BAD(b, sandlock_sandbox_builder_disable(b, 1) == b);
	BAD(b, sandlock_sandbox_builder_policy_fn(b, allow, NULL, NULL) == b);
	BAD(b, sandlock_sandbox_builder_policy_callback(b, allow_out, NULL, NULL) == b);
	BAD(b, sandlock_sandbox_builder_policy_events(b, "execve") == b);
	BAD(b, sandlock_sandbox_builder_policy_timeout(b, 10) == b);
	BAD(b, sandlock_sandbox_builder_term_grace(b, 10) == b);
	BAD(b, sandlock_sandbox_builder_argv_safety(b, 1) == b);
	BAD(b, sandlock_sandbox_builder_record_execs(b, true) == b);
	BAD(b, sandlock_sandbox_builder_record_denials(b, true) == b);
	BAD(b, sandlock_sandbox_build(b, &err, &why) == NULL && err == -1);
	CHECK(why != (char *)&err);
	sandlock_string_free(why);
	BAD(b, sandlock_sandbox_build(b, NULL, NULL) == NULL);
}

static void bad_policy(sandlock_sandbox_t *p)
{
	sandlock_handle_t *out = (sandlock_handle_t *)&out;
	int ends[3] = { 7, 7, 7 };
	sandlock_pipeline_t *pipe;
	sandlock_gather_t *gather;

	BAD(p, sandlock_sandbox_explain(p) == NULL);
	BAD(p, sandlock_confine(p) == -1);
	BAD(p, sandlock_run(p, NULL, true_, 1) == NULL);
	BAD(p, sandlock_run_interactive(p, NULL, true_, 1) == -1);
	BAD(p, sandlock_create(p, NULL, true_, 1) == NULL);
	BAD(p, sandlock_create_for_run(p, NULL, true_, 1) == NULL);
	BAD(p, sandlock_spawn(p, NULL, true_, 1, 0, SANDLOCK_SPAWN_PARKED, NULL) == NULL);
	BAD(p, sandlock_spawn(p, NULL, true_, 1, -1, 0, NULL) == NULL);
	BAD(p, sandlock_spawn(p, NULL, true_, 1, -1, 16, &out) == NULL && out == NULL);
	out = (sandlock_handle_t *)&out;
	BAD(p, sandlock_spawn_files(p, NULL, NULL, true_, 1, NULL, 0, 0, &out) == NULL && out == NULL);
	BAD(p, sandlock_popen(p, NULL, true_, 1, 1, 1, 1, &ends[0], &ends[1], &ends[2]) == NULL);
	CHECK(ends[0] == -1 && ends[1] == -1 && ends[2] == -1);
	/* What a stage lacks is the error of the run. */
	pipe = sandlock_pipeline_new();
	BAD(p, (sandlock_pipeline_add_stage(pipe, p, true_, 1), 1));
	BAD(p, sandlock_pipeline_run(pipe, 0) == NULL);
	gather = sandlock_gather_new();
	BAD(p, (sandlock_gather_add_source(gather, "a", p, true_, 1), 1));
	BAD(p, (sandlock_gather_set_consumer(gather, p, true_, 1), 1));
	BAD(p, sandlock_gather_run(gather, 0) == NULL);
	BAD_FREE(p, sandlock_sandbox_free(p));
}

static void bad_run(sandlock_handle_t *h)
{
	sandlock_result_t *out = (sandlock_result_t *)&out;

	BAD(h, sandlock_handle_stepfd(h) == -1);
	BAD(h, sandlock_handle_step(h) == -1);
	BAD(h, sandlock_start(h) == -1);
	BAD(h, sandlock_handle_pid(h) == 0);
	BAD(h, sandlock_handle_port_mappings(h) == NULL);
	BAD(h, sandlock_handle_pollfd(h) == -1);
	BAD(h, sandlock_handle_kill(h) == -1);
	BAD(h, sandlock_handle_expire(h) == -1);
	BAD(h, sandlock_handle_signal(h, 0) == -1);
	BAD(h, sandlock_handle_execfd(h) == -1);
	BAD(h, sandlock_handle_executed(h) == -1);
	BAD(h, sandlock_handle_pause(h) == -1);
	BAD(h, sandlock_handle_resume(h) == -1);
	BAD(h, sandlock_handle_wait(h) == NULL);
	BAD(h, sandlock_handle_wait_timeout(h, 1) == NULL);
	BAD(h, sandlock_handle_result(h, 0, &out) == -1 && out == NULL);
	BAD_FREE(h, sandlock_handle_free(h));
}

static void bad_pipeline(void *p)
{
	sandlock_pipeline_t *pipe = p;
	sandlock_gather_t *gather = p;

	BAD(p, (sandlock_pipeline_add_stage(pipe, NULL, true_, 1), 1));
	BAD(p, sandlock_pipeline_run(pipe, 0) == NULL);
	BAD_FREE(p, sandlock_pipeline_free(pipe));
	BAD(p, (sandlock_gather_add_source(gather, "a", NULL, true_, 1), 1));
	BAD(p, (sandlock_gather_set_consumer(gather, NULL, true_, 1), 1));
	BAD(p, sandlock_gather_run(gather, 0) == NULL);
	BAD_FREE(p, sandlock_gather_free(gather));
}

static void bad_result(sandlock_result_t *r)
{
	uintptr_t n = 7;
	sandlock_usage_t usage;

	BAD(r, sandlock_result_exit_code(r) == -1);
	BAD(r, sandlock_result_reason(r) == SANDLOCK_KILLED);
	BAD(r, sandlock_result_signal(r) == -1);
	BAD(r, !sandlock_result_success(r));
	BAD(r, sandlock_result_stdout(r) == NULL);
	BAD(r, sandlock_result_stderr(r) == NULL);
	BAD(r, sandlock_result_stdout_bytes(r, &n) == NULL && n == 0);
	n = 7;
	BAD(r, sandlock_result_stderr_bytes(r, &n) == NULL && n == 0);
	BAD(r, sandlock_result_stdout_bytes(r, NULL) == NULL);
	BAD(r, sandlock_result_truncated(r) == 0);
	BAD(r, sandlock_result_usage(r, &usage, sizeof usage) == -1);
	BAD(r, sandlock_result_stages_len(r) == 0);
	BAD(r, sandlock_result_stage(r, 0) == NULL);
	BAD(r, sandlock_result_error(r) == NULL);
	BAD(r, sandlock_result_log(r) == NULL);
	BAD(r, sandlock_result_execs(r) == NULL);
	BAD(r, sandlock_result_audit(r) == NULL);
	BAD(r, sandlock_result_denials(r) == NULL);
	BAD(r, sandlock_result_denials_dropped(r) == 0);
	BAD_FREE(r, sandlock_result_free(r));
}

static void bad_ctx(sandlock_ctx_t *c)
{
	static const char *const ips[] = { "192.0.2.1", NULL };

	BAD(c, (sandlock_ctx_restrict_network(c, ips, 1), 1));
	BAD(c, (sandlock_ctx_restrict_network(c, NULL, UINT32_MAX), 1));
	BAD(c, (sandlock_ctx_grant_network(c, ips, 1), 1));
	BAD(c, (sandlock_ctx_restrict_pid_network(c, 1, ips, 1), 1));
	BAD(c, (sandlock_ctx_restrict_max_memory(c, 1), 1));
	BAD(c, (sandlock_ctx_restrict_max_processes(c, 1), 1));
	BAD(c, (sandlock_ctx_deny_path(c, "/"), 1));
	BAD(c, (sandlock_ctx_allow_path(c, NULL), 1));
}

/* What is no string, vector or number of the kind. */
static void bad_values(const sandlock_sandbox_t *p)
{
	static const char *const holed[] = { "/bin/echo", NULL, "x" };
	static const char *const empty[] = { "", NULL };
	static const sandlock_file_t files[] = { { 1, 3 }, { 1, -1 }, { 1, 8192 }, { -2, 3 }, { 99999, 3 }, { 1, INT32_MAX } };
	static const sandlock_file_t twice[] = { { 1, 3 }, { 2, 3 } };
	char longest[66];
	int end = 7;
	size_t i;

	memset(longest, 'n', 65);
	longest[65] = 0;
	name_of = "a bad value";
#define START(name, argv, argc) do { \
	BAD(NULL, sandlock_run(p, name, argv, argc) == NULL); \
	BAD(NULL, sandlock_run_interactive(p, name, argv, argc) == -1); \
	BAD(NULL, sandlock_create(p, name, argv, argc) == NULL); \
	BAD(NULL, sandlock_create_for_run(p, name, argv, argc) == NULL); \
	BAD(NULL, sandlock_spawn(p, name, argv, argc, -1, SANDLOCK_SPAWN_PARKED, NULL) == NULL); \
	BAD(NULL, sandlock_spawn_files(p, name, NULL, argv, argc, NULL, 0, 0, NULL) == NULL); \
	BAD(NULL, sandlock_popen(p, name, argv, argc, 0, 1, 2, NULL, &end, NULL) == NULL && end == -1); \
	BAD(NULL, sandlock_spawn(p, name, argv, argc, -1, 0, NULL) == NULL); } while (0)
	START(NULL, NULL, 0);
	START(NULL, NULL, 1);
	START(NULL, true_, 0);
	START(NULL, true_, UINT32_MAX);
	START(NULL, holed, 3);
	START(NULL, empty, 1);
	START("", true_, 1);
	START(longest, true_, 1);
	START("a/b", true_, 1);
	START("..", true_, 1);
	BAD(NULL, sandlock_spawn(p, NULL, true_, 1, 99999, SANDLOCK_SPAWN_PARKED, NULL) == NULL);
	BAD(NULL, sandlock_spawn(p, NULL, true_, 1, 99999, 0, NULL) == NULL);
	BAD(NULL, sandlock_spawn_files(p, NULL, NULL, true_, 1, NULL, 1, 0, NULL) == NULL);
	BAD(NULL, sandlock_spawn_files(p, NULL, NULL, true_, 1, files, UINT32_MAX, 0, NULL) == NULL);
	BAD(NULL, sandlock_spawn_files(p, NULL, NULL, true_, 1, files, 1, SANDLOCK_SPAWN_INTERACTIVE, NULL) == NULL);
	for (i = 1; i < LEN(files); i++)
		BAD(NULL, sandlock_spawn_files(p, NULL, NULL, true_, 1, &files[i], 1, 0, NULL) == NULL);
	BAD(NULL, sandlock_spawn_files(p, NULL, NULL, true_, 1, twice, 2, 0, NULL) == NULL);
	for (i = 0; i < 3; i++) {
		/* A pipe with nowhere to put its end, and no mode. */
		BAD(NULL, sandlock_popen(p, NULL, true_, 1, i == 0 ? 1 : 2, i == 1 ? 1 : 2, i == 2 ? 1 : 2, NULL, NULL, NULL) == NULL);
		BAD(NULL, sandlock_popen(p, NULL, true_, 1, i == 0 ? 3 : 2, i == 1 ? UINT32_MAX : 2, i == 2 ? 3 : 2, NULL, NULL, NULL) == NULL);
	}

	CHECK(sandlock_syscall_nr(NULL) == -1 && sandlock_syscall_nr("") == -1);
	CHECK(sandlock_protection_min_abi(6) == 0 && sandlock_protection_min_abi(UINT32_MAX) == 0);
	sandlock_string_free(NULL);
	sandlock_callbacks_while(NULL);
}

/* What a setter is not given the build reports, and the builder lives on. */
static void null_values(void)
{
	static const char *const fields[] = { "JSON", "fs_readable", "fs_writable", "fs_executable", "fs_denied", "cwd", "net_allow", "net_deny",
		"net_allow_bind", "net_deny_bind", "env", "cpu_cores", "extra_deny_syscalls", "extra_allow_syscalls", "policy_events", "policy_fn" };
	sandlock_builder_t *b = sandlock_sandbox_builder_new();
	char *why = NULL;
	size_t i;

	b = sandlock_sandbox_builder_json(b, NULL, 0);
	b = sandlock_sandbox_builder_fs_read(b, NULL);
	b = sandlock_sandbox_builder_fs_write(b, NULL);
	b = sandlock_sandbox_builder_fs_exec(b, NULL);
	b = sandlock_sandbox_builder_fs_deny(b, NULL);
	b = sandlock_sandbox_builder_unix_allow(b, NULL);
	b = sandlock_sandbox_builder_cwd(b, NULL);
	b = sandlock_sandbox_builder_net_allow(b, NULL);
	b = sandlock_sandbox_builder_net_deny(b, NULL);
	b = sandlock_sandbox_builder_net_allow_bind(b, NULL);
	b = sandlock_sandbox_builder_net_deny_bind(b, NULL);
	b = sandlock_sandbox_builder_env_var(b, NULL, "v");
	b = sandlock_sandbox_builder_env_var(b, "K", NULL);
	b = sandlock_sandbox_builder_cpu_cores(b, NULL, 1);
	b = sandlock_sandbox_builder_extra_deny_syscalls(b, NULL);
	b = sandlock_sandbox_builder_extra_allow_syscalls(b, NULL);
	b = sandlock_sandbox_builder_policy_events(b, NULL);
	b = sandlock_sandbox_builder_policy_fn(b, NULL, NULL, NULL);
	b = sandlock_sandbox_builder_policy_callback(b, NULL, NULL, NULL);
	CHECK(sandlock_sandbox_build(b, NULL, &why) == NULL && why != NULL);
	for (i = 0; i < LEN(fields); i++)
		if (!strstr(why, fields[i])) {
			fprintf(stderr, "%s is not in %s\n", fields[i], why);
			_exit(1);
		}
	sandlock_string_free(why);
	why = NULL;
	CHECK(sandlock_sandbox_from_json(NULL, 9, NULL, &why) == NULL && strstr(why, "NULL"));
	sandlock_string_free(why);
	/* An empty list where one entry is the least. */
	CHECK(sandlock_sandbox_build(sandlock_sandbox_builder_cpu_cores(sandlock_sandbox_builder_new(), NULL, 0), NULL, NULL) == NULL);
	SAYS("cpu_cores");
}

/* A run of one kind is not one of the other. */
static void other_runs(const sandlock_sandbox_t *p)
{
	sandlock_handle_t *h;

	name_of = "a run of the other kind";
	CHECK((h = sandlock_spawn(p, NULL, true_, 1, -1, 0, NULL)) != NULL);
	BAD(NULL, sandlock_handle_pollfd(h) == -1);
	EXITED(sandlock_handle_wait(h), 0, "", "");
	sandlock_handle_free(h);
	CHECK((h = sandlock_create(p, NULL, true_, 1)) != NULL);
	BAD(NULL, sandlock_handle_stepfd(h) == -1);
	/* The library's own thread collects it, at the same time. */
	BAD(NULL, sandlock_handle_step(h) == -1);
	CHECK(sandlock_start(h) == 0);
	EXITED(sandlock_handle_wait(h), 0, "", "");
	sandlock_handle_free(h);
}

int main(void)
{
	static char local[64];
	static const char *const echo[] = { "/bin/echo", "alive" };
	sandlock_builder_t *b = basics(), *gone_b = basics();
	sandlock_sandbox_t *p = built(basics()), *gone_p;
	sandlock_handle_t *h, *gone_h;
	sandlock_result_t *r, *gone_r;
	sandlock_ctx_t *gone_c = NULL;
	char *text;
	int round, i;

	gone_p = built(sandlock_sandbox_builder_policy_fn(gone_b, keep, &gone_c, NULL));
	EXITED(sandlock_run(gone_p, NULL, true_, 1), 0, "", "");
	CHECK(gone_c != NULL);
	CHECK((h = sandlock_create(p, "alive", echo, 2)) != NULL);
	CHECK((gone_h = sandlock_create(p, NULL, echo, 2)) != NULL);
	sandlock_handle_free(gone_h);
	CHECK((r = sandlock_run(p, NULL, echo, 2)) != NULL);
	CHECK((gone_r = sandlock_run(p, NULL, echo, 2)) != NULL);
	sandlock_result_free(gone_r);
	sandlock_sandbox_free(gone_p);

	/* In the second round 1,000 policies have come and gone in between: a freed
	 * handle is still not that of another object. */
	for (round = 0; round < 2; round++) {
		const struct { const char *name; void *p; void *kind; } bad[] = {
			{ "NULL", NULL, NULL }, { "1", (void *)1, NULL }, { "-1", (void *)-1, NULL },
			{ "a variable", local, NULL }, { "an odd address", local + 1, NULL },
			{ "beside a handle", (char *)r + 1, NULL }, { "a function", (void *)(uintptr_t)&main, NULL },
			{ "a freed builder", gone_b, NULL }, { "a freed policy", gone_p, NULL },
			{ "a freed run", gone_h, NULL }, { "a freed result", gone_r, NULL },
			{ "the context of a callback that has returned", gone_c, NULL },
			{ "a builder", b, b }, { "a policy", p, p }, { "a run", h, h }, { "a result", r, r },
		};
		for (i = 0; i < (int)LEN(bad); i++) {
			name_of = bad[i].name;
			if (bad[i].kind != b) bad_builder(bad[i].p);
			if (bad[i].kind != p) bad_policy(bad[i].p);
			if (bad[i].kind != h) bad_run(bad[i].p);
			if (bad[i].kind != r) bad_result(bad[i].p);
			bad_ctx(bad[i].p);
			bad_pipeline(bad[i].p);
		}
		for (i = 0; i < 1000; i++)
			sandlock_sandbox_free(built(basics()));
	}
	bad_values(p);
	null_values();

	/* What lived all the while works. */
	CHECK((text = sandlock_sandbox_explain(p)) != NULL && *text);
	sandlock_string_free(text);
	CHECK(sandlock_handle_pid(h) > 0 && sandlock_start(h) == 0);
	EXITED(sandlock_handle_wait(h), 0, "alive\n", "");
	CHECK((text = sandlock_result_stdout(r)) != NULL && strcmp(text, "alive\n") == 0);
	sandlock_string_free(text);
	CHECK((text = sandlock_result_stderr(r)) != NULL && *text == 0);
	sandlock_string_free(text);
	CHECK((text = sandlock_kernel_report()) != NULL && *text == '{');
	sandlock_string_free(text);
	CHECK(*sandlock_result_error(r) == 0 && *sandlock_result_log(r) == 0);
	CHECK(*sandlock_version() && sandlock_abi_version() == 0);
	CHECK(sandlock_last_errno() >= 0);
	CHECK(sandlock_min_landlock_abi() == 6 && sandlock_landlock_abi_version() > 0);
	sandlock_handle_free(h);
	EXITED(r, 0, "alive\n", "");
	sandlock_sandbox_free(built(b));
	other_runs(p);
	sandlock_sandbox_free(p);
	CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
	return 0;
}
