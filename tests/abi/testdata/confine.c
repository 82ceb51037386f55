/* confine WAY DIRECTORY: a process confines itself in one of the ways below, which can't be
 * undone, and looks at what came of it. DIRECTORY is empty, and may be written to. */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static const char *directory;

static const char *in(const char *name)
{
	static char path[4096];

	snprintf(path, sizeof path, "%s/%s", directory, name);
	return path;
}

/* 0, or the errno. */
static int reads(const char *name)
{
	int fd = open(in(name), O_RDONLY | O_CLOEXEC);

	return fd < 0 ? errno : close(fd);
}

static int makes(const char *name)
{
	int fd = open(in(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	return fd < 0 ? errno : close(fd);
}

static void confined(sandlock_builder_t *b)
{
	sandlock_sandbox_t *p = built(b);

	CHECK(sandlock_confine(p) == 0);
	sandlock_sandbox_free(p);
}

static void refused(sandlock_builder_t *b)
{
	sandlock_sandbox_t *p = built(b);

	CHECK(sandlock_confine(p) == -1 && *sandlock_last_error());
	sandlock_sandbox_free(p);
}

/* As one that is not confined. */
static void free_still(void)
{
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	CHECK(reads("secret") == 0 && makes("free") == 0);
	CHECK(s >= 0 && close(s) == 0);
}

static void basic(void)
{
	sandlock_builder_t *b = sandlock_sandbox_builder_fs_write(basics(), in("granted"));
	struct { uint64_t word[4]; } before, after;
	int r;

	CHECK(sandlock_confine(NULL) == -1);
	SAYS("NULL");
	CHECK(syscall(SYS_rt_sigaction, 33, NULL, &before, 8) == 0);
	confined(b);
	CHECK(reads("secret") == EACCES && makes("other") == EACCES && makes("granted/file") == 0 && reads("granted/file") == 0);
	CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	CHECK(socket(AF_INET, SOCK_STREAM, 0) == -1 && errno == EACCES);
	CHECK(chmod(in("granted/file"), 0644) == -1 && errno == EPERM);
	CHECK(kill(getppid(), 0) == -1 && errno == EPERM);
	CHECK(chdir(directory) == 0);
	r = system("cat secret 2> /dev/null");
	CHECK(WIFEXITED(r) && WEXITSTATUS(r) == 1);
	/* The host's handlers are as they were, and all threads can still change their user. */
	CHECK(syscall(SYS_rt_sigaction, 33, NULL, &after, 8) == 0 && memcmp(&before, &after, sizeof before) == 0);
	CHECK(setuid(getuid()) == 0);
}

/* Every field that it can't have is named, and nothing is changed. */
static void fields(void)
{
	static const char *const docs[] = {
		"\"fs_denied\":[\"/etc/passwd\"]", "\"cwd\":\"/\"", "\"env\":{\"A\":\"b\"}", "\"clean_env\":true", "\"name\":\"x\"",
		"\"max_processes\":3", "\"max_memory\":\"1G\"", "\"max_cpu\":50", "\"num_cpus\":1", "\"gpu_devices\":[]",
		"\"term_grace\":1", "\"max_open_files\":10", "\"no_coredump\":true", "\"no_huge_pages\":true",
		"\"no_randomize_memory\":true", "\"max_output\":1", "\"cpu_cores\":[0]", "\"net_allow\":[\":80\"]",
		"\"net_deny\":[\"private\"]", "\"net_allow_private_names\":true", "\"net_deny_bind\":[80]",
		"\"net_allow_bind\":[80]", "\"policy_timeout\":1", "\"record_execs\":true", "\"argv_safety\":\"landlock\"",
	};
	static const char both[] = "{\"cwd\":\"/\",\"net_allow\":[\":80\"]}";
	static const char nothing[] = "{\"max_processes\":\"unlimited\",\"net_allow\":[],\"env\":{}}";
	char doc[4096], field[64];
	size_t i;

	for (i = 0; i < LEN(docs); i++) {
		snprintf(doc, sizeof doc, "{%s}", docs[i]);
		snprintf(field, sizeof field, "%.*s: ", (int)(strchr(docs[i] + 1, '"') - docs[i] - 1), docs[i] + 1);
		refused(sandlock_sandbox_builder_json(basics(), doc, strlen(doc)));
		SAYS(field);
	}
	/* All at once. */
	refused(sandlock_sandbox_builder_json(basics(), both, strlen(both)));
	SAYS("cwd: ");
	SAYS("net_allow: ");
	/* A path that is not there. */
	refused(sandlock_sandbox_builder_fs_read(basics(), in("missing")));
	SAYS("missing");
	free_still();
	/* What says nothing. */
	confined(sandlock_sandbox_builder_json(basics(), nothing, strlen(nothing)));
	CHECK(reads("secret") == EACCES);
}

static int32_t any(const sandlock_event_t *event, sandlock_ctx_t *ctx, void *user)
{
	(void)event, (void)ctx;
	return *(int *)user ? -1 : 0;
}

static void callback(void)
{
	int no = 0;

	refused(sandlock_sandbox_builder_policy_fn(basics(), any, &no, NULL));
	SAYS("policy_fn: ");
	free_still();
}

/* A policy with which it can be confined once more: the threads are listed in /proc. */
static sandlock_builder_t *again(void) { return sandlock_sandbox_builder_fs_read(basics(), "/proc"); }

/* Each call confines further; the 17th can't, and changes nothing. */
static void stacked(void)
{
	sandlock_builder_t *b = sandlock_sandbox_builder_fs_write(again(), in("granted"));
	int i;

	confined(sandlock_sandbox_builder_fs_read(b, in("secret")));
	CHECK(reads("secret") == 0 && makes("granted/one") == 0);
	confined(sandlock_sandbox_builder_fs_write(again(), directory));
	CHECK(reads("secret") == 0 && makes("granted/two") == 0 && makes("other") == EACCES);
	for (i = 2; i < 16; i++)
		confined(sandlock_sandbox_builder_fs_read(again(), directory));
	CHECK(reads("secret") == 0 && makes("granted/three") == EACCES);
	refused(again());
	SAYS("landlock_restrict_self: argument list too long");
	CHECK(!strstr(sandlock_last_error(), "in part"));
	CHECK(reads("secret") == 0);
}

static int go[2], back[2];

/* A thread with as many layers as there can be. */
static void *deep(void *unused)
{
	struct { uint64_t fs; } attr = { 1 << 12 }; /* LANDLOCK_ACCESS_FS_MAKE_SYM */
	int i, fd = (int)syscall(444, &attr, sizeof attr, 0);
	char c = 0;

	CHECK(fd >= 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	for (i = 0; i < 16; i++)
		CHECK(syscall(446, fd, 0) == 0);
	CHECK(write(go[1], &c, 1) == 1);
	pause();
	return unused;
}

/* All that is known of one thread is known only when the others are confined: the error says so. */
static void part(void)
{
	pthread_t thread;
	char c;

	CHECK(pipe(go) == 0 && pthread_create(&thread, NULL, deep, NULL) == 0 && read(go[0], &c, 1) == 1);
	refused(basics());
	SAYS("landlock_restrict_self");
	SAYS("in part");
	CHECK(reads("secret") == EACCES);
}

/* A thread of io_uring's would go on with the rights of before. */
static void uring(void)
{
	struct io_uring_params params;
	int ring;

	memset(&params, 0, sizeof params);
	params.flags = IORING_SETUP_SQPOLL;
	ring = (int)syscall(SYS_io_uring_setup, 4, &params);
	if (ring < 0) { /* io_uring_disabled of /proc/sys/kernel, or an outer filter */
		CHECK(errno == EPERM || errno == ENOSYS);
		puts("no io_uring");
		return;
	}
	refused(basics());
	SAYS("io_uring");
	free_still();
	close(ring);
}

static void running(void)
{
	sandlock_sandbox_t *p = built(basics());
	sandlock_handle_t *h = sandlock_create(p, "busy", SH("exit 3"));

	CHECK(h != NULL && sandlock_confine(p) == -1);
	SAYS("\"busy\" is running");
	free_still();
	CHECK(sandlock_start(h) == 0);
	EXITED(sandlock_handle_wait(h), 3, "", "");
	sandlock_handle_free(h);
	CHECK(sandlock_confine(p) == 0);
	CHECK(reads("secret") == EACCES);
	sandlock_sandbox_free(p);
}

/* Sandboxes inside: with what the process itself has left, and without a tracer. */
static void nested(void)
{
	sandlock_builder_t *b = sandlock_sandbox_builder_fs_read(basics(), directory);
	sandlock_sandbox_t *p;
	sandlock_handle_t *h;
	char script[5000];

	snprintf(script, sizeof script, "cat '%s' 2>&1 > /dev/null | sed 's/.*: //'", in("secret"));
	confined(again());
	p = built(sandlock_sandbox_builder_max_processes(b, SANDLOCK_UNLIMITED));
	EXITED(sandlock_run(p, NULL, SH("echo inside")), 0, "inside\n", "");
	EXITED(sandlock_run(p, NULL, SH(script)), 0, "Permission denied\n", "");
	CHECK((h = sandlock_create(p, NULL, SH("sleep 1000 & sleep 1000"))) != NULL && sandlock_start(h) == 0);
	ENDED(sandlock_handle_wait_timeout(h, 50), SANDLOCK_TIMEOUT, -1);
	sandlock_handle_free(h);
	sandlock_sandbox_free(p);
}

/* What the policy takes back of the defaults. */
static void looser(void)
{
	sandlock_builder_t *b = sandlock_sandbox_builder_fs_write(basics(), in("granted"));

	b = sandlock_sandbox_builder_disable(b, SANDLOCK_PROTECTION_SIGNAL_SCOPE);
	b = sandlock_sandbox_builder_extra_allow_syscalls(b, "chmod,fchmodat");
	b = sandlock_sandbox_builder_extra_deny_syscalls(b, "mkdir,mkdirat,landlock_restrict_self,capset,prctl,seccomp");
	confined(b);
	CHECK(kill(getppid(), 0) == 0);
	CHECK(makes("granted/file") == 0 && chmod(in("granted/file"), 0644) == 0 && chown(in("granted/file"), -1, -1) == -1);
	CHECK(mkdir(in("granted/dir"), 0700) == -1 && errno == EPERM);
	CHECK(reads("secret") == EACCES);
}

static void executable(void)
{
	sandlock_builder_t *b = sandlock_sandbox_builder_fs_exec(basics(), "/usr/bin/true");
	char *const argv[] = { "true", NULL };
	int status;
	pid_t pid;

	b = sandlock_sandbox_builder_fs_exec(b, "/lib64");
	b = sandlock_sandbox_builder_fs_exec(b, "/lib");
	b = sandlock_sandbox_builder_fs_exec(b, "/usr/lib");
	confined(b);
	if ((pid = fork()) == 0) {
		execv("/usr/bin/cat", argv);
		CHECK(errno == EACCES);
		execv("/usr/bin/true", argv);
		_exit(1);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(syscall(SYS_memfd_create, "x", 0u) == -1);
}

/* A thread that changes all threads' user meanwhile, with the same signal. */
static volatile int over;
static void *changing(void *unused)
{
	while (!over)
		CHECK(setgid(getgid()) == 0 && setuid(getuid()) == 0);
	CHECK(reads("secret") == EACCES);
	return unused;
}

static void beside_setuid(void)
{
	pthread_t thread;
	int i;

	CHECK(pthread_create(&thread, NULL, changing, NULL) == 0);
	for (i = 0; i < 16; i++)
		confined(again());
	over = 1;
	CHECK(pthread_join(thread, NULL) == 0);
}

/* The first thread has ended, which its process outlives. */
static void *orphan(void *first)
{
	pthread_join(*(pthread_t *)first, NULL);
	confined(basics());
	CHECK(reads("secret") == EACCES);
	_exit(0);
}

static void first_gone(void)
{
	static pthread_t self;
	pthread_t thread;

	self = pthread_self();
	CHECK(pthread_create(&thread, NULL, orphan, &self) == 0);
	pthread_exit(NULL);
}

/* A thread that blocks what glibc never does is waited for, and then all are let go. */
static void *deaf(void *unused)
{
	uint64_t every = ~UINT64_C(0);
	char c = 0;

	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &every, NULL, sizeof every);
	CHECK(write(go[1], &c, 1) == 1 && read(back[0], &c, 1) == 1);
	every = 0;
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &every, NULL, sizeof every);
	CHECK(reads("secret") == 0);
	return unused;
}

static void silent(void)
{
	pthread_t thread;
	char c = 0;

	CHECK(pipe(go) == 0 && pipe(back) == 0);
	CHECK(pthread_create(&thread, NULL, deaf, NULL) == 0 && read(go[0], &c, 1) == 1);
	refused(basics());
	SAYS("does not answer");
	free_still();
	CHECK(write(back[1], &c, 1) == 1 && pthread_join(thread, NULL) == 0);
	confined(basics());
	CHECK(reads("secret") == EACCES);
}

int main(int argc, char **argv)
{
	static const struct { const char *name; void (*run)(void); } ways[] = {
		{ "basic", basic }, { "fields", fields }, { "callback", callback }, { "stacked", stacked }, { "part", part },
		{ "uring", uring }, { "running", running }, { "nested", nested }, { "looser", looser },
		{ "executable", executable }, { "setuid", beside_setuid }, { "first", first_gone }, { "silent", silent },
	};
	size_t i;

	CHECK(argc == 3);
	directory = argv[2];
	CHECK(makes("secret") == 0 && mkdir(in("granted"), 0700) == 0);
	for (i = 0; i < LEN(ways); i++)
		if (!strcmp(ways[i].name, argv[1])) {
			ways[i].run();
			return 0;
		}
	return 2;
}
