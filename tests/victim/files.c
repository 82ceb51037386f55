/* files DIR: tries all that can be done by a path to what is denied: DIR/denied/secret,
 * DIR/denied and DIR/file. ADVERSARY sections 12 to 14. DIR/other and DIR/link-to-denied,
 * DIR/dangling (to DIR/denied/new) are there; DIR/hard is another name of DIR/file. */
#include "try.h"

#include <dirent.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <utime.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

static char name[128];

/* A descriptor that was got is read, so that the effect shows. */
static void opened(const char *what, int fd)
{
	char buf[64];
	say(what, fd);
	if (fd >= 0) {
		ssize_t n = read(fd, buf, sizeof buf);
		if (n > 0)
			printf("read %.*s\n", (int)n, buf);
		close(fd);
	}
}

static const char *of(const char *what, const char *which)
{
	snprintf(name, sizeof name, "%s:%s", what, which);
	return name;
}

/* Each call by path on one spelling of a denied file or directory. */
static void on(const char *which, const char *path)
{
	struct timespec times[2] = { { 1, 0 }, { 1, 0 } };
	struct timeval tv[2] = { { 1, 0 }, { 1, 0 } };
	struct utimbuf ut = { 1, 1 };
	char *const argv[] = { "x", NULL };

	opened(of("open", which), open(path, O_RDONLY));
	opened(of("open-write", which), open(path, O_WRONLY));
	opened(of("open-trunc", which), open(path, O_RDWR | O_TRUNC));
	opened(of("open-creat", which), open(path, O_RDWR | O_CREAT, 0600));
	opened(of("open-creat-trunc", which), open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600));
	opened(of("open-append", which), open(path, O_WRONLY | O_APPEND));
	opened(of("open-path", which), open(path, O_PATH));
	opened(of("open-dir", which), open(path, O_RDONLY | O_DIRECTORY));
	opened(of("open-tmpfile", which), open(path, O_TMPFILE | O_RDWR, 0600));
	opened(of("creat", which), creat(path, 0600));
#ifdef SYS_open
	opened(of("open2", which), (int)syscall(SYS_open, path, O_RDONLY, 0));
	opened(of("creat2", which), (int)syscall(SYS_creat, path, 0600));
	TRY(of("chmod2", which), syscall(SYS_chmod, path, 0777));
	TRY(of("utime2", which), syscall(SYS_utime, path, &ut));
	TRY(of("utimes2", which), syscall(SYS_utimes, path, tv));
#endif
	TRY(of("truncate", which), truncate(path, 0));
	TRY(of("chmod", which), chmod(path, 0777));
	TRY(of("fchmodat2", which), syscall(SYS_fchmodat2, AT_FDCWD, path, 0777, 0));
	TRY(of("chown", which), chown(path, getuid(), getgid()));
	TRY(of("utimensat", which), utimensat(AT_FDCWD, path, times, 0));
	TRY(of("utime", which), utime(path, &ut));
	TRY(of("setxattr", which), setxattr(path, "user.x", "y", 1, 0));
	TRY(of("removexattr", which), removexattr(path, "user.x"));
	TRY(of("exec", which), execve(path, argv, NULL));
	TRY(of("execveat", which), syscall(SYS_execveat, AT_FDCWD, path, argv, NULL, 0));
}

/* Those that do not follow a link at the end. */
static void name_of(const char *which, const char *path)
{
	TRY(of("rename", which), rename(path, "moved"));
	TRY(of("rename-over", which), rename("other", path));
	TRY(of("exchange", which), renameat2(AT_FDCWD, "other", AT_FDCWD, path, RENAME_EXCHANGE));
	TRY(of("whiteout", which), renameat2(AT_FDCWD, path, AT_FDCWD, "moved", RENAME_WHITEOUT));
	TRY(of("link", which), link(path, "linked"));
	TRY(of("link-follow", which), linkat(AT_FDCWD, path, AT_FDCWD, "linked", AT_SYMLINK_FOLLOW));
	TRY(of("link-to", which), link("other", path));
	TRY(of("unlink", which), unlink(path));
	TRY(of("rmdir", which), rmdir(path));
	TRY(of("mkdir", which), mkdir(path, 0700));
	TRY(of("mkfifo", which), mkfifo(path, 0600));
	TRY(of("symlink", which), symlink("other", path));
#ifdef SYS_rename
	TRY(of("rename2", which), syscall(SYS_rename, path, "moved"));
	TRY(of("unlink2", which), syscall(SYS_unlink, path));
#endif
	TRY(of("lchown", which), lchown(path, getuid(), getgid()));
}

