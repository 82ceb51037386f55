//go:build ignore
// (for the go command, which would want cgo: the Makefile builds this)

/* What the kernel tells of a task, and of the time. */
#include "limits.h"

u64 now_ns(void)
{
	struct timespec t = { 0, 0 };
	sys2(__NR_clock_gettime, CLOCK_MONOTONIC, &t);
	return (u64)t.sec * 1000000000ull + (u64)t.nsec;
}

u64 cpu_of(s32 pid, long *err)
{
	struct timespec t = { 0, 0 };
	/* The clock of a process, of any: clock_getcpuclockid(3), and CPUCLOCK_SCHED of the
	 * kernel's include/linux/posix-timers_types.h. */
	*err = sys2(__NR_clock_gettime, ~pid * 8 | 2, &t);
	return (u64)t.sec * 1000000000ull + (u64)t.nsec;
}

enum { USER_HZ = 100 }; /* of /proc, whatever the kernel's own HZ: time(7) */

int read_stat(s32 tid, struct task_stat *stat)
{
	char path[PATH_BYTES], buf[512];
	long fd, n, have = 0;
	u32 field = 2;
	u64 v = 0;

	*stat = (struct task_stat){ 0 };
	format_path(path, "/proc/", tid, "/stat");
	fd = sys4(__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return 0;
	have = sys3(__NR_read, fd, buf, sizeof buf);
	sys1(__NR_close, fd);
	/* "tid (name) state ppid …": a name may hold anything, proc_pid_stat(5). */
	for (n = have; n > 0 && buf[n - 1] != ')';)
		n--;
	for (; n > 0 && n < have; n++) {
		if (buf[n] >= '0' && buf[n] <= '9') {
			v = v * 10 + (u64)(buf[n] - '0');
			continue;
		}
		if (buf[n] != ' ' && field == 3)
			stat->state = buf[n];
		if (buf[n] != ' ')
			continue;
		if (field == 9)
			stat->flags = v;
		else if (field == 10)
			stat->faults = v;
		else if (field == 16 || field == 17) /* cutime, cstime */
			stat->reaped += v * (1000000000 / USER_HZ);
		else if (field == 20)
			stat->threads = (u32)v;
		else if (field == 33)
			stat->ignored = v;
		field++;
		v = 0;
	}
	return stat->state != 0;
}

/* ---- line by line --------------------------------------------------------------- */

long reader_open(struct reader *r, const char *path)
{
	long fd = sys4(__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	r->fd = (s32)fd;
	r->at = r->have = 0;
	return fd;
}

void reader_close(struct reader *r) { sys1(__NR_close, r->fd); }

int reader_char(struct reader *r)
{
	if (r->at == r->have) {
		long n = sys3(__NR_read, r->fd, r->buf, sizeof r->buf);
		if (n <= 0)
			return -1;
		r->at = 0;
		r->have = (u32)n;
	}
	return (u8)r->buf[r->at++];
}

int reader_line(struct reader *r, char *line, u32 max)
{
	u32 n = 0;
	int c;

	while ((c = reader_char(r)) >= 0 && c != '\n')
		if (n + 1 < max)
			line[n++] = (char)c;
	line[n] = 0;
	return c >= 0 || n;
}

s64 value_of(const char *line, const char *key)
{
	s64 v = 0;
	while (*key)
		if (*line++ != *key++)
			return -1;
	while (*line == ' ' || *line == '\t')
		line++;
	if (*line < '0' || *line > '9')
		return -1;
	for (; *line >= '0' && *line <= '9'; line++)
		v = v * 10 + (*line - '0');
	return v;
}
