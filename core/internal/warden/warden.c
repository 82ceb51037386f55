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
 * parent's child but inside the killer's Landlock domain. Where the killer has no
 * domain, the task is its own child: see killer_reap.
 */
#include "warden.h"

#define WORDS(n) (((n) + 7) / 8)

struct request *req;
char **argv, **envp, *path;
void *filter;
u32 nfds;
volatile u32 progress = CREATING, gate;
volatile s32 listener = -1, child_pid;
volatile u32 limits_met;
volatile s32 memory_victim;
volatile u64 memory_found;
u8 host_cpus[CPU_BYTES];
int confined_to_cpu;
s32 child_pidfd = -1, parent_pidfd = -1, parent_pid, child_parent;

static volatile u32 failed_step;
static volatile s32 failed_errno;
static s32 killer_pid, parent_tty = -1, terminal_given = 1;
static char killer_stack[16384] __attribute__((aligned(16)));

void fail(enum step step, long err)
{
	if (failed_step)
		return;
	failed_errno = (s32)-err;
	failed_step = step;
}

void die(enum step step, long err)
{
	fail(step, err);
	sys1(__NR_exit_group, 127);
	__builtin_unreachable();
}

void check(enum step step, long r)
{
	if (r < 0)
		die(step, r);
}

void send_message(struct message *m, int fd)
{
	struct { u64 len; s32 level, type, fd, pad; } control = { 20, SOL_SOCKET, SCM_RIGHTS, fd, 0 };
	struct iovec iov = { m, sizeof *m };
	struct msghdr mh = { 0, 0, &iov, 1, 0, 0, 0, 0 };
	int tries = 0;
	long r;

	if (fd >= 0) {
		mh.control = &control;
		mh.controllen = sizeof control;
	}
	do
		r = sys3(__NR_sendmsg, fd_of(FD_CTL), &mh, MSG_NOSIGNAL);
	while (r == -EINTR || ((r == -ENOBUFS || r == -ENOMEM) && tries++ < 100 && !sys0(__NR_sched_yield)));
	/* The host may wait for it: it sees this end, as the killer does. */
	if (r == -ENOBUFS || r == -ENOMEM)
		sys1(__NR_exit_group, 3);
}

volatile s32 child_status = SIGKILL; /* of a child that never ran */
static int child_over, walking;

/* A task that somebody outside has stopped ends nothing. The host, and the killer by its
 * end, continue the parent with SIGCONT, which acts on a task that blocks it too: signal(7);
 * and the parent passes it on. (The killer's domain forbids it the way back.) */
static void continue_killer(void)
{
	if (killer_pid)
		sys2(__NR_kill, killer_pid, SIGCONT);
}

/* Kills the children of the subreaper that calls it. As they die, the orphans come to it,
 * so each death has to bring it here again. The parent does this when the killer was
 * killed itself. */
