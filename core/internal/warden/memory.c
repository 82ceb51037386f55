//go:build ignore
// (for the go command, which would want cgo: the Makefile builds this)

/* max_memory: what all processes of the sandbox hold of anonymous and shared memory, looked
 * at as often as it could have come to the limit. docs/limits.md has the numbers. */
#include "limits.h"

/* How fast a task can take memory, bytes a second for each CPU: 8.4 GB/s were measured for
 * MADV_POPULATE_WRITE of huge pages, 0.7 to 2.2 GB/s for small ones. */
static const u64 FASTEST = 8ull << 30;
static const u64 MS = 1000 * 1000;
static const u64 SHORTEST = 2 * MS, LONGEST = 1000 * MS; /* between two looks */
static const u64 LONGEST_IDLE = 100 * MS; /* unless the limit is far away */
/* What looking costs does not count where the sandbox has made it costly. */
static const u64 LONGEST_UNSEEN = 20 * MS;
/* So that looking takes a twentieth of a CPU at most; a fifth while the memory grows. */
enum { IDLE_STRETCH = 16, LOOK_COST = 20, LOOK_COST_GROWING = 5, FULL_COST = 20 };

static u64 limit;   /* 0: none */
static u64 outside; /* of the machine's shared memory, what is not the sandbox's */
static u64 due, interval, base_interval;
static u64 cpu_before;   /* of the processes of the last look, when it was there */
static u64 full_due;     /* when the estimates are no good any more */
static u64 full_faults;
static int sharing; /* it looks like more than the limit, but is not */
static u64 total_before;
static u64 full_total, full_cheap; /* what the last full look found, and what it looked like */

/* ---- what is mapped ------------------------------------------------------------------ */

/* The part of a process in what it shares with others, by which the shares of all add up to
 * what there is: smaps_rollup of proc_pid_smaps(5), "Pss". For one that may not be looked
 * at it is all that the process maps. */
static void proportional(struct process *p, u64 *anon, u64 *shmem)
{
	static struct reader r;
	char path[PATH_BYTES], line[64];
	u64 a = 0, s = 0;
	int complete = 0;
	s64 v;

	*anon = p->anon;
	*shmem = p->shmem;
	format_path(path, "/proc/", p->live, "/smaps_rollup");
	if (reader_open(&r, path) < 0) {
		shmem_opaque = 1;
		return;
	}
	while (reader_line(&r, line, sizeof line)) {
		if ((v = value_of(line, "Pss_Anon:")) >= 0)
			a += (u64)v * 1024, complete |= 1;
		else if ((v = value_of(line, "Pss_Shmem:")) >= 0)
			s += (u64)v * 1024, complete |= 2;
		else if ((v = value_of(line, "SwapPss:")) >= 0)
			a += (u64)v * 1024;
	}
	reader_close(&r);
	if (complete == 3)
		*anon = a, *shmem = s;
	else
		shmem_opaque = 1;
}
/* ---- a look --------------------------------------------------------------------------- */

static u64 machine_before; /* at the last look */

static s32 dying[64]; /* killed, and not gone yet */
static u32 ndying;

static int is_dying(s32 pid)
{
	u32 i;
	for (i = 0; i < ndying; i++)
		if (dying[i] == pid)
			return 1;
	return 0;
}

static int has_memory(const struct process *p)
{
	return p->state && (p->state != 'Z' || p->live != p->pid) && !is_dying(p->pid);
}

static u64 shared_memory_of_machine(void)
{
	struct { u64 uptime, loads[3], totalram, freeram, sharedram, rest[8]; } info = { 0 };
	return sys1(__NR_sysinfo, &info) == 0 ? info.sharedram : 0;
}

/* More than there can be, at little cost: what is shared counts in each process that maps
 * it, and all shared memory that the machine has now and did not have before is the
 * sandbox's. That goes wrong where others give some back, which full_due bounds. */
static u64 cheap_total(u64 machine, u64 *private)
{
	u64 sum = 0, shmem = 0;
	u32 i;

	for (i = 0; i < ntree; i++)
		if (has_memory(&tree[i])) {
			sum += tree[i].anon + tree[i].rest;
			if (tree[i].shmem > shmem)
				shmem = tree[i].shmem;
		}
	if (machine > outside && machine - outside > shmem)
		shmem = machine - outside;
	*private = sum;
	return sum + shmem;
}

