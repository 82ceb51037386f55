/* life DIRECTORY: runs from their creation to their end, each way to start one and
 * each way to end it. The directory has the fifo by which commands tell that they are
 * where the test wants them. */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static sandlock_sandbox_t *p;

/* The line that a command wrote into the fifo, once it has. */
static const char *told(void)
{
	static char line[64];
	FILE *f = fopen("fifo", "r");

	CHECK(f != NULL && fgets(line, sizeof line, f) != NULL && fclose(f) == 0);
	return line;
}

static short ready(int fd, short events, int timeout)
{
	struct pollfd pfd = { fd, events, 0 };

	/* The Go runtime's signals interrupt it, SA_RESTART or not: signal(7). */
	while (poll(&pfd, 1, timeout) < 0)
		CHECK(errno == EINTR);
	return pfd.revents;
}

/* The state of a process, as ps shows it; 0: there is none. */
static char state(long pid)
{
	char path[64], line[512], *after;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%ld/stat", pid);
	if (!(f = fopen(path, "r")))
		return 0;
	after = fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
	fclose(f);
	return after ? after[2] : 0;
}

static void in_steps(void)
{
	sandlock_handle_t *h = sandlock_create(p, NULL, SH("echo out; echo err >&2; >ran; exit 3"));
	int fd, i;

	CHECK(h != NULL && sandlock_handle_pid(h) > 0 && kill(sandlock_handle_pid(h), 0) == 0);
	CHECK((fd = sandlock_handle_pollfd(h)) >= 0 && ready(fd, POLLIN, 0) == 0);
	CHECK(access("ran", F_OK) == -1);
	CHECK(sandlock_start(h) == 0);
	CHECK(ready(fd, POLLIN, -1) == POLLIN);
	CHECK(access("ran", F_OK) == 0 && unlink("ran") == 0);
	for (i = 0; i < 3; i++) /* can be repeated */
		EXITED(i == 1 ? sandlock_handle_wait_timeout(h, 1) : sandlock_handle_wait(h), 3, "out\n", "err\n");
	CHECK(ready(fd, POLLIN, 0) == POLLIN && sandlock_handle_pollfd(h) == fd);
	CHECK(sandlock_handle_kill(h) == 0);
	CHECK(sandlock_handle_pause(h) == -1 && sandlock_handle_resume(h) == -1);
	CHECK(sandlock_start(h) == -1);
	sandlock_handle_free(h);
	CHECK(fcntl(fd, F_GETFD) == -1);

	CHECK((h = sandlock_create_for_run(p, NULL, SH("echo the same"))) != NULL && sandlock_start(h) == 0);
	EXITED(sandlock_handle_wait_timeout(h, 0), 0, "the same\n", "");
	sandlock_handle_free(h);
}

static void never_started(void)
{
	sandlock_handle_t *h = sandlock_create(p, NULL, SH("echo no"));
	int fd = sandlock_handle_pollfd(h);

	CHECK(sandlock_handle_kill(h) == 0 && ready(fd, POLLIN, -1) == POLLIN);
	ENDED(sandlock_handle_wait(h), SANDLOCK_KILLED, -1);
	sandlock_handle_free(h);
	CHECK((h = sandlock_create(p, NULL, SH("echo no"))) != NULL);
	ENDED(sandlock_handle_wait_timeout(h, 1), SANDLOCK_TIMEOUT, -1);
	sandlock_handle_free(h);
	CHECK((h = sandlock_create(p, NULL, SH("echo no"))) != NULL);
	sandlock_handle_free(h);
}

/* However a run ends, all that it has started is over then: nothing holds the pipe
 * that was its standard input. */
