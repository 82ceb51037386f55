/* crash LIBRARY: crashes in hosts with one and two copies of the library, on a thread of
 * the host and in a callback, with no handler and with one that was set before or after
 * the library was loaded. Each ends with its signal, and nothing is printed. A fault in
 * Go code is an error all the same. */
#define _GNU_SOURCE
#include <sandlock.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(x) do { if (!(x)) { fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #x, doing); _exit(1); } } while (0)

enum how { FAULT, BUS_FAULT, RAISE, RAISE_BUS, KILL, ABORT, HOWS };
static const int signal_of[HOWS] = { SIGSEGV, SIGBUS, SIGSEGV, SIGBUS, SIGSEGV, SIGABRT };
enum where { HOST_THREAD, OTHER_THREAD, CALLBACK, WHERES };
enum handler { NONE, BEFORE, AFTER, HANDLERS };

static char doing[100];
static const char *library;
static enum how how;
static int *handled; /* shared with the children */
static void *unmapped, *beyond;

static void crash(void)
{
	switch (how) {
	case FAULT:
		*(volatile int *)unmapped = 1;
		break;
	case BUS_FAULT: /* a page of a file that has none */
		*(volatile int *)beyond = 1;
		break;
	case RAISE:
	case RAISE_BUS:
		raise(signal_of[how]);
		break;
	case KILL:
		kill(getpid(), SIGSEGV);
		pause();
		break;
	default:
		abort();
	}
}

static void *crashes(void *unused) { crash(); return unused; }

static int32_t judge(const sandlock_event_t *ev, sandlock_ctx_t *ctx, void *user)
{
	(void)ev, (void)ctx, (void)user;
	crash();
	return 0;
}

static struct sigaction former[NSIG];

/* What faulthandler of Python does: it puts back what was there, and raises. */
static void handler(int sig)
{
	__sync_fetch_and_add(handled, 1);
	sigaction(sig, &former[sig], NULL);
	raise(sig);
}

static void handle(void)
{
	struct sigaction own = { .sa_handler = handler, .sa_flags = SA_ONSTACK | SA_NODEFER };

	CHECK(sigaction(SIGSEGV, &own, &former[SIGSEGV]) == 0 && sigaction(SIGBUS, &own, &former[SIGBUS]) == 0);
	CHECK(sigaction(SIGABRT, &own, &former[SIGABRT]) == 0);
}

/* The functions of a copy of the library, the first from the file, others from a memfd. */
struct copy {
	sandlock_builder_t *(*new)(void), *(*fs_read)(sandlock_builder_t *, const char *);
	sandlock_builder_t *(*policy_fn)(sandlock_builder_t *, sandlock_policy_fn_t, void *, void (*)(void *));
	sandlock_sandbox_t *(*build)(sandlock_builder_t *, int *, char **);
	sandlock_result_t *(*run)(const sandlock_sandbox_t *, const char *, const char *const *, unsigned);
	bool (*success)(const sandlock_result_t *);
	const char *(*last_error)(void);
};

static struct copy load(const char *path)
{
	struct copy c;
	void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	if (!lib)
		fprintf(stderr, "%s\n", dlerror());
	CHECK(lib != NULL);
	*(void **)&c.new = dlsym(lib, "sandlock_sandbox_builder_new");
	*(void **)&c.fs_read = dlsym(lib, "sandlock_sandbox_builder_fs_read");
	*(void **)&c.policy_fn = dlsym(lib, "sandlock_sandbox_builder_policy_fn");
	*(void **)&c.build = dlsym(lib, "sandlock_sandbox_build");
	*(void **)&c.run = dlsym(lib, "sandlock_run");
	*(void **)&c.success = dlsym(lib, "sandlock_result_success");
	*(void **)&c.last_error = dlsym(lib, "sandlock_last_error");
	return c;
}

static struct copy second_copy(void)
{
	int from = open(library, O_RDONLY | O_CLOEXEC), to = memfd_create("copy", MFD_CLOEXEC);
	char path[64], buf[65536];
	ssize_t n;

	CHECK(from >= 0 && to >= 0);
	while ((n = read(from, buf, sizeof buf)) > 0)
		CHECK(write(to, buf, n) == n);
	close(from);
	snprintf(path, sizeof path, "/proc/self/fd/%d", to);
	return load(path);
}

static sandlock_sandbox_t *policy(const struct copy *c, sandlock_policy_fn_t fn)
{
	static const char *const readable[] = { "/usr", "/lib", "/lib64", "/bin" };
	sandlock_builder_t *b = c->new();
	size_t i;

	for (i = 0; i < sizeof readable / sizeof *readable; i++)
		b = c->fs_read(b, readable[i]);
	if (fn)
		b = c->policy_fn(b, fn, NULL, NULL);
	return c->build(b, NULL, NULL);
}

static void works(const struct copy *c)
{
	static const char *const true_[] = { "/bin/true" };
	sandlock_sandbox_t *p = policy(c, NULL);

	CHECK(p && c->success(c->run(p, NULL, true_, 1)));
	/* A wrong pointer of the host's that Go follows is a panic, and that an error. */
	CHECK(c->run(p, NULL, (const char *const *)8, 1) == NULL && strstr(c->last_error(), "BUG(sandlock)"));
}

static void crash_at(const struct copy *c, enum where where)
{
	static const char *const true_[] = { "/bin/true" };
	pthread_t thread;

	switch (where) {
	case HOST_THREAD:
		crash();
		break;
	case OTHER_THREAD:
		CHECK(pthread_create(&thread, NULL, crashes, NULL) == 0 && pthread_join(thread, NULL) == 0);
		break;
	default:
		c->run(policy(c, judge), NULL, true_, 1);
	}
	_exit(7);
}

static int ended(pid_t pid)
{
	int status;

	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
	return status;
}

static void check_ended(pid_t pid, enum handler with)
{
	int status = ended(pid);

	if (!WIFSIGNALED(status) || WTERMSIG(status) != signal_of[how] || *handled != (with != NONE)) {
		fprintf(stderr, "%s: status %x, handled %d times\n", doing, status, *handled);
		_exit(1);
	}
}

static void host(enum where where, enum handler with, int copies)
{
	struct copy c;
	pid_t pid;

	alarm(60);
	if (with == BEFORE)
		handle();
	c = load(library);
	works(&c);
	if (copies == 2) {
		CHECK((pid = fork()) >= 0);
		if (pid > 0) {
			check_ended(pid, with);
			works(&c);
			_exit(0);
		}
		alarm(60);
		c = second_copy();
		works(&c);
	}
	if (with == AFTER)
		handle();
	crash_at(&c, where);
}

int main(int argc, char **argv)
{
	int where, with, copies, way, file;

	CHECK(argc == 2 && setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 }) == 0);
	library = argv[1];
	handled = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unmapped = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK((file = memfd_create("empty", MFD_CLOEXEC)) >= 0);
	beyond = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	CHECK(handled != MAP_FAILED && unmapped != MAP_FAILED && beyond != MAP_FAILED);
	for (way = 0; way < HOWS; way++)
	for (where = 0; where < WHERES; where++)
	for (with = 0; with < HANDLERS; with++)
	for (copies = 1; copies <= 2; copies++) {
		pid_t pid;

		how = way;
		*handled = 0;
		snprintf(doing, sizeof doing, "way %d, where %d, handler %d, copies %d", way, where, with, copies);
		CHECK((pid = fork()) >= 0);
		if (pid == 0)
			host(where, with, copies);
		if (copies == 1)
			check_ended(pid, with);
		else
			CHECK(ended(pid) == 0);
	}
	return 0;
}
