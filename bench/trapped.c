/*
 * trapped KIND N: what a trapped system call costs with the least supervisor there
 * can be. It receives a notification, answers it by KIND, "continue" or "errno",
 * and waits for the next. The caller is the one of BenchmarkTrapped in
 * core/internal/notify, and the time is taken as there: from the first receive to
 * the last. seccomp_unotify(2); the wake-up flag is Linux 6.6's.
 */
#include "bench.h"
#include "listener.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static _Noreturn void child(int to_parent, int n)
{
	char script[128];
	int listener = listen_to(SYS_getppid);

	/* The parent has the same descriptor table: the number is all it needs. The
	 * exec gives the child a table of its own, without the listener. */
	if (listener < 0 || write(to_parent, &listener, sizeof listener) != sizeof listener)
		die("listener");
	snprintf(script, sizeof script,
	         "import os\nfor _ in range(%d):\n try: os.getppid()\n except OSError: pass", n);
	execl("/usr/bin/python3", "python3", "-c", script, (char *)NULL);
	die("python3");
}

int main(int argc, char **argv)
{
	struct seccomp_notif request;
	int n = argc > 2 ? atoi(argv[2]) : 0, listener, ends[2], i, status;
	int errno_kind = argc > 2 && strcmp(argv[1], "errno") == 0;
	double first = 0;
	pid_t pid;

	if (n <= 0) {
		fprintf(stderr, "usage: trapped KIND N\n");
		return 2;
	}
	if (pipe(ends) < 0)
		die("pipe");
	pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	if (pid < 0)
		die("clone");
	if (pid == 0)
		child(ends[1], n + 1);
	if (read(ends[0], &listener, sizeof listener) != sizeof listener)
		die("read");
	wake_on_this_cpu(listener);
	for (i = 0; i <= n; i++) {
		struct seccomp_notif_resp answer = { 0 };
		memset(&request, 0, sizeof request);
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request) < 0)
			die("receive");
		if (i == 0)
			first = now_us();
		else if (i == n)
			sample(errno_kind ? "trapped-errno" : "trapped-continue", (now_us() - first) / n);
		answer.id = request.id;
		answer.error = errno_kind ? -EACCES : 0;
		answer.flags = errno_kind ? 0 : SECCOMP_USER_NOTIF_FLAG_CONTINUE;
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) < 0)
			die("answer");
	}
	if (waitpid(pid, &status, 0) != pid || status != 0)
		die("child");
	return 0;
}
