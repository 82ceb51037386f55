/* Commands on streams that the host uses meanwhile. */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

static sandlock_sandbox_t *plain, *judged;

static int32_t allow(const sandlock_event_t *ev, sandlock_ctx_t *ctx, void *user)
{
	(void)ev, (void)ctx, (void)user;
	return 0;
}

/* Reads fd to its end, closes it, and returns how much came; the first of it is in text. */
static size_t all_of(int fd, char *text, size_t size)
{
	char buf[1 << 16];
	size_t total = 0;
	ssize_t n;

	while ((n = read(fd, buf, sizeof buf)) > 0) {
		if (total == 0 && text)
			snprintf(text, size, "%.*s", (int)n, buf);
		total += (size_t)n;
	}
	CHECK(n == 0 && close(fd) == 0);
	return total;
}

/* All three are pipes; far more goes through them than they hold, and nothing is kept. */
static void pipes(const sandlock_sandbox_t *p)
{
	int in, out, errs, status;
	enum { SIZE = 5000000 };
	char text[32] = "";
	sandlock_handle_t *h = sandlock_popen(p, NULL, SH("cat; echo errs >&2; exit 3"), 1, 1, 1, &in, &out, &errs);
	pid_t writer;

	CHECK(h != NULL && in > 2 && out > 2 && errs > 2 && sandlock_handle_pid(h) > 0);
	CHECK(fcntl(in, F_GETFD) == FD_CLOEXEC && fcntl(out, F_GETFD) == FD_CLOEXEC && fcntl(errs, F_GETFD) == FD_CLOEXEC);
	if ((writer = fork()) == 0) {
		static char zeros[SIZE];
		close(out), close(errs);
		_exit(write(in, zeros, SIZE) != SIZE);
	}
	CHECK(writer > 0 && close(in) == 0);
	CHECK(all_of(out, NULL, 0) == SIZE && all_of(errs, text, sizeof text) == 5 && strcmp(text, "errs\n") == 0);
	CHECK(waitpid(writer, &status, 0) == writer && status == 0);
	EXITED(sandlock_handle_wait(h), 3, "", "");
	EXITED(sandlock_handle_wait(h), 3, "", ""); /* again */
	sandlock_handle_free(h);
}

/* Each stream by itself; the others' places need not be there. */
static void modes(const sandlock_sandbox_t *p)
{
	char text[32] = "";
	int fd = 7, other = 7;
	sandlock_handle_t *h;

	CHECK((h = sandlock_popen(p, NULL, SH("read x; echo got $x; echo lost >&2"), SANDLOCK_STDIO_NULL, SANDLOCK_STDIO_PIPED,
				  SANDLOCK_STDIO_NULL, &other, &fd, NULL)) != NULL && other == -1);
	CHECK(all_of(fd, text, sizeof text) == 4 && strcmp(text, "got\n") == 0);
	EXITED(sandlock_handle_wait(h), 0, "", "");
	sandlock_handle_free(h);
	/* The host's own standard error is what the test looks at: nothing may be there. */
	CHECK((h = sandlock_popen(p, NULL, SH("test -p /dev/stdin && read x && test $x = word"), SANDLOCK_STDIO_PIPED,
				  SANDLOCK_STDIO_INHERIT, SANDLOCK_STDIO_INHERIT, &fd, NULL, NULL)) != NULL);
	CHECK(write(fd, "word\n", 5) == 5 && close(fd) == 0);
	EXITED(sandlock_handle_wait(h), 0, "", "");
	sandlock_handle_free(h);
}

/* The poll descriptor, signals, an early end. */
static void life(const sandlock_sandbox_t *p)
{
	struct pollfd over = { .events = POLLIN };
	char text[32] = "";
	int in, out;
	sandlock_handle_t *h = sandlock_popen(p, NULL, SH("trap 'echo heard; exit 4' USR1; echo ready; while :; do read x; done"), 1, 1, 0, &in, &out, NULL);

	CHECK(h != NULL && (over.fd = sandlock_handle_pollfd(h)) >= 0 && poll(&over, 1, 0) == 0);
	CHECK(read(out, text, 6) == 6 && sandlock_handle_signal(h, 0) == 0);
	CHECK(sandlock_handle_signal(h, 12345) == -1 && sandlock_last_errno() == EINVAL);
	CHECK(sandlock_handle_signal(h, SIGUSR1) == 0);
	if (write(in, "\n", 1) != 1) /* dash may hear it between two reads only */
		CHECK(errno == EPIPE);
	CHECK(poll(&over, 1, -1) == 1);
	CHECK(all_of(out, text, sizeof text) == 6 && strcmp(text, "heard\n") == 0);
	EXITED(sandlock_handle_wait(h), 4, "", "");
	CHECK(sandlock_handle_signal(h, 0) == -1);
	sandlock_handle_free(h);
	close(in);

	CHECK((h = sandlock_popen(p, NULL, SH("sleep 1000 & wait"), 2, 1, 2, NULL, &out, NULL)) != NULL);
	ENDED(sandlock_handle_wait_timeout(h, 50), SANDLOCK_TIMEOUT, -1);
	CHECK(all_of(out, NULL, 0) == 0); /* nobody holds it any more */
	sandlock_handle_free(h);
	CHECK((h = sandlock_popen(p, NULL, SH("sleep 1000 & wait"), 2, 1, 2, NULL, &out, NULL)) != NULL);
	CHECK(sandlock_handle_kill(h) == 0);
	ENDED(sandlock_handle_wait(h), SANDLOCK_KILLED, -1);
	CHECK(all_of(out, NULL, 0) == 0);
	sandlock_handle_free(h);
	CHECK((h = sandlock_popen(p, NULL, SH("sleep 1000 & wait"), 2, 1, 2, NULL, &out, NULL)) != NULL);
	sandlock_handle_free(h);
	CHECK(all_of(out, NULL, 0) == 0); /* and the end is the caller's still */
}