int main(int argc, char **argv)
{
	char path[4096], cwd[4096];
	if (argc < 2 || chdir(argv[1]) != 0)
		return 1;
	snprintf(path, sizeof path, "%s/denied/secret", argv[1]);
	on("absolute", path);
	name_of("absolute", path);
	on("relative", "denied/secret");
	name_of("relative", "denied/secret");
	on("dots", "denied/../denied/./secret");
	on("slashes", ".//denied///secret");
	on("link", "link-to-denied/secret");
	on("link-file", "link-to-file");
	on("hard", "hard");
	name_of("hard", "hard");
	on("hard-beneath", "hard-secret");
	on("dangling", "dangling");
	on("self-cwd", "/proc/self/cwd/denied/secret");
	on("thread-self", "/proc/thread-self/cwd/denied/secret");
	snprintf(path, sizeof path, "/proc/self/root%s/denied/secret", argv[1]);
	on("self-root", path);
	on("file", "file");
	name_of("file", "file");
	on("missing", "missing");
	name_of("missing", "missing");
	TRY("rename-parent", renameat2(AT_FDCWD, argv[1], AT_FDCWD, "/tmp/elsewhere", 0));
	TRY("rmdir-dir", rmdir("denied"));
	TRY("rename-dir", rename("denied", "elsewhere"));
	opened("open-dir-itself", open("denied", O_RDONLY | O_DIRECTORY));
	TRY("mkdir-in", mkdir("denied/sub", 0700));
	TRY("symlink-in", symlink("x", "denied/sym"));
	TRY("rename-into", rename("other", "denied/other"));
	TRY("link-into", link("other", "denied/other"));
	/* From a descriptor above, and from within. */
	int dir = open(".", O_PATH);
	opened("openat", openat(dir, "denied/secret", O_RDONLY));
	snprintf(path, sizeof path, "/proc/self/fd/%d/denied/secret", dir);
	on("fd-link", path);
	snprintf(path, sizeof path, "/dev/fd/%d/denied/secret", dir);
	opened("dev-fd", open(path, O_RDONLY));
	TRY("chdir", chdir("denied"));
	if (getcwd(cwd, sizeof cwd)) {
		opened("within", open("secret", O_RDONLY));
		opened("within-dot", open(".", O_RDONLY));
		TRY("within-creat", open("new", O_CREAT | O_WRONLY, 0600));
		TRY("within-unlink", unlink("secret"));
		TRY("within-chmod", chmod("secret", 0777));
		opened("within-up", open("../other", O_RDONLY));
	}
	/* What the kernel reads the flags of from memory. */
	struct { unsigned long flags, mode, resolve; } how = { O_RDONLY, 0, 0 };
	opened("openat2", (int)syscall(SYS_openat2, AT_FDCWD, "secret", &how, sizeof how));
	/* A descriptor that came from before the sandbox stays what it is, and nothing more. */
	if (argc > 2) {
		struct stat st;
		snprintf(path, sizeof path, "/proc/self/fd/%s", argv[2]);
		on("inherited", path);
		TRY("inherited-link", linkat(AT_FDCWD, path, AT_FDCWD, "../linked", AT_SYMLINK_FOLLOW));
		TRY("inherited-fstat", fstat(atoi(argv[2]), &st));
		TRY("inherited-fchmod", fchmod(atoi(argv[2]), 0777));
	}
	return 0;
}
