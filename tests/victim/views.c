/* views MODE FILE MARK DIR: opens of a file that the library shows another one in the place
 * of. An open whose text has MARK in it is 1, one of another text 0. ADVERSARY sections 12,
 * 13 and 25. */
#include "try.h"

#include <linux/landlock.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

static const char *file, *mark;
static char text[1 << 16];

/* What a descriptor holds of the mark; -1 for none, or when it can't be read. */
static long marked(int fd)
{
	ssize_t n, all = 0;
	int e;
	if (fd < 0)
		return -1;
	while ((n = pread(fd, text + all, sizeof text - 1 - (size_t)all, all)) > 0)
		all += n;
	e = errno;
	close(fd);
	errno = e;
	text[all] = 0;
	return n < 0 ? -1 : strstr(text, mark) != NULL;
}

static int how(int dir, const char *path, unsigned long flags, unsigned long resolve)
{
	struct open_how h = { .flags = flags, .resolve = resolve };
	return (int)syscall(SYS_openat2, dir, path, &h, sizeof h);
}

static void *in_thread(void *path)
{
	return (void *)marked(open(path, O_RDONLY));
}

/* However the path is spelled. dir is of the caller's own. */
static void ways(const char *dir)
{
	char parent[256], name[256], path[1024];
	pthread_t t;
	void *r;
	int fd, up;

	snprintf(parent, sizeof parent, "%s", file);
	*strrchr(parent, '/') = 0;
	snprintf(name, sizeof name, "%s", strrchr(file, '/') + 1);

	TRY("plain", marked(open(file, O_RDONLY)));
	TRY("open", marked((int)syscall(SYS_openat, AT_FDCWD, file, O_RDONLY)));
#ifdef SYS_open
	TRY("legacy", marked((int)syscall(SYS_open, file, O_RDONLY)));
#endif
	TRY("openat2", marked(how(AT_FDCWD, file, O_RDONLY, 0)));
	TRY("no-symlinks", marked(how(AT_FDCWD, file, O_RDONLY | O_CLOEXEC, RESOLVE_NO_SYMLINKS)));
	snprintf(path, sizeof path, "//%s///%s", parent, name);
	TRY("slashes", marked(open(path, O_RDONLY)));
	snprintf(path, sizeof path, "%s/../%s/./%s", parent, strrchr(parent, '/'), name);
	TRY("dots", marked(open(path, O_RDONLY)));
	up = open(parent, O_PATH);
	TRY("at", marked(openat(up, name, O_RDONLY)));
	TRY("beneath", marked(how(up, name, O_RDONLY, RESOLVE_BENEATH)));
	snprintf(path, sizeof path, "/proc/self/fd/%d/%s", up, name);
	TRY("by-directory", marked(open(path, O_RDONLY)));
	fd = open(file, O_PATH);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	TRY("by-descriptor", marked(open(path, O_RDONLY)));
	snprintf(path, sizeof path, "/dev/fd/%d", fd);
	TRY("dev-fd", marked(open(path, O_RDONLY)));
	snprintf(path, sizeof path, "/proc/self/root%s", file);
	TRY("by-root", marked(open(path, O_RDONLY)));
	snprintf(path, sizeof path, "/proc/%d/root%s", getpid(), file);
	TRY("by-number", marked(open(path, O_RDONLY)));
	snprintf(path, sizeof path, "/proc/thread-self/root%s", file);
	TRY("by-thread", marked(open(path, O_RDONLY)));
	pthread_create(&t, NULL, in_thread, path);
	pthread_join(t, &r);
	TRY("thread", r);
	if (chdir(dir) == 0) {
		symlink(file, "link1");
		symlink("link1", "link2");
		TRY("link", marked(open("link2", O_RDONLY)));
		symlink(parent, "parent");
		snprintf(path, sizeof path, "parent/%s", name);
		TRY("link-to-parent", marked(open(path, O_RDONLY)));
		symlink("/proc/self/cwd/link2", "door");
		TRY("link-by-cwd", marked(open("door", O_RDONLY)));
	}
	if (chdir(parent) == 0) {
		TRY("relative", marked(open(name, O_RDONLY)));
		snprintf(path, sizeof path, "/proc/self/cwd/%s", name);
		TRY("by-cwd", marked(open(path, O_RDONLY)));
	}
	TRY_FORKED("child", marked(open(file, O_RDONLY)));
}

