/*
 * followed COMMAND ARGUMENT…: runs a command, each exec of which is followed as this
 * library does it, with the least that C can do: a supervisor that receives the
 * notification, reads the argument vector and the task's status and tells the tracer; a
 * tracer, in a process of its own, that seizes the task, answers, and reads its arguments
 * at the exec stop. Nothing is decided and no error is anybody's: a measure of the
 * kernel's and the machine's part.
 */
#include "bench.h"
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

struct order { pid_t tid; unsigned long long id; };

static void read_proc(pid_t pid, const char *name)
{
	char path[64], buf[4096];
	int fd;

	snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	while (read(fd, buf, sizeof buf) > 0)
		;
	close(fd);
}

static _Noreturn void child(int to_supervisor, char **argv)
{
	int listener = listen_to(SYS_execve);

	if (listener < 0 || write(to_supervisor, &listener, sizeof listener) != sizeof listener)
		die("listener");
	execv(argv[0], argv); /* undoes the sharing of descriptors */
	die(argv[0]);
}

static void stopped(pid_t pid)
{
	unsigned long former;

	ptrace(PTRACE_GETEVENTMSG, pid, 0, &former);
	read_proc(pid, "cmdline");
	ptrace(PTRACE_DETACH, pid, 0, 0);
}

static _Noreturn void tracer(int orders, int to_supervisor, char **argv)
{
	sigset_t chld;
	struct signalfd_siginfo info[4];
	struct pollfd fds[2] = { { .events = POLLIN }, { .fd = orders, .events = POLLIN } };
	int listener = -1, status = 0;
	pid_t command, pid;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	fds[0].fd = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
	command = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	if (command == 0) {
		sigprocmask(SIG_UNBLOCK, &chld, NULL);
		child(to_supervisor, argv);
	}
	for (;;) {
		struct order o;

		while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0)
			if (WIFSTOPPED(status))
				stopped(pid);
			else if (pid == command)
				_exit(status != 0);
		poll(fds, 2, -1);
		if (fds[0].revents && read(fds[0].fd, info, sizeof info) < 0)
			continue;
		if (!fds[1].revents)
			continue;
		if (listener < 0 && recv(orders, &listener, sizeof listener, 0) != sizeof listener)
			die("listener");
		if (recv(orders, &o, sizeof o, MSG_DONTWAIT) == sizeof o) {
			struct seccomp_notif_resp answer = { .id = o.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };
			ptrace(PTRACE_SEIZE, o.tid, 0, PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL);
			ptrace(PTRACE_INTERRUPT, o.tid, 0, 0);
			ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
		}
	}
}

/* A read of a page, as one of an argument vector and one of its strings. */
static void read_page(pid_t tid, unsigned long long at)
{
	static char page[4096];
	struct iovec here = { page, sizeof page }, there = { (void *)(at & ~4095ull), sizeof page };

	process_vm_readv(tid, &here, 1, &there, 1, 0);
}

int main(int argc, char **argv)
{
	int listener, ends[2], orders[2], status;
	struct seccomp_notif request;
	pid_t warden;

	if (argc < 2) {
		fprintf(stderr, "usage: followed COMMAND ARGUMENT…\n");
		return 2;
	}
	if (pipe2(ends, O_CLOEXEC) < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, orders) < 0)
		die("pipe");
	warden = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	if (warden == 0)
		tracer(orders[1], ends[1], argv + 1);
	if (warden < 0 || read(ends[0], &listener, sizeof listener) != sizeof listener)
		die("listener");
	wake_on_this_cpu(listener);
	send(orders[0], &listener, sizeof listener, 0);
	for (;;) {
		struct pollfd fd = { .fd = listener, .events = POLLIN };
		struct order o;

		memset(&request, 0, sizeof request);
		if (poll(&fd, 1, -1) > 0 && !(fd.revents & POLLIN))
			break;
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request) < 0)
			continue;
		read_page((pid_t)request.pid, request.data.args[1]);
		read_page((pid_t)request.pid, request.data.args[0]);
		read_proc((pid_t)request.pid, "status");
		ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &request.id);
		o = (struct order){ (pid_t)request.pid, request.id };
		send(orders[0], &o, sizeof o, 0);
	}
	if (waitpid(warden, &status, 0) != warden || status != 0)
		die("the command");
	return 0;
}