void walk(void)
{
	char name[PATH_BYTES], buf[4096];
	s32 self = (s32)sys0(__NR_getpid);
	long fd, n, i;
	s32 pid = 0;

	format_path(name, "/proc/self/task/", self, "/children");
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

/* The killer is a child that only __WALL sees, wait(2), since its exit signal is not
 * SIGCHLD. So this asks whether the command has left nothing behind: every task of the
 * sandbox descends from a child of this subreaper. Then there is nobody to kill but the
 * killer, whose walk over all processes of the machine is saved. */
static int nothing_left(void)
{
	return sys4(__NR_wait4, -1, 0, WNOHANG, 0) == -ECHILD;
}

static int reap_more;

/* Reaps some of what has died. Returns 1 when no child is left. */
static int reap(void)
{
	long how = WNOHANG | WALL | (req->flags & REQ_JOBS ? WUNTRACED : 0);
	int i;

	for (i = 0; i < REAP_AT_ONCE; i++) {
		s32 status = 0;
		long pid;

		hold_answer();
		pid = req->max_cpu && all_traced() ? wait_and_count(&status) : sys4(__NR_wait4, -1, &status, how, 0);
		if (pid == -ECHILD)
			return 1;
		if (pid <= 0)
			break;
		if ((status & 0xff) == 0x7f) {
			tracee_stopped((s32)pid, status);
			continue;
		}
		tracee_died((s32)pid);
		if (pid == child_pid)
			child_status = status, child_over = 1;
		else if (pid == killer_pid)
			killer_pid = 0, walking = status != 0;
	}
	reap_more = i == REAP_AT_ONCE;
	if (walking)
		walk();
	if (!killer_pid || !child_over)
		return 0;
	/* Without a domain they are the killer's children, of which this can't know. */
	if (req->killer_scope && nothing_left()) {
		sys2(__NR_kill, killer_pid, SIGKILL);
		while (sys4(__NR_wait4, killer_pid, 0, WALL, 0) == -EINTR)
			;
		return 1;
	}
	continue_killer();
	return 0;
}

static int take_order(void)
{
	static struct { struct order o; char cmdline[CMDLINE_MAX]; } in;
	struct order o;
	long n = sys4x(__NR_recvfrom, fd_of(FD_CTL), &in, sizeof in, MSG_DONTWAIT);

	if (n < (long)sizeof o)
		return n > 0;
	o = in.o;
	switch (o.type) {
	case ORDER_GO:
		gate = 1;
		futex_wake(&gate);
		break;
	case ORDER_FREEZE:
		tracee_freeze(o.tid, o.id);
		break;
	case ORDER_THAW:
		tracee_thaw(o.id);
		break;
	case ORDER_APPROVE:
		tracee_approve(o.tid, o.tgid, o.id, in.cmdline, (u32)n - sizeof o);
		break;
	case ORDER_RELEASE:
	case ORDER_REFUSE:
		tracee_settle(o.type, o.id);
		break;
	case ORDER_LIMIT:
		fork_limit((u32)o.id);
		break;
	case ORDER_CONT:
		terminal_given = o.id != 0;
		if (!child_over)
			sys2(__NR_kill, -child_pid, SIGCONT);
		break;
	}
	return 1;
}

void take_orders(void)
{
	while (take_order())
		;
}

/* SIGCHLD only wakes: which children ended, wait(2) says. */
static void take_signals(int sigfd)
{
	struct { u32 signo, rest[31]; } infos[2]; /* signalfd(2) */
	long n = sys3(__NR_read, sigfd, infos, sizeof infos), i;

	for (i = 0; i < n / (long)sizeof *infos; i++)
		if (infos[i].signo == SIGCONT)
			continue_killer();
}

static void parent_loop(int sigfd)
{
	struct pollfd fds[4];
	struct timespec again = { 0, 0 };
	u64 times;
	long n;
	int i;

	fds[0].fd = sigfd;
	fds[1].fd = fd_of(FD_CTL);
	fds[2].fd = fd_of(FD_HOST);
	fds[3].fd = hold_fd;
	while (!reap()) {
		for (i = 0; i < 4; i++)
			fds[i].events = POLLIN, fds[i].revents = 0;
		again.nsec = reap_more ? 0 : 5 * 1000 * 1000;
		n = sys_poll(fds, 4, reap_more || tracee_stopping() ? &again : 0);
		if (n == 0)
			tracee_recheck();
		if (n <= 0)
			continue;
		if (fds[0].revents & POLLNVAL)
			sys1(__NR_exit_group, 3); /* a bug; the killer ends the sandbox */
		if (fds[0].revents)
			take_signals(sigfd);
		if (fds[2].revents) {
			fds[2].fd = -1; /* the killer sees the host's death for itself, if it runs */
			continue_killer();
		}
		if (fds[3].revents)
			sys3(__NR_read, hold_fd, &times, sizeof times); /* reap() looks what it is */
		if (fds[1].revents & POLLIN)
			take_orders();
		if (fds[1].revents & POLLHUP)
			fds[1].fd = -1;
	}
}

static void __attribute__((noreturn)) parent_end(void)
{
	struct { s64 utime[2], stime[2]; s64 maxrss, rest[13]; } usage;
	struct message m = { 0 };

	if (parent_tty >= 0 && terminal_given)
		sys3(__NR_ioctl, parent_tty, TIOCSPGRP, &req->tty_pgrp);
	sys2(__NR_getrusage, RUSAGE_CHILDREN, &usage);
	m.type = MSG_END;
	m.pid = child_pid;
	m.status = child_status;
	m.step = failed_step;
	m.error = failed_errno;
	m.ended_by = walking || (req && !req->killer_scope) ? 2 : 1;
	m.user_usec = (u64)(usage.utime[0] * 1000000 + usage.utime[1]);
	m.system_usec = (u64)(usage.stime[0] * 1000000 + usage.stime[1]);
	m.max_rss = (u64)usage.maxrss * 1024;
	m.limits = limits_met;
	m.processes = fork_total();
	m.memory_victim = memory_victim;
	m.memory_found = memory_found;
	m.cgroup_error = cgroup_error;
	if (req && req->flags & REQ_CGROUP)
		m.cgroup_killed = cgroup_remove();
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

static long read_request(void)
{
	struct pollfd fds[2] = { { fd_of(FD_CTL), POLLIN, 0 }, { fd_of(FD_HOST), POLLIN, 0 } };
	struct request head;
	u64 have = 0, slots;
	char *base = 0;

	do {
		long n;
		if (sys_poll(fds, 2, 0) < 0)
			continue;
		if (fds[1].revents)
			return -EPROTO;
		n = sys4x(__NR_recvfrom, fd_of(FD_CTL), base ? base + have : (char *)&head,
			  base ? head.total - have : sizeof head, base ? 0 : MSG_PEEK);
		if (n == -EINTR)
			continue;
		if (n <= 0)
			return n ? n : -EPROTO;
		if (base) {
			have += (u64)n;
			continue;
		}
		if ((u64)n < sizeof head || head.magic != REQUEST_MAGIC || head.version != PROTOCOL_VERSION ||
		    head.total <= sizeof head || head.total > REQUEST_MAX ||
		    head.argc > REQUEST_MAX || head.envc > REQUEST_MAX || head.filter_len > 4096)
			return -EPROTO;
		slots = ((u64)head.argc + head.envc + 3) * sizeof(char *);
		n = sys6(__NR_mmap, 0, WORDS(head.total) * 8 + slots, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (n < 0 && n > -4096)
			return n;
		base = (char *)n;
	} while (!base || have < head.total);
	req = (struct request *)base;
	argv = (char **)(base + WORDS(head.total) * 8);
	envp = argv + head.argc + 1;
	return parse_request(base, base + head.total, argv) < 0 ? -EPROTO : 0;
}

/* Slots that the host left empty are filled, so that no descriptor made later
 * gets a number that means something else. */
static long parent_slots(void)
{
	long r = 0;
	if (!(req->flags & REQ_EXEC))
		r = sys3(__NR_dup3, fd_of(FD_CTL), fd_of(FD_EXEC), O_CLOEXEC);
	if (r >= 0 && !(req->flags & REQ_RULESET))
		r = sys3(__NR_dup3, fd_of(FD_CTL), fd_of(FD_RULESET), O_CLOEXEC);
	if (r >= 0 && !(req->flags & REQ_CWD))
		r = sys3(__NR_dup3, fd_of(FD_CTL), fd_of(FD_CWD), O_CLOEXEC);
	if (r >= 0 && !(req->flags & REQ_CGROUP))
		r = sys3(__NR_dup3, fd_of(FD_CTL), fd_of(FD_CGROUP), O_CLOEXEC);
	return r;
}

static long parent_descriptors(void)
{
	/* Not unshare(2), which filters of containers refuse. */
	long r = sys3(__NR_close_range, fd_of(FD_ORDER), fd_of(FD_ORDER), CLOSE_RANGE_UNSHARE);

	if (r < 0)
		return r;
	sys1(__NR_close, fd_of(FD_RULESET));
	if (req->tty >= 0) {
		if ((r = sys3(__NR_dup3, req->tty, fd_of(FD_CWD), O_CLOEXEC)) < 0)
			return r;
		parent_tty = fd_of(FD_CWD);
	} else {
		sys1(__NR_close, fd_of(FD_CWD));
	}
	r = sys3(__NR_close_range, 0, fd_of(FD_EXEC), 0);
	if (req->flags & REQ_LISTENER && child_pidfd >= 0)
		sys1(__NR_close, child_pidfd);
	return r;
}

/* Blocks every signal, makes this the reaper of all orphans below it, and
 * undoes what an ignored SIGCHLD of the host would do to wait4: wait(2). */
static long parent_init(void)
{
	u64 all = ~0ull;
	struct { u64 handler, flags, restorer, mask; } dfl = { 0, 0, 0, 0 };
	int sig;

	sys4(__NR_rt_sigprocmask, SIG_SETMASK, &all, 0, sizeof all);
	for (sig = 1; sig <= 64; sig++)
		sys4(__NR_rt_sigaction, sig, &dfl, 0, sizeof all);
	return sys5(__NR_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

/* Confines the parent, and by that the killer and, up to its exec, the child, to the CPU
 * that this runs on. They mostly wake one another, and to wake a task that last ran here
 * on another CPU because this one is busy with the waker takes an interrupt, which costs
 * tens of microseconds in a virtual machine. It is no loss if that can't be had. */
static void parent_cpu(void)
{
	static u8 here[CPU_BYTES];
	u32 cpu;

	if (sys3(__NR_getcpu, &cpu, 0, 0) < 0 || cpu >= CPU_BYTES * 8 ||
	    sys3(__NR_sched_getaffinity, 0, CPU_BYTES, host_cpus) < 0)
		return;
	here[cpu / 8] = (u8)(1 << cpu % 8);
	confined_to_cpu = sys3(__NR_sched_setaffinity, 0, CPU_BYTES, here) == 0;
}

void __attribute__((used, noreturn)) warden_main(long *sp)
{
	char **args = (char **)(sp + 1);
	/* SIGCONT is what the parent gets at the killer's end: continue_killer() */
	u64 flags = CLONE_VM | CLONE_CHILD_CLEARTID | SIGCONT, ends = 1ull << (SIGCHLD - 1) | 1ull << (SIGCONT - 1);
	struct message created = { 0 };
	long sigfd, reaper, r;
	char *p;

	if (sp[0] < 2)
		sys1(__NR_exit_group, 2);
	for (p = args[1]; *p >= '0' && *p <= '9'; p++)
		nfds = nfds * 10 + (u32)(*p - '0');
	reaper = parent_init();
	parent_pid = (s32)sys0(__NR_getpid);
	if ((r = read_request()) < 0) {
		req = 0;
		fail(STEP_REQUEST, r);
		parent_end();
	}
	r = parent_slots();
	if (reaper < 0 || r < 0) {
		fail(STEP_KILLER_CLONE, reaper < 0 ? reaper : r);
		parent_end();
	}
	/* Out of reach of the host's job control. Every signal that a terminal sends is blocked. */
	if (!(req->flags & REQ_INTERACTIVE))
		sys2(__NR_setpgid, 0, 0);
	parent_cpu();
	sigfd = sys4(__NR_signalfd4, -1, &ends, sizeof ends, O_CLOEXEC | O_NONBLOCK);
	parent_pidfd = (s32)sys2(__NR_pidfd_open, parent_pid, 0);
	if (sigfd < 0 || parent_pidfd < 0) {
		fail(STEP_KILLER_CLONE, sigfd < 0 ? sigfd : parent_pidfd);
		parent_end();
	}
	if (req->flags & REQ_MAX_PROCESSES) {
		r = sys2(__NR_eventfd2, 0, O_CLOEXEC | O_NONBLOCK);
		if (r < 0) {
			fail(STEP_KILLER_CLONE, r);
			parent_end();
		}
		hold_fd = (int)r;
	}
	if (req->flags & REQ_LISTENER)
		flags |= CLONE_FILES;
	r = spawn(flags, killer_stack + sizeof killer_stack, 0, &progress, killer_main);
	if (r < 0) {
		fail(STEP_KILLER_CLONE, r);
		parent_end();
	}
	killer_pid = (s32)r;
	if (req->flags & HANDSHAKE)
		while (progress == CREATING)
			futex_wait(&progress, CREATING);
	if (req->flags & REQ_MAX_PROCESSES && progress == CONFINED && (r = fork_begin(child_pid)) < 0) {
		fail(STEP_TRACE, r);
		sys2(__NR_kill, child_pid, SIGKILL);
	}
	/* First where it is the sandbox's own time: without max_cpu a storm of signals could have
	 * this take all that there is. */
	if (all_traced() && (req->max_memory || req->max_cpu))
		run_in_time(req->max_cpu != 0);
	if ((r = parent_descriptors()) < 0) {
		fail(STEP_CLOSE_RANGE, r);
		sys2(__NR_kill, killer_pid, SIGKILL); /* the rest is done by the walk */
	}
	if (!(req->flags & REQ_PARK) && !failed_step) {
		gate = 1;
		futex_wake(&gate);
	}
	if (req->flags & (REQ_LISTENER | REQ_PARK) && !failed_step) {
		created.type = MSG_CREATED;
		created.pid = child_pid;
		created.killer = killer_pid;
		created.cgroup_error = cgroup_error;
		send_message(&created, listener);
	}
	parent_loop((int)sigfd);
	parent_end();
}
