//go:build ignore
// (for the go command, which would want cgo: the Makefile builds this)

/* The command's task, up to its exec. */
#include "warden.h"

static void child_session(void)
{
	if (!(req->flags & REQ_INTERACTIVE)) {
		check(STEP_SESSION, sys0(__NR_setsid));
		if (req->flags & REQ_TERMINAL)
			check(STEP_TERMINAL, sys3(__NR_ioctl, 0, TIOCSCTTY, 0));
		return;
	}
	check(STEP_SESSION, sys2(__NR_setpgid, 0, 0));
	if (req->tty >= 0) {
		/* SIGTTOU is blocked, so a background task may do this: tcsetpgrp(3). */
		s32 pgrp = (s32)sys0(__NR_getpid);
		check(STEP_TERMINAL, sys3(__NR_ioctl, req->tty, TIOCSPGRP, &pgrp));
	}
}

/* Marks what is not the command's to be closed by its exec. */
static void child_descriptors(void)
{
	u32 i;

	for (i = 0; i < nfds && i < FILES_MAX; i++)
		if (req->gaps[i / 8] >> i % 8 & 1)
			check(STEP_CLOSE_RANGE, sys3(__NR_close_range, i, i, CLOSE_RANGE_CLOEXEC));
	check(STEP_CLOSE_RANGE, sys3(__NR_close_range, nfds, ~0u, CLOSE_RANGE_CLOEXEC));
}

static void child_limits(void)
{
	if (req->flags & REQ_NO_CORE) {
		u64 none[2] = { 0, 0 };
		check(STEP_CORE_LIMIT, sys4(__NR_prlimit64, 0, RLIMIT_CORE, none, 0));
	}
	if (req->flags & REQ_NO_THP)
		check(STEP_THP, sys5(__NR_prctl, PR_SET_THP_DISABLE, 1, 0, 0, 0));
	if (req->flags & REQ_NO_RANDOMIZE) {
		long old = sys1(__NR_personality, 0xffffffff);
		check(STEP_PERSONALITY, old);
		check(STEP_PERSONALITY, sys1(__NR_personality, old | ADDR_NO_RANDOMIZE));
	}
}

/* The policy's CPUs, or the host's. A task whose affinity was never set follows its
 * cpuset when that grows, sched_setaffinity(2); so does one that was given all CPUs. */
static void child_cpus(void)
{
	static u8 all[CPU_BYTES], now[CPU_BYTES];
	int i, same = 1;

	if (req->flags & REQ_AFFINITY) {
		check(STEP_AFFINITY, sys3(__NR_sched_setaffinity, 0, CPU_BYTES, req->cpus));
		return;
	}
	if (!confined_to_cpu)
		return;
	for (i = 0; i < CPU_BYTES; i++)
		all[i] = 0xff;
	check(STEP_AFFINITY, sys3(__NR_sched_setaffinity, 0, CPU_BYTES, all));
	check(STEP_AFFINITY, sys3(__NR_sched_getaffinity, 0, CPU_BYTES, now));
	for (i = 0; i < CPU_BYTES; i++)
		same &= now[i] == host_cpus[i];
	if (!same)
		check(STEP_AFFINITY, sys3(__NR_sched_setaffinity, 0, CPU_BYTES, host_cpus));
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
		flags = SECCOMP_FILTER_FLAG_NEW_LISTENER;
	if (req->flags & REQ_LISTENER && req->flags & REQ_WAIT_KILLABLE)
		flags |= SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
	r = sys3(__NR_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
	check(STEP_SECCOMP, r);
	if (req->flags & REQ_LISTENER)
		listener = (s32)r;
}

/* LANDLOCK_RESTRICT_SELF_LOG_NEW_EXEC_ON of linux/landlock.h, ABI 7: what is denied after the
 * exec, too. */
enum { RESTRICT_LOG_NEW_EXEC_ON = 1 << 1 };

/* After the filter is on only futex, prlimit64, execve and exit_group are
 * called, which no policy may deny. */
void child_main(void)
{
	u64 mask = 0;
	long r;

	/* Here, since the parent may reap this task before the killer is back from
	 * the clone. */
	child_pid = (s32)sys0(__NR_getpid);
	/* For when both of the warden's tasks are killed at once: then its own parent's end is
	 * the command's. It is no more than that, as a program can undo it, prctl(2). */
	sys5(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if ((s32)sys0(__NR_getppid) != child_parent)
		sys1(__NR_exit_group, 127);
	child_session();
	if (req->flags & REQ_CWD)
		check(STEP_CWD, sys1(__NR_fchdir, fd_of(FD_CWD)));
	child_limits();
	child_descriptors();
	sys4(__NR_rt_sigprocmask, SIG_SETMASK, &mask, 0, sizeof mask);
	child_capabilities();
	check(STEP_NO_NEW_PRIVS, sys5(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	if (req->flags & REQ_RULESET)
		check(STEP_LANDLOCK, sys2(__NR_landlock_restrict_self, fd_of(FD_RULESET), req->flags & REQ_LOG_DENIALS ? RESTRICT_LOG_NEW_EXEC_ON : 0));
	child_cpus();
	child_filter();

	if (req->flags & HANDSHAKE) {
		progress = CONFINED;
		futex_wake(&progress);
	}
	if (req->flags & (REQ_PARK | REQ_MAX_PROCESSES))
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
	die(STEP_EXEC, r);
}
