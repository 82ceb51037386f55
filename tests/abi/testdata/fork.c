/* fork LIBRARY: forks with runs in every state. In the child every function fails at
 * once, no descriptor of the library is open but for four of the Go runtime, and a
 * second copy of it works; the host's runs don't notice. What the host executes inherits
 * no descriptor either. */
#define _GNU_SOURCE
#include "check.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static const char *library;
static int entered[2], leave[2], input[2]; /* pipes */
static sandlock_sandbox_t *plain, *judged;
static sandlock_result_t *done;
static sandlock_handle_t *parked, *fed;

/* Reports that it was entered and returns when it is told to. */
static int32_t judge(const sandlock_event_t *ev, sandlock_ctx_t *ctx, void *user)
{
	char c = 'x';

	(void)ev, (void)ctx, (void)user;
	CHECK(write(entered[1], &c, 1) == 1 && read(leave[0], &c, 1) == 1);
	return 0;
}

static void *judged_run(void *unused)
{
	EXITED(sandlock_run(judged, NULL, SH("echo judged")), 0, "judged\n", "");
	return unused;
}

/* Calls f with every descriptor that is neither a standard stream nor the host's,
 * and counts them. */
static int each_descriptor(int (*f)(int fd))
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	int n = 0, fd;

	CHECK(dir != NULL);
	while ((entry = readdir(dir))) {
		fd = atoi(entry->d_name);
		if (fd <= 2 || fd == dirfd(dir) || fd == entered[0] || fd == entered[1] || fd == leave[0] ||
		    fd == leave[1] || fd == input[0] || fd == input[1])
			continue;
		n++;
		CHECK(f(fd));
	}
	closedir(dir);
	return n;
}

static int close_on_exec(int fd) { return fcntl(fd, F_SETFD, FD_CLOEXEC) == 0; }

static const char *what_is(int fd)
{
	static char link[64], what[256];
	ssize_t n;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	n = readlink(link, what, sizeof what - 1);
	what[n < 0 ? 0 : n] = 0;
	return what;
}

static int is_close_on_exec(int fd)
{
	if (fcntl(fd, F_GETFD) & FD_CLOEXEC)
		return 1;
	fprintf(stderr, "stays open over an exec: %d, %s\n", fd, what_is(fd));
	return 0;
}

/* Those of the Go runtime itself, which it has from the load on: its poller and the
 * files of the CPU limit. */
static char runtimes[1024];
static int nruntimes;

static int note_runtime(int fd)
{
	CHECK(fd < (int)sizeof runtimes);
	runtimes[fd] = strncmp(what_is(fd), "anon_inode:[event", 17) == 0 || strncmp(what_is(fd), "/sys/fs/cgroup/", 15) == 0;
	return (nruntimes += runtimes[fd]) <= 4;
}

static int left_open;

static int is_left_open(int fd)
{
	if (fd >= (int)sizeof runtimes || !runtimes[fd]) {
		fprintf(stderr, "open in the child: %d, %s\n", fd, what_is(fd));
		left_open++;
	}
	return 1;
}

static int drops;

static void drop(void *count) { ++*(int *)count; }