static void all_over(void)
{
	enum { KILL, TIMEOUT, FREE, POLL_KILL, OWN_END, WAYS } way;

	for (way = KILL; way < WAYS; way++) {
		sandlock_handle_t *h;
		int in[2];

		CHECK(pipe2(in, O_CLOEXEC) == 0);
		h = sandlock_spawn(p, NULL, SH(way == OWN_END
			? "exec 3<&0; echo ready; sleep 1000 & setsid sleep 1001 & echo up >fifo"
			: "exec 3<&0; echo ready; sleep 1000 & setsid sleep 1001 & echo up >fifo; wait"), in[0], SANDLOCK_SPAWN_PARKED, NULL);
		CHECK(h != NULL && close(in[0]) == 0 && sandlock_start(h) == 0 && strcmp(told(), "up\n") == 0);
		if (way != OWN_END)
			CHECK((ready(in[1], POLLOUT, 0) & POLLERR) == 0);
		switch (way) {
		case POLL_KILL:
			CHECK(sandlock_handle_kill(h) == 0 && ready(sandlock_handle_pollfd(h), POLLIN, -1) == POLLIN);
			break;
		case KILL:
			CHECK(sandlock_handle_kill(h) == 0);
			ENDED(sandlock_handle_wait(h), SANDLOCK_KILLED, -1);
			break;
		case TIMEOUT: {
			sandlock_result_t *r = sandlock_handle_wait_timeout(h, 1);
			CHECK(r != NULL && wrote(r, "ready\n", "")); /* the output so far */
			ENDED(r, SANDLOCK_TIMEOUT, -1);
			ENDED(sandlock_handle_wait(h), SANDLOCK_TIMEOUT, -1);
			break;
		}
		case OWN_END:
			EXITED(sandlock_handle_wait(h), 0, "ready\n", "");
			break;
		default:
			sandlock_handle_free(h);
		}
		CHECK(ready(in[1], POLLOUT, 0) & POLLERR);
		close(in[1]);
		if (way != FREE)
			sandlock_handle_free(h);
	}
}

/* SIGTERM first where the policy says so, for every task, stopped ones included; SIGKILL
 * when the grace is over. Through the wait, and for a caller that keeps the time itself. */
static void graces(void)
{
	static const char polite[] = "trap 'wait $!; echo parent; exit 0' TERM;"
				     "(trap 'echo child; exit' TERM; echo >fifo; while :; do sleep 1000 & wait; done) & wait";
	static const char deaf[] = "trap '' TERM; echo up >fifo; while :; do sleep 1000 & wait; done";
	sandlock_sandbox_t *waits = built(sandlock_sandbox_builder_term_grace(sandlock_sandbox_builder_fs_write(basics(), "."), 300000));
	sandlock_sandbox_t *hurries = built(sandlock_sandbox_builder_term_grace(sandlock_sandbox_builder_fs_write(basics(), "."), 50));
	sandlock_handle_t *h;
	sandlock_result_t *r;
	int by_wait, pausing;

	for (by_wait = 0; by_wait < 2; by_wait++)
		for (pausing = 0; pausing < 2; pausing++) {
			CHECK((h = sandlock_create(waits, NULL, SH(polite))) != NULL && sandlock_start(h) == 0);
			told();
			CHECK(!pausing || sandlock_handle_pause(h) == 0);
			CHECK(by_wait || sandlock_handle_expire(h) == 1);
			r = by_wait ? sandlock_handle_wait_timeout(h, 1) : sandlock_handle_wait(h);
			CHECK(r != NULL && wrote(r, "child\nparent\n", ""));
			ENDED(r, SANDLOCK_TIMEOUT, -1);
			CHECK(sandlock_handle_expire(h) == 0); /* is over */
			sandlock_handle_free(h);

			CHECK((h = sandlock_create(hurries, NULL, SH(deaf))) != NULL && sandlock_start(h) == 0);
			told();
			CHECK(by_wait || (sandlock_handle_expire(h) == 1 && sandlock_handle_expire(h) == 0));
			r = by_wait ? sandlock_handle_wait_timeout(h, 1) : sandlock_handle_wait(h);
			ENDED(r, SANDLOCK_TIMEOUT, -1);
			sandlock_handle_free(h);
		}
	/* A kill is one at once. */
	CHECK((h = sandlock_create(waits, NULL, SH(polite))) != NULL && sandlock_start(h) == 0);
	told();
	CHECK(sandlock_handle_kill(h) == 0);
	r = sandlock_handle_wait(h);
	CHECK(r != NULL && wrote(r, "", ""));
	ENDED(r, SANDLOCK_KILLED, -1);
	sandlock_handle_free(h);
	sandlock_sandbox_free(waits);
	sandlock_sandbox_free(hurries);
}

static void signals(void)
{
	ENDED(sandlock_run(p, NULL, SH("kill -TERM $$")), SANDLOCK_SIGNALED, SIGTERM);
	ENDED(sandlock_run(p, NULL, SH("ulimit -c 0; kill -SEGV $$")), SANDLOCK_SIGNALED, SIGSEGV);
	ENDED(sandlock_run(p, NULL, SH("kill -KILL $$")), SANDLOCK_KILLED, -1);
	/* Only the command's own end counts. */
	EXITED(sandlock_run(p, NULL, SH("sh -c 'kill -KILL $$' 2>/dev/null; exit 255")), 255, "", "");
}

