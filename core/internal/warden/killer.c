//go:build ignore
// (for the go command, which would want cgo: the Makefile builds this)

/* The killer: waits for an order or for somebody's death, then kills. */
#include "limits.h"

static char child_stack[16384] __attribute__((aligned(16)));
static int sigfd = -1; /* SIGCHLD; only of a killer that has no domain */
static int reap_more;

/* kill(-1) outside a domain of its own would kill all that the user owns, so
 * the domain is proved: a null signal to the host passes before, not after. A
 * domain can't be left, so that is final. landlock(7), LANDLOCK_SCOPE_SIGNAL.
 *
 * Renaming and linking across directories is denied beneath every domain that does
 * not grant it, whatever it handles (LANDLOCK_ACCESS_FS_REFER); so this one does. */
static void killer_domain(void)
{
	struct { u64 fs, net, scoped; } attr = { ACCESS_FS_REFER, 0, req->killer_scope };
	struct { u64 allowed; s32 parent; } __attribute__((packed)) rule = { ACCESS_FS_REFER, 0 };
	long fd, root, r;

	r = sys4(__NR_pidfd_send_signal, fd_of(FD_HOST), 0, 0, 0);
	if (r < 0)
		die(STEP_KILLER_PROOF, r);
	fd = sys3(__NR_landlock_create_ruleset, &attr, sizeof attr, 0);
	check(STEP_KILLER_DOMAIN, fd);
	root = sys4(__NR_openat, AT_FDCWD, "/", O_PATH | O_CLOEXEC, 0);
	check(STEP_KILLER_DOMAIN, root);
	rule.parent = (s32)root;
	check(STEP_KILLER_DOMAIN, sys4(__NR_landlock_add_rule, fd, RULE_PATH_BENEATH, &rule, 0));
	check(STEP_KILLER_DOMAIN, sys5(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	check(STEP_KILLER_DOMAIN, sys2(__NR_landlock_restrict_self, fd, 0));
	sys1(__NR_close, root);
	sys1(__NR_close, fd);
	r = sys4(__NR_pidfd_send_signal, fd_of(FD_HOST), 0, 0, 0);
	if (r != -EPERM)
		die(STEP_KILLER_PROOF, r < 0 ? r : -ENOTRECOVERABLE);
}

/* The killer needs five descriptors, and keeps the cgroup's; all others, the command's among them, are
 * closed in its own table, or no pipe would ever end. */
static void killer_descriptors(void)
{
	check(STEP_CLOSE_RANGE, sys3(__NR_close_range, 0, fd_of(FD_CTL), CLOSE_RANGE_UNSHARE));
	check(STEP_CLOSE_RANGE, sys3(__NR_dup3, child_pidfd, fd_of(FD_RULESET), O_CLOEXEC));
	check(STEP_CLOSE_RANGE, sys3(__NR_dup3, parent_pidfd, fd_of(FD_CWD), O_CLOEXEC));
	if (hold_fd >= 0)
		check(STEP_CLOSE_RANGE, sys3(__NR_dup3, hold_fd, fd_of(FD_CTL), O_CLOEXEC));
	check(STEP_CLOSE_RANGE, sys3(__NR_close_range, fd_of(FD_SLOTS), ~0u, 0));
	if (!req->killer_scope) {
		u64 chld = 1ull << (SIGCHLD - 1); /* blocked, as all are: parent_init */
		sigfd = (int)sys4(__NR_signalfd4, -1, &chld, sizeof chld, O_CLOEXEC | O_NONBLOCK);
		check(STEP_KILLER_CLONE, sigfd);
	}
}

/* Without a domain the sandbox is what descends from the killer: the command is its child,
 * and the orphans come to it. So the death of the parent, which traces but is not needed
 * to wait, leaves none of them behind; and when the killer dies, they come to the parent. */

/* Reaps some of what has died: tasks that make others which end at once may not keep it
 * from anything else. Returns 1 when no child is left. */
static int killer_reap(int flags)
{
	s32 status;
	long pid = 1;
	int i;

	for (i = 0; i < REAP_AT_ONCE && pid > 0; i++) {
		pid = sys4(__NR_wait4, -1, &status, flags | WALL, 0);
		if (pid > 0 && pid == child_pid)
			child_status = status;
		flags |= WNOHANG;
	}
	reap_more = pid > 0;
	return pid == -ECHILD;
}

/* Numbers that were read before are nobody's afterwards. */
void killer_reap_some(void)
{
	int i = 0;

	do
		killer_reap(WNOHANG);
	while (reap_more && ++i < REAP_AT_ONCE);
}

static void killer_walk(void)
{
	/* Should it be stopped: who is traced can be waited for when the tracer has. */
	sys2(__NR_kill, parent_pid, SIGCONT);
	do
		walk();
	while (!killer_reap(0));
}

static void killer_say(u32 what)
{
	struct killer_order said = { what, 0, 0 };
	sys4x(__NR_sendto, fd_of(FD_ORDER), &said, sizeof said, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Returns 1 when the sandbox is to end. */
static int killer_order(int events)
{
	struct killer_order order;
	long r = 0, n = sys4x(__NR_recvfrom, fd_of(FD_ORDER), &order, sizeof order, MSG_DONTWAIT);

	if (n == -EAGAIN || n == -EINTR)
		return events & POLLHUP;
	if (n != sizeof order)
		return 1;
	switch (order.type) {
	case KILLER_STOP:
		tree_hold(HOLD_HOST);
		break;
	case KILLER_CONT:
		tree_release(HOLD_HOST);
		break;
	case KILLER_MEMORY:
		r = memory_restrict(order.value);
		break;
	case KILLER_TERM:
		tree_signal(SIGTERM);
		tree_let_go(); /* who is stopped hears it too: timeout(1) */
		return 0;
	default:
		return 1;
	}
	killer_say(order.type);
	return r < 0;
}

/* Who watches or holds a sandbox that keeps every CPU busy has to run when it wants to:
 * before those with longer slices (Linux 6.12: sched_attr of include/uapi/linux/sched/types.h),
 * and first before all others where that may be had. */
void run_in_time(int first)
{
	struct { u32 size, policy; u64 flags; s32 nice; u32 priority; u64 runtime, deadline, period; } attr = {
		sizeof attr, 0, 0, 0, 0, 100 * 1000, 0, 0,
	};
	s32 as_now = (s32)(20 - sys2(__NR_getpriority, 0, 0)); /* getpriority(2), "C library/kernel differences" */

	attr.nice = first ? -20 : as_now;
	if (sys3(__NR_sched_setattr, 0, &attr, 0) < 0) {
		attr.nice = as_now;
		sys3(__NR_sched_setattr, 0, &attr, 0);
	}
}

/* Does what the limits have to do now, and sets wait to the time until they have again.
 * Returns 1 when one of them can't be enforced, which ends the sandbox. */
static int killer_limits(struct timespec *wait, int *waits)
{
	u64 now = now_ns(), next = NEVER;
	long r = memory_run(now, &next);

	if (r >= 0)
		r = cpu_run(now, &next);
	if (r < 0) {
		fail(STEP_LIMITS, r);
		return 1;
	}
	*waits = next != NEVER;
	now = now_ns();
	next = next > now ? next - now : 0;
	*wait = (struct timespec){ (s64)(next / 1000000000), (s64)(next % 1000000000) };
	return 0;
}

static long clone_child(u64 flags)
{
	long r;

	check(STEP_LIMITS, memory_begin());
	if (req->flags & REQ_CGROUP) {
		r = cgroup_clone(flags, child_stack, sizeof child_stack);
		if (r >= 0)
			return r;
		cgroup_error = (s32)-r;
	}
	memory_measure();
	return spawn(flags | SIGCHLD, child_stack + sizeof child_stack, &child_pidfd, &progress, child_main);
}

void killer_main(void)
{
	u64 flags = CLONE_VM | CLONE_PIDFD | CLONE_CHILD_CLEARTID;
	struct pollfd fds[5];
	struct timespec at_once = { 0, 0 }, wait;
	char sink[512];
	int waits;
	long r;

	/* Should it be stopped when the parent dies. */
	sys5(__NR_prctl, PR_SET_PDEATHSIG, SIGCONT, 0, 0, 0);
	child_parent = req->killer_scope ? parent_pid : (s32)sys0(__NR_getpid);
	if (req->killer_scope) {
		killer_domain();
		flags |= CLONE_PARENT;
	} else {
		check(STEP_KILLER_CLONE, sys5(__NR_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
	}
	cpu_begin();
	if (req->flags & REQ_LISTENER)
		flags |= CLONE_FILES; /* exec undoes it: unshare_files() in begin_new_exec */
	r = clone_child(flags);
	if (r < 0)
		die(STEP_CHILD_CLONE, r);
	killer_descriptors();
	if (req->max_memory || req->max_cpu) {
		sys3(__NR_sched_setaffinity, 0, CPU_BYTES, host_cpus); /* any CPU: see parent_cpu */
		run_in_time(1);
	}

	fds[0].fd = fd_of(FD_ORDER);
	fds[1].fd = fd_of(FD_HOST);
	/* The child's pidfd, moved. The parent could tell of the command's end too, but not of
	 * one that another task traces, and not soon where many others end. */
	fds[2].fd = fd_of(FD_RULESET);
	fds[3].fd = fd_of(FD_CWD);     /* the parent's */
	fds[4].fd = sigfd;
	for (;;) {
		int i;
		for (i = 0; i < 5; i++)
			fds[i].events = POLLIN, fds[i].revents = 0;
		if (killer_limits(&wait, &waits))
			break;
		if (sys_poll(fds, 5, reap_more ? &at_once : waits ? &wait : 0) < 0)
			continue;
		if (fds[1].revents || fds[2].revents || fds[3].revents)
			break;
		if (fds[0].revents && killer_order(fds[0].revents))
			break;
		if (fds[4].revents)
			sys3(__NR_read, sigfd, sink, sizeof sink);
		if (fds[4].revents || reap_more)
			killer_reap(WNOHANG);
	}
	if (req->killer_scope)
		sys2(__NR_kill, -1, SIGKILL);
	else
		killer_walk();
	killer_say(KILLER_DONE);
	sys1(__NR_exit_group, 0);
}
