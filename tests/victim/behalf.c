/* behalf DIR: opens whose outcome depends on who opens, printed so that it is the same
 * whoever opens for whom. ADVERSARY section 13. */
#include "try.h"

#include <pthread.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>

static void *writer(void *path)
{
	int fd = open(path, O_WRONLY);
	if (write(fd, "through", 7) != 7)
		puts("not written");
	close(fd);
	return NULL;
}

static pid_t stuck[100];

/* Each waits for another end that never comes. */
static void stuck_opens(const char *path)
{
	for (int i = 0; i < 100; i++)
		if ((stuck[i] = fork()) == 0) {
			open(path, O_RDONLY);
			_exit(0);
		}
}

int main(int argc, char **argv)
{
	char buf[4096], path[64];
	struct stat st;
	ssize_t n;
	pthread_t t;
	int fd;
	if (argc < 2 || chdir(argv[1]) != 0)
		return 1;
	for (int mask = 0; mask <= 077; mask += 9) { /* 0, 011, … */
		umask((mode_t)mask);
		fd = open("masked", O_CREAT | O_EXCL | O_RDWR, 0666);
		fstat(fd, &st);
		printf("umask %o mode %o owner %d:%d\n", mask, st.st_mode, st.st_uid == getuid(), st.st_gid == getgid());
		close(fd);
		unlink("masked");
		mkdir("masked", 0777);
		stat("masked", &st);
		printf("directory %o\n", st.st_mode);
		rmdir("masked");
	}
	umask(022);
	/* A FIFO: the opens wait for each other. */
	mkfifo("fifo", 0600);
	pthread_create(&t, NULL, writer, "fifo");
	fd = open("fifo", O_RDONLY);
	n = read(fd, buf, sizeof buf);
	printf("fifo %zd %.*s\n", n, (int)n, buf);
	pthread_join(t, NULL);
	close(fd);
	TRY("fifo-nonblock-write", open("fifo", O_WRONLY | O_NONBLOCK));
	mkfifo("never", 0600);
	stuck_opens("never");
	fd = open("other", O_RDONLY); /* is not held up by them */
	printf("beside 100 stuck opens: %zd %d\n", read(fd, buf, 5), fd >= 0);
	close(fd);
	for (int i = 0; i < 100; i++) {
		kill(stuck[i], SIGKILL);
		waitpid(stuck[i], NULL, 0);
	}
	/* The process itself, and its descriptors. */
	fd = open("/proc/self/stat", O_RDONLY);
	n = read(fd, buf, sizeof buf - 1);
	printf("self %d\n", n > 0 && atoi(buf) == getpid());
	close(fd);
	fd = open("/proc/thread-self/comm", O_RDONLY);
	n = read(fd, buf, sizeof buf - 1);
	printf("thread-self %.*s", (int)n, buf);
	close(fd);
	fd = open("other", O_RDONLY);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	printf("by descriptor %d\n", open(path, O_RDONLY) >= 0);
	snprintf(path, sizeof path, "/proc/self/fd/%d", 999);
	TRY("no-descriptor", open(path, O_RDONLY));
	fd = open("/proc/self/exe", O_RDONLY);
	printf("exe %d\n", fd >= 0);
	/* Flags. */
	fd = open("other", O_RDWR | O_APPEND | O_NONBLOCK | O_CLOEXEC);
	printf("flags %x %x\n", fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
	/* Who closes its only descriptor has no lock any more, and nobody has the file open. */
	int kept = open("other", O_RDONLY), locked = 0;
	for (int i = 0; i < 1000; i++) {
		static const int flags[] = { O_RDONLY | O_CREAT, O_WRONLY, O_WRONLY | O_CREAT | O_TRUNC };
		fd = open("other", flags[i % 3], 0600);
		flock(fd, LOCK_EX);
		close(fd);
		locked += flock(kept, LOCK_EX | LOCK_NB) != 0;
		flock(kept, LOCK_UN);
	}
	printf("locked afterwards %d\n", locked);
	TRY("excl", open("other", O_CREAT | O_EXCL, 0600));
	TRY("nofollow", open("link-to-file", O_RDONLY | O_NOFOLLOW));
	TRY("directory", open("other", O_RDONLY | O_DIRECTORY));
	TRY("dir-write", open(".", O_WRONLY));
	TRY("tmpfile", open(".", O_TMPFILE | O_RDWR, 0600) < 0 ? -1 : 0);
	TRY("tmpfile-read", open(".", O_TMPFILE | O_RDONLY, 0600));
	TRY("fault", syscall(SYS_openat, AT_FDCWD, 8, O_RDONLY, 0));
	TRY("empty", open("", O_RDONLY));
	TRY("bad-dirfd", openat(999, "other", O_RDONLY));
	TRY("negative-dirfd", openat(-7, "other", O_RDONLY));
	memset(buf, 'x', sizeof buf);
	buf[sizeof buf - 1] = 0;
	TRY("4095", open(buf, O_RDONLY));
	memset(buf, '/', 4090);
	memcpy(buf + 4090, "etc/x", 6);
	TRY("4095-slashes", open(buf, O_RDONLY));
	TRY("bytes", open("\xff\xfe\nnew", O_CREAT | O_RDWR, 0600) < 0 ? -1 : unlink("\xff\xfe\nnew"));
	/* A table that is full: nothing is made of it but the error. */
	struct rlimit limit = { 32, 32 };
	setrlimit(RLIMIT_NOFILE, &limit);
	while (dup(0) >= 0)
		;
	TRY("full", open("other", O_RDONLY));
	TRY("full-creat", open("made", O_CREAT | O_WRONLY, 0600));
	return 0;
}