/* A group-stop that a tracer listens to is 't': ptrace(2). */
static int stopped(long pid) { return state(pid) == 'T' || state(pid) == 't'; }

/* Returns when the process is stopped, or not: it takes its signal in its own time. */
static void until(long pid, int stop)
{
	while (stopped(pid) != stop)
		sched_yield();
}

/* Each task is stopped and goes on. */
static void paused(int spawned)
{
	sandlock_handle_t *h;
	long shell, child;
	static const char script[] = "sleep 1000 & echo $$ $! >fifo; wait";

	CHECK((h = spawned ? sandlock_spawn(p, NULL, SH(script), -1, 0, NULL) : sandlock_create(p, NULL, SH(script))) != NULL);
	CHECK(spawned || sandlock_start(h) == 0);
	CHECK(sscanf(told(), "%ld %ld", &shell, &child) == 2);
	CHECK(spawned || sandlock_handle_pid(h) == shell);
	CHECK(sandlock_handle_pause(h) == 0);
	until(shell, 1), until(child, 1);
	CHECK(sandlock_handle_pause(h) == 0);
	until(child, 1);
	CHECK(sandlock_handle_resume(h) == 0);
	until(shell, 0), until(child, 0);
	CHECK(sandlock_handle_resume(h) == 0);
	CHECK(sandlock_handle_pause(h) == 0 && sandlock_handle_kill(h) == 0);
	ENDED(sandlock_handle_wait(h), SANDLOCK_KILLED, -1);
	CHECK(state(shell) == 0 && state(child) == 0);
	sandlock_handle_free(h);
}

static int32_t allow(const sandlock_event_t *ev, sandlock_ctx_t *ctx, void *user)
{
	(void)ev, (void)ctx, (void)user;
	return 0;
}

/* The caller's own loop does the collecting. */
static void stepped(void)
{
	sandlock_sandbox_t *judged = built(sandlock_sandbox_builder_policy_fn(basics(), allow, NULL, NULL));
	int with_callback;

	for (with_callback = 0; with_callback < 2; with_callback++) {
		sandlock_handle_t *h;
		sandlock_result_t *r;
		int in[2], fd, over, rounds = 0;
		uintptr_t n;

		CHECK(pipe2(in, O_CLOEXEC) == 0);
		h = sandlock_spawn(with_callback ? judged : p, NULL, SH("read word; echo $word; head -c 5000000 /dev/zero; exit 4"), in[0], 0, NULL);
		CHECK(h != NULL && close(in[0]) == 0 && (fd = sandlock_handle_stepfd(h)) >= 0);
		CHECK(with_callback ? sandlock_handle_pid(h) > 0 : sandlock_handle_pid(h) >= 0);
		CHECK(sandlock_handle_step(h) == 0); /* doesn't block: there is nothing yet */
		CHECK(write(in[1], "word\n", 5) == 5 && close(in[1]) == 0);
		for (over = 0; !over; rounds++) {
			CHECK(ready(fd, POLLIN, -1) == POLLIN);
			CHECK((over = sandlock_handle_step(h)) == 0 || over == 1);
		}
		CHECK(rounds > 1 && sandlock_handle_step(h) == 1 && sandlock_handle_stepfd(h) == fd);
		CHECK((r = sandlock_handle_wait(h)) != NULL && sandlock_result_exit_code(r) == 4);
		CHECK(memcmp(sandlock_result_stdout_bytes(r, &n), "word\n", 5) == 0 && n == 5000005);
		sandlock_result_free(r);
		sandlock_handle_free(h);
		CHECK(fcntl(fd, F_GETFD) == -1);

		/* Without a step: the waits, the kill and the free. */
		CHECK((h = sandlock_spawn(with_callback ? judged : p, NULL, SH("cat; echo 2 >&2"), -1, 0, NULL)) != NULL);
		EXITED(sandlock_handle_wait(h), 0, "", "2\n");
		EXITED(sandlock_handle_wait_timeout(h, 1), 0, "", "2\n");
		sandlock_handle_free(h);
		CHECK((h = sandlock_spawn(p, NULL, SH("sleep 1000"), -1, 0, NULL)) != NULL);
		ENDED(sandlock_handle_wait_timeout(h, 1), SANDLOCK_TIMEOUT, -1);
		sandlock_handle_free(h);
		CHECK((h = sandlock_spawn(p, NULL, SH("sleep 1000"), -1, 0, NULL)) != NULL && sandlock_handle_kill(h) == 0);
		CHECK(ready(sandlock_handle_stepfd(h), POLLIN, -1) == POLLIN);
		ENDED(sandlock_handle_wait(h), SANDLOCK_KILLED, -1);
		sandlock_handle_free(h);
		CHECK((h = sandlock_spawn(p, NULL, SH("sleep 1000"), -1, 0, NULL)) != NULL);
		sandlock_handle_free(h);
	}
	sandlock_sandbox_free(judged);
}

