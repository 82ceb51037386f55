/* errors DIRECTORY: every build and start that can fail says why, and prints
 * nothing. */
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *directory;

static const char *in(const char *name)
{
	static char path[4096];

	snprintf(path, sizeof path, "%s/%s", directory, name);
	return path;
}

static void make(const char *name, const char *content, mode_t mode)
{
	FILE *f = fopen(in(name), "w");

	CHECK(f != NULL && fputs(content, f) >= 0 && fclose(f) == 0 && chmod(in(name), mode) == 0);
}

/* All of a policy's faults, whoever found them: a setter, the document, the build. */
static void five_errors(void)
{
	static const char *const five[] = { "fs_readable", "max_open_files", "net_allow", "disable", "env" };
	static const char json[] = "{\"fs_readable\": [\"\"], \"max_open_files\": 0, \"net_allow\": [\"gopher:\"], "
		"\"disable\": [99], \"env\": {\"A=B\": \"x\"}}";
	static const char unread[] = "{\"fs_readable\": 1, \"max_open_files\": \"x\", \"net_allow\": {}, \"disable\": true, \"env\": [1]}";
	int kind;
	size_t i;

	for (kind = 0; kind < 4; kind++) {
		sandlock_builder_t *b = sandlock_sandbox_builder_new();
		int err = 7;
		char *why = NULL;

		switch (kind) {
		case 0:
			b = sandlock_sandbox_builder_fs_read(b, "");
			b = sandlock_sandbox_builder_max_open_files(b, 0);
			b = sandlock_sandbox_builder_net_allow(b, "gopher:");
			b = sandlock_sandbox_builder_disable(b, 99);
			b = sandlock_sandbox_builder_env_var(b, "A=B", "x");
			break;
		case 1: /* errors of setters beside those of the build */
			b = sandlock_sandbox_builder_fs_read(b, NULL);
			b = sandlock_sandbox_builder_max_open_files(b, 0);
			b = sandlock_sandbox_builder_net_allow(b, NULL);
			b = sandlock_sandbox_builder_disable(b, UINT32_MAX);
			b = sandlock_sandbox_builder_env_var(b, NULL, NULL);
			break;
		case 2:
			b = sandlock_sandbox_builder_json(b, json, sizeof json - 1);
			break;
		case 3:
			b = sandlock_sandbox_builder_json(b, unread, sizeof unread - 1);
		}
		CHECK(sandlock_sandbox_build(b, &err, &why) == NULL && err == -1 && why != NULL);
		for (i = 0; i < LEN(five); i++) {
			SAYS(five[i]);
			CHECK(strstr(why, five[i]) != NULL);
		}
		sandlock_string_free(why);
		/* Consumed, even on error. */
		CHECK(sandlock_sandbox_build(b, NULL, NULL) == NULL);
		SAYS("freed");
	}
	CHECK(sandlock_sandbox_from_json(json, sizeof json - 1, NULL, NULL) == NULL);
	for (i = 0; i < LEN(five); i++)
		SAYS(five[i]);
}

/* Documents that are none; a NUL, which no string of C can hold. */
static void documents(void)
{
	static const struct { const char *json, *says; } bad[] = {
		{ "", "JSON" }, { "[]", "object" }, { "{", "JSON" }, { "{} {}", "JSON" }, { "{\"fs_readable\": [\"\xff\"]}", "JSON" },
		{ "{\"fs_readible\": []}", "fs_readable" }, { "{\"max_disk\": 1}", "not built" },
		{ "{\"fs_readable\": [\"/a\\u0000b\"]}", "NUL" }, { "{\"cwd\": \"/a\\u0000b\"}", "NUL" },
		{ "{\"env\": {\"A\": \"b\\u0000\"}}", "NUL" },
	};
	static const char two[] = "{\"fs_readable\": [\"/usr\"]}trailing";
	int err;
	char *why;
	size_t i;

	for (i = 0; i < LEN(bad); i++) {
		err = 7, why = NULL;
		CHECK(sandlock_sandbox_from_json(bad[i].json, strlen(bad[i].json), &err, &why) == NULL && err == -1 && why);
		SAYS(bad[i].says);
		CHECK(strstr(why, bad[i].says) != NULL);
		sandlock_string_free(why);
	}
	/* len counts, not a NUL. */
	CHECK(sandlock_sandbox_from_json("{}\0", 3, NULL, NULL) == NULL);
	err = 7, why = (char *)&err;
	sandlock_sandbox_free(sandlock_sandbox_from_json(two, strlen("{\"fs_readable\": [\"/usr\"]}"), &err, &why));
	CHECK(err == 0 && why == NULL);
}

