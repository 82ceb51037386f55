/* dlopen LIBRARY: loads the library late, from a thread, and runs with it. */
#define _GNU_SOURCE
#include <sandlock.h>

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CHECK(x) do { if (!(x)) { \
	const char *why = dlerror(); \
	fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #x, why ? why : ""); _exit(1); } } while (0)

static const char *library;
static void *loaded;

static void *load(void *unused)
{
	CHECK((loaded = dlopen(library, RTLD_NOW | RTLD_LOCAL)) != NULL);
	return unused;
}

/* ISO C has no conversion from the pointer of an object to that of a function. */
#define FUNCTION(result, name, ...) \
	result (*name)(__VA_ARGS__); \
	*(void **)&name = dlsym(loaded, #name); \
	CHECK(name != NULL)

int main(int argc, char **argv)
{
	static const char json[] = "{\"fs_readable\": [\"/usr\", \"/lib\", \"/lib64\", \"/bin\"]}";
	static const char *const echo[] = { "/bin/echo", "late" };
	pthread_t thread;
	sandlock_sandbox_t *p;
	sandlock_result_t *r;
	char *out;

	CHECK(argc == 2);
	library = argv[1];
	CHECK(pthread_create(&thread, NULL, load, NULL) == 0 && pthread_join(thread, NULL) == 0);
	{
		FUNCTION(sandlock_sandbox_t *, sandlock_sandbox_from_json, const char *, size_t, int *, char **);
		FUNCTION(sandlock_result_t *, sandlock_run, const sandlock_sandbox_t *, const char *, const char *const *, unsigned);
		FUNCTION(char *, sandlock_result_stdout, const sandlock_result_t *);
		FUNCTION(void, sandlock_string_free, char *);
		FUNCTION(void, sandlock_result_free, sandlock_result_t *);
		FUNCTION(void, sandlock_sandbox_free, sandlock_sandbox_t *);

		/* The version of the symbols is part of the interface. */
		CHECK(dlvsym(loaded, "sandlock_run", "SANDLOCK_0") == *(void **)&sandlock_run);
		/* What is not in the header can't be reached. */
		CHECK(dlsym(loaded, "goRun") == NULL && dlerror() != NULL);
		/* Nor by its symbols without a handle. */
		CHECK(dlsym(RTLD_DEFAULT, "sandlock_run") == NULL && dlerror() != NULL);

		CHECK((p = sandlock_sandbox_from_json(json, sizeof json - 1, NULL, NULL)) != NULL);
		/* Closed, it stays: Go can't be unloaded. */
		CHECK(dlclose(loaded) == 0);
		CHECK(dlopen(library, RTLD_NOW | RTLD_NOLOAD) == loaded);
		CHECK((r = sandlock_run(p, NULL, echo, 2)) != NULL);
		CHECK((out = sandlock_result_stdout(r)) != NULL && strcmp(out, "late\n") == 0);
		sandlock_string_free(out);
		sandlock_result_free(r);
		sandlock_sandbox_free(p);
	}
	return 0;
}
