/* When the user data of policy functions is dropped: once, with its last reference. */
#define _GNU_SOURCE
#include "check.h"

#include <semaphore.h>
#include <unistd.h>

struct data {
	int asked, dropped;
	sem_t gone;
};

static const char *const true_[] = { "/bin/true", NULL };
static int stuck[2];

static struct data *fresh(void)
{
	struct data *d = calloc(1, sizeof *d);

	CHECK(d != NULL && sem_init(&d->gone, 0, 0) == 0);
	return d;
}

static void drop(void *user)
{
	struct data *d = user;

	d->dropped++;
	sem_post(&d->gone);
}

static int32_t judge(const sandlock_event_t *ev, sandlock_ctx_t *ctx, void *user)
{
	(void)ev, (void)ctx;
	((struct data *)user)->asked++;
	return 0;
}

static void allow_out(void *user, const sandlock_event_t *ev, sandlock_ctx_t *ctx, int32_t *verdict)
{
	*verdict = judge(ev, ctx, user);
}

static int32_t never(const sandlock_event_t *ev, sandlock_ctx_t *ctx, void *user)
{
	char c;

	(void)ev, (void)ctx;
	CHECK(read(stuck[0], &c, 1) == 1);
	((struct data *)user)->asked++;
	return 0;
}

static sandlock_sandbox_t *freed_within;

/* Frees the policy that it belongs to. */
static int32_t frees(const sandlock_event_t *ev, sandlock_ctx_t *ctx, void *user)
{
	(void)ev, (void)ctx;
	if (((struct data *)user)->asked++ == 0)
		sandlock_sandbox_free(freed_within);
	CHECK(((struct data *)user)->dropped == 0);
	return 0;
}

/* Builds that fail, in each way that a builder can. */
static void failed_builds(void)
{
	enum { ITS_FUNCTION, ANOTHER_FIELD, JSON, TOGETHER, REPLACED, BY_NULL, FREED, NO_BUILDER, WAYS } way;
	sandlock_builder_t *gone = basics();

	sandlock_sandbox_free(built(gone));
	for (way = 0; way < WAYS; way++) {
		struct data *d = fresh(), *e = fresh();
		sandlock_builder_t *b = way == FREED ? gone : way == NO_BUILDER ? (sandlock_builder_t *)d : basics();

		b = sandlock_sandbox_builder_policy_fn(b, way == ITS_FUNCTION ? NULL : judge, d, drop);
		if (way == REPLACED || way == BY_NULL) {
			b = sandlock_sandbox_builder_policy_callback(b, way == BY_NULL ? NULL : allow_out, e, drop);
			CHECK(d->dropped == 1 && e->dropped == 0);
		}
		if (way == ANOTHER_FIELD || way == REPLACED)
			b = sandlock_sandbox_builder_fs_read(b, NULL);
		if (way == JSON)
			b = sandlock_sandbox_builder_json(b, "{", 1);
		if (way == TOGETHER) /* right by itself, but not with a policy_fn */
			b = sandlock_sandbox_builder_extra_allow_syscalls(b, "debug");
		CHECK(d->dropped == (way == REPLACED || way == BY_NULL || way == FREED || way == NO_BUILDER));
		CHECK(sandlock_sandbox_build(b, NULL, NULL) == NULL);
		CHECK(d->dropped == 1 && e->dropped == (way == REPLACED || way == BY_NULL));
		CHECK(sandlock_sandbox_build(b, NULL, NULL) == NULL && d->dropped == 1); /* consumed */
	}
}

