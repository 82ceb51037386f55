/* What the programs share. A check that fails ends the program and says why. */
#ifndef CHECK_H
#define CHECK_H

#include <sandlock.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(x) do { if (!(x)) { \
	fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #x, sandlock_last_error()); _exit(1); } } while (0)

/* The last error has the text in it. */
#define SAYS(text) do { if (!strstr(sandlock_last_error(), text)) { \
	fprintf(stderr, "%s:%d: want %s, have %s\n", __FILE__, __LINE__, text, sandlock_last_error()); _exit(1); } } while (0)

#define LEN(a) (sizeof(a) / sizeof *(a))

/* sh -c SCRIPT, as two arguments of a run. */
#define SH(script) (const char *const[]){ "/bin/sh", "-c", script, NULL }, 3

/* A builder that grants what a shell needs. */
static inline sandlock_builder_t *basics(void)
{
	static const char *const readable[] = { "/usr", "/lib", "/lib64", "/bin", "/etc", "/dev/zero" };
	sandlock_builder_t *b = sandlock_sandbox_builder_new();
	size_t i;

	CHECK(b != NULL);
	for (i = 0; i < LEN(readable); i++)
		b = sandlock_sandbox_builder_fs_read(b, readable[i]);
	return sandlock_sandbox_builder_fs_write(b, "/dev/null");
}

static inline sandlock_sandbox_t *built(sandlock_builder_t *b)
{
	int err = 7;
	char *why = (char *)&err;
	sandlock_sandbox_t *p = sandlock_sandbox_build(b, &err, &why);

	CHECK(p != NULL && err == 0 && why == NULL);
	return p;
}

static inline int wrote(const sandlock_result_t *r, const char *out, const char *errs)
{
	uintptr_t n = 77, m = 77;
	const uint8_t *o = sandlock_result_stdout_bytes(r, &n), *e = sandlock_result_stderr_bytes(r, &m);

	return (o == NULL) == (n == 0) && (e == NULL) == (m == 0) && n == strlen(out) && m == strlen(errs) &&
	       (n == 0 || memcmp(o, out, n) == 0) && (m == 0 || memcmp(e, errs, m) == 0);
}

/* The run exited with code and wrote this and nothing else; frees the result. */
#define EXITED(r, code, out, errs) do { \
	sandlock_result_t *r_ = (r); \
	CHECK(r_ != NULL); \
	CHECK(sandlock_result_reason(r_) == SANDLOCK_EXITED && sandlock_result_exit_code(r_) == (code)); \
	CHECK(sandlock_result_success(r_) == ((code) == 0) && sandlock_result_signal(r_) == -1); \
	CHECK(wrote(r_, out, errs)); \
	sandlock_result_free(r_); } while (0)

/* The run did not exit by itself; frees the result. */
#define ENDED(r, why, sig) do { \
	sandlock_result_t *r_ = (r); \
	CHECK(r_ != NULL && sandlock_result_reason(r_) == (why) && sandlock_result_signal(r_) == (sig)); \
	CHECK(sandlock_result_exit_code(r_) == -1 && !sandlock_result_success(r_)); \
	sandlock_result_free(r_); } while (0)

#endif
