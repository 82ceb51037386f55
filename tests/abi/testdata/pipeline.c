/* Commands that feed one another. */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>

static sandlock_sandbox_t *plain;
static volatile int asked, dropped;

static int32_t judge(const sandlock_event_t *ev, sandlock_ctx_t *ctx, void *user)
{
	(void)ctx, (void)user;
	CHECK(ev->argc > 0);
	__sync_fetch_and_add(&asked, 1);
	return 0;
}

static void drop(void *user)
{
	CHECK(user == (void *)&dropped);
	dropped++;
}

static sandlock_sandbox_t *judged(void)
{
	return built(sandlock_sandbox_builder_policy_fn(basics(), judge, (void *)&dropped, drop));
}

static sandlock_pipeline_t *pipeline(const char *const *scripts, unsigned int n)
{
	sandlock_pipeline_t *pipe = sandlock_pipeline_new();
	unsigned int i;

	CHECK(pipe != NULL);
	for (i = 0; i < n; i++)
		sandlock_pipeline_add_stage(pipe, plain, SH(scripts[i]));
	return pipe;
}

static void runs(void)
{
	static const char *const scripts[] = { "head -c 3000000 /dev/zero; echo one >&2", "cat; exit 3", "wc -c; echo three >&2; exit 4" };
	sandlock_result_t *r = sandlock_pipeline_run(pipeline(scripts, 3), 0);
	const sandlock_result_t *stage;
	char *text;

	CHECK(r != NULL && sandlock_result_stages_len(r) == 3 && sandlock_result_stage(r, 3) == NULL);
	CHECK((stage = sandlock_result_stage(r, 0)) != NULL && sandlock_result_exit_code(stage) == 0 && wrote(stage, "", "one\n"));
	CHECK((stage = sandlock_result_stage(r, 1)) != NULL && sandlock_result_exit_code(stage) == 3 && wrote(stage, "", ""));
	CHECK((stage = sandlock_result_stage(r, 2)) != NULL && sandlock_result_exit_code(stage) == 4 && wrote(stage, "3000000\n", "three\n"));
	CHECK((text = sandlock_result_stdout(stage)) && *text);
	sandlock_string_free(text);
	CHECK(*sandlock_result_error(r) == 0);
	EXITED(r, 4, "3000000\n", "three\n");
	CHECK(sandlock_result_stages_len(stage) == 0); /* gone with it */
	SAYS("freed");
}

static void times_out(void)
{
	static const char *const slow[] = { "sleep 1000", "exec cat" }, *const late[] = { "echo x", "cat; exec sleep 1000" };
	sandlock_result_t *r = sandlock_pipeline_run(pipeline(slow, 2), 100);

	CHECK(r != NULL && strcmp(sandlock_result_error(r), "Pipeline timed out") == 0);
	CHECK(sandlock_result_reason(sandlock_result_stage(r, 0)) == SANDLOCK_TIMEOUT);
	ENDED(r, SANDLOCK_TIMEOUT, -1);
	CHECK((r = sandlock_pipeline_run(pipeline(late, 2), 100)) != NULL);
	ENDED(r, SANDLOCK_TIMEOUT, -1);
	CHECK((r = sandlock_pipeline_run(pipeline(late, 1), 100)) == NULL);
	SAYS("two stages");
	CHECK((r = sandlock_pipeline_run(sandlock_pipeline_new(), 0)) == NULL);
	SAYS("two stages");
}

/* What is wrong with any stage is told, and which stage that is. */
static void errors(const char *dir)
{
	static const char *const missing[] = { "no-such-command" };
	char path[4096];
	const char *noexec[] = { path };
	unsigned int bad, i;
	FILE *f;

	snprintf(path, sizeof path, "%s/noexec", dir);
	CHECK((f = fopen(path, "w")) && fputs("text", f) >= 0 && fclose(f) == 0 && chmod(path, 0755) == 0);
	for (bad = 0; bad < 3; bad++) {
		sandlock_pipeline_t *a = sandlock_pipeline_new(), *b = sandlock_pipeline_new(), *c = sandlock_pipeline_new();
		sandlock_result_t *r;
		char said[32];

		snprintf(said, sizeof said, "stage %u: ", bad + 1);
		for (i = 0; i < 3; i++) {
			sandlock_pipeline_add_stage(a, plain, i == bad ? missing : (const char *[]){ "cat" }, 1);
			sandlock_pipeline_add_stage(b, plain, i == bad ? noexec : (const char *[]){ "cat" }, 1);
			sandlock_pipeline_add_stage(c, i == bad ? NULL : plain, (const char *[]){ "cat" }, 1);
		}
		CHECK(sandlock_pipeline_run(a, 0) == NULL);
		SAYS(said);
		CHECK(sandlock_last_errno() == ENOENT);
		CHECK(sandlock_pipeline_run(a, 0) == NULL); /* consumed */
		SAYS("freed");
		CHECK(sandlock_pipeline_run(c, 0) == NULL);
		SAYS(said);
		r = sandlock_pipeline_run(b, 0);
		CHECK((r == NULL) == (bad == 2));
		if (!r) {
			SAYS(said);
			CHECK(sandlock_last_errno() == ENOEXEC);
			continue;
		}
		CHECK(strstr(sandlock_result_error(r), said) && sandlock_result_exit_code(r) == 0);
		CHECK(strstr(sandlock_result_error(sandlock_result_stage(r, bad)), path));
		CHECK(sandlock_result_exit_code(sandlock_result_stage(r, bad)) == -1);
		sandlock_result_free(r);
	}
}

