/* Policy functions: what they are told, on which thread, and what their verdicts do. */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/wait.h>
#include <unistd.h>

/* A piece of user data: what happened to it. */
struct data {
	int asked, dropped, inside;
	int32_t verdict; /* about /bin/echo */
	int32_t initial; /* what *verdict was */
	pthread_t thread;
	uint32_t pids[8], parents[8];
	sandlock_handle_t *own;
	sem_t gone;
};

static const char *const true_[] = { "/bin/true", NULL };
static pthread_t caller;
static pthread_barrier_t both;

static void drop(void *user)
{
	((struct data *)user)->dropped++;
	sem_post(&((struct data *)user)->gone);
}

static struct data *fresh(int32_t verdict)
{
	struct data *d = calloc(1, sizeof *d);

	CHECK(d != NULL && sem_init(&d->gone, 0, 0) == 0);
	d->verdict = verdict;
	return d;
}

/* Checks every field of the event, which is one of an exec. */
static int32_t judge(const sandlock_event_t *ev, sandlock_ctx_t *ctx, void *user)
{
	struct data *d = user;
	uint32_t i;

	CHECK(__sync_fetch_and_add(&d->inside, 1) == 0); /* one at a time */
	CHECK(ctx != NULL && sandlock_handle_kill((sandlock_handle_t *)ctx) == -1);
	SAYS("another kind");
	CHECK(!pthread_equal(pthread_self(), caller));
	CHECK(d->asked == 0 || pthread_equal(pthread_self(), d->thread));
	d->thread = pthread_self();
	CHECK(strcmp(ev->syscall, "execve") == 0 && ev->category == SANDLOCK_CATEGORY_PROCESS);
	CHECK(ev->host == NULL && ev->port == 0 && !ev->denied);
	CHECK(ev->pid > 0 && ev->pid != (uint32_t)getpid() && ev->pid != ev->parent_pid);
	CHECK(ev->argc > 0 && ev->argv != NULL && ev->argv[ev->argc] == NULL);
	for (i = 0; i < ev->argc; i++)
		CHECK(ev->argv[i] != NULL);
	if (d->asked < (int)LEN(d->pids))
		d->pids[d->asked] = ev->pid, d->parents[d->asked] = ev->parent_pid;
	d->asked++;
	__sync_fetch_and_sub(&d->inside, 1);
	return strcmp(ev->argv[0], "/bin/echo") == 0 ? d->verdict : 0;
}

static sandlock_sandbox_t *judged(sandlock_policy_fn_t fn, struct data *d)
{
	return built(sandlock_sandbox_builder_policy_fn(basics(), fn, d, drop));
}

static void events(void)
{
	struct data *d = fresh(0);
	sandlock_sandbox_t *p = judged(judge, d);
	sandlock_handle_t *h = sandlock_create(p, NULL, SH("/bin/echo one; /bin/echo two; :"));
	int32_t pid = sandlock_handle_pid(h);

	CHECK(h != NULL && pid > 0 && d->asked == 0 && sandlock_start(h) == 0);
	EXITED(sandlock_handle_wait(h), 0, "one\ntwo\n", "");
	CHECK(d->asked == 3 && d->pids[0] == (uint32_t)pid);
	CHECK(d->parents[1] == d->pids[0] && d->parents[2] == d->pids[0] && d->pids[1] != d->pids[0]);
	sandlock_handle_free(h);
	/* Events that come at once wait for each other. */
	d->asked = 0; /* this run has a thread of its own */
	EXITED(sandlock_run(p, NULL, SH("for i in 1 2 3 4 5 6 7 8; do /bin/true & done; wait")), 0, "", "");
	CHECK(d->asked == 9);
	sandlock_sandbox_free(p);
	CHECK(d->dropped == 1);
}

/* The strings are those of the command, empty ones and bytes of any kind too. */
static int32_t exact(const sandlock_event_t *ev, sandlock_ctx_t *ctx, void *user)
{
	(void)ctx;
	CHECK(ev->argc == 4 && strcmp(ev->argv[1], "") == 0 && strcmp(ev->argv[2], "\xff\n\x01") == 0 &&
	      strcmp(ev->argv[3], "last") == 0);
	((struct data *)user)->asked++;
	return 0;
}