/* Threads that step and wait for one run get one after the other what it did. */
static void *collects(void *h)
{
	sandlock_result_t *r;
	uintptr_t n = 0;

	CHECK(sandlock_handle_step(h) >= 0);
	CHECK(sandlock_handle_result(h, 0, &r) == 0 && sandlock_result_exit_code(r) == 4);
	CHECK(sandlock_result_stdout_bytes(r, &n) != NULL && n == 3000000);
	sandlock_result_free(r);
	return NULL;
}

static void crowded(void)
{
	pthread_t t[4];
	int i, round;

	for (round = 0; round < 10; round++) {
		sandlock_handle_t *h, *same;
		CHECK((h = sandlock_spawn(p, NULL, SH("head -c 3000000 /dev/zero; exit 4"), -1, 0, &same)) != NULL && h == same);
		for (i = 0; i < 4; i++)
			CHECK(pthread_create(&t[i], NULL, collects, h) == 0);
		for (i = 0; i < 4; i++)
			CHECK(pthread_join(t[i], NULL) == 0);
		sandlock_handle_free(h);
	}
}

static void inputs(void)
{
	sandlock_handle_t *h;
	int in[2];

	CHECK(pipe(in) == 0 && write(in[1], "input", 5) == 5 && close(in[1]) == 0);
	CHECK((h = sandlock_spawn(p, NULL, SH("cat"), in[0], SANDLOCK_SPAWN_PARKED, NULL)) != NULL);
	CHECK(fcntl(in[0], F_GETFD) == 0 && close(in[0]) == 0); /* copied, and as it was */
	CHECK(sandlock_start(h) == 0);
	EXITED(sandlock_handle_wait(h), 0, "input", "");
	sandlock_handle_free(h);
	EXITED(sandlock_run(p, NULL, SH("cat")), 0, "", "");
}

/* A descriptor of any number, among those that the spawn itself needs. */
static void numbered_inputs(void)
{
	sandlock_sandbox_t *q = built(basics());
	int number, fd;

	for (number = 3; number < 100; number++) {
		sandlock_handle_t *h;
		int in[2];

		CHECK(pipe(in) == 0 && write(in[1], "input", 5) == 5 && close(in[1]) == 0);
		CHECK((fd = fcntl(in[0], F_DUPFD, number)) >= number && close(in[0]) == 0);
		if (!(h = sandlock_spawn(q, NULL, SH("cat"), fd, 0, NULL)))
			fprintf(stderr, "descriptor %d: ", fd);
		CHECK(h != NULL && close(fd) == 0);
		EXITED(sandlock_handle_wait(h), 0, "input", "");
		sandlock_handle_free(h);
	}
	sandlock_sandbox_free(q);
}

int main(int argc, char **argv)
{
	sandlock_handle_t *h;

	CHECK(argc == 2 && chdir(argv[1]) == 0 && mkfifo("fifo", 0600) == 0);
	p = built(sandlock_sandbox_builder_fs_write(basics(), argv[1]));
	in_steps();
	never_started();
	all_over();
	graces();
	signals();
	paused(0);
	paused(1);
	stepped();
	crowded();
	inputs();
	CHECK(sandlock_run_interactive(p, NULL, SH("echo interactive; exit 7")) == 7);
	CHECK(sandlock_run_interactive(p, NULL, SH("kill -9 $$")) == -1);

	/* A run doesn't need its policy any more, once it is created. */
	CHECK((h = sandlock_create(p, NULL, SH("echo on"))) != NULL);
	sandlock_sandbox_free(p);
	CHECK(sandlock_start(h) == 0);
	EXITED(sandlock_handle_wait(h), 0, "on\n", "");
	sandlock_handle_free(h);
	numbered_inputs();
	CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
	return 0;
}
