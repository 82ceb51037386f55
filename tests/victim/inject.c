/* inject WHO N PROGRAM ARGUMENT…: runs PROGRAM and has one system call of it fail, without
 * being made, as it does when there is too little of something. What counts is the calls
 * that take something, of all threads of PROGRAM ("host"), or of all that descends from it
 * and is not yet what a sandbox runs ("warden"), from a SIGUSR2 that PROGRAM sends itself
 * to the next: the N-th of them fails. Prints "NAME ERRNO" of it on descriptor 9, or
 * "none", and ends as PROGRAM does. x86-64 only. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#if !defined(__x86_64__)
int main(void) { return 77; }
#else

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif
#ifndef SYS_memfd_create
#define SYS_memfd_create 319
#endif

/* What each call says that finds too little. */
static const struct { long nr; const char *name; int err, host, warden; } calls[] = {
#define BOTH(name, err) { SYS_##name, #name, err, 1, 1 }
#define WARDEN(name, err) { SYS_##name, #name, err, 0, 1 }
	BOTH(open, EMFILE), BOTH(openat, EMFILE), BOTH(dup, EMFILE), BOTH(dup3, EMFILE), BOTH(fcntl, EMFILE),
	BOTH(socketpair, EMFILE), BOTH(pipe2, EMFILE), BOTH(memfd_create, EMFILE), BOTH(pidfd_open, EMFILE),
	BOTH(epoll_create1, EMFILE), BOTH(epoll_ctl, ENOMEM), BOTH(eventfd2, EMFILE), BOTH(signalfd4, EMFILE),
	BOTH(landlock_create_ruleset, ENOMEM), BOTH(landlock_add_rule, ENOMEM), BOTH(landlock_restrict_self, ENOMEM),
	BOTH(seccomp, ENOMEM), BOTH(clone, EAGAIN), BOTH(clone3, EAGAIN), BOTH(vfork, EAGAIN), BOTH(fork, EAGAIN),
	BOTH(execve, ENOMEM), BOTH(sendmsg, ENOBUFS), BOTH(setsockopt, ENOMEM), BOTH(fstat, ENOMEM),
	BOTH(newfstatat, ENOMEM), BOTH(readlinkat, ENOMEM), BOTH(close_range, EMFILE), BOTH(prlimit64, EPERM),
	BOTH(sched_setaffinity, ENOMEM), BOTH(setsid, EPERM), BOTH(getdents64, ENOMEM), BOTH(mkdirat, ENOSPC),
	/* Go ends a host that has no memory for its heap. */
	WARDEN(mmap, ENOMEM), WARDEN(prctl, ENOMEM), WARDEN(capget, EPERM), WARDEN(capset, EPERM), WARDEN(fchdir, EACCES),
	/* Not of the host, whose own are not this library's. */
	WARDEN(recvmsg, ENOMEM), WARDEN(recvfrom, ENOMEM),
};
enum { CALLS = sizeof calls / sizeof *calls, TASKS = 1 << 22 };

static struct { char known, inside, ran, failing; int err; } tasks[TASKS];
static pid_t host;
static int active, want_host, left, hit = -1;

/* Whether a task is a thread of the host's. */
static int is_host(pid_t tid)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/task/%d", host, tid);
	return access(path, F_OK) == 0;
}

static void entered(pid_t tid, long nr)
{
	struct user_regs_struct regs;
	int i;

	if (!active || left <= 0 || tasks[tid].ran || is_host(tid) != want_host)
		return;
	for (i = 0; i < CALLS; i++)
		if (calls[i].nr == nr && (want_host ? calls[i].host : calls[i].warden))
			break;
	if (i == CALLS || --left > 0)
		return;
	hit = i;
	ptrace(PTRACE_GETREGS, tid, 0, &regs);
	regs.orig_rax = (unsigned long long)-1;
	ptrace(PTRACE_SETREGS, tid, 0, &regs);
	tasks[tid].failing = 1;
	tasks[tid].err = calls[i].err;
}

static void left_call(pid_t tid)
{
	struct user_regs_struct regs;

	if (!tasks[tid].failing)
		return;
	tasks[tid].failing = 0;
	ptrace(PTRACE_GETREGS, tid, 0, &regs);
	regs.rax = (unsigned long long)-tasks[tid].err;
	ptrace(PTRACE_SETREGS, tid, 0, &regs);
}

/* They go on by calls, too. */
static void stop_others(pid_t tid)
{
	struct dirent *e;
	char path[64];
	DIR *d;

	snprintf(path, sizeof path, "/proc/%d/task", host);
	if (!active || (d = opendir(path)) == NULL)
		return;
	while ((e = readdir(d)) != NULL)
		if (atoi(e->d_name) > 0 && atoi(e->d_name) != tid)
			syscall(SYS_tgkill, host, atoi(e->d_name), SIGUSR1);
	closedir(d);
}

int main(int argc, char **argv)
{
	long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
		       PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
	int status, ended = 1;
	pid_t tid;

	if (argc < 4)
		return 2;
	want_host = !strcmp(argv[1], "host");
	left = atoi(argv[2]);
	if ((host = fork()) == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		close(9);
		execv(argv[3], argv + 3);
		_exit(126);
	}
	while ((tid = waitpid(-1, &status, __WALL)) > 0) {
		int sig = 0, event = status >> 16;

		if (!WIFSTOPPED(status)) {
			memset(&tasks[tid], 0, sizeof tasks[tid]);
			if (tid == host)
				ended = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
			continue;
		}
		if (!tasks[tid].known && !event && WSTOPSIG(status) == SIGSTOP) {
			tasks[tid].known = 1;
			if (tid == host)
				ptrace(PTRACE_SETOPTIONS, tid, 0, options);
		} else if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
			struct __ptrace_syscall_info info;
			ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof info, &info);
			if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
				entered(tid, (long)info.entry.nr);
			else
				left_call(tid);
		} else if (event == PTRACE_EVENT_EXEC) {
			char name[64] = "", path[64];
			FILE *f;
			snprintf(path, sizeof path, "/proc/%d/cmdline", tid);
			if ((f = fopen(path, "r")) != NULL) {
				if (fgets(name, sizeof name, f) == NULL)
					name[0] = 0;
				fclose(f);
			}
			tasks[tid].ran = tid != host && strcmp(name, "sandlock-warden") != 0;
		} else if (!event && WSTOPSIG(status) == SIGUSR2) {
			active = !active;
			stop_others(tid);
		} else if (!event && WSTOPSIG(status) != SIGUSR1) {
			sig = WSTOPSIG(status);
		}
		/* Before that at full speed. */
		ptrace(active || tasks[tid].failing ? PTRACE_SYSCALL : PTRACE_CONT, tid, 0, sig);
	}
	if (hit >= 0)
		dprintf(9, "%s %s\n", calls[hit].name, strerrorname_np(calls[hit].err));
	else
		dprintf(9, "none\n");
	return ended;
}
#endif