/* What can't be executed is no handle, and says so with its errno. */
static void errors(const sandlock_sandbox_t *p, const char *dir)
{
	static const struct { const char *name, *text; int number; } bad[] = {
		{ "missing", NULL, ENOENT }, { "noexec", "text", ENOEXEC }, { "nobody", "#!/no/such/interpreter\n", ENOENT } };
	char path[4096];
	size_t i;
	int fds[3], before = open("/dev/null", O_RDONLY), after;

	close(before);
	for (i = 0; i < LEN(bad); i++) {
		const char *argv[] = { path };
		snprintf(path, sizeof path, "%s/%s", dir, bad[i].name);
		if (bad[i].text) {
			int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
			CHECK(fd >= 0 && write(fd, bad[i].text, strlen(bad[i].text)) > 0 && close(fd) == 0);
		}
		fds[0] = fds[1] = fds[2] = 7;
		CHECK(sandlock_popen(p, NULL, argv, 1, 1, 1, 1, &fds[0], &fds[1], &fds[2]) == NULL);
		CHECK(fds[0] == -1 && fds[1] == -1 && fds[2] == -1 && sandlock_last_errno() == bad[i].number);
		SAYS(path);
	}
	CHECK(sandlock_popen(p, NULL, SH(":"), 2, 3, 2, NULL, NULL, NULL) == NULL && sandlock_last_errno() == 0);
	SAYS("mode 3");
	CHECK((after = open("/dev/null", O_RDONLY)) == before && close(after) == 0); /* nothing was left open */
}

/* Descriptors of the host under numbers of the command's. */
static void files(const sandlock_sandbox_t *p)
{
	int pair[2];
	char text[32] = "";
	sandlock_handle_t *h;
	sandlock_file_t its[] = { { 0, 1 }, { 0, 77 }, { -1, 0 } };
	struct pollfd done = { .events = POLLIN };

	CHECK(pipe(pair) == 0);
	its[0].fd = its[1].fd = pair[1];
	h = sandlock_spawn_files(p, NULL, NULL, SH("echo one; ls -l /proc/self/fd >&2"), its, 3, SANDLOCK_SPAWN_PARKED, NULL);
	CHECK(h != NULL && sandlock_handle_execfd(h) == -1);
	sandlock_handle_free(h);
	h = sandlock_spawn_files(p, NULL, NULL, SH("echo one; echo two >&2; test -e /dev/fd/0 && echo no; readlink /proc/self/fd/77 | grep -q pipe || echo no"), its, 3,
				 SANDLOCK_SPAWN_PARKED | SANDLOCK_SPAWN_WATCHED, NULL);
	CHECK(h != NULL && close(pair[1]) == 0 && (done.fd = sandlock_handle_execfd(h)) >= 0 && poll(&done, 1, 0) == 0);
	CHECK(sandlock_start(h) == 0 && poll(&done, 1, -1) == 1 && sandlock_handle_executed(h) != -1);
	CHECK(all_of(pair[0], text, sizeof text) == 4 && strcmp(text, "one\n") == 0);
	EXITED(sandlock_handle_wait(h), 0, "", "two\n"); /* which was captured */
	CHECK(sandlock_handle_executed(h) == 0);
	sandlock_handle_free(h);
}

int main(int argc, char **argv)
{
	CHECK(argc == 2);
	signal(SIGPIPE, SIG_IGN);
	plain = built(sandlock_sandbox_builder_fs_read(sandlock_sandbox_builder_fs_read(basics(), "/proc"), argv[1]));
	judged = built(sandlock_sandbox_builder_policy_fn(sandlock_sandbox_builder_fs_read(basics(), "/proc"), allow, NULL, NULL));
	pipes(plain), pipes(judged);
	modes(plain), modes(judged);
	life(plain), life(judged);
	files(plain), files(judged);
	errors(plain, argv[1]);
	sandlock_sandbox_free(plain);
	sandlock_sandbox_free(judged);
	CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
	return 0;
}
