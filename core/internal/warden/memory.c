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

/* ---- files that are memory ------------------------------------------------------- */

/* A set of files of tmpfs, memfd_create(2) ones included, by device and inode. */
struct file { u64 dev, ino, bytes; };
static struct file *files;
static u64 nfiles, files_room;

static struct file *file_slot(u64 dev, u64 ino)
{
	u64 i = (ino * 0x9e3779b97f4a7c15ull ^ dev) & (files_room - 1);
	while (files[i].ino && (files[i].ino != ino || files[i].dev != dev))
		i = (i + 1) & (files_room - 1);
	return &files[i];
}

/* Returns what the file adds to the sandbox's memory, or -errno. */
static s64 add_file(u64 dev, u64 ino, u64 bytes)
{
	struct file *f;

	if (2 * nfiles >= files_room) {
		struct file *old = files;
		u64 i, n = files_room, to = n ? 2 * n : 1024;
		long p = sys6(__NR_mmap, 0, to * sizeof *f, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p < 0 && p > -4096)
			return p;
		files = (struct file *)p;
		files_room = to;
		for (i = 0; i < n; i++)
			if (old[i].ino)
				*file_slot(old[i].dev, old[i].ino) = old[i];
		if (n)
			sys2(__NR_munmap, old, n * sizeof *f);
	}
	f = file_slot(dev, ino);
	if (f->ino)
		return 0;
	*f = (struct file){ dev, ino, bytes };
	nfiles++;
	return (s64)bytes;
}

static void forget_files(void)
{
	u64 i;
	for (i = 0; i < files_room && nfiles; i++)
		files[i].ino = 0;
	nfiles = 0;
}

struct statx { u32 mask, blksize; u64 attributes; u32 nlink, uid, gid; u16 mode, pad; u64 ino, size, blocks, attributes_mask;
	       struct { s64 sec; u32 nsec, pad; } times[4]; u32 rdev[2], dev[2]; u64 rest[14]; };
struct statfs { u64 type, rest[31]; };
enum { S_IFMT = 0170000, S_IFREG = 0100000, S_IFDIR = 0040000, AT_SYMLINK_NOFOLLOW = 0x100, AT_STATX_DONT_SYNC = 0x4000,
       STATX_BASIC_STATS = 0x7ff, TMPFS_MAGIC = 0x01021994 };
static const u64 HUGETLBFS_MAGIC = 0x958458f6;

/* What the command got from the host is not its own, up to the size that it had. */
static struct file given[16];
static u32 ngiven;
static u64 kernel_mount; /* the device of memfds and of shared anonymous memory */

static u64 own_bytes(const struct statx *st)
{
	u64 bytes = st->blocks * 512, dev = (u64)st->dev[0] << 32 | st->dev[1];
	u32 i;

	for (i = 0; i < ngiven; i++)
		if (given[i].dev == dev && given[i].ino == st->ino)
			return bytes > given[i].bytes ? bytes - given[i].bytes : 0;
	return bytes;
}

static long stat_memory(const char *path, struct statx *st)
{
	struct statfs fs;
	long r = sys5(__NR_statx, AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_BASIC_STATS, st);

	if (r < 0 || (st->mode & S_IFMT) != S_IFREG)
		return 0;
	r = sys2(__NR_statfs, path, &fs);
	return r == 0 && (fs.type == TMPFS_MAGIC || fs.type == HUGETLBFS_MAGIC);
}

/* Before the command is there: its descriptors are this task's. */
static long note_given(void)
{
	struct statx st;
	char path[PATH_BYTES];
	long mem = sys2(__NR_memfd_create, "", 0);
	u32 fd;

	if (mem < 0)
		return mem;
	format_path(path, "/proc/self/fd/", (s32)mem, "");
	if (!stat_memory(path, &st))
		return -EOPNOTSUPP;
	kernel_mount = (u64)st.dev[0] << 32 | st.dev[1];
	sys1(__NR_close, mem);

	for (fd = 0; fd < nfds && ngiven < sizeof given / sizeof *given; fd++) {
		format_path(path, "/proc/self/fd/", (s32)fd, "");
		if (stat_memory(path, &st))
			given[ngiven++] = (struct file){ (u64)st.dev[0] << 32 | st.dev[1], st.ino, st.blocks * 512 };
	}
	return 0;
}