/* Starts that fail hold nothing, whatever fails. */
static void failed_starts(void)
{
	static const char *const missing[] = { "/no/such/command" }, *const holed[] = { "/bin/true", NULL };
	struct data *d = fresh();
	sandlock_builder_t *b = sandlock_sandbox_builder_policy_fn(basics(), judge, d, drop);
	sandlock_sandbox_t *p = built(b), *nowhere;
	sandlock_handle_t *h;

	CHECK(sandlock_run(p, NULL, missing, 1) == NULL && sandlock_run_interactive(p, NULL, missing, 1) == -1);
	CHECK((h = sandlock_create(p, "taken", true_, 1)) != NULL);
	CHECK(sandlock_run(p, "taken", true_, 1) == NULL && sandlock_create(p, "taken", true_, 1) == NULL);
	CHECK(sandlock_run(p, "", true_, 1) == NULL && sandlock_run(p, NULL, true_, 0) == NULL);
	CHECK(sandlock_run(p, NULL, holed, 2) == NULL && sandlock_run(p, NULL, NULL, 1) == NULL);
	CHECK(sandlock_spawn(p, NULL, true_, 1, 99999, 0, NULL) == NULL);
	CHECK(sandlock_spawn(p, NULL, true_, 1, -1, 1u << 20, NULL) == NULL); /* flags */
	CHECK(sandlock_spawn_files(p, NULL, NULL, true_, 1, NULL, 1, 0, NULL) == NULL);
	CHECK(sandlock_popen(p, NULL, true_, 1, 7, 0, 0, NULL, NULL, NULL) == NULL);
	CHECK(sandlock_popen(p, NULL, missing, 1, 0, 0, 0, NULL, NULL, NULL) == NULL);
	CHECK(sandlock_spawn(p, NULL, true_, 1, -1, SANDLOCK_SPAWN_PARKED | 1u << 31, NULL) == NULL);
	sandlock_sandbox_free(p);
	CHECK(d->dropped == 0);
	sandlock_handle_free(h);
	CHECK(d->dropped == 1);
	sandlock_handle_free(h), sandlock_sandbox_free(p); /* once more: an error */
	CHECK(d->dropped == 1);

	d = fresh();
	b = sandlock_sandbox_builder_policy_fn(basics(), judge, d, drop);
	CHECK((nowhere = sandlock_sandbox_build(sandlock_sandbox_builder_cwd(b, "/no/such/directory"), NULL, NULL)) != NULL);
	CHECK(sandlock_run(nowhere, NULL, true_, 1) == NULL && sandlock_create(nowhere, NULL, true_, 1) == NULL);
	CHECK(sandlock_spawn(nowhere, NULL, true_, 1, -1, 0, NULL) == NULL && d->dropped == 0);
	sandlock_sandbox_free(nowhere);
	CHECK(d->dropped == 1);
}

/* Runs that outlive their policy, to each end. */
static void ends(void)
{
	enum { WAIT, TIMEOUT, KILL, FREE, STEP, STEP_FREE, INTERACTIVE, RUN, ENDS } end;

	for (end = 0; end < ENDS; end++) {
		struct data *d = fresh();
		sandlock_sandbox_t *p = built(sandlock_sandbox_builder_policy_fn(basics(), judge, d, drop));
		sandlock_handle_t *h = NULL;

		if (end == RUN || end == INTERACTIVE) {
			if (end == RUN)
				EXITED(sandlock_run(p, NULL, true_, 1), 0, "", "");
			else
				CHECK(sandlock_run_interactive(p, NULL, true_, 1) == 0);
			CHECK(d->dropped == 0);
			sandlock_sandbox_free(p);
			CHECK(d->dropped == 1 && d->asked == 1);
			continue;
		}
		h = sandlock_spawn(p, NULL, SH(end == WAIT || end == STEP ? "/bin/true; :" : "/bin/sleep 1000; :"), -1,
			end == STEP || end == STEP_FREE ? 0 : SANDLOCK_SPAWN_PARKED, NULL);
		CHECK(h != NULL);
		sandlock_sandbox_free(p);
		CHECK(d->dropped == 0);
		if (end != STEP && end != STEP_FREE)
			CHECK(sandlock_start(h) == 0);
		if (end == KILL)
			CHECK(sandlock_handle_kill(h) == 0);
		if (end == TIMEOUT)
			sandlock_result_free(sandlock_handle_wait_timeout(h, 1));
		else if (end != FREE && end != STEP_FREE)
			sandlock_result_free(sandlock_handle_wait(h));
		sandlock_handle_free(h);
		/* One that was being asked may be on its way back. */
		CHECK(sem_wait(&d->gone) == 0 && d->dropped == 1);
	}
}

