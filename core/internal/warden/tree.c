//go:build ignore
// (for the go command, which would want cgo: the Makefile builds this)

/* The processes of the sandbox: who they are, from the lists of children in
 * /proc/PID/task/TID/children (proc_tid_children(5), CONFIG_PROC_CHILDREN), and how all of
 * them are held and let go. */
#include "limits.h"

static struct process first[256];
struct process *tree = first;
u32 ntree;
static u32 room = sizeof first / sizeof *first;

u32 cpus_of_sandbox(void)
{
	const u8 *mask = req->flags & REQ_AFFINITY ? req->cpus : host_cpus;
	u32 i, n = 0;
	for (i = 0; i < CPU_BYTES; i++) {
		u8 bits = mask[i];
		for (; bits; bits &= bits - 1)
			n++;
	}
	return n ? n : 1;
}

void *grown(void *old, u64 bytes, u64 to)
{
	long p = sys6(__NR_mmap, 0, to, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p < 0 && p > -4096)
		return 0;
	memcpy((void *)p, old, bytes);
	if (old && old != first)
		sys2(__NR_munmap, old, bytes);
	return (void *)p;
}

/* ---- one process ------------------------------------------------------------- */

#define offsetof_(field) __builtin_offsetof(struct process, field)

static void status_line(struct process *p, const char *line)
{
	static const struct { const char *key; u32 at; } sizes[] = {
		/* Page tables can be made to outgrow what they map; huge pages are not in RssAnon. */
		{ "RssAnon:", offsetof_(anon) }, { "VmSwap:", offsetof_(anon) }, { "RssShmem:", offsetof_(shmem) },
		{ "VmPTE:", offsetof_(rest) }, { "HugetlbPages:", offsetof_(rest) }, { "VmSize:", offsetof_(size) },
	};
	s64 v;
	u32 i;

	for (i = 0; i < sizeof sizes / sizeof *sizes; i++)
		if ((v = value_of(line, sizes[i].key)) > 0)
			*(u64 *)((char *)p + sizes[i].at) += (u64)v * 1024;
}

/* What status says of one thread's memory, which is all threads'. Not stat or statm: these
 * know no shared memory, nor what is swapped. */
static void read_memory(struct process *p, struct reader *r)
{
	char line[64];

	while (reader_line(r, line, sizeof line)) {
		if (value_of(line, "Threads:") > 0) {
			p->threads = (u32)value_of(line, "Threads:");
		} else if (line[0] == 'S' && line[1] == 't' && line[2] == 'a') {
			p->state = (u8)line[7]; /* "State:\tS (sleeping)" */
		} else if (line[0] == 'V' || line[0] == 'R' || line[0] == 'H') {
			status_line(p, line);
		}
	}
}

static long read_status(struct process *p, s32 tid)
{
	static struct reader r;
	char path[PATH_BYTES];
	long fd;

	format_path(path, "/proc/", tid, "/status");
	fd = reader_open(&r, path);
	if (fd < 0)
		return fd;
	read_memory(p, &r);
	reader_close(&r);
	return 0;
}

