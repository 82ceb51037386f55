//go:build ignore
// (for the go command, which would want cgo: the Makefile builds this)

/* max_cpu: the sandbox is held while it has used more than its share of one core's time, and
 * let go when it has earned some again. docs/limits.md has the numbers. */
#include "limits.h"

static const u64 MS = 1000 * 1000;
static const u64 HELD_LOOK = 20ull * 1000 * 1000; /* between two looks at who is held */
static const u64 ESCAPED = 1000ull * 1000 * 1000; /* used while held, for each CPU: more is no accident */
enum { LOOK_COST = 20 };

static u64 share;   /* percent; 0: none */
static s64 tokens;  /* ns of CPU time that may be used now; less than 0 is a debt */
static s64 burst;   /* the most that there can be */
static u64 looked, due, interval, used_in_all, used_for_it;

/* The processes of the look before, for the time of those that are gone. */
static struct seen { s32 pid, parent; u64 cpu, reaped; u32 autoreaps; } *seen;
static u32 nseen, seen_room;
static u64 lost; /* of processes that no one waited for */
static int throttled;
static u64 escaped; /* used since then */

static struct process *still_there(u32 n)
{
	struct seen *s = &seen[n];
	u32 i;

	/* Mostly at the place where it was, or before it. */
	for (i = n < ntree ? n + 1 : ntree; i-- > 0;)
		if (tree[i].pid == s->pid)
			return tree[i].state && tree[i].cpu >= s->cpu ? &tree[i] : 0;
	for (i = n + 1; i < ntree; i++)
		if (tree[i].pid == s->pid)
			return tree[i].state && tree[i].cpu >= s->cpu ? &tree[i] : 0;
	return 0;
}

static int autoreaps(s32 pid)
{
	u32 i;
	for (i = 0; i < nseen; i++)
		if (seen[i].pid == pid)
			return seen[i].autoreaps != 0;
	return 0;
}

static long remember(void)
{
	u32 i;

	if (ntree > seen_room) {
		u32 to = ntree * 2;
		void *p = grown(seen, (u64)seen_room * sizeof *seen, (u64)to * sizeof *seen);
		if (!p)
			return -ENOMEM;
		seen = p;
		seen_room = to;
	}
	for (i = 0; i < ntree; i++)
		seen[i] = (struct seen){ tree[i].pid, tree[i].parent, tree[i].cpu, tree[i].reaped, tree[i].autoreaps };
	nseen = ntree;
	return 0;
}

/* The time that all have used since the start: the living and the dead. Each of the
 * dead is counted before anybody can have waited for it, which is why that
 * sum is read first: whoever ends meanwhile is in neither, and found at the next look. */
static long used_by_traced(u64 *total)
{
	u64 sum = cpu_of_the_dead();
	long r = tree_walk_exactly(WALK_CPU);
	u32 i;

	if (r < 0)
		return r;
	for (i = 0; i < ntree; i++)
		if (tree[i].state && (tree[i].state != 'Z' || tree[i].threads > 1))
			sum += tree[i].cpu;
	*total = sum;
	return 0;
}

/* Where they are not traced: the living for themselves, and the dead in
 * that of who waited for them, times(2). A process that nobody waits for, as its parent
 * ignores SIGCHLD, is in nobody's time (wait_task_zombie and release_task of the kernel's
 * kernel/exit.c): what it had used when it was last seen is kept in lost, and it is taken
 * to have run ever since, but while all were held. */
static long used(u64 ran, u64 *total)
{
	u64 sum = 0, most = ran * cpus_of_sandbox(), ghosts = 0;
	long r;
	u32 i;

	if (all_traced())
		return used_by_traced(total);
	r = tree_walk_exactly(WALK_CPU);
	if (r < 0)
		return r;
	for (i = 0; i < ntree; i++)
		if (tree[i].state)
			sum += tree[i].cpu + tree[i].reaped;
	for (i = 0; i < nseen; i++)
		if (autoreaps(seen[i].parent) && !still_there(i)) {
			lost += seen[i].cpu + seen[i].reaped;
			ghosts += ran;
		}
	lost += ghosts < most ? ghosts : most;
	*total = sum + tree_reaped() + lost;
	return remember();
}

void cpu_begin(void)
{
	share = req->max_cpu;
	/* A cycle of 50 ms for one task that always runs. */
	burst = (s64)(50 * MS * share * (100 - share) / 10000);
	if (burst < (s64)(4 * MS))
		burst = (s64)(4 * MS);
	tokens = burst;
	looked = now_ns();
}

static long look(u64 now)
{
	u64 total, tracer, since = now - looked, cpus = cpus_of_sandbox(), cost, spent;
	long err, r = used(throttled ? 0 : since, &total);

	if (r < 0)
		return r;
	/* The kernel tells of reaped time in hundredths of a second, so that the sum can fall a
	 * little when somebody ends. */
	spent = total > used_in_all ? total - used_in_all : 0;
	used_in_all += spent;
	looked = now;
	tokens += (s64)(since * share / 100) - (s64)spent;
	/* What a signal or a fork costs the tracer is the sandbox's doing. */
	if (all_traced() && (tracer = cpu_of(parent_pid, &err)) > used_for_it) {
		tokens -= (s64)(tracer - used_for_it);
		used_for_it = tracer;
	}
	if (tokens > burst)
		tokens = burst;
	cost = now_ns() - now;
	if (tokens <= 0 && !throttled) {
		__atomic_fetch_or(&limits_met, LIMIT_CPU, __ATOMIC_SEQ_CST);
		throttled = 1;
		escaped = 0;
		tree_hold(HOLD_CPU);
	} else if (throttled && tokens >= burst) {
		throttled = 0;
		tree_release(HOLD_CPU);
	} else if (throttled && spent && tree_held()) {
		/* SIGCONT from inside undoes a stop, also one that is still on its way: signal(7).
		 * Who is traced can only end the call that it was in. */
		escaped += spent;
		if (escaped > ESCAPED * cpus)
			return -EPERM;
		tree_hold_again();
	}
	if (throttled)
		interval = (u64)(burst - tokens) * 100 / share < HELD_LOOK ? (u64)(burst - tokens) * 100 / share : HELD_LOOK;
	else if (!spent && interval)
		interval = interval * 2 < 100 * MS ? interval * 2 : 100 * MS;
	else /* when they could be spent */
		interval = cpus * 100 > share ? (u64)tokens * 100 / (cpus * 100 - share) : 1000 * MS;
	if (!throttled && interval < cost * LOOK_COST)
		interval = cost * LOOK_COST;
	if (interval < MS)
		interval = MS;
	return 0;
}

long cpu_run(u64 now, u64 *next)
{
	long r = 0;

	if (!share)
		return 0;
	if (now >= due) {
		r = look(now);
		due = now + interval;
	}
	if (*next == NEVER || due < *next)
		*next = due;
	return r;
}
