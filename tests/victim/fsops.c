/* fsops plain|model OPS DENIED...: does the operations of the file OPS, one a line, in the
 * working directory, and prints what came of each. As "model" it looks first, by a naive
 * walk over names, whether an operation touches one of the DENIED paths, and then does not do
 * it but prints what a sandbox that denies them has to: EACCES. file:DEVICE:INODE is a file
 * among them or beneath them, which may have other names. */
#include "try.h"

#include <dirent.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define SLOTS 8
static int slots[SLOTS], model, ndenied;
static char root[PATH_MAX], *denied[16];
static struct { dev_t dev; ino_t ino; } inodes[256];
static int ninodes;

static int is_denied(const char *canonical)
{
	struct stat st;
	for (int i = 0; i < ndenied; i++) {
		size_t n = strlen(denied[i]);
		if (!strncmp(canonical, denied[i], n) && (canonical[n] == 0 || canonical[n] == '/'))
			return 1;
	}
	if (lstat(canonical, &st) == 0 && !S_ISDIR(st.st_mode))
		for (int i = 0; i < ninodes; i++)
			if (st.st_dev == inodes[i].dev && st.st_ino == inodes[i].ino)
				return 1;
	return 0;
}

/* Where a walk ends: 1 it touches what is denied, -1 it ends before, 0 neither; canonical is
 * the name that it has come to. */
static int walk(int dir, const char *path, int follow, int parent, char *canonical)
{
	char rest[PATH_MAX * 2], name[NAME_MAX + 2], link[PATH_MAX], next[PATH_MAX * 2], proc[64];
	int links = 0;
	struct stat st;
	ssize_t n;
	if (!*path)
		return -1;
	if (*path == '/') {
		strcpy(canonical, "");
	} else if (dir == AT_FDCWD) {
		if (!getcwd(canonical, PATH_MAX))
			return -1;
	} else {
		snprintf(proc, sizeof proc, "/proc/self/fd/%d", dir);
		n = readlink(proc, canonical, PATH_MAX - 1);
		if (n < 0 || *canonical != '/' || fstat(dir, &st) != 0 || !S_ISDIR(st.st_mode))
			return -1;
		canonical[n] = 0;
	}
	if (*path != '/' && is_denied(canonical))
		return 1;
	snprintf(rest, sizeof rest, "%s", path);
	for (;;) {
		char *p = rest + strspn(rest, "/"), *end = p + strcspn(p, "/");
		int last = end[strspn(end, "/")] == 0, slash = *end == '/';
		if (!*p)
			return 0;
		if (stat(*canonical ? canonical : "/", &st) != 0 || !S_ISDIR(st.st_mode))
			return -1;
		if (end - p > NAME_MAX)
			return -1;
		memcpy(name, p, end - p);
		name[end - p] = 0;
		memmove(rest, end, strlen(end) + 1);
		if (last && parent && (!strcmp(name, ".") || !strcmp(name, ".."))) {
			strcpy(canonical, "/no name"); /* which each call refuses in its own way */
			return 0;
		}
		if (!strcmp(name, "."))
			continue;
		if (!strcmp(name, "..")) {
			char *cut = strrchr(canonical, '/');
			if (cut)
				*cut = 0;
			continue;
		}
		snprintf(next, sizeof next, "%s/%s", canonical, name);
		if (strlen(next) >= PATH_MAX)
			return -1;
		if (is_denied(next))
			return 1;
		if (lstat(next, &st) != 0) {
			strcpy(canonical, next);
			return last ? 0 : -1;
		}
		if (S_ISLNK(st.st_mode) && (!last || ((follow || slash) && !parent))) {
			if (++links > 40 || (n = readlink(next, link, sizeof link - 1)) < 0)
				return -1;
			link[n] = 0;
			if (*link == '/')
				*canonical = 0;
			if (strlen(rest) + n + 1 >= sizeof rest)
				return -1;
			memmove(rest + n, rest, strlen(rest) + 1);
			memcpy(rest, link, n);
			continue;
		}
		strcpy(canonical, next);
		if (last)
			return slash && !parent && !S_ISDIR(st.st_mode) ? -1 : 0;
	}
}

/* Whether something denied lies beneath a directory, which may not be moved then. */
static int holds(const char *canonical)
{
	struct stat st;
	size_t n = strlen(canonical);
	if (lstat(canonical, &st) != 0 || !S_ISDIR(st.st_mode))
		return 0;
	for (int i = 0; i < ndenied; i++)
		if (!strncmp(denied[i], canonical, n) && (denied[i][n] == '/' || denied[i][n] == 0))
			return 1;
	return 0;
}