/* Processes that share their memory, as after vfork(2), count once. */
static int seen_before(u32 n)
{
	struct process *p = &tree[n];
	u32 i;

	for (i = 0; i < n; i++)
		if (tree[i].pid == p->pid)
			return 1;
		else if (tree[i].size == p->size && p->anon && has_memory(&tree[i]) && same(tree[i].live, p->live, KCMP_VM))
			return 1;
	return 0;
}

/* What there is, of the processes that tree has. The rest of them are left out once it is
 * more than enough. */
static u64 full_look(u64 machine, u64 enough)
{
	u64 private = 0, shmem = 0, a, s;
	u32 i, holders = 0;

	shmem_forget();
	for (i = 0; i < ntree; i++)
		holders += has_memory(&tree[i]);
	for (i = 0; i < ntree && !shmem_error; i++) {
		struct process *p = &tree[i];

		p->share = 0;
		if (!has_memory(p))
			continue;
		shmem_descriptors(p);
		if (seen_before(i))
			continue;
		shmem_mappings(p);
		a = p->anon, s = p->shmem;
		if (holders > 1)
			proportional(p, &a, &s);
		private += a + p->rest;
		shmem += s;
		p->share += a + p->rest + s;
		if (private > enough)
			return private;
	}
	if (shmem_bytes && shmem && private + shmem + shmem_bytes > limit) {
		u64 twice = 0;
		for (i = 0; i < ntree; i++)
			if (has_memory(&tree[i]) && tree[i].shmem && !seen_before(i))
				twice += shmem_counted_twice(&tree[i]);
		shmem -= twice < shmem ? twice : shmem;
	}
	shmem += shmem_bytes;
	if (!shmem_opaque)
		outside = machine > shmem ? machine - shmem : 0;
	else if (machine > outside && machine - outside > shmem)
		shmem = machine - outside;
	return private + shmem;
}

static void kill_process(struct process *p, u64 total)
{
	if (!memory_victim) {
		memory_victim = p->pid;
		memory_found = total;
	}
	__atomic_fetch_or(&limits_met, LIMIT_MEMORY, __ATOMIC_SEQ_CST);
	sys2(__NR_kill, p->pid, SIGKILL);
	if (ndying < sizeof dying / sizeof *dying)
		dying[ndying++] = p->pid;
}

/* The one that holds most, and so on, until the rest is within the limit. */
static void kill_largest(u64 total)
{
	u64 left = total;
	u32 i;

	while (left > limit) {
		struct process *largest = 0;

		for (i = 0; i < ntree; i++)
			if (has_memory(&tree[i]) && (!largest || tree[i].share > largest->share))
				largest = &tree[i];
		if (!largest)
			return;
		kill_process(largest, total);
		left -= largest->share < left ? largest->share : left;
		if (!largest->share || ndying == sizeof dying / sizeof *dying)
			return;
	}
}

/* Once all stand still, so that nothing is counted twice because it moves. */
static const u64 NO_MATTER = ~0ull;

static long over(void)
{
	u64 total = 0;
	long r;

	tree_hold(HOLD_OVER);
	r = tree_walk_exactly(WALK_MEMORY);
	if (r >= 0) {
		total = full_look(shared_memory_of_machine(), NO_MATTER);
		if (!shmem_error && total > limit)
			kill_largest(total);
	}
	tree_release(HOLD_OVER);
	return r < 0 ? r : shmem_error;
}

static u64 cpu_sum(int *moved)
{
	u64 sum = 0;
	long err = 0;
	u32 i;

	for (i = 0; i < ntree; i++) {
		sum += cpu_of(tree[i].pid, &err);
		*moved |= err < 0;
	}
	return sum;
}