static void gathers(void)
{
	static const char *const names[] = { "one", "two", "three" };
	sandlock_gather_t *g = sandlock_gather_new();
	sandlock_result_t *r;
	size_t i;

	for (i = 0; i < 3; i++)
		sandlock_gather_add_source(g, names[i], plain, (const char *[]){ "echo", names[i] }, 2);
	sandlock_gather_set_consumer(g, plain, SH("exit 9"));
	sandlock_gather_set_consumer(g, plain, SH("cat; cat <&3; cat <&4; echo $_SANDLOCK_GATHER; exit 2"));
	r = sandlock_gather_run(g, 100000);
	CHECK(r != NULL && sandlock_result_stages_len(r) == 4);
	EXITED(r, 2, "three\none\ntwo\none:3,two:4,three:0\n", "");

	g = sandlock_gather_new();
	sandlock_gather_add_source(g, "only", plain, SH("sleep 1000"));
	sandlock_gather_set_consumer(g, plain, SH("cat"));
	r = sandlock_gather_run(g, 100);
	CHECK(r != NULL && strcmp(sandlock_result_error(r), "Gather timed out") == 0);
	ENDED(r, SANDLOCK_TIMEOUT, -1);

	for (i = 0; i < 5; i++) { /* no consumer, no source, no name, a bad one, one twice */
		g = sandlock_gather_new();
		if (i != 1)
			sandlock_gather_add_source(g, i == 2 ? NULL : i == 3 ? "a:b" : "a", plain, SH(":"));
		if (i == 4)
			sandlock_gather_add_source(g, "a", plain, SH(":"));
		if (i != 0)
			sandlock_gather_set_consumer(g, plain, SH(":"));
		CHECK(sandlock_gather_run(g, 0) == NULL);
		SAYS(i == 0 ? "consumer" : i == 1 ? "no source" : "name");
	}
}

/* A stage holds its policy, and lets go of it however it ends. */
static void policies(void)
{
	enum { RUN, FREED, FAILED, GATHER, GATHER_FREED, WAYS } way;

	for (way = 0; way < WAYS; way++) {
		sandlock_sandbox_t *p = judged();
		sandlock_pipeline_t *pipe = sandlock_pipeline_new();
		sandlock_gather_t *g = sandlock_gather_new();
		int i;

		asked = dropped = 0;
		for (i = 0; i < 2; i++)
			sandlock_pipeline_add_stage(pipe, p, SH("exec /bin/cat"));
		sandlock_gather_add_source(g, "a", p, SH("exec /bin/echo x"));
		for (i = 0; i < 2; i++)
			sandlock_gather_set_consumer(g, p, SH("exec /bin/cat"));
		sandlock_sandbox_free(p);
		CHECK(dropped == 0);
		if (way == FAILED)
			sandlock_pipeline_add_stage(pipe, p, SH(":"));
		if (way == RUN)
			EXITED(sandlock_pipeline_run(pipe, 0), 0, "", "");
		else if (way == FAILED)
			CHECK(sandlock_pipeline_run(pipe, 0) == NULL);
		else
			sandlock_pipeline_free(pipe);
		CHECK(dropped == 0);
		if (way == GATHER)
			EXITED(sandlock_gather_run(g, 0), 0, "x\n", "");
		else
			sandlock_gather_free(g);
		while (!dropped) /* who calls the callback ends a moment after the run */
			sched_yield();
		CHECK(dropped == 1 && asked == (way == RUN || way == GATHER ? 4 : 0));
	}
	sandlock_pipeline_free(NULL);
	sandlock_gather_free(NULL);
}

int main(int argc, char **argv)
{
	CHECK(argc == 2);
	plain = built(sandlock_sandbox_builder_fs_read(basics(), argv[1]));
	runs();
	times_out();
	errors(argv[1]);
	gathers();
	policies();
	sandlock_sandbox_free(plain);
	CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
	return 0;
}