static void all_fail(void)
{
	static const char *const argv[] = { "/bin/true", NULL };
	sandlock_builder_t *b = (sandlock_builder_t *)&argv; /* not looked at */
	uintptr_t n = 7;
	uint32_t core = 0;
	int err = 7;
	char *why = (char *)&err;

	CHECK(sandlock_sandbox_builder_new() == NULL);
	SAYS("fork");
	CHECK(sandlock_sandbox_builder_json(b, "{}", 2) == b && sandlock_sandbox_builder_fs_read(b, "/") == b);
	CHECK(sandlock_sandbox_builder_clean_env(b, true) == b && sandlock_sandbox_builder_env_var(b, "A", "b") == b);
	CHECK(sandlock_sandbox_builder_cpu_cores(b, &core, 1) == b);
	CHECK(sandlock_sandbox_builder_policy_fn(b, judge, NULL, NULL) == b);
	CHECK(sandlock_sandbox_builder_policy_callback(b, NULL, NULL, NULL) == b);
	CHECK(sandlock_sandbox_builder_policy_fn(b, judge, &drops, drop) == b && drops == 1);
	CHECK(sandlock_sandbox_builder_policy_callback(NULL, NULL, &drops, drop) == NULL && drops == 2);
	drops = 0;
	CHECK(sandlock_sandbox_build(b, &err, &why) == NULL && err == -1 && why == NULL);
	err = 7, why = (char *)&err;
	CHECK(sandlock_sandbox_from_json("{}", 2, &err, &why) == NULL && err == -1 && why == NULL);
	CHECK(sandlock_sandbox_explain(plain) == NULL);
	CHECK(sandlock_run(plain, NULL, argv, 1) == NULL && sandlock_run_interactive(plain, NULL, argv, 1) == -1);
	CHECK(sandlock_create(plain, NULL, argv, 1) == NULL && sandlock_create_for_run(plain, NULL, argv, 1) == NULL);
	CHECK(sandlock_spawn(plain, NULL, argv, 1, -1, SANDLOCK_SPAWN_PARKED, NULL) == NULL && sandlock_spawn(plain, NULL, argv, 1, -1, 0, NULL) == NULL);
	CHECK(sandlock_spawn_files(plain, NULL, NULL, argv, 1, NULL, 0, 0, NULL) == NULL);
	CHECK(sandlock_pipeline_new() == NULL && sandlock_gather_new() == NULL);
	CHECK(sandlock_pipeline_run(NULL, 0) == NULL && sandlock_gather_run(NULL, 0) == NULL);
	CHECK(sandlock_popen(plain, NULL, argv, 1, 0, 0, 0, NULL, NULL, NULL) == NULL);
	CHECK(sandlock_handle_signal(parked, 0) == -1 && sandlock_handle_execfd(parked) == -1 && sandlock_handle_executed(parked) == -1);
	CHECK(sandlock_start(parked) == -1 && sandlock_handle_pid(parked) == 0 && sandlock_handle_pollfd(parked) == -1 && sandlock_handle_port_mappings(parked) == NULL);
	CHECK(sandlock_handle_kill(parked) == -1 && sandlock_handle_pause(parked) == -1 && sandlock_handle_resume(parked) == -1);
	CHECK(sandlock_handle_stepfd(fed) == -1 && sandlock_handle_step(fed) == -1);
	CHECK(sandlock_handle_wait(fed) == NULL && sandlock_handle_wait_timeout(fed, 1) == NULL);
	CHECK(sandlock_result_exit_code(done) == -1 && sandlock_result_reason(done) == SANDLOCK_KILLED);
	CHECK(sandlock_result_signal(done) == -1 && !sandlock_result_success(done) && sandlock_result_truncated(done) == 0);
	CHECK(sandlock_result_stdout(done) == NULL && sandlock_result_stderr(done) == NULL);
	CHECK(sandlock_result_stdout_bytes(done, &n) == NULL && n == 0 && (n = 7, sandlock_result_stderr_bytes(done, &n) == NULL) && n == 0);
	CHECK(sandlock_result_error(done) == NULL && sandlock_result_log(done) == NULL);
	CHECK(sandlock_kernel_report() == NULL && sandlock_landlock_abi_version() == -1);
	CHECK(sandlock_protection_min_abi(1) == 0 && sandlock_syscall_nr("read") == -1);
	sandlock_ctx_restrict_network((sandlock_ctx_t *)parked, argv, 1);
	sandlock_ctx_deny_path(NULL, "/");
	/* What a host's atexit handler might do. */
	sandlock_handle_free(parked);
	sandlock_result_free(done);
	sandlock_sandbox_free(plain);
	SAYS("fork");
	CHECK(*sandlock_version() && sandlock_min_landlock_abi() == 6);
}

/* The same file from another inode is another library to the loader. */
static void second_copy(void)
{
	static const char json[] = "{\"fs_readable\": [\"/usr\", \"/lib\", \"/lib64\", \"/bin\"]}";
	sandlock_sandbox_t *(*from_json)(const char *, size_t, int *, char **), *p;
	sandlock_result_t *(*run)(const sandlock_sandbox_t *, const char *, const char *const *, unsigned), *r;
	char *(*text)(const sandlock_result_t *), *out, path[64], buf[65536];
	int from = open(library, O_RDONLY | O_CLOEXEC), to = memfd_create("copy", MFD_CLOEXEC);
	ssize_t n;
	void *copy;

	CHECK(from >= 0 && to >= 0);
	while ((n = read(from, buf, sizeof buf)) > 0)
		CHECK(write(to, buf, n) == n);
	snprintf(path, sizeof path, "/proc/self/fd/%d", to);
	CHECK(n == 0 && (copy = dlopen(path, RTLD_NOW | RTLD_LOCAL)) != NULL);
	*(void **)&from_json = dlsym(copy, "sandlock_sandbox_from_json");
	*(void **)&run = dlsym(copy, "sandlock_run");
	*(void **)&text = dlsym(copy, "sandlock_result_stdout");
	CHECK(run != sandlock_run);
	CHECK((p = from_json(json, sizeof json - 1, NULL, NULL)) && (r = run(p, NULL, SH("echo again"))) && (out = text(r)));
	CHECK(strcmp(out, "again\n") == 0);
}

static void succeeded(pid_t pid)
{
	int status;

	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

/* ls sees the three streams and its own directory. posix_spawn runs no handler of
 * pthread_atfork, which would have closed the descriptors before close-on-exec does. */
static void *executed(void *unused)
{
	static char script[] = "[ \"$(echo $(ls /proc/self/fd))\" = '0 1 2 3' ] || { ls -l /proc/self/fd >&2; exit 1; }";
	char *argv[] = { "sh", "-c", script, NULL };
	pid_t pid;
	int i;

	for (i = 0; i < 30; i++) {
		CHECK(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ) == 0);
		succeeded(pid);
	}
	return unused;
}

