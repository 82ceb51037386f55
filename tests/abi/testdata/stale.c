/* Contexts that are used when their callback has returned or while it does, by another
 * thread: an error, a line of the log, and nothing else. And a callback that nobody is to
 * hear of: that of a run which is never stepped. */
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>

static _Atomic(sandlock_ctx_t *) shared; /* of the callback before, or of this one */
static atomic_int asked, over;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static void use_all(sandlock_ctx_t *c)
{
	static const char *const ips[] = { "192.0.2.1" };

	sandlock_ctx_restrict_network(c, ips, 1);
	sandlock_ctx_grant_network(c, ips, 1);
	sandlock_ctx_restrict_pid_network(c, 1, ips, 1);
	sandlock_ctx_restrict_max_memory(c, 1);
	sandlock_ctx_restrict_max_processes(c, 1);
	sandlock_ctx_deny_path(c, "/");
	sandlock_ctx_allow_path(c, "/");
}

static void *use_in_thread(void *c)
{
	use_all(c);
	SAYS("allow_path: the callback of this context has returned");
	return NULL;
}

/* Its own context is left alone; that of the callback before is used on another thread. */
static int32_t later(const sandlock_event_t *ev, sandlock_ctx_t *ctx, void *user)
{
	sandlock_ctx_t *former = atomic_exchange(&shared, ctx);
	pthread_t t;

	(void)ev, (void)user;
	if (former)
		CHECK(pthread_create(&t, NULL, use_in_thread, former) == 0 && pthread_join(t, NULL) == 0);
	return 0;
}

static int32_t meanwhile(const sandlock_event_t *ev, sandlock_ctx_t *ctx, void *user)
{
	(void)ev, (void)user;
	atomic_store(&shared, ctx);
	/* Let the other thread come. */
	CHECK(pthread_mutex_lock(&turn) == 0 && pthread_mutex_unlock(&turn) == 0);
	return 0;
}

static void *use_on_and_on(void *unused)
{
	while (!atomic_load(&over)) {
		CHECK(pthread_mutex_lock(&turn) == 0);
		use_all(atomic_load(&shared));
		CHECK(pthread_mutex_unlock(&turn) == 0);
		sandlock_ctx_deny_path(atomic_load(&shared), "/");
	}
	return unused;
}

static int32_t count(const sandlock_event_t *ev, sandlock_ctx_t *ctx, void *user)
{
	(void)ev, (void)ctx, (void)user;
	atomic_fetch_add(&asked, 1);
	return 0;
}

static sandlock_sandbox_t *with(sandlock_policy_fn_t cb)
{
	return built(sandlock_sandbox_builder_policy_fn(basics(), cb, NULL, NULL));
}

static void used_later(void)
{
	sandlock_sandbox_t *p = with(later);
	sandlock_result_t *r = sandlock_run(p, NULL, SH("/bin/echo one; /bin/echo two"));
	const char *log = sandlock_result_log(r);
	int lines = 0;

	/* Every use is logged, and no event is denied for it. */
	CHECK(log != NULL && strstr(log, "restrict_network: the callback of this context has returned") != NULL);
	CHECK(strstr(log, "denies") == NULL);
	for (; (log = strstr(log, "has returned")) != NULL; log++)
		lines++;
	CHECK(lines == 2 * 7);
	EXITED(r, 0, "one\ntwo\n", "");
	/* When the run is over, and the policy gone. */
	use_in_thread(shared);
	sandlock_sandbox_free(p);
	use_in_thread(shared);
}

static void used_meanwhile(void)
{
	sandlock_sandbox_t *p = with(meanwhile);
	pthread_t t;
	int i;

	CHECK(pthread_create(&t, NULL, use_on_and_on, NULL) == 0);
	for (i = 0; i < 20; i++)
		/* A use in time denies, so the command may not even start. */
		sandlock_result_free(sandlock_run(p, NULL, SH("/bin/true; /bin/true; :")));
	atomic_store(&over, 1);
	CHECK(pthread_join(t, NULL) == 0);
	sandlock_sandbox_free(p);
}

/* sandlock_spawn: the callback is not asked before the first step, nor by the free. */
static void never_stepped(void)
{
	sandlock_sandbox_t *p = with(count);
	int i;

	for (i = 0; i < 100; i++) {
		sandlock_handle_t *h = sandlock_spawn(p, NULL, SH(":"), -1, 0, NULL);

		CHECK(h != NULL && (i % 2 || sandlock_handle_kill(h) == 0));
		sandlock_handle_free(h);
	}
	sandlock_sandbox_free(p);
	CHECK(atomic_load(&asked) == 0);
}

int main(void)
{
	used_later();
	used_meanwhile();
	never_stepped();
	return 0;
}
