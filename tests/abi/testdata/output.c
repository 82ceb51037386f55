/* What results hold: the captured streams, cut, as text and as bytes. */
#define _GNU_SOURCE
#include "check.h"

#include <sys/resource.h>
#include <unistd.h>

static sandlock_sandbox_t *limited(uint64_t bytes)
{
	return built(sandlock_sandbox_builder_max_output(basics(), bytes));
}

static void truncated(void)
{
	static const struct { const char *script, *out, *errs; uint32_t flags; } table[] = {
		{ "printf 0123456789", "0123456789", "", 0 },
		{ "printf 0123456789a", "0123456789", "", SANDLOCK_TRUNCATED_STDOUT },
		{ "printf 0123456789a >&2", "", "0123456789", SANDLOCK_TRUNCATED_STDERR },
		{ "printf 01234; printf 56789a; printf x; printf 0123456789a >&2", "0123456789", "0123456789",
		  SANDLOCK_TRUNCATED_STDOUT | SANDLOCK_TRUNCATED_STDERR },
		{ "", "", "", 0 },
	};
	sandlock_sandbox_t *p = limited(10), *none = limited(0);
	sandlock_result_t *r;
	size_t i;

	for (i = 0; i < LEN(table); i++) {
		CHECK((r = sandlock_run(p, NULL, SH(table[i].script))) != NULL);
		CHECK(sandlock_result_truncated(r) == table[i].flags);
		EXITED(r, 0, table[i].out, table[i].errs);
	}
	CHECK((r = sandlock_run(none, NULL, SH("echo; exit 1"))) != NULL);
	CHECK(sandlock_result_truncated(r) == SANDLOCK_TRUNCATED_STDOUT);
	EXITED(r, 1, "", "");
	sandlock_sandbox_free(p);
	sandlock_sandbox_free(none);
}

static void text(void)
{
	sandlock_sandbox_t *p = built(basics());
	sandlock_result_t *r = sandlock_run(p, NULL, SH("printf 'a\\377\\303\\244\\0b'; printf '\\0' >&2"));
	uintptr_t n = 0, m = 0;
	const uint8_t *bytes = sandlock_result_stdout_bytes(r, &n);
	char *out = sandlock_result_stdout(r), *errs = sandlock_result_stderr(r);

	CHECK(r != NULL && n == 6 && memcmp(bytes, "a\377\303\244\0b", 6) == 0);
	CHECK(out && strcmp(out, "a\xef\xbf\xbd\303\244") == 0 && errs && *errs == 0);
	out[0] = 'x'; /* the caller's own */
	CHECK(sandlock_result_stdout_bytes(r, &m) == bytes && m == n && bytes[0] == 'a');
	CHECK(sandlock_result_stderr_bytes(r, &m) != NULL && m == 1);
	CHECK(*sandlock_result_error(r) == 0 && sandlock_result_error(r) == sandlock_result_error(r));
	CHECK(*sandlock_result_log(r) == 0);
	/* They live without the policy, the strings without the result. */
	sandlock_sandbox_free(p);
	CHECK(bytes[5] == 'b' && sandlock_result_success(r));
	sandlock_result_free(r);
	CHECK(strcmp(out, "x\xef\xbf\xbd\303\244") == 0);
	sandlock_string_free(out);
	sandlock_string_free(errs);
}

/* The lines of yes, so that a byte that is lost or twice there shows. */
static void large(sandlock_sandbox_t *p, const char *script, size_t size, uint32_t flags)
{
	sandlock_result_t *r = sandlock_run(p, NULL, SH(script));
	uintptr_t n = 0, i;
	const uint8_t *bytes = sandlock_result_stdout_bytes(r, &n);

	CHECK(r != NULL && sandlock_result_success(r) && n == size && sandlock_result_truncated(r) == flags);
	for (i = 0; i < n; i++)
		if (bytes[i] != (i % 8 == 7 ? '\n' : "0123456"[i % 8])) {
			fprintf(stderr, "byte %zu of %zu: %d\n", (size_t)i, (size_t)n, bytes[i]);
			_exit(1);
		}
	sandlock_result_free(r);
}

static void sizes(void)
{
	sandlock_sandbox_t *p = built(basics()), *small = limited(1 << 20), *huge = limited(UINT64_MAX);
	struct rusage use;

	large(small, "yes 0123456 | head -c 1048576", 1 << 20, 0);
	/* Both streams at once, each more than a pipe holds. */
	large(p, "yes 0123456 | head -c 1048576 & yes | head -c 1000000 >&2; wait", 1 << 20, 0);
	/* A GiB is read, so that the command goes on, and not kept. */
	large(small, "yes 0123456 | head -c 1073741824", 1 << 20, SANDLOCK_TRUNCATED_STDOUT);
	CHECK(getrusage(RUSAGE_SELF, &use) == 0 && use.ru_maxrss < 200 << 10);
	/* The default is 64 MiB. */
	large(p, "yes 0123456 | head -c 67108864", 64 << 20, 0);
	large(p, "yes 0123456 | head -c 67108865", 64 << 20, SANDLOCK_TRUNCATED_STDOUT);
	large(huge, "yes 0123456 | head -c 134217728", 128 << 20, 0);
	sandlock_sandbox_free(p);
	sandlock_sandbox_free(small);
	sandlock_sandbox_free(huge);
}

/* The command has the host's environment as it is now, not as it was at the load. */
static void environment(void)
{
	sandlock_sandbox_t *p = built(sandlock_sandbox_builder_env_var(basics(), "SET", "by the policy"));

	CHECK(setenv("LATE", "by the host", 1) == 0 && setenv("SET", "by the host", 1) == 0);
	EXITED(sandlock_run(p, NULL, SH("echo $LATE, $SET")), 0, "by the host, by the policy\n", "");
	CHECK(unsetenv("LATE") == 0);
	EXITED(sandlock_run(p, NULL, SH("echo ${LATE-none}")), 0, "none\n", "");
	sandlock_sandbox_free(p);
	p = built(sandlock_sandbox_builder_clean_env(basics(), true));
	EXITED(sandlock_run(p, NULL, SH("echo ${SET-none}")), 0, "none\n", "");
	CHECK(clearenv() == 0);
	EXITED(sandlock_run(p, NULL, (const char *const[]){ "echo", "no PATH" }, 2), 0, "no PATH\n", "");
	sandlock_sandbox_free(p);
}

int main(void)
{
	truncated();
	text();
	sizes();
	environment();
	return 0;
}