static void verdicts(void)
{
	static const struct { int32_t verdict; int error; } table[] = {
		{ 0, 0 }, { -2, 0 }, { -1, EPERM }, { -3, EPERM }, { INT32_MIN, EPERM }, { EACCES, EACCES }, { E2BIG, E2BIG },
		{ 4096, EPERM }, { INT32_MAX, EPERM },
	};
	static const char *const strange[] = { "/bin/true", "", "\xff\n\x01", "last" };
	struct data *d = fresh(0);
	sandlock_sandbox_t *p = judged(exact, d);
	char *errs;
	size_t i;

	EXITED(sandlock_run(p, NULL, strange, 4), 0, "", "");
	CHECK(d->asked == 1);
	sandlock_sandbox_free(p);
	for (i = 0; i < LEN(table); i++) {
		sandlock_result_t *r;
		int error = table[i].error;

		d = fresh(table[i].verdict);
		p = judged(judge, d);
		CHECK((r = sandlock_run(p, NULL, SH("/bin/echo hi; echo $?"))) != NULL && d->asked == 2);
		CHECK((errs = sandlock_result_stderr(r)) != NULL);
		CHECK(error ? strstr(errs, strerror(error)) != NULL : *errs == 0);
		/* An audited event is kept. */
		CHECK((strstr(sandlock_result_log(r), "/bin/echo") != NULL) == (table[i].verdict == -2));
		/* A refused one, too. */
		CHECK((strstr(sandlock_result_denials(r), "\"rule\":\"policy_fn\"") != NULL) == (error != 0));
		CHECK(error || strcmp(sandlock_result_denials(r), "[]") == 0);
		CHECK(sandlock_result_denials_dropped(r) == 0);
		EXITED(r, 0, error ? "126\n" : "hi\n0\n", errs);
		sandlock_string_free(errs);
		sandlock_sandbox_free(p);
		CHECK(d->dropped == 1);
	}
}

/* The out-parameter: leaves it as it was, unless there is a verdict. */
static void out(void *user, const sandlock_event_t *ev, sandlock_ctx_t *ctx, int32_t *verdict)
{
	struct data *d = user;

	d->initial = *verdict;
	*verdict = 0;
	d->verdict = judge(ev, ctx, user);
	*verdict = d->initial;
}

static void allow_out(void *user, const sandlock_event_t *ev, sandlock_ctx_t *ctx, int32_t *verdict)
{
	out(user, ev, ctx, verdict);
	*verdict = 0;
}

static void out_parameter(void)
{
	struct data *d = fresh(0), *e = fresh(0);
	sandlock_sandbox_t *p = built(sandlock_sandbox_builder_policy_callback(basics(), out, d, drop));
	sandlock_sandbox_t *q = built(sandlock_sandbox_builder_policy_callback(basics(), allow_out, e, drop));
	sandlock_handle_t *h;

	/* The first exec is the command's own: it can't be started. */
	CHECK(sandlock_run(p, NULL, true_, 1) == NULL && d->asked == 1 && d->initial == -1);
	SAYS("policy_fn");
	SAYS("operation not permitted");
	d->asked = 0;
	CHECK((h = sandlock_create(p, NULL, true_, 1)) != NULL && sandlock_start(h) == 0);
	CHECK(sandlock_handle_wait(h) == NULL && d->asked == 1);
	SAYS("policy_fn");
	sandlock_handle_free(h);
	d->asked = 0;
	CHECK((h = sandlock_spawn(p, NULL, true_, 1, -1, 0, NULL)) != NULL && sandlock_handle_wait(h) == NULL);
	SAYS("policy_fn");
	sandlock_handle_free(h);
	sandlock_sandbox_free(p);
	EXITED(sandlock_run(q, NULL, true_, 1), 0, "", "");
	CHECK(e->asked == 1 && e->initial == -1);
	sandlock_sandbox_free(q);
	CHECK(d->dropped == 1 && e->dropped == 1);
}

static void asked_about(void)
{
	static const struct { const char *names; int asked; } table[] = { { "", 0 }, { "execveat", 0 }, { "execve", 1 }, { "execve, execveat", 1 } };
	size_t i;

	for (i = 0; i < LEN(table); i++) {
		struct data *d = fresh(0);
		sandlock_builder_t *b = sandlock_sandbox_builder_policy_fn(basics(), judge, d, drop);
		sandlock_sandbox_t *p = built(sandlock_sandbox_builder_policy_events(b, table[i].names));

		EXITED(sandlock_run(p, NULL, true_, 1), 0, "", "");
		CHECK(d->asked == table[i].asked);
		sandlock_sandbox_free(p);
		CHECK(d->dropped == 1);
	}
}