static char one[PATH_MAX * 2], two[PATH_MAX * 2];

static int touches(int dir, const char *path, int follow, int parent)
{
	return model && walk(dir, path, follow, parent, one) == 1;
}

/* Beneath the grants attributes may be changed, and nowhere else. */
static int attributes(int dir, const char *path, int follow)
{
	int r;
	char granted[PATH_MAX + 8];
	struct stat st;
	if (!model)
		return 0;
	r = walk(dir, path, follow, 0, one);
	if (r != 0)
		return r == 1;
	if (lstat(one, &st) != 0)
		return 0;
	snprintf(granted, sizeof granted, "%s/rw", root);
	return strncmp(one, granted, strlen(granted)) != 0 || (one[strlen(granted)] != 0 && one[strlen(granted)] != '/');
}

static int pair(int from_dir, const char *from, int to_dir, const char *to, int follow, int moves, int exchange)
{
	int a, b;
	if (!model)
		return 0;
	a = walk(from_dir, from, follow, moves, one);
	if (a != 0)
		return a == 1;
	/* A link from what is not there fails before its other name is looked at. */
	if (!moves) {
		struct stat st;
		if (fstatat(from_dir, from, &st, follow ? 0 : AT_SYMLINK_NOFOLLOW) != 0)
			return 0;
	}
	b = walk(to_dir, to, 0, 1, two);
	if (b == 1)
		return 1;
	(void)exchange;
	return b == 0 && moves && (holds(one) || holds(two));
}

#define DO(refuse, call) ((refuse) ? (errno = EACCES, -1L) : (long)(call))

static void shown(int i, const char *op, long r)
{
	int e = r < 0 ? errno : 0;
	printf("%d %s %d %d", i, op, r < 0 ? -1 : 0, e);
	if (r >= 0 && strncmp(op, "open", 4) == 0) {
		struct stat st;
		char buf[32];
		fstat((int)r, &st);
		printf(" mode %o size %ld flags %x", st.st_mode, S_ISREG(st.st_mode) ? (long)st.st_size : 0L, fcntl((int)r, F_GETFL) & ~O_NOFOLLOW);
		if (S_ISREG(st.st_mode) && (fcntl((int)r, F_GETFL) & O_ACCMODE) == O_RDONLY) {
			ssize_t n = pread((int)r, buf, sizeof buf, 0);
			printf(" %.*s", n > 0 ? (int)n : 0, buf);
		}
		if (slots[i % SLOTS] >= 0)
			close(slots[i % SLOTS]);
		slots[i % SLOTS] = (int)r;
	}
	putchar('\n');
}

static int list(int fd)
{
	int copy = dup(fd), n = 0;
	DIR *d;
	if (copy < 0 || !(d = fdopendir(copy)))
		return -1;
	rewinddir(d);
	while (readdir(d))
		n++;
	closedir(d);
	errno = 1000 + n; /* which is shown */
	return -1;
}

