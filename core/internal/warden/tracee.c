//go:build ignore
// (for the go command, which would want cgo: the Makefile builds this)

/* The execs that the supervisor let through, traced from the approval to the
 * outcome, and the threads that are stopped meanwhile: DESIGN, "The life of an
 * exec". */
#include "warden.h"
#include "limits.h"

enum state {
	CALLER,   /* its exec is approved, the outcome unknown */
	STOPPING, /* a sibling of the caller of id: seized and interrupted */
	HELD,     /* the same, and it will stop or end before it runs: see runs() */
	FROZEN,   /* stopped */
	THAWING,  /* seized and interrupted for nothing: goes on at its stop */
};

enum { TRACEES = 8192 };
static struct tracee {
	s32 tid;
	enum state state;
	u64 id;     /* of the notification; 0: THAWING */
	s32 caller; /* STOPPING, HELD, FROZEN: who made it */
	s32 tgid;   /* CALLER: its group */
	u32 len;    /* CALLER: of what its slot of cmdlines holds, 0 none */
	u32 slot;
	s32 sig;    /* to be delivered when it goes on */
	int group;  /* its stop is a group-stop, which lasts */
} tracees[TRACEES];
static u32 ntracees;

/* What callers have to have become; the host lets no more fly at once. */
enum { SLOTS = 64 }; /* at least handler.maxFlying */
static char cmdlines[SLOTS][CMDLINE_MAX];
static u64 slots; /* a bit for each that is taken */

static struct tracee *tracee_of_tid(s32 tid)
{
	u32 i;
	for (i = 0; i < ntracees; i++)
		if (tracees[i].tid == tid)
			return &tracees[i];
	return 0;
}

static struct tracee *caller_of_id(u64 id)
{
	u32 i;
	for (i = 0; i < ntracees; i++)
		if (tracees[i].id == id && tracees[i].state == CALLER)
			return &tracees[i];
	return 0;
}

static void report(enum message_type type, u64 id, enum no_exec what, long err)
{
	struct message m = { 0 };
	m.type = type;
	m.id = id;
	m.what = what;
	m.error = (s32)-err;
	send_message(&m, -1);
}

static void no_exec(u64 id, enum no_exec what, long err) { report(MSG_NO_EXEC, id, what, err); }

static void drop_cmdline(struct tracee *t)
{
	if (t->len)
		slots &= ~(1ull << t->slot);
	t->len = 0;
}

static void forget(struct tracee *t)
{
	drop_cmdline(t);
	*t = tracees[--ntracees];
}

/* A group-stop goes on after a detach, and in a tracee only if it is listened to:
 * ptrace(2), "LISTEN". */
static void let_go(s32 tid, s32 sig, int group)
{
	if (all_traced())
		go_on(group ? PTRACE_LISTEN : PTRACE_CONT, tid, sig);
	else
		sys4(__NR_ptrace, PTRACE_DETACH, tid, 0, sig);
}

static void detach(struct tracee *t)
{
	let_go(t->tid, t->sig, t->group);
	forget(t);
}

int tracee_interrupted(s32 tid)
{
	struct tracee *t = tracee_of_tid(tid);
	return t && (t->state == STOPPING || t->state == HELD || t->state == THAWING);
}

/* Seizes tid and queues an interrupt, which becomes a stop before the task runs another
 * instruction of its own. Whom we trace already is taken over, if it is traced: an
 * entry's number could be somebody else's by now. */
static long seize(s32 tid, enum state state, s32 caller, u64 id)
{
	struct tracee *t = tracee_of_tid(tid);
	long r;

	if (t && sys4(__NR_ptrace, PTRACE_INTERRUPT, tid, 0, 0) < 0) {
		forget(t);
		t = 0;
	}
	if (!t) {
		if (ntracees == TRACEES)
			return -EAGAIN;
		r = all_traced() ? sys4(__NR_ptrace, PTRACE_INTERRUPT, tid, 0, 0)
				 : sys4(__NR_ptrace, PTRACE_SEIZE, tid, 0, PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL);
		if (r < 0)
			return r;
		t = &tracees[ntracees++];
		t->tid = tid;
		t->sig = t->group = 0;
		t->len = 0;
		/* Fails for one that is about to end. */
		sys4(__NR_ptrace, PTRACE_INTERRUPT, tid, 0, 0);
	}
	drop_cmdline(t); /* of an approval before */
	t->state = state;
	t->caller = caller;
	t->id = id;
	return 0;
}