u64 threads_of(struct process *p, void (*f)(struct process *, s32 tid))
{
	static char buf[8192];
	char path[PATH_BYTES];
	u64 sum = 0;
	long fd, n, at;

	format_path(path, "/proc/", p->pid, "/task");
	fd = sys4(__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return 0;
	while ((n = sys3(__NR_getdents64, fd, buf, sizeof buf)) > 0)
		for (at = 0; at < n; at += ((struct dirent64 *)(buf + at))->reclen) {
			s32 tid = parse_number(((struct dirent64 *)(buf + at))->name);
			if (tid <= 0)
				continue;
			sum += (u64)tid * 0x9e3779b97f4a7c15ull;
			if (f)
				f(p, tid);
		}
	sys1(__NR_close, fd);
	return sum;
}

static void find_live(struct process *p, s32 tid)
{
	struct task_stat stat;
	if (p->live == p->pid && read_stat(tid, &stat) && stat.state != 'Z' && stat.state != 'X')
		p->live = tid;
}

static void look_at(struct process *p, enum walk what)
{
	struct task_stat stat;

	p->live = p->pid;
	if (what & WALK_CPU) {
		read_stat(p->pid, &stat);
		p->state = stat.state;
		p->threads = stat.threads;
		p->faults = stat.faults;
		p->reaped = stat.reaped;
		p->autoreaps = stat.ignored >> (SIGCHLD - 1) & 1;
	}
	if (what & WALK_MEMORY && read_status(p, p->pid) < 0)
		p->state = 0;
	/* A leader that has ended has no memory any more, to look at, but its threads have. */
	if (p->state == 'Z' && p->threads > 1) {
		threads_of(p, find_live);
		if (p->live == p->pid) {
			p->threads = 1;
		} else if (what & WALK_MEMORY) {
			p->anon = p->shmem = p->rest = p->size = 0;
			read_status(p, p->live);
		}
	}
	if (!p->threads || p->state == 'X')
		p->state = 0;
}

/* ---- all of them ---------------------------------------------------------------- */

static u32 held;
static int settled; /* tree was made while nobody ran */
static long walk_error;

/* Tasks that fork and exit lengthen the list of orphans while it is read, and each that is
 * reaped meanwhile has the kernel look from the start of it, with the lock that the reaper
 * needs: get_children_pid() of its fs/proc/array.c. So a walk among tasks that run gives up
 * when it reads at one list for longer than this, or has found so many that are gone, or
 * that wait for nobody but their reaper. */
static const u64 LONGEST_READ = 20 * 1000 * 1000;
enum { MOST_DEAD = 64 };
static int in_haste, gave_up;

int tree_is_hard_to_see(void) { return gave_up; }

static void add(s32 pid, s32 parent)
{
	struct process *p;

	if (ntree == room) {
		p = grown(tree, (u64)room * sizeof *p, (u64)room * 2 * sizeof *p);
		if (!p) {
			walk_error = -ENOMEM;
			return;
		}
		tree = p;
		room *= 2;
	}
	p = &tree[ntree++];
	*p = (struct process){ 0 };
	p->pid = pid;
	p->parent = parent;
}

static s32 self, above;

static void children_of(s32 pid, s32 tid)
{
	static struct reader r;
	char path[PATH_BYTES];
	u64 until = in_haste ? now_ns() + LONGEST_READ : NEVER;
	s32 child = 0;
	int c;

	format_path(path, "/proc/", pid, "/task/");
	format_path(path + length(path), "", tid, "/children");
	if (reader_open(&r, path) < 0)
		return;
	while ((c = reader_char(&r)) >= 0) {
		if (c >= '0' && c <= '9') {
			child = child * 10 + (c - '0');
			continue;
		}
		if (child > 0 && child != self)
			add(child, pid);
		child = 0;
		if (in_haste && r.at == r.have && now_ns() > until) {
			gave_up = 1;
			break;
		}
	}
	reader_close(&r);
}

static void children_of_thread(struct process *p, s32 tid)
{
	if (tid != p->pid)
		children_of(p->pid, tid);
}

/* A list is true of the moment at which it is read, if the parent is alive afterwards. So
 * somebody is missed, or there twice, only if a parent ends meanwhile, which makes another of
 * it: one that is gone, or a zombie that was none in the walk before. Or if one thread of
 * the parent ends, and another inherits its children.
 *
 * Its time is looked at first: whoever has used none since has no children since. */
static u64 zombies_before;

long tree_walk(enum walk what)
{
	u64 zombies = 0;
	long exact = 1;
	s32 reaper;
	u32 i, dead = 0;

	self = (s32)sys0(__NR_getpid);
	above = (s32)sys0(__NR_getppid);
	ntree = 0;
	walk_error = 0;
	gave_up = 0;
	/* The sandbox's are the parent's, as it takes in their orphans, or this task's: see
	 * killer_reap. */
	reaper = req->killer_scope ? above : self;
	children_of(reaper, reaper);
	for (i = 0; i < ntree && !walk_error; i++) {
		struct process p = tree[i]; /* which moves */
		long err = 0;

		p.cpu = cpu_of(p.pid, &err);
		children_of(p.pid, p.pid);
		look_at(&p, what);
		if (err < 0)
			p.state = 0;
		tree[i] = p;
		if (!p.state) {
			exact = 0;
			dead++;
		} else if (p.state == 'Z' && p.threads <= 1) {
			zombies += (u64)p.pid * 0x9e3779b97f4a7c15ull;
			dead += p.parent == reaper;
		} else if (p.threads > 1) {
			u64 sum = threads_of(&p, children_of_thread);
			if (threads_of(&p, 0) != sum)
				exact = 0;
		}
		if (in_haste && dead > MOST_DEAD) {
			gave_up = 1;
			break;
		}
	}
	if (zombies != zombies_before || gave_up)
		exact = 0;
	zombies_before = zombies;
	settled = held && exact;
	return walk_error ? walk_error : exact;
}

u64 tree_reaped(void)
{
	struct task_stat stat;
	read_stat(req->killer_scope ? (s32)sys0(__NR_getppid) : (s32)sys0(__NR_getpid), &stat);
	return stat.reaped;
}

enum { TRIES = 3, HELD_TRIES = 1000 };

long tree_walk_exactly(enum walk what)
{
	long r = 0;
	int i, tries;

	in_haste = !held;
	for (i = gave_up = 0; i < TRIES && r == 0 && !gave_up; i++)
		r = tree_walk(what);
	in_haste = 0;
	if (r)
		return r;
	/* Nobody is born then, so there is an end to the dying. */
	i = gave_up;
	tree_hold(HOLD_LOOK);
	for (tries = 0; tries < HELD_TRIES && r == 0; tries++)
		r = tree_walk(what);
	tree_release(HOLD_LOOK);
	gave_up = i;
	return r ? r : -EAGAIN;
}

/* ---- held ------------------------------------------------------------------------ */

/* Those that are traced are held by the tracer, which makes no difference to a group-stop;
 * the others, and when it does not answer, by a signal. */
static int by_signal;

/* By a signal before; more of them go on, and so do those that are traced, whose group-stop
 * can't be told from any other stop of a tracee by its state, 't'. */
static s32 stopped[1024];
static u32 nstopped;

static int was_stopped(s32 pid)
{
	u32 i;
	for (i = 0; i < nstopped; i++)
		if (stopped[i] == pid)
			return 1;
	return 0;
}

/* To all of them, in whatever state. */
void tree_signal(int sig)
{
	u32 i;

	if (req->killer_scope) {
		sys2(__NR_kill, -1, sig);
	} else if (tree_walk(WALK_CPU) >= 0) {
		for (i = 0; i < ntree; i++)
			sys2(__NR_kill, tree[i].pid, sig);
	}
}

static int stands;

static void look_if_it_stands(struct process *p, s32 tid)
{
	struct task_stat stat;
	u32 i;

	if (!read_stat(tid, &stat))
		return;
	if (stat.state == 'R' || stat.state == 'S')
		stands = 0;
	if (stat.state != 'D')
		return;
	for (i = 0; i < ntree && tree[i].parent != p->pid; i++)
		;
	stands &= i < ntree;
}

static int all_stand(void)
{
	u32 i;

	stands = 1;
	for (i = 0; i < ntree && stands; i++) {
		struct process p = tree[i];
		if (p.threads > 1)
			threads_of(&p, look_if_it_stands);
		else
			look_if_it_stands(&p, p.pid);
	}
	return stands;
}

/* Who is forking stops when that is done, and so does its child, to which a signal to many
 * processes goes on: copy_process() of the kernel's kernel/fork.c, "delayed". A SIGCONT does
 * not take that back where it is ignored, as by default: prepare_signal() of its
 * kernel/signal.c. So such a child would be stopped for good by one that came before it was
 * there. Nothing tells of the stop of somebody else's child, so this looks again.
 *
 * 'S' is who is about to sleep, and won't; 'D' who waits for memory, for a moment, or for
 * its child of a vfork(2), which does not end. */
static void stand_still(void)
{
	struct timespec moment = { 0, 50 * 1000 };
	u64 until = now_ns() + LONGEST_READ; /* forks are shorter */
	int tries;

	for (tries = 0; !settled && tries < HELD_TRIES; tries++)
		tree_walk(WALK_CPU);
	while (!all_stand() && now_ns() < until) {
		sys_poll(0, 0, &moment);
		tree_walk(WALK_CPU);
	}
	if (nstopped) /* so that those are not passed over by name whom no walk has found */
		tree_walk(WALK_CPU);
}

/* Whoever holds them, and those that were stopped before too. */
void tree_let_go(void)
{
	if (held && by_signal)
		stand_still();
	held = 0;
	hold_ask(0);
	tree_signal(SIGCONT);
}

void tree_hold_again(void)
{
	if (by_signal || !hold_ask(1))
		tree_signal(SIGSTOP);
}

int tree_held(void) { return held != 0; }

/* By a signal, in a domain, one pass of the kernel stops all, and the child of who is forking
 * too: see stand_still. Without one, it is done until nobody is new. */
void tree_hold(enum holder who)
{
	u32 i;
	int rounds;

	held |= who;
	if (held != who)
		return;
	nstopped = 0;
	settled = 0;
	by_signal = !hold_ask(1);
	if (!by_signal)
		return;
	in_haste = req->killer_scope != 0;
	/* What such a walk has found so far is as good as what another would find. */
	if ((in_haste && who == HOLD_LOOK && gave_up) || tree_walk(WALK_CPU) >= 0)
		for (i = 0; i < ntree; i++)
			if (tree[i].state == 'T' && nstopped < sizeof stopped / sizeof *stopped)
				stopped[nstopped++] = tree[i].pid;
	in_haste = 0;
	if (req->killer_scope) {
		sys2(__NR_kill, -1, SIGSTOP);
		return;
	}
	for (rounds = 0; rounds < HELD_TRIES; rounds++) {
		u64 sum = 0;
		for (i = 0; i < ntree; i++) {
			sys2(__NR_kill, tree[i].pid, SIGSTOP);
			sum += (u64)tree[i].pid * 0x9e3779b97f4a7c15ull;
		}
		/* Those that fork and exit would fill the lists faster than they are read. */
		killer_reap_some();
		if (tree_walk(WALK_CPU) == 1) {
			u64 again = 0;
			for (i = 0; i < ntree; i++)
				again += (u64)tree[i].pid * 0x9e3779b97f4a7c15ull;
			if (again == sum)
				return;
		}
	}
}

/* Children first, so that a shell that waits for stopped jobs as well (waitpid(2), WUNTRACED)
 * mostly finds none. */
void tree_release(enum holder who)
{
	u32 i;

	if (!(held & who))
		return;
	if (by_signal && held == who)
		stand_still();
	held &= ~who;
	if (held)
		return;
	hold_ask(0);
	if (!by_signal)
		return;
	for (i = ntree; i-- > 0;)
		if (!was_stopped(tree[i].pid))
			sys2(__NR_kill, tree[i].pid, SIGCONT);
	if (req->killer_scope && !nstopped)
		sys2(__NR_kill, -1, SIGCONT); /* and whom the walk has missed */
}
