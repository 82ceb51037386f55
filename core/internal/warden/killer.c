//go:build ignore
// (for the go command, which would want cgo: the Makefile builds this)

/* The killer: waits for an order or for somebody's death, then kills. */
#include "warden.h"

static char child_stack[16384] __attribute__((aligned(16)));

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

/* The killer needs four descriptors; all others, the command's among them, are
 * closed in its own table, or no pipe would ever end. */
static void killer_descriptors(void)
{
	check(STEP_CLOSE_RANGE, sys3(__NR_close_range, 0, fd_of(FD_CTL), CLOSE_RANGE_UNSHARE));
	sys3(__NR_dup3, req->flags & REQ_LISTENER ? child_pidfd : leftovers, fd_of(FD_RULESET), O_CLOEXEC);
	sys3(__NR_dup3, parent_pidfd, fd_of(FD_CWD), O_CLOEXEC);
	sys3(__NR_close_range, fd_of(FD_SLOTS), ~0u, 0);
}

/* Returns 1 when the sandbox is to end. */
static int killer_order(int events)
{
	char order;
	long n = sys4x(__NR_recvfrom, fd_of(FD_ORDER), &order, 1, MSG_DONTWAIT);

	if (n == -EAGAIN || n == -EINTR)
		return events & POLLHUP;
	if (n != 1 || order == KILLER_KILL)
		return 1;
	if (req->killer_scope)
		sys2(__NR_kill, -1, order == KILLER_STOP ? SIGSTOP : SIGCONT);
	sys4x(__NR_sendto, fd_of(FD_ORDER), &order, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	return 0;
}

void killer_main(void)
{
	u64 flags = CLONE_VM | CLONE_PARENT | CLONE_CHILD_CLEARTID | SIGCHLD;
	struct pollfd fds[4];
	long r;

	if (req->killer_scope)
		killer_domain();
	if (req->flags & REQ_LISTENER)
		flags |= CLONE_PIDFD | CLONE_FILES; /* exec undoes it: unshare_files() in begin_new_exec */
	r = spawn(flags, child_stack + sizeof child_stack, &child_pidfd, &progress, child_main);
	if (r < 0)
		die(STEP_CHILD_CLONE, r);
	killer_descriptors();

	fds[0].fd = fd_of(FD_ORDER);
	fds[1].fd = fd_of(FD_HOST);
	/* The command's end: told by the parent when there is something left to kill, or, as
	 * the parent can be blocked where it traces, seen here. */
	fds[2].fd = fd_of(FD_RULESET);
	fds[3].fd = fd_of(FD_CWD);     /* the parent's */
	for (;;) {
		int i;
		for (i = 0; i < 4; i++)
			fds[i].events = POLLIN, fds[i].revents = 0;
		if (sys_poll(fds, 4, 0) < 0)
			continue;
		if (fds[1].revents || fds[2].revents || fds[3].revents)
			break;
		if (fds[0].revents && killer_order(fds[0].revents))
			break;
	}
	if (req->killer_scope) {
		sys2(__NR_kill, -1, SIGKILL);
		sys1(__NR_exit_group, 0);
	}
	sys1(__NR_exit_group, 1); /* the parent walks */
}
