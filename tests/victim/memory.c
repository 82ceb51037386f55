/* Takes memory, in one way or another: memory WAY MIB [N]. Prints "WAY 1 0" when it has got
 * all of it and was left alone for a while. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB (1UL << 20)

static const char *way;
static size_t size;
static int n;

static void check(int ok, const char *what)
{
	if (!ok) {
		perror(what);
		_exit(3);
	}
}

/* Long enough to be looked at many times: none of what is tested depends on it. */
static void linger(int ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000L };
	while (nanosleep(&t, &t) < 0)
		;
}

static char *take(size_t bytes, int flags)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | flags, -1, 0);
	check(p != MAP_FAILED, "mmap");
	return p;
}

static void fill(char *p, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += 4096)
		p[i] = 1;
}

static int memfd(size_t bytes, int mapped)
{
	static char block[MIB] = { 1 };
	int fd = memfd_create("x", 0);

	check(fd >= 0, "memfd_create");
	if (mapped) {
		check(ftruncate(fd, (off_t)bytes) == 0, "ftruncate");
		char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		check(p != MAP_FAILED, "mmap");
		fill(p, bytes);
		return fd;
	}
	for (size_t done = 0; done < bytes; done += sizeof block)
		check(write(fd, block, sizeof block) == (ssize_t)sizeof block, "write");
	return fd;
}

static void send_away(int fd, int sock)
{
	char byte = 0, control[CMSG_SPACE(sizeof fd)] = { 0 };
	struct iovec iov = { &byte, 1 };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	struct cmsghdr *c = CMSG_FIRSTHDR(&mh);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	check(sendmsg(sock, &mh, 0) == 1, "sendmsg");
	close(fd);
}

static void *fill_thread(void *p)
{
	fill(p, size / (size_t)n);
	return NULL;
}

static void *fill_and_report(void *p)
{
	linger(50); /* the leader is gone */
	fill(p, size);
	linger(1000);
	printf("%s 1 0\n", way);
	fflush(stdout);
	_exit(0);
}

static void *own_table(void *unused)
{
	(void)unused;
	check(syscall(SYS_close_range, 500, 501, 2 /* CLOSE_RANGE_UNSHARE */) == 0, "close_range");
	memfd(size, 0);
	linger(10000);
	return NULL;
}