/* ---- descriptors ------------------------------------------------------------------ */

static int opaque;    /* somebody may hold memory in a place into which nobody can look */
static u64 unmapped;  /* in files that a descriptor stands for */
static long scan_error;

/* Descriptors under way from task to task: unix(7), and unix_show_fdinfo of the kernel's
 * net/unix/af_unix.c, Linux 5.6. */
static int in_flight(s32 tid, s32 fd)
{
	static struct reader r;
	char path[PATH_BYTES], line[64];
	int n = 0;

	format_path(path, "/proc/", tid, "/fdinfo/");
	format_path(path + length(path), "", fd, "");
	if (reader_open(&r, path) < 0)
		return 0;
	while (reader_line(&r, line, sizeof line))
		n |= value_of(line, "scm_fds:") > 0;
	reader_close(&r);
	return n;
}

static int ends(const char *s, long n, const char *tail)
{
	long k = (long)length(tail);
	if (n < k)
		return 0;
	for (s += n - k; *tail; s++, tail++)
		if (*s != *tail)
			return 0;
	return 1;
}

static void hold(struct process *p, const struct statx *st)
{
	s64 bytes = add_file((u64)st->dev[0] << 32 | st->dev[1], st->ino, own_bytes(st));

	if (bytes < 0) {
		scan_error = bytes;
		return;
	}
	unmapped += (u64)bytes;
	p->share += (u64)bytes;
}

/* The link is read, not the file: to look at that can wait for a server. */
static void look_at_descriptor(struct process *p, s32 tid, s32 fd)
{
	char path[PATH_BYTES], link[256];
	struct statx st;
	long n;

	format_path(path, "/proc/", tid, "/fd/");
	format_path(path + length(path), "", fd, "");
	n = sys4(__NR_readlinkat, AT_FDCWD, path, link, sizeof link);
	if (n > 7 && link[0] == 's' && value_of(link, "socket:[") >= 0) {
		opaque |= in_flight(tid, fd);
		return;
	}
	/* A path that is too long may end so. */
	if (n < (long)sizeof link && !ends(link, n, " (deleted)"))
		return;
	if (!stat_memory(path, &st))
		return;
	hold(p, &st);
}

static void look_at_table(struct process *p, s32 tid)
{
	static char buf[8192];
	char path[PATH_BYTES];
	long fd, n, at;

	format_path(path, "/proc/", tid, "/fd");
	fd = sys4(__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0) {
		opaque = 1; /* also when it has ended, as its memory may be another's by now */
		return;
	}
	while ((n = sys3(__NR_getdents64, fd, buf, sizeof buf)) > 0)
		for (at = 0; at < n && !scan_error; at += ((struct dirent64 *)(buf + at))->reclen) {
			const char *name = ((struct dirent64 *)(buf + at))->name;
			if (*name >= '0' && *name <= '9')
				look_at_descriptor(p, tid, parse_number(name));
		}
	sys1(__NR_close, fd);
}

enum { KCMP_VM = 1, KCMP_FILES = 2 };

static int same(s32 a, s32 b, int what) { return sys5(__NR_kcmp, a, b, what, 0, 0) == 0; }

/* A thread can have a table of its own: close_range(2), CLOSE_RANGE_UNSHARE. */
static void look_at_thread(struct process *p, s32 tid)
{
	if (tid != p->live && !same(p->live, tid, KCMP_FILES))
		look_at_table(p, tid);
}

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
		opaque = 1;
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
		opaque = 1;
}

static u64 hex(const char **s)
{
	u64 v = 0;
	for (;; (*s)++) {
		if (**s >= '0' && **s <= '9')
			v = v * 16 + (u64)(**s - '0');
		else if (**s >= 'a' && **s <= 'f')
			v = v * 16 + (u64)(**s - 'a' + 10);
		else
			return v;
	}
}

