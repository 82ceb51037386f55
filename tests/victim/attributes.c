/* attributes PREFIX PATH: tries to change mode, owner, times and extended attributes of PATH,
 * by the path, by a link to it, and by a descriptor that is open for reading. ADVERSARY
 * section 14. PREFIX is of the names that are printed. */
#include "try.h"

#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <utime.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

static char name[128];
static const char *prefix;

static const char *of(const char *what)
{
	snprintf(name, sizeof name, "%s:%s", prefix, what);
	return name;
}

int main(int argc, char **argv)
{
	struct timespec times[2] = { { 1000, 0 }, { 1000, 0 } };
	struct timeval tv[2] = { { 2000, 0 }, { 2000, 0 } };
	struct utimbuf ut = { 3000, 3000 };
	int flags = 0, fd, dir;
	char by_fd[64];
	if (argc < 3)
		return 1;
	prefix = argv[1];
	const char *path = argv[2];
	fd = open(path, O_RDONLY);
	dir = open(path, O_PATH);
	snprintf(by_fd, sizeof by_fd, "/proc/self/fd/%d", fd);
	TRY(of("chmod"), chmod(path, 0751));
	TRY(of("fchmod"), fchmod(fd, 0752));
	TRY(of("chmod-fd"), chmod(by_fd, 0753));
	TRY(of("fchmodat2"), syscall(SYS_fchmodat2, AT_FDCWD, path, 0754, 0));
	TRY(of("fchmodat2-empty"), syscall(SYS_fchmodat2, dir, "", 0755, AT_EMPTY_PATH));
	TRY(of("chmod-closed"), chmod(path, 0) == 0 ? chmod(path, 0755) : -1); /* a directory that its owner can't enter */
	TRY(of("chown"), chown(path, getuid(), getgid()));
	TRY(of("lchown"), lchown(path, getuid(), getgid()));
	TRY(of("fchown"), fchown(fd, getuid(), getgid()));
	TRY(of("fchownat-empty"), fchownat(dir, "", getuid(), getgid(), AT_EMPTY_PATH));
	TRY(of("utimensat"), utimensat(AT_FDCWD, path, times, 0));
	TRY(of("utimensat-now"), utimensat(AT_FDCWD, path, NULL, 0));
	TRY(of("futimens"), futimens(fd, times));
	TRY(of("utimensat-empty"), utimensat(dir, "", times, AT_EMPTY_PATH));
	TRY(of("utimes"), utimes(path, tv));
#ifdef SYS_utime
	TRY(of("utime"), syscall(SYS_utime, path, &ut));
	TRY(of("utime-null"), syscall(SYS_utime, path, NULL));
	TRY(of("futimesat"), syscall(SYS_futimesat, AT_FDCWD, path, tv));
	TRY(of("futimesat-fd"), syscall(SYS_futimesat, fd, NULL, tv));
#endif
	(void)ut;
	TRY(of("setxattr"), setxattr(path, "user.sandlock", "1", 1, 0));
	TRY(of("lsetxattr"), lsetxattr(path, "user.sandlock", "2", 1, 0));
	TRY(of("fsetxattr"), fsetxattr(fd, "user.sandlock", "3", 1, 0));
	TRY(of("removexattr"), removexattr(path, "user.sandlock"));
	setxattr(path, "user.sandlock", "1", 1, 0);
	TRY(of("lremovexattr"), lremovexattr(path, "user.sandlock"));
	setxattr(path, "user.sandlock", "1", 1, 0);
	TRY(of("fremovexattr"), fremovexattr(fd, "user.sandlock"));
	ioctl(fd, 0x80086601 /* FS_IOC_GETFLAGS */, &flags);
	flags |= 0x40; /* FS_NODUMP_FL */
	TRY("FS_IOC_SETFLAGS", ioctl(fd, 0x40086602, &flags));
	return 0;
}
