/* Changes of the policy from a callback. Of a failure the last error tells, a line of the
 * log, and the event, which is denied. */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <pthread.h>

static const char *const ips[] = { "192.0.2.1", "2001:db8::1" };
static const char *const holed[] = { "192.0.2.1", NULL };
static sandlock_ctx_t *kept; /* of an event before */
static pthread_t caller;

/* The calls, with what the last error has to have in it. */
static void restrict_(sandlock_ctx_t *c) { sandlock_ctx_restrict_network(c, ips, 2); }
static void restrict_none(sandlock_ctx_t *c) { sandlock_ctx_restrict_network(c, NULL, 0); }
static void restrict_null(sandlock_ctx_t *c) { sandlock_ctx_restrict_network(c, NULL, UINT32_MAX); }
static void restrict_holed(sandlock_ctx_t *c) { sandlock_ctx_restrict_network(c, holed, 2); }
static void grant(sandlock_ctx_t *c) { sandlock_ctx_grant_network(c, ips, 2); }
static void grant_null(sandlock_ctx_t *c) { sandlock_ctx_grant_network(c, NULL, 1); }
static void restrict_pid(sandlock_ctx_t *c) { sandlock_ctx_restrict_pid_network(c, 1, ips, 2); }
static void restrict_pid_holed(sandlock_ctx_t *c) { sandlock_ctx_restrict_pid_network(c, 0, holed, 2); }
static void memory(sandlock_ctx_t *c) { sandlock_ctx_restrict_max_memory(c, UINT64_MAX); }
static void deny(sandlock_ctx_t *c) { sandlock_ctx_deny_path(c, "/\xff"); }
static void deny_missing(sandlock_ctx_t *c) { sandlock_ctx_deny_path(c, "/nowhere/file"); }
static void deny_null(sandlock_ctx_t *c) { sandlock_ctx_deny_path(c, NULL); }
static void allow(sandlock_ctx_t *c) { sandlock_ctx_allow_path(c, "/"); }
static void allow_null(sandlock_ctx_t *c) { sandlock_ctx_allow_path(c, NULL); }
static void no_ctx(sandlock_ctx_t *c) { (void)c; sandlock_ctx_deny_path(NULL, "/"); }
static void wrong_ctx(sandlock_ctx_t *c) { sandlock_ctx_deny_path((sandlock_ctx_t *)((char *)c + 1), "/"); }
static void kept_ctx(sandlock_ctx_t *c) { (void)c; sandlock_ctx_deny_path(kept, "/"); }
static void nothing(sandlock_ctx_t *c) { (void)c; }
/* Another function's failure is its own affair. */
static void other_failure(sandlock_ctx_t *c) { (void)c; CHECK(sandlock_handle_kill(NULL) == -1); }

static void *in_thread(void *c)
{
	sandlock_ctx_deny_path(c, "");
	SAYS("deny_path: \"\": a path is not empty");
	return NULL;
}
/* While the callback waits, another thread may use its context. */
static void by_thread(sandlock_ctx_t *c)
{
	pthread_t t;

	CHECK(pthread_create(&t, NULL, in_thread, c) == 0 && pthread_join(t, NULL) == 0);
}

struct test {
	void (*call)(sandlock_ctx_t *);
	const char *says; /* NULL: nothing fails */
	int elsewhere;    /* the last error is another thread's */
	int32_t verdict;
	int error; /* that the sandbox sees */
};

static int32_t judge(const sandlock_event_t *ev, sandlock_ctx_t *ctx, void *user)
{
	const struct test *t = user;

	CHECK(!pthread_equal(pthread_self(), caller));
	if (strcmp(ev->argv[0], "/bin/echo") != 0) {
		kept = ctx;
		return 0;
	}
	t->call(ctx);
	if (t->says && !t->elsewhere)
		SAYS(t->says);
	return t->verdict;
}

static void judge_out(void *user, const sandlock_event_t *ev, sandlock_ctx_t *ctx, int32_t *verdict)
{
	*verdict = judge(ev, ctx, user);
}

static void run(struct test *t, sandlock_builder_t *b)
{
	sandlock_sandbox_t *p = built(b);
	sandlock_result_t *r = sandlock_run(p, NULL, SH("/bin/echo hi; echo $?; /bin/true && echo on"));
	const char *log;
	char *errs;

	CHECK(r != NULL && (errs = sandlock_result_stderr(r)) != NULL && (log = sandlock_result_log(r)) != NULL);
	CHECK(t->error ? strstr(errs, strerror(t->error)) != NULL : *errs == 0);
	CHECK(t->says ? strstr(log, t->says) != NULL && strstr(log, "denies the event") != NULL :
		strstr(log, "denies") == NULL);
	CHECK(strstr(log, "audit") == NULL || (t->verdict == -2 && !t->error));
	/* The event alone: what comes later is decided anew. */
	EXITED(r, 0, t->error ? "126\non\n" : "hi\n0\non\n", errs);
	sandlock_string_free(errs);
	sandlock_sandbox_free(p);
}

int main(void)
{
	struct test table[] = {
		{ restrict_, NULL, 0, 0, 0 },
		{ restrict_none, NULL, 0, 0, 0 },
		{ restrict_null, "restrict_network", 0, 0, EPERM },
		{ restrict_holed, "restrict_network: address 1: \"\" is not an IP address", 0, 0, EPERM },
		{ restrict_holed, "restrict_network", 0, -2, EPERM },
		{ restrict_holed, "restrict_network", 0, -1, EPERM },
		{ restrict_holed, "restrict_network", 0, EACCES, EACCES },
		{ grant, NULL, 0, 0, 0 },
		{ grant_null, "grant_network", 0, 0, EPERM },
		{ restrict_pid, "restrict_pid_network: 1 is not a process of this sandbox", 0, 0, EPERM },
		{ restrict_pid_holed, "restrict_pid_network", 0, 0, EPERM },
		{ memory, "restrict_max_memory: the policy has no max_memory that could be lowered", 0, 0, EPERM },
		{ deny, NULL, 0, 0, 0 },
		{ deny_missing, "deny_path: \"/nowhere/file\": no such file or directory: of a path that is denied the last component alone may be missing", 0, 0, EPERM },
		{ deny_null, "deny_path", 0, 0, EPERM },
		{ allow, NULL, 0, 0, 0 },
		{ allow_null, "allow_path", 0, 0, EPERM },
		{ no_ctx, "NULL", 0, 0, EPERM },
		{ wrong_ctx, "not one of this library", 0, 0, EPERM },
		{ kept_ctx, "deny_path: the callback of this context has returned", 0, 0, EPERM },
		{ by_thread, "deny_path: \"\": a path is not empty", 1, 0, EPERM },
		{ nothing, NULL, 0, 0, 0 },
		{ nothing, NULL, 0, -2, 0 },
		{ other_failure, NULL, 0, 0, 0 },
	};
	size_t i;

	caller = pthread_self();
	for (i = 0; i < LEN(table); i++) {
		run(&table[i], sandlock_sandbox_builder_policy_fn(basics(), judge, &table[i], NULL));
		run(&table[i], sandlock_sandbox_builder_policy_callback(basics(), judge_out, &table[i], NULL));
	}
	/* Outside a callback there is nothing to deny, but still a reason. */
	deny(kept);
	SAYS("deny_path: the callback of this context has returned");
	deny(NULL);
	SAYS("NULL");
	return 0;
}
