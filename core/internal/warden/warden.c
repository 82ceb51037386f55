//go:build ignore
// (for the go command, which would want cgo: the Makefile builds this)

/*
 * The warden: starts one command under Landlock and seccomp, reaps and traces
 * what comes of it, and ends it. No libc: it is started for every sandbox.
 *
 * Two tasks that share memory (DESIGN: "The processes"):
 *   parent  the host's child: subreaper, tracer, reporter
 *   killer  its child: waits for an order or for somebody's death, then kills
 * The killer clones the command's task with CLONE_PARENT, so that it is the
 * parent's child but inside the killer's Landlock domain.
 */
#include <asm/unistd.h>
#include "protocol.h"
#include "runtime.h"

#define WORDS(n) (((n) + 7) / 8)

/* Shared by the three tasks. */
static struct request *req;
static char **argv, **envp, *path;
static void *filter;
static u32 nfds; /* the command's descriptors are 0 … nfds-1 */

/* progress: CREATING until the child is confined, then CONFINED; 0 once it has
 * exec'd or died, or the killer died (CLONE_CHILD_CLEARTID). Non-private futex:
 * the kernel wakes that kind, clone(2). */
enum { GONE, CREATING, CONFINED };
static volatile u32 progress = CREATING;
static volatile u32 gate; /* 1: the parked child may exec */
static volatile s32 listener = -1;
static volatile u32 failed_step;
static volatile s32 failed_errno;
static volatile s32 child_pid;
static s32 killer_pid, child_pidfd = -1, parent_pidfd = -1, parent_tty = -1;

static char killer_stack[8192] __attribute__((aligned(16)));
static char child_stack[16384] __attribute__((aligned(16)));

static int fd_of(enum fd_slot slot) { return (int)nfds + (int)slot; }

static void fail(enum step step, long err)
{
	if (failed_step)
		return;
	failed_errno = (s32)-err;
	failed_step = step;
}

/* ---- the command's task, up to its exec ------------------------------- */

static void __attribute__((noreturn)) child_fail(enum step step, long err)
{
	fail(step, err);
	sys1(__NR_exit_group, 127);
	__builtin_unreachable();
}

static void check(enum step step, long r)
{
	if (r < 0)
		child_fail(step, r);
}

static void child_session(void)
{
	if (!(req->flags & REQ_INTERACTIVE)) {
		check(STEP_SESSION, sys0(__NR_setsid));
		return;
	}
	check(STEP_SESSION, sys2(__NR_setpgid, 0, 0));
	if (req->tty >= 0) {
		/* SIGTTOU is blocked, so a background task may do this: tcsetpgrp(3). */
		s32 pgrp = (s32)sys0(__NR_getpid);
		check(STEP_TERMINAL, sys3(__NR_ioctl, req->tty, TIOCSPGRP, &pgrp));
	}
}

static void child_limits(void)
{
	if (req->flags & REQ_NO_CORE) {
		u64 none[2] = { 0, 0 };
		check(STEP_CORE_LIMIT, sys4(__NR_prlimit64, 0, RLIMIT_CORE, none, 0));
	}
	if (req->flags & REQ_AFFINITY)
		check(STEP_AFFINITY, sys3(__NR_sched_setaffinity, 0, CPU_BYTES, req->cpus));
	if (req->flags & REQ_NO_THP)
		check(STEP_THP, sys5(__NR_prctl, PR_SET_THP_DISABLE, 1, 0, 0, 0));
	if (req->flags & REQ_NO_RANDOMIZE) {
		long old = sys1(__NR_personality, 0xffffffff);
		check(STEP_PERSONALITY, old);
		check(STEP_PERSONALITY, sys1(__NR_personality, old | ADDR_NO_RANDOMIZE));
	}
}

/* Under no_new_privs an exec gains no capability, so lowering the sets once is
 * final: capabilities(7), "no_new_privs". */
