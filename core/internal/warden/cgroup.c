//go:build ignore
// (for the go command, which would want cgo: the Makefile builds this)

/* A cgroup that limits the memory of the sandbox, where the host has made one. */
#include "limits.h"

volatile s32 cgroup_error;

/* The killer: the command's task is born in the cgroup. To move it there afterwards would
 * have the kernel wait until no CPU is in a fork: cgroup_threadgroup_rwsem. A filter around
 * the host may know no clone3(2). */
long cgroup_clone(u64 flags, char *stack, u64 size)
{
	struct clone_args args = {
		.flags = flags | CLONE_INTO_CGROUP,
		.pidfd = (u64)&child_pidfd,
		.child_tid = (u64)&progress,
		.exit_signal = flags & CLONE_PARENT ? 0 : SIGCHLD, /* 0: the killer's, up to the exec */
		.stack = (u64)stack,
		.stack_size = size,
		.cgroup = (u64)fd_of(FD_CGROUP),
	};
	return spawn_into(&args, sizeof args, child_main);
}

/* The parent, when no task is left. */
u32 cgroup_remove(void)
{
	static struct reader r;
	static char dir[4096]; /* PATH_MAX */
	char name[PATH_BYTES], line[64];
	s64 v, reached = 0, killed = 0;
	int tries = 0;

	format_path(name, "/proc/self/fd/", fd_of(FD_CGROUP), "/memory.events");
	if (reader_open(&r, name) >= 0) {
		while (reader_line(&r, line, sizeof line)) {
			if ((v = value_of(line, "oom ")) >= 0)
				reached = v;
			else if ((v = value_of(line, "oom_kill ")) >= 0)
				killed = v;
		}
		reader_close(&r);
	}
	format_path(name, "/proc/self/fd/", fd_of(FD_CGROUP), "");
	if (sys4(__NR_readlinkat, AT_FDCWD, name, dir, sizeof dir - 1) > 0)
		/* Since Linux 6.19 (d245698d727a) one that was waited for may be in it for a moment. */
		while (sys3(__NR_unlinkat, AT_FDCWD, dir, AT_REMOVEDIR) == -EBUSY && tries++ < 1000)
			sys0(__NR_sched_yield);
	return reached ? (u32)killed : 0; /* else it was the whole machine that had no memory left */
}