static void by_its_own_callback(void)
{
	struct data *d = fresh();

	freed_within = built(sandlock_sandbox_builder_policy_fn(basics(), frees, d, drop));
	EXITED(sandlock_run(freed_within, NULL, SH("/bin/true; :")), 0, "", "");
	CHECK(sem_wait(&d->gone) == 0 && d->dropped == 1 && d->asked == 2);
}

int main(void)
{
	struct data *d = fresh(), *e = fresh();
	sandlock_sandbox_t *p;
	sandlock_handle_t *h, *i;

	/* Nothing to hold on to it. */
	CHECK(sandlock_sandbox_builder_policy_fn(NULL, judge, d, drop) == NULL && d->dropped == 1);
	CHECK(sandlock_sandbox_builder_policy_callback(NULL, allow_out, e, drop) == NULL && e->dropped == 1);
	/* A failed build. */
	d = fresh();
	CHECK(sandlock_sandbox_build(sandlock_sandbox_builder_cwd(sandlock_sandbox_builder_policy_fn(
		sandlock_sandbox_builder_new(), judge, d, drop), ""), NULL, NULL) == NULL && d->dropped == 1);
	d = fresh();
	CHECK(sandlock_sandbox_build(sandlock_sandbox_builder_policy_fn(sandlock_sandbox_builder_new(), NULL, d, drop),
		NULL, NULL) == NULL && d->dropped == 1);
	/* Replaced. */
	d = fresh(), e = fresh();
	p = built(sandlock_sandbox_builder_policy_callback(sandlock_sandbox_builder_policy_fn(basics(), judge, d, drop),
		allow_out, e, drop));
	CHECK(d->dropped == 1 && e->dropped == 0);
	EXITED(sandlock_run(p, NULL, true_, 1), 0, "", "");
	CHECK(d->asked == 0 && e->asked == 1 && e->dropped == 0);
	/* A command that can't be started holds nothing. */
	CHECK(sandlock_run(p, NULL, (const char *const[]){ "/no/such/command" }, 1) == NULL && e->dropped == 0);
	/* Runs hold it beyond the policy, those that have not started too. */
	CHECK((h = sandlock_create(p, NULL, true_, 1)) && (i = sandlock_create(p, NULL, true_, 1)));
	sandlock_sandbox_free(p);
	CHECK(e->dropped == 0);
	sandlock_handle_free(i);
	CHECK(e->dropped == 0 && sandlock_start(h) == 0);
	EXITED(sandlock_handle_wait(h), 0, "", "");
	sandlock_handle_free(h);
	CHECK(e->dropped == 1 && e->asked == 2);
	/* No function to drop it, and none to drop. */
	sandlock_sandbox_free(built(sandlock_sandbox_builder_policy_fn(basics(), judge, e, NULL)));
	CHECK(e->dropped == 1);

	/* One that is late has denied; nothing waits for it but its user data. */
	d = fresh();
	CHECK(pipe(stuck) == 0);
	p = built(sandlock_sandbox_builder_policy_timeout(sandlock_sandbox_builder_policy_fn(basics(), never, d, drop), 500));
	CHECK(sandlock_run(p, NULL, true_, 1) == NULL);
	sandlock_sandbox_free(p);
	CHECK(d->asked == 0 && d->dropped == 0);
	CHECK(write(stuck[1], "x", 1) == 1 && sem_wait(&d->gone) == 0);
	CHECK(d->asked == 1 && d->dropped == 1);

	failed_builds();
	failed_starts();
	ends();
	by_its_own_callback();
	return 0;
}