/* One that is still there is killed again, as its number may be another's by now. */
static void forget_the_dead(void)
{
	u32 i, j;

	for (i = 0; i < ndying; i++) {
		for (j = 0; j < ntree && tree[j].pid != dying[i]; j++)
			;
		if (j < ntree && tree[j].state && (tree[j].state != 'Z' || tree[j].live != tree[j].pid))
			sys2(__NR_kill, dying[i], SIGKILL);
		else
			dying[i--] = dying[--ndying];
	}
}

static long look(u64 now)
{
	u64 machine, private, cheap, total, cost, distance;
	u64 faults = 0, grown_by;
	long r = tree_walk_exactly(sharing ? WALK_MEMORY | WALK_CPU : WALK_MEMORY);
	int killed = 0, hard = tree_is_hard_to_see();
	u32 i;

	if (r < 0)
		return r;
	forget_the_dead();
	machine_before = machine = shared_memory_of_machine();
	cheap = cheap_total(machine, &private);
	/* What was shared is copied page by page, with a fault for each, and without a sign of it
	 * in what each process seems to have. */
	for (i = 0; i < ntree; i++)
		faults += tree[i].faults;
	grown_by = faults > full_faults ? (faults - full_faults) * 4096 : 0;
	if (cheap > full_cheap && cheap - full_cheap > grown_by)
		grown_by = cheap - full_cheap;
	total = full_total + grown_by;
	if (private + machine <= limit || (cheap <= limit && now < full_due)) {
		total = cheap;
	} else if (total > limit || now >= full_due) {
		u64 began = now_ns(), again;
		total = full_look(machine, limit);
		if (shmem_error)
			return shmem_error;
		if (total > limit) {
			r = over();
			if (r < 0)
				return r;
			killed = 1;
		}
		full_total = total;
		full_cheap = cheap;
		full_faults = faults;
		again = cheap <= limit ? LONGEST : (now_ns() - began) * FULL_COST;
		full_due = now_ns() + (again < 10 * SHORTEST ? 10 * SHORTEST : again > LONGEST ? LONGEST : again);
	}
	sharing = cheap > limit;
	cost = now_ns() - now;
	distance = total < limit ? limit - total : 0;
	base_interval = distance / (FASTEST / 1000000000ull * cpus_of_sandbox() + 1);
	cost *= total > total_before && total - total_before > distance / 8 ? LOOK_COST_GROWING : LOOK_COST;
	total_before = total;
	if (base_interval < cost)
		base_interval = cost;
	if (hard && base_interval > LONGEST_UNSEEN)
		base_interval = LONGEST_UNSEEN;
	if (base_interval < SHORTEST || killed)
		base_interval = SHORTEST;
	if (base_interval > LONGEST)
		base_interval = LONGEST;
	interval = base_interval;
	for (cpu_before = i = 0; i < ntree; i++)
		cpu_before += tree[i].cpu;
	return 0;
}

long memory_begin(void)
{
	machine_before = outside = shared_memory_of_machine();
	return req->max_memory ? shmem_begin() : 0;
}

void memory_measure(void)
{
	limit = req->max_memory;
}

long memory_restrict(u64 bytes)
{
	if (!limit || bytes < limit)
		limit = bytes ? bytes : 1;
	full_due = 0;
	return look(now_ns());
}

/* A sandbox none of whose processes has run has taken no memory and made no process. */
static int idle(void)
{
	int moved = 0;
	u64 cpu = cpu_sum(&moved);
	return !moved && cpu_before && cpu == cpu_before;
}

long memory_run(u64 now, u64 *next)
{
	long r = 0;

	if (!limit)
		return 0;
	if (now >= due) {
		if (due && idle()) {
			u64 machine = shared_memory_of_machine(), longest = base_interval * IDLE_STRETCH;

			/* What has changed is others'. */
			outside = outside + machine > machine_before ? outside + machine - machine_before : 0;
			machine_before = machine;
			if (longest > LONGEST_IDLE && base_interval < LONGEST_IDLE)
				longest = LONGEST_IDLE;
			if (longest < base_interval || longest > LONGEST)
				longest = base_interval;
			interval = interval * 2 < longest ? interval * 2 : longest;
		} else {
			r = look(now);
		}
		due = now_ns() + interval;
	}
	if (*next == NEVER || due < *next)
		*next = due;
	return r;
}