/* A start fails alike in each way to start, with what it is about and the reason. */
static void refused(const sandlock_sandbox_t *p, const char *command, const char *about, const char *reason)
{
	const char *argv[] = { command, NULL };
	sandlock_handle_t *h;
	int i;

#define WHY do { SAYS(about); SAYS(reason); } while (0)
	CHECK(sandlock_run(p, NULL, argv, 1) == NULL);
	WHY;
	CHECK(sandlock_run_interactive(p, NULL, argv, 1) == -1);
	WHY;
	/* What only the exec finds is told by the wait. */
	for (i = 0; i < 4; i++) {
		h = i == 0 ? sandlock_create(p, NULL, argv, 1) : i == 1 ? sandlock_create_for_run(p, NULL, argv, 1)
		  : i == 2 ? sandlock_spawn(p, NULL, argv, 1, 0, SANDLOCK_SPAWN_PARKED, NULL) : sandlock_spawn(p, NULL, argv, 1, -1, 0, NULL);
		if (h) {
			CHECK(i == 3 || sandlock_start(h) == 0);
			CHECK(sandlock_handle_wait(h) == NULL);
			WHY;
			CHECK(sandlock_handle_wait_timeout(h, 1) == NULL); /* can be repeated */
		}
		WHY;
		sandlock_handle_free(h);
	}
}

static void starts(void)
{
	sandlock_sandbox_t *p = built(sandlock_sandbox_builder_fs_read(basics(), directory)), *bad;
	const char *no_string[] = { "/bin/echo", NULL };

	refused(p, "sandlock-no-such-command", "sandlock-no-such-command", "not found in PATH");
	refused(p, "/no/such/command", "/no/such/command", "no such file");
	refused(p, "/etc/passwd", "/etc/passwd", "not executable");
	refused(p, "/etc", "/etc", "directory");
	refused(p, "/etc/passwd/x", "/etc/passwd/x", "not a directory");
	refused(p, "", "", "empty");
	make("garbage", "\177ELF", 0755);
	refused(p, in("garbage"), in("garbage"), "exec format error");
	make("no-interpreter", "#!/no/such/interpreter\n", 0755);
	refused(p, in("no-interpreter"), in("no-interpreter"), "no such file");

	CHECK(sandlock_run(p, NULL, NULL, 0) == NULL);
	SAYS("argv");
	CHECK(sandlock_run(p, NULL, no_string, 2) == NULL);
	SAYS("argv[1]");

	/* Found, but nothing grants it. */
	bad = built(sandlock_sandbox_builder_new());
	refused(bad, "/bin/sh", "/bin/sh", "permission denied");
	sandlock_sandbox_free(bad);

	/* A path is looked for at the start, not by the build. */
	bad = built(sandlock_sandbox_builder_fs_read(basics(), "/no/such/path"));
	refused(bad, "/bin/true", "/no/such/path", "no such file");
	sandlock_sandbox_free(bad);
	bad = built(sandlock_sandbox_builder_fs_write(basics(), "/no/such/path"));
	refused(bad, "/bin/true", "/no/such/path", "no such file");
	sandlock_sandbox_free(bad);
	bad = built(sandlock_sandbox_builder_cwd(basics(), "/no/such/path"));
	refused(bad, "/bin/true", "/no/such/path", "no such file");
	sandlock_sandbox_free(bad);
	sandlock_sandbox_free(p);
}

/* A name is taken while its run lives. */
static void names(void)
{
	static const char *const argv[] = { "/bin/true", NULL };
	sandlock_sandbox_t *p = built(basics());
	sandlock_handle_t *h = sandlock_create(p, "twin", argv, 1);

	CHECK(h != NULL && sandlock_run(p, "twin", argv, 1) == NULL);
	SAYS("twin");
	sandlock_handle_free(h);
	EXITED(sandlock_run(p, "twin", argv, 1), 0, "", "");
	sandlock_sandbox_free(p);
}

/* The last error is the thread's own: "" before its first, kept by a success. */
static void *other_thread(void *unused)
{
	CHECK(*sandlock_last_error() == 0);
	CHECK(sandlock_sandbox_build(sandlock_sandbox_builder_cwd(sandlock_sandbox_builder_new(), ""), NULL, NULL) == NULL);
	SAYS("cwd");
	sandlock_sandbox_free(built(basics()));
	SAYS("cwd");
	return unused;
}

static void threads(void)
{
	pthread_t thread;
	const char *mine;

	CHECK(sandlock_start(NULL) == -1);
	SAYS("NULL");
	mine = sandlock_last_error();
	CHECK(pthread_create(&thread, NULL, other_thread, NULL) == 0 && pthread_join(thread, NULL) == 0);
	/* Borrowed until this thread's next failure. */
	CHECK(mine == sandlock_last_error() && strstr(mine, "NULL"));
}

int main(int argc, char **argv)
{
	CHECK(*sandlock_last_error() == 0);
	CHECK(argc == 2);
	directory = argv[1];
	five_errors();
	documents();
	starts();
	names();
	threads();
	return 0;
}