/* One process after the other has the same memory, and none lives long. */
static void moving(char *p)
{
	struct timespec now, end;
	int life[2];
	char none;

	check(pipe(life) == 0, "pipe");
	if (fork() > 0) {
		close(life[1]);
		while (read(life[0], &none, 1) < 0) /* the command's end is the sandbox's */
			;
		_exit(0);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += 2;
	for (size_t done = 0;;) {
		pid_t pid = fork();
		if (pid > 0)
			_exit(0);
		if (pid < 0)
			continue;
		if (done < size) {
			fill(p + done, MIB);
			done += MIB;
		}
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (done >= size && now.tv_sec > end.tv_sec)
			return;
	}
}

int main(int argc, char **argv)
{
	char *p;
	int i, fd, pair[2];

	way = argv[1];
	size = strtoul(argv[2], NULL, 10) * MIB;
	n = argc > 3 ? atoi(argv[3]) : 1;
#define IS(name) (strcmp(way, name) == 0)
	if (IS("private") || IS("late")) {
		if (IS("late"))
			linger(2000); /* so that nobody expects anything any more */
		fill(take(size, MAP_PRIVATE), size);
	} else if (IS("shared")) {
		fill(take(size, MAP_SHARED), size);
	} else if (IS("dropped")) { /* from the page tables alone */
		p = take(size, MAP_SHARED);
		for (size_t at = 0; at < size; at += MIB) {
			fill(p + at, MIB);
			madvise(p + at, MIB, MADV_DONTNEED);
		}
		munmap(p + 4096, size - 4096);
	} else if (IS("huge")) {
		p = take(size, MAP_PRIVATE);
		madvise(p, size, MADV_HUGEPAGE);
		fill(p, size);
	} else if (IS("populate")) {
		take(size, MAP_PRIVATE | MAP_POPULATE);
	} else if (IS("brk")) {
		p = sbrk(0);
		check(brk(p + size) == 0, "brk");
		fill(p, size);
	} else if (IS("threads")) {
		pthread_t t[64];
		p = take(size, MAP_PRIVATE);
		for (i = 0; i < n; i++)
			pthread_create(&t[i], NULL, fill_thread, p + (size_t)i * (size / (size_t)n));
		for (i = 0; i < n; i++)
			pthread_join(t[i], NULL);
	} else if (IS("leader")) { /* that ends, and has no memory any more to look at */
		pthread_t t;
		pthread_create(&t, NULL, fill_and_report, take(size, MAP_PRIVATE));
		pthread_exit(NULL);
	} else if (IS("table")) { /* of descriptors, that is one thread's own */
		pthread_t t;
		pthread_create(&t, NULL, own_table, NULL);
		linger(2000);
	} else if (IS("memfd-mapped")) {
		memfd(size, 1);
	} else if (IS("memfd-written")) {
		memfd(size, 0);
	} else if (IS("memfd-many")) {
		for (i = 0; i < n; i++)
			memfd(size / (size_t)n, 0);
	} else if (IS("in-flight") || IS("in-flight-hidden")) {
		check(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0, "socketpair");
		if (IS("in-flight-hidden"))
			prctl(PR_SET_DUMPABLE, 0);
		for (i = 0; i < n; i++)
			send_away(memfd(size / (size_t)n, 0), pair[0]);
	} else if (IS("hidden")) {
		prctl(PR_SET_DUMPABLE, 0);
		fill(take(size, MAP_PRIVATE), size);
	} else if (IS("hidden-memfd")) {
		prctl(PR_SET_DUMPABLE, 0);
		memfd(size, 0);
	} else if (IS("file")) {
		static char block[MIB];
		fd = open(argv[4], O_CREAT | O_WRONLY | O_TRUNC, 0600);
		check(fd >= 0, argv[4]);
		for (size_t done = 0; done < size; done += sizeof block)
			check(write(fd, block, sizeof block) == (ssize_t)sizeof block, "write");
		if (n)
			close(fd);
		else
			unlink(argv[4]);
	} else if (IS("processes") || IS("stopped")) { /* many that each hold little */
		pid_t pids[64];
		for (i = 0; i < n; i++)
			if ((pids[i] = fork()) == 0) {
				fill(take(size / (size_t)n, MAP_PRIVATE), size / (size_t)n);
				if (IS("stopped"))
					raise(SIGSTOP);
				linger(10000);
				_exit(0);
			}
		linger(3000);
		for (fd = i = 0; i < n; i++)
			fd += waitpid(pids[i], NULL, WNOHANG) > 0;
		for (i = 0; i < n; i++)
			kill(pids[i], SIGKILL);
		printf("ended %d 0\n", fd);
		if (fd)
			return 0;
	} else if (IS("copies") || IS("copied")) { /* what a fork shares, and what it makes of it */
		p = take(size, MAP_PRIVATE);
		fill(p, size);
		for (i = 0; i < n; i++)
			if (fork() == 0) {
				if (IS("copied"))
					fill(p, size);
				linger(1500);
				_exit(0);
			}
		for (i = 0, fd = 0; i < n; i++) {
			int status = 0;
			wait(&status);
			fd += status != 0;
		}
		printf("ended %d 0\n", fd);
		if (fd)
			return 0;
	} else if (IS("vforks")) { /* two processes that have the same memory */
		fill(take(size, MAP_PRIVATE), size);
		for (i = 0; i < n; i++) {
			pid_t pid = vfork();
			if (pid == 0) {
				usleep(20000);
				_exit(0);
			}
			waitpid(pid, NULL, 0);
		}
	} else if (IS("reserve")) { /* and touch a little */
		p = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		check(p != MAP_FAILED, "mmap");
		p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		check(p != MAP_FAILED, "mmap");
		madvise(p, size, MADV_NOHUGEPAGE); /* one for each touch would be 2 GB */
		for (i = 0; i < 1000; i++)
			p[(size / 1000) * (size_t)i] = 1;
	} else if (IS("tables")) { /* reading takes no memory but for page tables, 4 KiB for each 2 MiB */
		p = mmap(NULL, size << 9, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		check(p != MAP_FAILED, "mmap");
		for (size_t at = 0; at < size << 9; at += 2 * MIB)
			(void)*(volatile char *)(p + at);
	} else if (IS("among")) { /* tasks that fork and exit, so that nobody can list them */
		volatile char *over = take(MIB, MAP_SHARED);
		for (i = 0; i < n; i++)
			if (fork() == 0) {
				while (!*over)
					if (fork() > 0)
						_exit(0);
				_exit(0);
			}
		linger(1000);
		fill(take(size, MAP_PRIVATE), size);
		*over = 1;
	} else if (IS("moving")) {
		moving(take(size, MAP_SHARED));
	} else {
		return 2;
	}
	linger(1000);
	printf("%s 1 0\n", way);
	return 0;
}