static void *busy(void *unused)
{
	int i;

	for (i = 0; i < 30; i++)
		EXITED(sandlock_run(plain, NULL, SH("echo busy")), 0, "busy\n", "");
	return unused;
}

/* Children that are forked at any moment of a run, and outlive it. */
static int storming[2], storm_over;

static void *storm(void *unused)
{
	pid_t pids[200];
	int n = 0;

	while (n < 200 && !__atomic_load_n(&storm_over, __ATOMIC_RELAXED)) {
		char c;
		CHECK((pids[n] = fork()) >= 0);
		if (pids[n] == 0) {
			alarm(60);
			close(storming[1]);
			CHECK(read(storming[0], &c, 1) == 0);
			_exit(0);
		}
		n++;
	}
	CHECK(n > 10);
	while (!__atomic_load_n(&storm_over, __ATOMIC_ACQUIRE))
		usleep(1000);
	close(storming[1]);
	while (n-- > 0)
		succeeded(pids[n]);
	return unused;
}

static void forked_meanwhile(void)
{
	pthread_t forks, t[3];
	int i;

	CHECK(pipe2(storming, O_CLOEXEC) == 0);
	CHECK(pthread_create(&forks, NULL, storm, NULL) == 0);
	for (i = 0; i < 3; i++)
		CHECK(pthread_create(&t[i], NULL, busy, NULL) == 0);
	for (i = 0; i < 3; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
	__atomic_store_n(&storm_over, 1, __ATOMIC_RELEASE);
	CHECK(pthread_join(forks, NULL) == 0);
}

int main(int argc, char **argv)
{
	pthread_t judging, runs, executes;
	pid_t pid;
	char c;

	CHECK(argc == 2);
	library = argv[1];
	/* The first call, when loading is over: the Go runtime opens a file for a moment
	 * that is not closed by an exec. */
	CHECK(sandlock_landlock_abi_version() > 0);
	if (!getenv("ABI_AGAIN")) { /* once more, without what this process inherited */
		each_descriptor(close_on_exec);
		CHECK(setenv("ABI_AGAIN", "1", 1) == 0 && execv("/proc/self/exe", argv) == 0);
	}
	each_descriptor(note_runtime);
	CHECK(pipe2(entered, O_CLOEXEC) == 0 && pipe2(leave, O_CLOEXEC) == 0 && pipe2(input, O_CLOEXEC) == 0);
	plain = built(basics());
	judged = built(sandlock_sandbox_builder_policy_fn(basics(), judge, NULL, NULL));
	CHECK((done = sandlock_run(plain, NULL, SH("echo done"))) != NULL);
	CHECK((parked = sandlock_create(judged, NULL, SH("echo parked"))) != NULL);
	CHECK((fed = sandlock_spawn(plain, NULL, SH("cat"), input[0], 0, NULL)) != NULL);
	CHECK(pthread_create(&judging, NULL, judged_run, NULL) == 0 && read(entered[0], &c, 1) == 1);

	CHECK(each_descriptor(is_close_on_exec) > 0);
	executed(NULL);
	CHECK((pid = fork()) >= 0);
	if (pid == 0) {
		alarm(60); /* a call that enters Go never returns */
		each_descriptor(is_left_open);
		all_fail();
		CHECK((pid = fork()) >= 0);
		if (pid == 0) {
			alarm(60);
			all_fail();
			_exit(0);
		}
		succeeded(pid);
		second_copy();
		all_fail(); /* of the first, still */
		CHECK(left_open == 0);
		_exit(0);
	}
	succeeded(pid);

	/* The runs go on where they were. */
	CHECK(write(leave[1], "xx", 2) == 2 && sandlock_start(parked) == 0);
	EXITED(sandlock_handle_wait(parked), 0, "parked\n", "");
	CHECK(pthread_join(judging, NULL) == 0);
	CHECK(write(input[1], "fed", 3) == 3 && close(input[1]) == 0);
	EXITED(sandlock_handle_wait(fed), 0, "fed", "");
	EXITED(done, 0, "done\n", "");
	sandlock_handle_free(parked);
	sandlock_handle_free(fed);

	/* Nor is a descriptor open for exec between its making and its marking. */
	CHECK(pthread_create(&runs, NULL, busy, NULL) == 0 && pthread_create(&executes, NULL, executed, NULL) == 0);
	CHECK(pthread_join(runs, NULL) == 0 && pthread_join(executes, NULL) == 0);
	forked_meanwhile();
	sandlock_sandbox_free(plain);
	sandlock_sandbox_free(judged);
	CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
	return 0;
}
