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
	return 0;
}