int main(int argc, char **argv)
{
	char line[PATH_MAX * 3], op[32], p[PATH_MAX], q[PATH_MAX];
	FILE *f;
	int i = 0, flags, mode, dir;
	struct timespec times[2] = { { 1000, 0 }, { 2000, 0 } };
	if (argc < 3 || !(f = fopen(argv[2], "r")) || !getcwd(root, sizeof root))
		return 1;
	model = !strcmp(argv[1], "model");
	for (int j = 3; j < argc; j++) {
		unsigned long dev, ino;
		if (sscanf(argv[j], "file:%lu:%lu", &dev, &ino) == 2) {
			inodes[ninodes].dev = dev;
			inodes[ninodes++].ino = ino;
		} else {
			denied[ndenied++] = argv[j];
		}
	}
	for (int j = 0; j < SLOTS; j++)
		slots[j] = -1;
	while (fgets(line, sizeof line, f)) {
		long r = -1;
		*p = *q = 0;
		if (sscanf(line, "%31s %i %i %i %4095s %4095s", op, &dir, &flags, &mode, p, q) < 4)
			return 2;
		int at = dir < 0 ? AT_FDCWD : slots[dir % SLOTS];
		int slot = slots[dir < 0 ? 0 : dir % SLOTS];
		/* $ is the root of the tree. */
		char tmp[2 * PATH_MAX];
		for (int k = 0; k < 2; k++) {
			char *s = k ? q : p;
			if (*s == '$') {
				snprintf(tmp, sizeof tmp, "%s%s", root, s + 1);
				if (strlen(tmp) >= PATH_MAX)
					return 2;
				strcpy(s, tmp);
			} else if (*s == '@') {
				*s = 0;
			}
		}
		struct stat fifo;
		int rel = dir >= 0 && at < 0 && *p != '/'; /* a descriptor that is not there */
		errno = 0;
		/* With a slash behind it nothing is made, whatever a link there leads to. */
		int made = *p && p[strlen(p) - 1] == '/' && (flags & O_CREAT || !strcmp(op, "open-creat"));
#define IS(name) !strcmp(op, name)
		if (IS("open"))
			r = DO(!(flags & O_PATH) && !rel && touches(at, p, !(flags & O_NOFOLLOW) && (flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL), made), openat(at, p, flags | O_NONBLOCK, mode));
		else if (IS("open-plain"))
			r = DO(touches(AT_FDCWD, p, 1, 0), syscall(SYS_openat, AT_FDCWD, p, O_RDONLY | O_NONBLOCK, 0));
		else if (IS("open-creat") && stat(p, &fifo) == 0 && S_ISFIFO(fifo.st_mode))
			r = -1; /* it would wait for a reader, for ever */
		else if (IS("open-creat"))
			r = DO(touches(AT_FDCWD, p, 1, made), creat(p, mode));
		else if (IS("truncate"))
			r = DO(touches(AT_FDCWD, p, 1, 0), truncate(p, flags));
		else if (IS("mkdir"))
			r = DO(!rel && touches(at, p, 0, 1), mkdirat(at, p, mode));
		else if (IS("rmdir"))
			r = DO(touches(AT_FDCWD, p, 0, 1), rmdir(p));
		else if (IS("unlink"))
			r = DO(touches(AT_FDCWD, p, 0, 1), unlink(p));
		else if (IS("unlinkat"))
			r = DO(!rel && touches(at, p, 0, 1), unlinkat(at, p, flags));
		else if (IS("rename"))
			r = DO(!rel && pair(at, p, AT_FDCWD, q, 0, 1, 0), renameat2(at, p, AT_FDCWD, q, flags));
		else if (IS("link"))
			r = DO(!rel && pair(at, p, AT_FDCWD, q, flags & AT_SYMLINK_FOLLOW, 0, 0), linkat(at, p, AT_FDCWD, q, flags));
		else if (IS("symlink"))
			r = DO(!rel && touches(at, p, 0, 1), symlinkat(*q ? q : "x", at, p));
		else if (IS("mknod"))
			r = DO(!rel && touches(at, p, 0, 1), mknodat(at, p, mode, 0));
		else if (IS("chmod"))
			r = DO(!rel && attributes(at, p, 1), fchmodat(at, p, mode, 0));
		else if (IS("chown"))
			r = DO(!rel && attributes(at, p, !(flags & AT_SYMLINK_NOFOLLOW)), fchownat(at, p, getuid(), getgid(), flags));
		else if (IS("utimens"))
			r = DO(!rel && attributes(at, p, !(flags & AT_SYMLINK_NOFOLLOW)), utimensat(at, p, times, flags));
		else if (IS("setxattr"))
			r = DO(attributes(AT_FDCWD, p, 1), setxattr(p, "user.a", "value", 5, 0));
		else if (IS("lsetxattr"))
			r = DO(attributes(AT_FDCWD, p, 0), lsetxattr(p, "user.b", "value", 5, 0));
		else if (IS("removexattr"))
			r = DO(attributes(AT_FDCWD, p, 1), removexattr(p, "user.a"));
		else if (IS("chdir"))
			r = chdir(p);
		else if (IS("umask"))
			r = umask(mode) >= 0 ? 0 : -1;
		else if (IS("ftruncate"))
			r = ftruncate(slot, flags);
		else if (IS("write"))
			r = write(slot, "written", 7) == 7 ? 0 : -1;
		else if (IS("list"))
			r = list(slot);
		else if (IS("close"))
			r = close(slot), slots[dir < 0 ? 0 : dir % SLOTS] = -1;
		else
			return 3;
		shown(i++, op, r);
	}
	return 0;
}