static void child_capabilities(void)
{
	struct { u32 version; s32 pid; } head = { CAPABILITY_VERSION_3, 0 };
	struct { u32 effective, permitted, inheritable; } sets[2];
	int i;

	check(STEP_CAPABILITIES, sys2(__NR_capget, &head, sets));
	/* An exec by root would have gained what is dropped here, had no_new_privs not
	 * forbidden it, and that alone clears ADDR_NO_RANDOMIZE (per_clear,
	 * cap_bprm_creds_from_file); so there the bounding set goes too. */
	if (req->flags & REQ_NO_RANDOMIZE && sets[0].effective & 1u << CAP_SETPCAP)
		for (i = 0; i < 64; i++)
			if (!(req->keep_caps >> i & 1))
				sys5(__NR_prctl, PR_CAPBSET_DROP, i, 0, 0, 0);
	for (i = 0; i < 2; i++) {
		u32 keep = (u32)(req->keep_caps >> (32 * i));
		sets[i].effective &= keep;
		sets[i].permitted &= keep;
		sets[i].inheritable = 0;
	}
	check(STEP_CAPABILITIES, sys2(__NR_capset, &head, sets));
}

static void child_filter(void)
{
	struct { u16 len; void *filter; } prog = { (u16)req->filter_len, filter };
	u64 flags = 0;
	long r;

	if (!req->filter_len)
		return;
	if (req->flags & REQ_LISTENER)
		flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
	r = sys3(__NR_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
	check(STEP_SECCOMP, r);
	if (req->flags & REQ_LISTENER)
		listener = (s32)r;
}

/* After the filter is on only futex, prlimit64, execve and exit_group are
 * called, which no policy may deny. */
static void child_main(void)
{
	u64 mask = 0;
	long r;

	/* Here, since the parent may reap this task before the killer is back from
	 * the clone. */
	child_pid = (s32)sys0(__NR_getpid);
	child_session();
	if (req->flags & REQ_CWD)
		check(STEP_CWD, sys1(__NR_fchdir, fd_of(FD_CWD)));
	child_limits();
	check(STEP_CLOSE_RANGE, sys3(__NR_close_range, nfds, ~0u, CLOSE_RANGE_CLOEXEC));
	sys4(__NR_rt_sigprocmask, SIG_SETMASK, &mask, 0, sizeof mask);
	child_capabilities();
	check(STEP_NO_NEW_PRIVS, sys5(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	if (req->flags & REQ_RULESET)
		check(STEP_LANDLOCK, sys2(__NR_landlock_restrict_self, fd_of(FD_RULESET), 0));
	child_filter();

	if (req->flags & (REQ_LISTENER | REQ_PARK)) {
		progress = CONFINED;
		futex_wake(&progress);
	}
	if (req->flags & REQ_PARK)
		while (!gate)
			futex_wait(&gate, 0);
	if (req->flags & REQ_NOFILE) {
		/* Last, since the listener took a descriptor: seccomp(2) EMFILE. */
		u64 limit[2];
		check(STEP_NOFILE, sys4(__NR_prlimit64, 0, RLIMIT_NOFILE, 0, limit));
		if (limit[0] > req->nofile)
			limit[0] = req->nofile;
		if (limit[1] > req->nofile)
			limit[1] = req->nofile;
		check(STEP_NOFILE, sys4(__NR_prlimit64, 0, RLIMIT_NOFILE, limit, 0));
	}
	r = sys3(__NR_execve, path, argv, envp);
	child_fail(STEP_EXEC, r);
}

/* ---- the killer -------------------------------------------------------- */

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
		child_fail(STEP_KILLER_PROOF, r);
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
		child_fail(STEP_KILLER_PROOF, r < 0 ? r : -ENOTRECOVERABLE);
}

/* The killer needs four descriptors; all others, the command's among them, are
 * closed in its own table, or no pipe would ever end. */
static void killer_descriptors(void)
{
	sys1(__NR_unshare, CLONE_FILES);
	sys3(__NR_dup3, child_pidfd, fd_of(FD_RULESET), O_CLOEXEC);
	sys3(__NR_dup3, parent_pidfd, fd_of(FD_CWD), O_CLOEXEC);
	sys3(__NR_close_range, 0, fd_of(FD_CTL), 0);
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

static void killer_main(void)
{
	u64 flags = CLONE_VM | CLONE_PARENT | CLONE_PIDFD | CLONE_CHILD_CLEARTID | SIGCHLD;
	struct pollfd fds[4];
	long r;

	if (req->killer_scope)
		killer_domain();
	if (req->flags & REQ_LISTENER)
		flags |= CLONE_FILES; /* exec undoes it: unshare_files() in begin_new_exec */
	r = spawn(flags, child_stack + sizeof child_stack, &child_pidfd, &progress, child_main);
	if (r < 0)
		child_fail(STEP_CHILD_CLONE, r);
	killer_descriptors();

	fds[0].fd = fd_of(FD_ORDER);
	fds[1].fd = fd_of(FD_HOST);
	fds[2].fd = fd_of(FD_RULESET); /* the child's pidfd, moved */
	fds[3].fd = fd_of(FD_CWD);     /* the parent's */
	for (;;) {
		int i;
		for (i = 0; i < 4; i++)
			fds[i].events = POLLIN, fds[i].revents = 0;
		if (sys_poll(fds, 4) < 0)
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

/* ---- the parent -------------------------------------------------------- */

static void send_message(struct message *m, int fd)
{
	struct { u64 len; s32 level, type, fd, pad; } control = { 20, SOL_SOCKET, SCM_RIGHTS, fd, 0 };
	struct iovec iov = { m, sizeof *m };
	struct msghdr mh = { 0, 0, &iov, 1, 0, 0, 0, 0 };

	if (fd >= 0) {
		mh.control = &control;
		mh.controllen = sizeof control;
	}
	while (sys3(__NR_sendmsg, fd_of(FD_CTL), &mh, MSG_NOSIGNAL) == -EINTR)
		;
}

/* The execs between approval and outcome: DESIGN, "The life of an exec". */
enum { TRACEES = 1024 };
static struct tracee { s32 tid; u64 id; } tracees[TRACEES];
static u32 ntracees;

static struct tracee *tracee_of_tid(s32 tid)
{
	u32 i;
	for (i = 0; i < ntracees; i++)
		if (tracees[i].tid == tid)
			return &tracees[i];
	return 0;
}

static struct tracee *tracee_of_id(u64 id)
{
	u32 i;
	for (i = 0; i < ntracees; i++)
		if (tracees[i].id == id)
			return &tracees[i];
	return 0;
}

static void no_exec(u64 id, enum no_exec what, long err)
{
	struct message m = { 0 };
	m.type = MSG_NO_EXEC;
	m.id = id;
	m.what = what;
	m.error = (s32)-err;
	send_message(&m, -1);
}

static void forget(struct tracee *t) { *t = tracees[--ntracees]; }

/* Seize, queue an interrupt, answer "continue". The interrupt becomes a stop
 * when the exec has failed; before 5.19, without WAIT_KILLABLE_RECV, it would
 * cancel the notification. If the notification is gone, tid may by now be
 * somebody else, who is let go at the stop that the interrupt makes. */
static void approve(s32 tid, u64 id)
{
	struct { u64 id; s64 val; s32 error; u32 flags; } answer = { id, 0, 0, 1 };
	struct tracee *t;
	long r;

	if (ntracees == TRACEES) {
		no_exec(id, NO_EXEC_REFUSED, -EAGAIN);
		return;
	}
	r = sys4(__NR_ptrace, PTRACE_SEIZE, tid, 0, PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL);
	if (r < 0) {
		no_exec(id, r == -ESRCH ? NO_EXEC_GONE : NO_EXEC_REFUSED, r);
		return;
	}
	t = &tracees[ntracees++];
	t->tid = tid;
	t->id = id;
	sys4(__NR_ptrace, PTRACE_INTERRUPT, tid, 0, 0);
	r = sys3(__NR_ioctl, listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
	if (r < 0) {
		t->id = 0;
		no_exec(id, NO_EXEC_GONE, r);
	}
}

static void settle(u32 type, u64 id)
{
	struct tracee *t = tracee_of_id(id);
	if (!t)
		return;
	if (type == ORDER_REFUSE) {
		sys2(__NR_kill, t->tid, SIGKILL); /* its death is reported when reaped */
		return;
	}
	sys4(__NR_ptrace, PTRACE_DETACH, t->tid, 0, 0);
	forget(t);
}

static void stopped(s32 tid, s32 status)
{
	int event = status >> 16, sig = (status >> 8) & 0xff;
	struct tracee *t;
	struct message m = { 0 };
	unsigned long former = 0;

	if (event == PTRACE_EVENT_EXEC) {
		sys4(__NR_ptrace, PTRACE_GETEVENTMSG, tid, 0, &former);
		t = tracee_of_tid((s32)former);
		if (t && t->id) {
			t->tid = tid;
			m.type = MSG_EXEC;
			m.pid = tid;
			m.id = t->id;
			send_message(&m, -1);
			return;
		}
		/* An exec that nobody approved can't have got here; it does not run. */
		sys2(__NR_kill, tid, SIGKILL);
		return;
	}
	t = tracee_of_tid(tid);
	if (event == PTRACE_EVENT_STOP) {
		if (sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU) {
			sys4(__NR_ptrace, PTRACE_LISTEN, tid, 0, 0);
			return;
		}
		sys4(__NR_ptrace, PTRACE_DETACH, tid, 0, 0);
		if (t && t->id)
			no_exec(t->id, NO_EXEC_FAILED, 0);
		if (t)
			forget(t);
		return;
	}
	sys4(__NR_ptrace, PTRACE_CONT, tid, 0, (long)sig);
}

static s32 child_status = SIGKILL; /* of a child that never ran */
static int walking;

/* Ends what the killer could not: children of this subreaper, and, as they
 * die, the orphans that come to it; each death brings it here again. */
static void walk(void)
{
	char name[64], buf[4096];
	s32 self = (s32)sys0(__NR_getpid);
	long fd, n, i;
	s32 pid = 0;

	format_children_path(name, self);
	fd = sys4(__NR_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0) {
		fail(STEP_WALK, fd);
		sys2(__NR_kill, child_pid, SIGKILL);
		return;
	}
	while ((n = sys3(__NR_read, fd, buf, sizeof buf)) > 0)
		for (i = 0; i < n; i++) {
			if (buf[i] >= '0' && buf[i] <= '9') {
				pid = pid * 10 + (buf[i] - '0');
				continue;
			}
			if (pid > 0 && pid != killer_pid)
				sys2(__NR_kill, pid, SIGKILL);
			pid = 0;
		}
	sys1(__NR_close, fd);
}

/* Returns 1 when no child is left. */
static int reap(void)
{
	for (;;) {
		s32 status = 0;
		struct tracee *t;
		long pid = sys4(__NR_wait4, -1, &status, WNOHANG | WALL, 0);

		if (pid == -ECHILD)
			return 1;
		if (pid <= 0)
			break;
		if ((status & 0xff) == 0x7f) {
			stopped((s32)pid, status);
			continue;
		}
		t = tracee_of_tid((s32)pid);
		if (t) {
			if (t->id)
				no_exec(t->id, NO_EXEC_DIED, 0);
			forget(t);
		}
		if (pid == child_pid)
			child_status = status;
		else if (pid == killer_pid)
			walking = status != 0;
	}
	if (walking)
		walk();
	return 0;
}

static void take_order(void)
{
	struct order o = { 0 };
	long n = sys4x(__NR_recvfrom, fd_of(FD_CTL), &o, sizeof o, MSG_DONTWAIT);

	if (n != sizeof o)
		return;
	switch (o.type) {
	case ORDER_GO:
		gate = 1;
		futex_wake(&gate);
		break;
	case ORDER_APPROVE:
		approve(o.tid, o.id);
		break;
	case ORDER_RELEASE:
	case ORDER_REFUSE:
		settle(o.type, o.id);
		break;
	}
}

static void parent_loop(int sigfd)
{
	struct pollfd fds[2];
	char sink[512];

	fds[0].fd = sigfd;
	fds[1].fd = fd_of(FD_CTL);
	while (!reap()) {
		fds[0].events = fds[1].events = POLLIN;
		fds[0].revents = fds[1].revents = 0;
		if (sys_poll(fds, 2) < 0)
			continue;
		if (fds[0].revents & POLLNVAL)
			sys1(__NR_exit_group, 3); /* a bug; the killer ends the sandbox */
		if (fds[0].revents)
			sys3(__NR_read, sigfd, sink, sizeof sink);
		if (fds[1].revents & POLLIN)
			take_order();
		if (fds[1].revents & POLLHUP)
			fds[1].fd = -1; /* the killer sees the host's death for itself */
	}
}

static void __attribute__((noreturn)) parent_end(void)
{
	struct { s64 utime[2], stime[2]; s64 maxrss, rest[13]; } usage;
	struct message m = { 0 };

	if (parent_tty >= 0)
		sys3(__NR_ioctl, parent_tty, TIOCSPGRP, &req->tty_pgrp);
	sys2(__NR_getrusage, RUSAGE_CHILDREN, &usage);
	m.type = MSG_END;
	m.pid = child_pid;
	m.status = child_status;
	m.step = failed_step;
	m.error = failed_errno;
	m.ended_by = walking ? 2 : 1;
	m.user_usec = (u64)(usage.utime[0] * 1000000 + usage.utime[1]);
	m.system_usec = (u64)(usage.stime[0] * 1000000 + usage.stime[1]);
	m.max_rss = (u64)usage.maxrss * 1024;
	send_message(&m, -1);
	sys1(__NR_exit_group, 0);
	__builtin_unreachable();
}

/* The strings of the request become path, argv and envp. Returns 0 when the
 * counts and the bytes agree. */
static int parse_request(char *base, char *end, char **slots)
{
	char *p = base + sizeof *req + (u64)req->filter_len * 8;
	u64 want = 1 + (u64)req->argc + req->envc, i;

	if (p > end || req->argc == 0 || end[-1] != 0)
		return -1;
	filter = base + sizeof *req;
	for (i = 0; i < want; i++) {
		if (p >= end)
			return -1;
		if (i == 0)
			path = p;
		else
			*slots++ = p;
		if (i == req->argc || i == want - 1)
			*slots++ = 0;
		while (*p)
			p++;
		p++;
	}
	if (!req->envc)
		*slots = 0;
	return p == end ? 0 : -1;
}

static int read_request(void)
{
	struct pollfd fds[2] = { { fd_of(FD_CTL), POLLIN, 0 }, { fd_of(FD_HOST), POLLIN, 0 } };
	struct request head;
	u64 have = 0, slots;
	char *base = 0;

	do {
		long n;
		if (sys_poll(fds, 2) < 0)
			continue;
		if (fds[1].revents)
			return -1;
		n = sys4x(__NR_recvfrom, fd_of(FD_CTL), base ? base + have : (char *)&head,
			  base ? head.total - have : sizeof head, base ? 0 : MSG_PEEK);
		if (n == -EINTR)
			continue;
		if (n <= 0)
			return -1;
		if (base) {
			have += (u64)n;
			continue;
		}
		if ((u64)n < sizeof head || head.magic != REQUEST_MAGIC || head.version != PROTOCOL_VERSION ||
		    head.total <= sizeof head || head.total > REQUEST_MAX ||
		    head.argc > REQUEST_MAX || head.envc > REQUEST_MAX || head.filter_len > 4096)
			return -1;
		slots = ((u64)head.argc + head.envc + 3) * sizeof(char *);
		n = sys6(__NR_mmap, 0, WORDS(head.total) * 8 + slots, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (n < 0 && n > -4096)
			return -1;
		base = (char *)n;
	} while (!base || have < head.total);
	req = (struct request *)base;
	argv = (char **)(base + WORDS(head.total) * 8);
	envp = argv + head.argc + 1;
	return parse_request(base, base + head.total, argv);
}

/* Slots that the host left empty are filled, so that no descriptor made later
 * gets a number that means something else. */
static void parent_slots(void)
{
	if (!(req->flags & REQ_RULESET))
		sys3(__NR_dup3, fd_of(FD_CTL), fd_of(FD_RULESET), O_CLOEXEC);
	if (!(req->flags & REQ_CWD))
		sys3(__NR_dup3, fd_of(FD_CTL), fd_of(FD_CWD), O_CLOEXEC);
}

static void parent_descriptors(void)
{
	sys1(__NR_unshare, CLONE_FILES);
	if (req->tty >= 0) {
		parent_tty = fd_of(FD_CWD);
		sys3(__NR_dup3, req->tty, parent_tty, O_CLOEXEC);
	} else {
		sys1(__NR_close, fd_of(FD_CWD));
	}
	if (nfds)
		sys3(__NR_close_range, 0, nfds - 1, 0);
	sys3(__NR_close_range, fd_of(FD_ORDER), fd_of(FD_RULESET), 0);
	if (req->flags & REQ_LISTENER && child_pidfd >= 0)
		sys1(__NR_close, child_pidfd);
}

/* Blocks every signal, makes this the reaper of all orphans below it, and
 * undoes what an ignored SIGCHLD of the host would do to wait4: wait(2). */
static void parent_init(void)
{
	u64 all = ~0ull;
	struct { u64 handler, flags, restorer, mask; } dfl = { 0, 0, 0, 0 };
	int sig;

	sys4(__NR_rt_sigprocmask, SIG_SETMASK, &all, 0, sizeof all);
	for (sig = 1; sig <= 64; sig++)
		sys4(__NR_rt_sigaction, sig, &dfl, 0, sizeof all);
	sys5(__NR_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

void __attribute__((used, noreturn)) warden_main(long *sp)
{
	char **args = (char **)(sp + 1);
	u64 flags = CLONE_VM | CLONE_CHILD_CLEARTID | SIGCHLD, chld = 1ull << (SIGCHLD - 1);
	struct message created = { 0 };
	long sigfd, r;
	char *p;

	if (sp[0] < 2)
		sys1(__NR_exit_group, 2);
	for (p = args[1]; *p >= '0' && *p <= '9'; p++)
		nfds = nfds * 10 + (u32)(*p - '0');
	parent_init();
	if (read_request() < 0) {
		req = 0;
		fail(STEP_REQUEST, -EPROTO);
		parent_end();
	}
	parent_slots();
	if (!(req->flags & REQ_INTERACTIVE))
		sys0(__NR_setsid); /* out of reach of the host's terminal and job control */
	sigfd = sys4(__NR_signalfd4, -1, &chld, sizeof chld, O_CLOEXEC | O_NONBLOCK);
	parent_pidfd = (s32)sys2(__NR_pidfd_open, sys0(__NR_getpid), 0);
	if (sigfd < 0 || parent_pidfd < 0) {
		fail(STEP_KILLER_CLONE, sigfd < 0 ? sigfd : parent_pidfd);
		parent_end();
	}
	if (req->flags & REQ_LISTENER)
		flags |= CLONE_FILES;
	r = spawn(flags, killer_stack + sizeof killer_stack, 0, &progress, killer_main);
	if (r < 0) {
		fail(STEP_KILLER_CLONE, r);
		parent_end();
	}
	killer_pid = (s32)r;
	if (req->flags & (REQ_LISTENER | REQ_PARK))
		while (progress == CREATING)
			futex_wait(&progress, CREATING);
	parent_descriptors();
	if (req->flags & (REQ_LISTENER | REQ_PARK) && !failed_step) {
		created.type = MSG_CREATED;
		created.pid = child_pid;
		created.killer = killer_pid;
		send_message(&created, listener);
	}
	parent_loop((int)sigfd);
	parent_end();
}