/* Two runs of a policy are asked about at the same time: each waits for the other. */
static int32_t meet(const sandlock_event_t *ev, sandlock_ctx_t *ctx, void *user)
{
	(void)ev, (void)ctx, (void)user;
	pthread_barrier_wait(&both);
	return 0;
}

static void *run_true(void *p)
{
	EXITED(sandlock_run(p, NULL, true_, 1), 0, "", "");
	return NULL;
}

/* A callback may use the library, and end its own run. */
static int32_t nests(const sandlock_event_t *ev, sandlock_ctx_t *ctx, void *user)
{
	struct data *d = user;
	sandlock_sandbox_t *p = built(basics());

	(void)ev, (void)ctx;
	EXITED(sandlock_run(p, NULL, SH("echo nested")), 0, "nested\n", "");
	sandlock_sandbox_free(p);
	if (d->asked++ > 0)
		CHECK(sandlock_handle_kill(d->own) == 0);
	return 0;
}

static void at_once(void)
{
	struct data *d = fresh(0);
	sandlock_sandbox_t *p = judged(meet, d);
	pthread_t one, two;

	CHECK(pthread_barrier_init(&both, NULL, 2) == 0);
	CHECK(pthread_create(&one, NULL, run_true, p) == 0 && pthread_create(&two, NULL, run_true, p) == 0);
	CHECK(pthread_join(one, NULL) == 0 && pthread_join(two, NULL) == 0);
	sandlock_sandbox_free(p);

	d = fresh(0);
	p = judged(nests, d);
	CHECK((d->own = sandlock_create(p, NULL, SH("/bin/sleep 1000; :"))) != NULL && sandlock_start(d->own) == 0);
	ENDED(sandlock_handle_wait(d->own), SANDLOCK_KILLED, -1);
	sandlock_handle_free(d->own);
	sandlock_sandbox_free(p);
	/* The callback that killed its run may still be on its way back. */
	CHECK(sem_wait(&d->gone) == 0 && d->dropped == 1);
}

/* A child that a callback forks and that returns from it has nothing to return to. */
static int32_t forks(const sandlock_event_t *ev, sandlock_ctx_t *ctx, void *user)
{
	pid_t pid = fork();
	int status;

	(void)ev, (void)ctx;
	CHECK(pid >= 0);
	if (pid == 0) {
		alarm(60);
		CHECK(sandlock_sandbox_builder_new() == NULL);
		return 0;
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 1);
	((struct data *)user)->asked++;
	return 0;
}

static void forked(void)
{
	struct data *d = fresh(0);
	sandlock_sandbox_t *p = judged(forks, d);

	EXITED(sandlock_run(p, NULL, SH("/bin/echo on")), 0, "on\n", "");
	CHECK(d->asked == 2);
	sandlock_sandbox_free(p);
	CHECK(d->dropped == 1);
}

static int living;

static int alive(void) { return living; }

/* No function of a host that says so is called any more. */
static void host_at_its_end(void)
{
	struct data *d = fresh(0), *e = fresh(0);
	sandlock_sandbox_t *p = judged(judge, d), *q = judged(judge, e);

	sandlock_callbacks_while(alive);
	living = 1;
	EXITED(sandlock_run(p, NULL, true_, 1), 0, "", "");
	CHECK(d->asked == 1);
	living = 0;
	CHECK(sandlock_run(p, NULL, true_, 1) == NULL && d->asked == 1);
	SAYS("policy_fn denied");
	sandlock_sandbox_free(p);
	CHECK(d->dropped == 0);
	sandlock_callbacks_while(NULL);
	EXITED(sandlock_run(q, NULL, true_, 1), 0, "", "");
	CHECK(e->asked == 1);
	sandlock_sandbox_free(q);
	CHECK(e->dropped == 1);
}

int main(void)
{
	caller = pthread_self();
	events();
	verdicts();
	out_parameter();
	asked_about();
	at_once();
	forked();
	host_at_its_end();
	return 0;
}