/* What is no plain open for reading is about the file itself. */
static void others(const char *dir)
{
	struct stat st, real;
	char path[1024];
	int fd = open(file, O_PATH);

	TRY("path", fstat(fd, &st) == 0 && stat(file, &real) == 0 && st.st_ino == real.st_ino ? 0 : 1);
	TRY("write", marked(open(file, O_WRONLY)));
	TRY("read-write", marked(open(file, O_RDWR)));
	TRY("truncate", marked(open(file, O_RDONLY | O_TRUNC)));
	TRY("write-truncate", marked(open(file, O_WRONLY | O_TRUNC | O_CREAT, 0600)));
	TRY("directory", marked(open(file, O_RDONLY | O_DIRECTORY)));
	TRY("exclusive", marked(open(file, O_RDONLY | O_CREAT | O_EXCL, 0600)));
	TRY("tmpfile", marked(open(file, O_RDWR | O_TMPFILE, 0600)));
	snprintf(path, sizeof path, "%s/", file);
	TRY("slash", marked(open(path, O_RDONLY)));
	snprintf(path, sizeof path, "%s/nofollow", dir);
	symlink(file, path);
	TRY("nofollow", marked(open(path, O_RDONLY | O_NOFOLLOW)));
	TRY("how-unknown", marked(how(AT_FDCWD, file, 1ul << 40, 0)));
	TRY("how-mode", (int)syscall(SYS_openat2, AT_FDCWD, file, &(struct open_how){ .mode = 0600 }, sizeof(struct open_how)));
	TRY("how-xdev", marked(how(AT_FDCWD, file, O_RDONLY, RESOLVE_BENEATH)));
	TRY("no-memory", marked((int)syscall(SYS_openat, AT_FDCWD, (void *)8, O_RDONLY)));
}

/* What is given is a descriptor as any other, and can't be changed. */
static void descriptor(void)
{
	struct stat st;
	char path[64], buf[16], again[16] = "";
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK), other = open(file, O_RDONLY), w;
	ssize_t n;
	void *map;

	TRY("stat", fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0333) == 0 && st.st_size > 0 ? 1 : 0);
	TRY("cloexec", fcntl(fd, F_GETFD));
	TRY("not-cloexec", fcntl(other, F_GETFD));
	TRY("flags", (fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK)) == O_NONBLOCK);
	n = read(fd, buf, 8);
	TRY("position", n == 8 && lseek(fd, 0, SEEK_CUR) == 8 && lseek(other, 0, SEEK_CUR) == 0);
	TRY("again", read(other, again, 8) == 8 && !memcmp(buf, again, 8) && lseek(fd, 0, SEEK_SET) == 0 && pread(fd, again, 8, 0) == 8 && !memcmp(buf, again, 8));
	TRY("end", lseek(fd, 0, SEEK_END) == st.st_size && read(fd, buf, 1) == 0);
	map = mmap(NULL, 8, PROT_READ, MAP_SHARED, fd, 0);
	TRY("map", map != MAP_FAILED && !memcmp(map, again, 8));

	TRY("change:write", write(fd, "x", 1));
	TRY("change:pwrite", pwrite(fd, "x", 1, 0));
	TRY("change:truncate", ftruncate(fd, 0));
	TRY("change:allocate", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 8));
	TRY("change:map", mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
	TRY("change:protect", mprotect(map, 8, PROT_READ | PROT_WRITE));
	TRY("change:seals", fcntl(fd, F_ADD_SEALS, 0));
	TRY("change:copy", copy_file_range(other, &(off_t){ 0 }, fd, &(off_t){ 0 }, 8, 0));
	TRY("change:execute", (fexecve(fd, (char *[]){ "x", NULL }, (char *[]){ NULL }), -1));
	/* The owner of it can make it writable, and opens it again. */
	fchmod(fd, 0777);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	TRY("again:truncate", truncate(path, 0));
	w = open(path, O_RDWR);
	TRY("again:write", write(w, "x", 1));
	TRY("again:cut", ftruncate(w, 0));
	TRY("again:grow", ftruncate(w, 1 << 20));
	TRY("again:map", mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, w, 0) == MAP_FAILED ? -1 : 0);
	TRY("again:open-truncate", marked(open(path, O_RDONLY | O_TRUNC)) == 1 ? 0 : -1);
	TRY("again:execute", (execv(path, (char *[]){ "x", NULL }), -1));
	TRY("again:read", marked(open(path, O_RDONLY)));
	TRY("again:after", marked(open(file, O_RDONLY)));
	/* Or nobody's: the next who opens the file gets it all the same. */
	TRY("nobody:mode", fchmod(fd, 0));
	TRY("nobody:after", marked(open(file, O_RDONLY)));
}

