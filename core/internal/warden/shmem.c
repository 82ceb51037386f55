//go:build ignore
// (for the go command, which would want cgo: the Makefile builds this)

/* Memory that is a file: what memfd_create(2) makes, shared anonymous memory, files on a
 * tmpfs. A process holds it by a descriptor or by a mapping, whether a page of it is in its
 * page tables or not. */
#include "limits.h"

int shmem_opaque;
u64 shmem_bytes;
long shmem_error;

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

void shmem_forget(void)
{
	u64 i;
	for (i = 0; i < files_room && nfiles; i++)
		files[i].ino = 0;
	nfiles = 0;
	shmem_bytes = 0;
	/* Files that have a name are nobody's. To look for them all could take for ever. */
	shmem_opaque = (req->flags & REQ_WRITES_MEMORY) != 0;
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
long shmem_begin(void)
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
		shmem_error = bytes;
		return;
	}
	shmem_bytes += (u64)bytes;
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
		shmem_opaque |= in_flight(tid, fd);
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
		shmem_opaque = 1; /* also when it has ended, as its memory may be another's by now */
		return;
	}
	while ((n = sys3(__NR_getdents64, fd, buf, sizeof buf)) > 0)
		for (at = 0; at < n && !shmem_error; at += ((struct dirent64 *)(buf + at))->reclen) {
			const char *name = ((struct dirent64 *)(buf + at))->name;
			if (*name >= '0' && *name <= '9')
				look_at_descriptor(p, tid, parse_number(name));
		}
	sys1(__NR_close, fd);
}

/* A thread can have a table of its own: close_range(2), CLOSE_RANGE_UNSHARE. */
static void look_at_thread(struct process *p, s32 tid)
{
	if (tid != p->live && !same(p->live, tid, KCMP_FILES))
		look_at_table(p, tid);
}
void shmem_descriptors(struct process *p)
{
	look_at_table(p, p->live);
	if (p->threads > 1)
		threads_of(p, look_at_thread);
}

/* ---- mappings -------------------------------------------------------------------- */


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
void shmem_mappings(struct process *p)
{
	static struct reader r;
	char path[2 * PATH_BYTES], line[96];
	struct statx st;
	u64 dev, ino;
	u32 n, i;

	format_path(path, "/proc/", p->live, "/maps");
	if (reader_open(&r, path) < 0) {
		shmem_opaque = 1;
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
			shmem_opaque = 1;
	}
	reader_close(&r);
}

/* What a process maps of files that the set has counted already, in its proportion. */
u64 shmem_counted_twice(struct process *p)
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