/* The first line of a mapping, "from-to perms offset dev inode path". Returns 0 for others. */
static int mapping(const char *s, u64 *dev, u64 *ino)
{
	hex(&s);
	if (*s != '-')
		return 0;
	while (*s && *s != ' ')
		s++;
	s += *s ? 6 : 0; /* " rw-p " */
	hex(&s);
	if (*s++ != ' ')
		return 0;
	*dev = hex(&s) << 32;
	if (*s++ != ':')
		return 0;
	*dev |= hex(&s);
	while (*s == ' ')
		s++;
	for (*ino = 0; *s >= '0' && *s <= '9'; s++)
		*ino = *ino * 10 + (u64)(*s - '0');
	return 1;
}

/* Shared memory stays as long as a bit of it is mapped, present or not: after a fork, and
 * after MADV_DONTNEED, no process need have a page of it. Only who has CAP_SYS_ADMIN or
 * CAP_CHECKPOINT_RESTORE may ask for the size of what is behind a mapping:
 * proc_pid_map_files(5). */
static void look_at_mappings(struct process *p)
{
	static struct reader r;
	char path[2 * PATH_BYTES], line[96];
	struct statx st;
	u64 dev, ino;
	u32 n, i;

	format_path(path, "/proc/", p->live, "/maps");
	if (reader_open(&r, path) < 0) {
		opaque = 1;
		return;
	}
	while (reader_line(&r, line, sizeof line)) {
		if (!mapping(line, &dev, &ino) || dev != kernel_mount || (files_room && file_slot(dev, ino)->ino))
			continue;
		format_path(path, "/proc/", p->live, "/map_files/");
		n = (u32)length(path);
		for (i = 0; line[i] && line[i] != ' ' && n + 1 < sizeof path; i++)
			path[n++] = line[i];
		path[n] = 0;
		if (stat_memory(path, &st))
			hold(p, &st);
		else
			opaque = 1;
	}
	reader_close(&r);
}

/* What a process maps of files that the set has counted already, in its proportion. */
static u64 counted_twice(struct process *p)
{
	static struct reader r;
	char path[PATH_BYTES], line[96];
	u64 sum = 0, pss = 0, anon;
	u64 dev, ino;
	int counted = 0;
	s64 v;

	format_path(path, "/proc/", p->live, "/smaps");
	if (reader_open(&r, path) < 0)
		return 0;
	while (reader_line(&r, line, sizeof line)) {
		if (mapping(line, &dev, &ino))
			counted = ino && files_room && file_slot(dev, ino)->ino;
		else if ((v = value_of(line, "Pss:")) >= 0)
			pss = (u64)v * 1024;
		else if ((v = value_of(line, "Anonymous:")) >= 0) {
			anon = (u64)v * 1024;
			if (counted && pss > anon)
				sum += pss - anon;
		}
	}
	reader_close(&r);
	return sum;
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

	/* Files that have a name are nobody's. To look for them all could take for ever. */
	opaque = (req->flags & REQ_WRITES_MEMORY) != 0;
	unmapped = 0;
	forget_files();
	for (i = 0; i < ntree; i++)
		holders += has_memory(&tree[i]);
	for (i = 0; i < ntree && !scan_error; i++) {
		struct process *p = &tree[i];

		p->share = 0;
		if (!has_memory(p))
			continue;
		look_at_table(p, p->live);
		if (p->threads > 1)
			threads_of(p, look_at_thread);
		if (seen_before(i))
			continue;
		look_at_mappings(p);
		a = p->anon, s = p->shmem;
		if (holders > 1)
			proportional(p, &a, &s);
		private += a + p->rest;
		shmem += s;
		p->share += a + p->rest + s;
		if (private > enough)
			return private;
	}
	if (unmapped && shmem && private + shmem + unmapped > limit) {
		u64 twice = 0;
		for (i = 0; i < ntree; i++)
			if (has_memory(&tree[i]) && tree[i].shmem && !seen_before(i))
				twice += counted_twice(&tree[i]);
		shmem -= twice < shmem ? twice : shmem;
	}
	shmem += unmapped;
	if (!opaque)
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
		if (!scan_error && total > limit)
			kill_largest(total);
	}
	tree_release(HOLD_OVER);
	return r < 0 ? r : scan_error;
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
	int killed = 0;
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
		if (scan_error)
			return scan_error;
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
	limit = req->max_memory;
	machine_before = outside = shared_memory_of_machine();
	return limit ? note_given() : 0;
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
