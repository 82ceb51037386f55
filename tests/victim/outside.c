/* outside PID: tries to reach a process that is not in the sandbox. ADVERSARY section
 * 21. PID 0 is the parent, which in a sandbox is the warden. The attempts that would
 * end PID come last. */
#include "try.h"

#include <linux/ioprio.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#define SYS_pidfd_getfd 438
#endif

static void signals(pid_t pid, int sig, const char *suffix)
{
	char name[64];
	siginfo_t info = { .si_signo = sig, .si_code = SI_QUEUE };
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
#define SIGNAL(what, call) (snprintf(name, sizeof name, "%s-%s", what, suffix), TRY(name, call))
	SIGNAL("kill", kill(pid, sig));
	SIGNAL("killpg", kill(-getpgid(pid), sig));
	SIGNAL("tkill", syscall(SYS_tkill, pid, sig));
	SIGNAL("tgkill", syscall(SYS_tgkill, pid, pid, sig));
	SIGNAL("pidfd_send_signal", syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0));
	SIGNAL("rt_sigqueueinfo", syscall(SYS_rt_sigqueueinfo, pid, sig, &info));
	SIGNAL("rt_tgsigqueueinfo", syscall(SYS_rt_tgsigqueueinfo, pid, pid, sig, &info));
	close(pidfd);
}

/* The effect counts: setting the owner succeeds. */
static void owner(pid_t pid)
{
	int pair[2];
	struct f_owner_ex ex = { F_OWNER_TID, pid };
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
		return;
	fcntl(pair[0], F_SETFL, O_ASYNC | O_NONBLOCK);
	fcntl(pair[0], F_SETSIG, SIGUSR2);
	TRY("setown", fcntl(pair[0], F_SETOWN, pid));
	TRY("setown-write", write(pair[1], "x", 1));
	TRY("setown-ex", fcntl(pair[0], F_SETOWN_EX, &ex));
	TRY("setown-ex-write", write(pair[1], "x", 1));
	TRY("setown-group", fcntl(pair[0], F_SETOWN, -getpgid(pid)));
	TRY("setown-group-write", write(pair[1], "x", 1));
	/* A lease's break and a directory's change are signals of the same kind. */
	int dir = open("/usr", O_RDONLY | O_DIRECTORY);
	fcntl(dir, F_SETOWN, pid);
	fcntl(dir, F_NOTIFY, 0x1f);
}

static void scheduling(pid_t pid)
{
	struct rlimit64 limit = { 16, 16 };
	struct sched_param batch = { 0 };
	struct attributes { unsigned size, policy; unsigned long flags; int nice; unsigned priority; unsigned long a, b, c; } attr = { .size = 48, .policy = SCHED_BATCH, .nice = 7 };
	cpu_set_t one;
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	TRY("prlimit", syscall(SYS_prlimit64, pid, RLIMIT_NOFILE, &limit, NULL));
	TRY("prlimit-read", syscall(SYS_prlimit64, pid, RLIMIT_NOFILE, NULL, &limit));
	TRY("setpriority", setpriority(PRIO_PROCESS, (id_t)pid, 5));
	TRY("setpriority-group", setpriority(PRIO_PGRP, (id_t)getpgid(pid), 6));
	TRY("sched_setaffinity", sched_setaffinity(pid, sizeof one, &one));
	TRY("sched_setscheduler", sched_setscheduler(pid, SCHED_BATCH, &batch));
	TRY("sched_setparam", sched_setparam(pid, &batch));
	TRY("sched_setattr", syscall(SYS_sched_setattr, pid, &attr, 0));
	TRY("ioprio_set", syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, pid, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0)));
	TRY("ioprio_set-group", syscall(SYS_ioprio_set, IOPRIO_WHO_PGRP, getpgid(pid), IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0)));
}

static void memory(pid_t pid)
{
	static char buffer[64];
	char path[64], name[64];
	struct iovec local = { buffer, sizeof buffer }, remote = { buffer, sizeof buffer };
	void *head, *page = buffer;
	size_t len;
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), node = 0, status;
	static const char *const files[] = { "environ", "mem", "maps", "auxv", "fd", "fdinfo", "root/etc/hostname", "cwd/.", "exe", "map_files", "syscall", "stack", "io" };
	/* The buffer lies elsewhere there: a fault is an answer too, a refusal is not. */
	TRY("process_vm_readv", process_vm_readv(pid, &local, 1, &remote, 1, 0));
	TRY("process_vm_writev", process_vm_writev(pid, &local, 1, &remote, 1, 0));
	TRY("pidfd_getfd", syscall(SYS_pidfd_getfd, pidfd, 1, 0));
	TRY("process_madvise", syscall(SYS_process_madvise, pidfd, &remote, 1, 20 /* MADV_COLD */, 0));
	TRY("process_mrelease", syscall(SYS_process_mrelease, pidfd, 0));
	TRY("move_pages", syscall(SYS_move_pages, pid, 1, &page, &node, &status, 0));
	TRY("kcmp", syscall(SYS_kcmp, pid, getpid(), KCMP_VM, 0, 0));
	TRY("get_robust_list", syscall(SYS_get_robust_list, pid, &head, &len));
	TRY("ptrace-seize", ptrace(PTRACE_SEIZE, pid, 0, 0));
	ptrace(PTRACE_DETACH, pid, 0, 0);
	for (unsigned i = 0; i < sizeof files / sizeof *files; i++) {
		snprintf(path, sizeof path, "/proc/%d/%s", pid, files[i]);
		snprintf(name, sizeof name, "proc-%.20s", files[i]);
		TRY(name, open(path, O_RDONLY));
	}
	static const char *const writable[] = { "mem", "oom_score_adj", "oom_adj", "comm", "clear_refs", "coredump_filter", "timerslack_ns", "loginuid", "autogroup", "setgroups" };
	for (unsigned i = 0; i < sizeof writable / sizeof *writable; i++) {
		snprintf(path, sizeof path, "/proc/%d/%s", pid, writable[i]);
		snprintf(name, sizeof name, "write-%.20s", writable[i]);
		int fd = open(path, O_WRONLY);
		say(name, fd < 0 ? -1 : write(fd, "1", 1));
	}
}

/* A terminal that another session has: its foreground group, and itself. */
static void terminal(const char *path)
{
	int fd = open(path, O_RDWR | O_NOCTTY);
	pid_t self;
	TRY("open", fd);
	setsid();
	self = getpgrp();
	TRY("TIOCSPGRP", ioctl(fd, TIOCSPGRP, &self));
	TRY("TIOCSCTTY", ioctl(fd, TIOCSCTTY, 1));
	TRY("TIOCSPGRP-after", ioctl(fd, TIOCSPGRP, &self));
	TRY("open-tty", open("/dev/tty", O_RDWR));
}

int main(int argc, char **argv)
{
	if (argc > 1 && argv[1][0] == '/') {
		if (fork() == 0) /* which may make a session */
			terminal(argv[1]);
		else
			wait(NULL);
		return 0;
	}
	pid_t pid = argc > 1 ? atoi(argv[1]) : 0;
	if (pid == 0)
		pid = getppid();
	memory(pid);
	scheduling(pid);
	owner(pid);
	signals(pid, SIGUSR1, "usr1");
	if (argc > 2) { /* not outside of a sandbox */
		signals(pid, SIGSTOP, "stop");
		signals(pid, SIGKILL, "kill");
		TRY("kill-all", kill(-1, SIGKILL));
	}
	return 0;
}
