/*
 * supervise HOW COMMAND [ARG…]: runs a command whose execs are supervised, in the ways
 * there are to do that. All of them allow everything; what differs is where an exec waits
 * for that, which signals can interrupt it there, and what else has to stop for it.
 *
 * bare: not at all.
 * notify: the least that a supervisor with a seccomp listener can be: it receives and
 *   says "continue". seccomp_unotify(2).
 * interruptible: the same without WAIT_KILLABLE_RECV (Linux 5.19).
 * elsewhere: as notify, without SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (Linux 6.6).
 * trace: SECCOMP_RET_TRACE. There is a tracer only for who is traced from birth, so each
 *   task is; and each exec stops at its end too, where what was approved would be checked.
 *   ptrace(2).
 * sandlock LIBRARY: a sandbox whose policy function is in C. LIBRARY is what this program
 *   is linked with.
 * slow LIBRARY: the same, and the function takes 1 ms.
 */
#include "bench.h"
#include "listener.h"

#include <errno.h>
#include <sandlock.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

/* Has execve and execveat of this task and its descendants return action. */
static long filter_execs(unsigned action, unsigned long flags)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execve, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execveat, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof code / sizeof *code, code };
	long r;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		die("no_new_privs");
	r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
	if (r < 0)
		die("seccomp");
	return r;
}

/* Starts child in a task that has the same descriptor table, so that numbers are all that
 * need go through pipes. It exits when this one does. */
static pid_t start(void (*child)(void *), void *arg)
{
	pid_t self = getpid(), pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);

	if (pid < 0)
		die("clone");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == self)
			child(arg);
		_exit(127);
	}
	return pid;
}

static int succeeded(int status)
{
	if (status != 0)
		fprintf(stderr, "the command: status %#x\n", (unsigned)status);
	return status == 0 ? 0 : 1;
}

static void bare_child(void *argv)
{
	execvp(*(char **)argv, argv);
	die("exec");
}

static int bare(char **argv)
{
	int status;
	pid_t pid = start(bare_child, argv);

	if (waitpid(pid, &status, 0) != pid)
		die("waitpid");
	return succeeded(status);
}

struct notified { char **argv; unsigned long flags; int to_parent; };

static void notified_child(void *arg)
{
	struct notified *n = arg;
	int listener = (int)filter_execs(SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER | n->flags);

	if (write(n->to_parent, &listener, sizeof listener) != sizeof listener)
		die("write");
	bare_child(n->argv);
}

static int notify(char **argv, unsigned long flags, int sync)
{
	struct seccomp_notif request;
	struct notified child;
	int ends[2], listener, status;
	pid_t pid;

	if (pipe(ends) < 0)
		die("pipe");
	child = (struct notified){ argv, flags, ends[1] };
	pid = start(notified_child, &child);
	if (read(ends[0], &listener, sizeof listener) != sizeof listener)
		die("read");
	if (sync)
		wake_on_this_cpu(listener);
	for (;;) {
		struct seccomp_notif_resp answer = { 0 };

		memset(&request, 0, sizeof request);
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request) < 0) {
			/* ENOENT: interrupted before it was received; or all are gone, from 6.11. */
			if (errno != ENOENT)
				die("receive");
			if (waitpid(pid, &status, WNOHANG) == pid)
				return succeeded(status);
			continue;
		}
		answer.id = request.id;
		answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) < 0 && errno != ENOENT)
			die("answer");
	}
}

struct traced { char **argv; int gate; };

static void traced_child(void *arg)
{
	struct traced *t = arg;
	char go;

	if (read(t->gate, &go, 1) != 1)
		_exit(127);
	filter_execs(SECCOMP_RET_TRACE, 0);
	bare_child(t->argv);
}

static int trace(char **argv)
{
	struct traced child = { argv, -1 };
	int ends[2], status, result = 1;
	pid_t first, pid;

	if (pipe(ends) < 0)
		die("pipe");
	child.gate = ends[0];
	first = start(traced_child, &child);
	if (ptrace(PTRACE_SEIZE, first, 0, PTRACE_O_EXITKILL | PTRACE_O_TRACESECCOMP | PTRACE_O_TRACEEXEC |
	           PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE) < 0)
		die("seize");
	if (write(ends[1], "", 1) != 1)
		die("write");
	while ((pid = waitpid(-1, &status, __WALL)) > 0) {
		int event = status >> 16, sig = WIFSTOPPED(status) ? WSTOPSIG(status) : 0;

		if (!WIFSTOPPED(status)) {
			if (pid == first)
				result = succeeded(status);
		} else if (event == PTRACE_EVENT_STOP && sig != SIGTRAP) {
			ptrace(PTRACE_LISTEN, pid, 0, 0);
		} else {
			ptrace(PTRACE_CONT, pid, 0, event ? 0 : sig);
		}
	}
	return result;
}

static int32_t allow(const sandlock_event_t *event, sandlock_ctx_t *ctx, void *delay)
{
	(void)event, (void)ctx;
	if (delay)
		nanosleep(delay, NULL);
	return 0;
}

static int sandbox(char *library, char **argv, struct timespec *delay)
{
	static const char *const readable[] = { "/usr", "/lib", "/lib64", "/bin", "/etc", NULL };
	sandlock_builder_t *b = sandlock_sandbox_builder_new();
	char *why = NULL, *out;
	unsigned n = 0;
	int i, failed;

	for (i = 0; readable[i]; i++)
		b = sandlock_sandbox_builder_fs_read(b, readable[i]);
	b = sandlock_sandbox_builder_fs_read(b, argv[0]);
	b = sandlock_sandbox_builder_fs_read(b, library);
	b = sandlock_sandbox_builder_policy_fn(b, allow, delay, NULL);
	while (argv[n])
		n++;
	sandlock_sandbox_t *policy = sandlock_sandbox_build(b, NULL, &why);
	sandlock_result_t *result = policy ? sandlock_run(policy, NULL, (const char *const *)argv, n) : NULL;
	failed = !sandlock_result_success(result);
	if (result == NULL) {
		fprintf(stderr, "%s\n", why ? why : sandlock_last_error());
		return 1;
	}
	out = sandlock_result_stdout(result);
	fputs(out, stdout);
	sandlock_string_free(out);
	if (failed) {
		out = sandlock_result_stderr(result);
		fprintf(stderr, "%s\n%s\n", out, sandlock_result_log(result));
		sandlock_string_free(out);
	}
	sandlock_result_free(result);
	sandlock_sandbox_free(policy);
	return failed;
}

int main(int argc, char **argv)
{
	const char *how = argc > 2 ? argv[1] : "";

	if (!strcmp(how, "bare"))
		return bare(argv + 2);
	if (!strcmp(how, "notify"))
		return notify(argv + 2, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, 1);
	if (!strcmp(how, "interruptible"))
		return notify(argv + 2, 0, 1);
	if (!strcmp(how, "elsewhere"))
		return notify(argv + 2, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, 0);
	if (!strcmp(how, "trace"))
		return trace(argv + 2);
	if (!strcmp(how, "sandlock") && argc > 3)
		return sandbox(argv[2], argv + 3, NULL);
	if (!strcmp(how, "slow") && argc > 3)
		return sandbox(argv[2], argv + 3, &(struct timespec){ 0, 1000000 });
	fprintf(stderr, "usage: supervise bare|notify|interruptible|elsewhere|trace COMMAND…\n"
	                "       supervise sandlock|slow LIBRARY COMMAND…\n");
	return 2;
}