/* ---- the siblings of a caller -------------------------------------------- */

void tracee_thaw(u64 id)
{
	u32 i = 0;

	while (i < ntracees) {
		struct tracee *t = &tracees[i];
		if (t->id == id && t->state == FROZEN) {
			detach(t); /* and another has its place */
			continue;
		}
		if (t->id == id && (t->state == STOPPING || t->state == HELD)) {
			t->state = THAWING;
			t->id = 0;
		}
		i++;
	}
}

/* Whether the caller of a notification still waits, and its number is still its own. */
static int waits(u64 id)
{
	return sys3(__NR_ioctl, listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

enum { PF_EXITING = 4 };

/* Whether a thread could run an instruction of its own before it meets its interrupt. Not
 * one that waits in the kernel, for a disk or for the answer to a notification (state D),
 * and not one that ends. */
static int runs(s32 tid, int *dead)
{
	struct task_stat stat;

	*dead = !read_stat(tid, &stat) || stat.state == 'Z' || stat.state == 'X';
	return !*dead && stat.state != 'D' && !(stat.flags & PF_EXITING);
}

/* Seizes the threads of caller's group that are not yet, itself excepted. Returns how
 * many, or -errno. */
static long seize_siblings(s32 caller, u64 id)
{
	char path[PATH_BYTES], buf[4096];
	long fd, n, at, new = 0;

	format_path(path, "/proc/", caller, "/task");
	fd = sys4(__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	while ((n = sys3(__NR_getdents64, fd, buf, sizeof buf)) > 0)
		for (at = 0; at < n; at += ((struct dirent64 *)(buf + at))->reclen) {
			s32 tid = parse_number(((struct dirent64 *)(buf + at))->name);
			struct tracee *t = tracee_of_tid(tid);
			int dead;
			long r;

			if (tid <= 0 || tid == caller || (t && t->id == id))
				continue;
			r = seize(tid, STOPPING, caller, id);
			if (r == 0) {
				new++;
			} else if (runs(tid, &dead), !dead) {
				sys1(__NR_close, fd);
				return r;
			}
		}
	sys1(__NR_close, fd);
	return n < 0 ? n : new;
}

/* Reports when all siblings stand still and there are no new ones; called whenever one
 * may have come to that. */
static void frozen(s32 caller, u64 id)
{
	long new;
	u32 i;
	int dead;

	do {
		for (i = 0; i < ntracees; i++)
			if (tracees[i].id == id && tracees[i].state == STOPPING && runs(tracees[i].tid, &dead))
				return;
		new = seize_siblings(caller, id);
	} while (new > 0);
	/* Without the caller, these may have been somebody else's threads. */
	if (!waits(id)) {
		tracee_thaw(id);
		no_exec(id, NO_EXEC_GONE, -ESRCH);
	} else if (new < 0) {
		tracee_thaw(id);
		no_exec(id, NO_EXEC_REFUSED, new);
	} else {
		for (i = 0; i < ntracees; i++)
			if (tracees[i].id == id && tracees[i].state == STOPPING)
				tracees[i].state = HELD;
		report(MSG_FROZEN, id, 0, 0);
	}
}

int tracee_stopping(void)
{
	u32 i;
	for (i = 0; i < ntracees; i++)
		if (tracees[i].state == STOPPING)
			return 1;
	return 0;
}

void tracee_recheck(void)
{
	u32 i;
	for (i = 0; i < ntracees; i++)
		if (tracees[i].state == STOPPING) {
			frozen(tracees[i].caller, tracees[i].id);
			return;
		}
}

void tracee_freeze(s32 tid, u64 id)
{
	if (waits(id))
		frozen(tid, id);
	else
		no_exec(id, NO_EXEC_GONE, -ESRCH);
}

/* ---- the caller ------------------------------------------------------------ */

/* Seize, queue an interrupt, answer "continue". The interrupt becomes a stop
 * when the exec has failed; before 5.19, without WAIT_KILLABLE_RECV, it would
 * cancel the notification. If the notification is gone, tid may by now be
 * somebody else, who is let go at the stop that the interrupt makes. */
void tracee_approve(s32 tid, s32 tgid, u64 id, const char *cmdline, u32 len)
{
	struct { u64 id; s64 val; s32 error; u32 flags; } answer = { id, 0, 0, 1 };
	struct tracee *t;
	int dead;
	long r = waits(id) ? seize(tid, CALLER, tid, id) : -ESRCH;

	if (r < 0) {
		if (runs(tid, &dead), dead)
			r = -ESRCH;
		tracee_thaw(id);
		no_exec(id, r == -ESRCH ? NO_EXEC_GONE : NO_EXEC_REFUSED, r);
		return;
	}
	t = tracee_of_tid(tid);
	t->tgid = tgid;
	if (len && ~slots) {
		t->len = len;
		t->slot = (u32)__builtin_ctzll(~slots);
		slots |= 1ull << t->slot;
		memcpy(cmdlines[t->slot], cmdline, len);
	}
	r = sys3(__NR_ioctl, listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
	if (r < 0) {
		t->state = THAWING;
		t->id = 0;
		tracee_thaw(id);
		no_exec(id, NO_EXEC_GONE, r);
	}
}

void tracee_settle(u32 order, u64 id)
{
	struct tracee *t = caller_of_id(id);
	if (!t)
		return;
	if (order == ORDER_REFUSE)
		sys2(__NR_kill, t->tid, SIGKILL); /* its death is reported when reaped */
	else
		detach(t);
}

/* An exec has ended the other threads of the group, and former has the leader's number
 * now. The leader's end is not reported: ptrace(2), "execve(2) under ptrace". Returns
 * former, which has moved. */
static struct tracee *alone(s32 former, s32 tid)
{
	u64 id = tracee_of_tid(former)->id;
	struct tracee *t;
	u32 i = 0;

	while (i < ntracees) {
		int gone = tracees[i].tid != former && (tracees[i].tid == tid || (id && tracees[i].id == id));
		if (gone)
			forget(&tracees[i]);
		else
			i++;
	}
	t = tracee_of_tid(former);
	t->tid = tid;
	return t;
}

/* Whose stop or end is reported as tid's: an exec by a thread that is not the leader can
 * fail when it has the leader's number already. */
static struct tracee *reported(s32 tid)
{
	struct tracee *t = tracee_of_tid(tid);
	char path[PATH_BYTES];
	long fd;
	u32 i;

	if (t && t->state == CALLER)
		return t;
	for (i = 0; i < ntracees; i++)
		if (tracees[i].state == CALLER && tracees[i].tgid == tid) {
			format_path(path, "/proc/", tid, "/task/");
			format_path(path + length(path), "", tracees[i].tid, "");
			fd = sys4(__NR_openat, AT_FDCWD, path, O_PATH | O_CLOEXEC, 0);
			if (fd < 0)
				return alone(tracees[i].tid, tid);
			sys1(__NR_close, fd);
		}
	return t;
}

/* Whether the arguments of a task at its exec stop are those that its caller was approved
 * with. Nobody else has the memory in which they are. */
static int as_approved(struct tracee *t)
{
	static char now[CMDLINE_MAX + 1];
	char path[PATH_BYTES];
	u32 have = 0, i;
	long fd, n;

	if (!t->len)
		return 0;
	format_path(path, "/proc/", t->tid, "/cmdline");
	fd = sys4(__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return 0;
	while (have < sizeof now && (n = sys3(__NR_read, fd, now + have, sizeof now - have)) > 0)
		have += (u32)n;
	sys1(__NR_close, fd);
	if (have != t->len)
		return 0;
	for (i = 0; i < have; i++)
		if (now[i] != cmdlines[t->slot][i])
			return 0;
	return 1;
}

/* The exec has taken place: former is what its task was called before, tid its name now. */
static void executed(s32 former, s32 tid)
{
	struct message m = { 0 };
	struct tracee *t = tracee_of_tid(former);

	if (!t) {
		if (req->flags & REQ_EXECS) /* can't be; it does not run */
			sys2(__NR_kill, tid, SIGKILL);
		else
			let_go(tid, 0, 0);
		return;
	}
	t = alone(former, tid);
	if (t->state != CALLER) { /* a sibling, by a call that is not judged */
		detach(t);
		return;
	}
	m.type = as_approved(t) ? MSG_RAN : MSG_EXEC;
	m.pid = tid;
	m.id = t->id;
	if (m.type == MSG_RAN)
		detach(t);
	send_message(&m, -1);
}

/* The command's own stop, for the host's job control; not that of a sandbox that is held.
 * Without a tracer wait(2) tells of each once. A tracee that is interrupted in such a stop
 * tells of it again, and by a trap when it has gone on: ptrace(2), "Group-stop". */
static void job_stopped(int sig)
{
	static int told;
	struct message m = { 0 };
	int stops = sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU || (sig == SIGSTOP && !tree_held());

	if (stops && !(told && all_traced()) && req->flags & REQ_JOBS) {
		m.type = MSG_STOPPED;
		m.pid = child_pid;
		m.status = sig;
		send_message(&m, -1);
	}
	told = sig != SIGTRAP;
}

void tracee_stopped(s32 tid, s32 status)
{
	int event = status >> 16, sig = status >> 8 & 0xff, group = 0;
	unsigned long former = 0;
	struct tracee *t;

	if (tid == child_pid && all_traced() && event == PTRACE_EVENT_STOP)
		job_stopped(sig);
	if (all_traced()) {
		struct task *known = task_make(tid);
		if (known) {
			known->alive = 1;
			known->how = 0;
		}
		if (fork_stopped(tid, status))
			return;
	}
	if (event) {
		group = event == PTRACE_EVENT_STOP && sig != SIGTRAP;
		sig = 0;
	}
	if (event == PTRACE_EVENT_EXEC) {
		sys4(__NR_ptrace, PTRACE_GETEVENTMSG, tid, 0, &former);
		executed((s32)former, tid);
		return;
	}
	t = reported(tid);
	/* Of who is no tracee wait(2) tells such a stop, too. */
	if (!t && !all_traced() && !event && tid == child_pid && sys4(__NR_ptrace, PTRACE_DETACH, tid, 0, sig) < 0) {
		job_stopped(sig);
		return;
	}
	if (!t) {
		let_go(tid, sig, group);
		return;
	}
	t->sig = sig;
	t->group = group;
	switch (t->state) {
	case STOPPING:
		t->state = FROZEN;
		frozen(t->caller, t->id);
		break;
	case HELD:
		t->state = FROZEN;
		break;
	case FROZEN:
		break;
	case THAWING:
		detach(t);
		break;
	case CALLER: {
		/* On its way out of the kernel, so the exec has failed. */
		u64 id = t->id;
		detach(t);
		tracee_thaw(id);
		no_exec(id, NO_EXEC_FAILED, 0);
	}
	}
}

void tracee_died(s32 tid)
{
	struct tracee was, *t;

	if (all_traced())
		fork_died(tid); /* which may take orders, and so move tracees */
	t = reported(tid);
	if (!t)
		return;
	was = *t;
	forget(t);
	if (was.state == CALLER) {
		tracee_thaw(was.id);
		no_exec(was.id, NO_EXEC_DIED, 0);
	} else if (was.state == STOPPING) {
		frozen(was.caller, was.id);
	}
}
