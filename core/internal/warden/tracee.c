//go:build ignore
// (for the go command, which would want cgo: the Makefile builds this)

/* The execs that the supervisor let through, traced from the approval to the
 * outcome: DESIGN, "The life of an exec". */
#include "warden.h"

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
void tracee_approve(s32 tid, u64 id)
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

void tracee_settle(u32 order, u64 id)
{
	struct tracee *t = tracee_of_id(id);
	if (!t)
		return;
	if (order == ORDER_REFUSE) {
		sys2(__NR_kill, t->tid, SIGKILL); /* its death is reported when reaped */
		return;
	}
	sys4(__NR_ptrace, PTRACE_DETACH, t->tid, 0, 0);
	forget(t);
}

void tracee_stopped(s32 tid, s32 status)
{
	int event = status >> 16;
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
		/* On its way out of the kernel, so the exec has failed; a group-stop is
		 * this stop too, and goes on after the detach: ptrace(2), "LISTEN". */
		sys4(__NR_ptrace, PTRACE_DETACH, tid, 0, 0);
		if (t && t->id)
			no_exec(t->id, NO_EXEC_FAILED, 0);
		if (t)
			forget(t);
		return;
	}
	sys4(__NR_ptrace, PTRACE_CONT, tid, 0, status >> 8 & 0xff);
}

void tracee_died(s32 tid)
{
	struct tracee *t = tracee_of_tid(tid);
	if (!t)
		return;
	if (t->id)
		no_exec(t->id, NO_EXEC_DIED, 0);
	forget(t);
}