/* Without closing any. */
static void many(int count)
{
	char byte;
	long opened = 0;
	for (int i = 0; i < count; i++)
		opened += open(file, O_RDONLY) >= 0;
	TRY("opened", opened);
	read(0, &byte, 1); /* is looked at meanwhile */
}

static void full(void)
{
	struct rlimit few = { 16, 16 };
	setrlimit(RLIMIT_NOFILE, &few);
	while (dup(1) >= 0)
		;
	TRY("full", open(file, O_RDONLY));
	close(15);
	TRY("free", marked(open(file, O_RDONLY)));
}

/* Denies itself all files but those beneath dir. */
static void restricted(const char *dir)
{
	struct landlock_ruleset_attr ruleset = { .handled_access_fs = LANDLOCK_ACCESS_FS_READ_FILE };
	struct landlock_path_beneath_attr rule = { .allowed_access = LANDLOCK_ACCESS_FS_READ_FILE, .parent_fd = open(dir, O_PATH) };
	int fd = (int)syscall(SYS_landlock_create_ruleset, &ruleset, sizeof ruleset, 0);

	TRY("before", marked(open(file, O_RDONLY)));
	syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (TRY("restrict", syscall(SYS_landlock_restrict_self, fd, 0)) == 0)
		TRY("after", marked(open(file, O_RDONLY)));
}

/* The path flips between the file and one that may not be read, in memory and as a link. */
static char flipped[256];
static volatile int over;
static char *two[2];

static void *flip(void *unused)
{
	size_t n = strlen(two[0]) + 1;
	(void)unused;
	while (!over) {
		memcpy(flipped, two[1], n);
		memcpy(flipped, two[0], n);
	}
	return NULL;
}

static void race(int rounds, const char *dir, char *secret)
{
	char link[256], memory[256];
	pthread_t t;
	pid_t pid;
	unsigned got = 0, refused = 0;

	snprintf(link, sizeof link, "%s/way", dir);
	if (chdir(dir) != 0)
		exit(1);
	symlink(file, "way");
	if ((pid = fork()) == 0)
		for (;;) {
			symlink(secret, "l1");
			rename("l1", "way");
			symlink(file, "l2");
			rename("l2", "way");
		}
	/* Two spellings of one length. */
	snprintf(memory, sizeof memory, "%*s", (int)strlen(secret), "");
	memset(memory, '/', strlen(secret));
	if (strlen(secret) < strlen(file))
		exit(1);
	memcpy(memory + strlen(secret) - strlen(file), file, strlen(file));
	two[0] = memory;
	two[1] = secret;
	strcpy(flipped, memory);
	pthread_create(&t, NULL, flip, NULL);
	for (int i = 0; i < rounds; i++) {
		long r = marked(open(i % 2 ? link : flipped, O_RDONLY));
		if (strstr(text, "SECRET") && r >= 0) {
			puts("SECRET");
			break;
		}
		r < 0 ? refused++ : got++;
		text[0] = 0;
	}
	over = 1;
	pthread_join(t, NULL);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	printf("got %u 0\nrefused %u 0\n", got, refused);
}

int main(int argc, char **argv)
{
	if (argc < 5)
		return 1;
	file = argv[2];
	mark = argv[3];
	switch (argv[1][0]) {
	case 'w': ways(argv[4]); return 0;
	case 'o': others(argv[4]); return 0;
	case 'd': descriptor(); return 0;
	case 'm': many(atoi(argv[4])); return 0;
	case 'f': full(); return 0;
	case 'l': restricted(argv[4]); return 0;
	case 'r': race(atoi(argv[6]), argv[4], argv[5]); return 0;
	}
	return 1;
}
