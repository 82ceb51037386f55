/* confine MODE SECRET GRANTED PID ADDRESS PORT: a process that has threads of many kinds,
 * confines itself with leave to write beneath GRANTED, MODE being "confine", or does not,
 * "free"; and then has each thread try what is outside: to read SECRET and to write beside
 * it, to signal PID and to read its memory at ADDRESS, to connect to the local TCP PORT, and
 * to send there. Each attempt prints "THREAD-WHAT RESULT ERRNO".
 *
 * confine outside: the process outside, which prints PID and ADDRESS and waits for the end of
 * its input. */
#define _GNU_SOURCE
#include "../try.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sandlock.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

static const char *secret, *granted;
static pid_t pid;
static unsigned long address;
static int port, sockets[16]; /* made before */
static atomic_int tried;
static atomic_int ready, over, kids;
static pthread_mutex_t out = PTHREAD_MUTEX_INITIALIZER;
extern char **environ;

static void report(const char *who, const char *what, long result)
{
	char name[64];
	int e = errno;

	snprintf(name, sizeof name, "%s-%s", who, what);
	errno = e;
	pthread_mutex_lock(&out);
	say(name, result);
	pthread_mutex_unlock(&out);
}

static long spawned(char *const *argv)
{
	posix_spawn_file_actions_t quiet;
	pid_t child;
	int status;

	posix_spawn_file_actions_init(&quiet);
	posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_addopen(&quiet, 2, "/dev/null", O_RDWR, 0);
	errno = posix_spawn(&child, argv[0], &quiet, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&quiet);
	if (errno || waitpid(child, &status, 0) != child)
		return -1;
	errno = EACCES; /* as cat(1) says, and exits with 1 */
	return status == 0 ? 0 : -1;
}

static void attempts(const char *who)
{
	char path[512], byte;
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct iovec local = { &byte, 1 }, remote = { (void *)address, 1 };
	char *const cat[] = { "/bin/cat", (char *)secret, NULL };
	int fd, udp;

	report(who, "read", fd = open(secret, O_RDONLY));
	close(fd);
	snprintf(path, sizeof path, "%s.%s", secret, who);
	report(who, "write", fd = open(path, O_WRONLY | O_CREAT, 0644));
	close(fd);
	report(who, "chmod", chmod(secret, 0600));
	report(who, "kill", kill(pid, 0));
	report(who, "memory", process_vm_readv(pid, &local, 1, &remote, 1, 0));
	report(who, "socket", fd = socket(AF_INET, SOCK_STREAM, 0));
	close(fd);
	udp = socket(AF_INET, SOCK_DGRAM, 0);
	report(who, "udp", udp >= 0 ? sendto(udp, "x", 1, 0, (void *)&to, sizeof to) : -1);
	close(udp);
	report(who, "connect", connect(sockets[atomic_fetch_add(&tried, 1)], (void *)&to, sizeof to));
	report(who, "spawn", spawned(cat));
	snprintf(path, sizeof path, "%s/%s", granted, who);
	fd = open(path, O_WRONLY | O_CREAT, 0644);
	report(who, "granted", fd >= 0 ? write(fd, "x", 1) : -1);
	close(fd);
}

/* ---- threads that are alive at the call --------------------------------------- */

static int go[2]; /* a pipe that ends when the call is over */

static void *reading(void *who)
{
	char c;
	atomic_fetch_add(&ready, 1);
	while (read(go[0], &c, 1) < 0)
		;
	attempts(who);
	return NULL;
}

static void *polling(void *who)
{
	struct pollfd p = { go[0], POLLIN, 0 };
	atomic_fetch_add(&ready, 1);
	while (poll(&p, 1, -1) < 1) /* which a handler interrupts */
		;
	attempts(who);
	return NULL;
}

static void *spinning(void *who)
{
	atomic_fetch_add(&ready, 1);
	while (!atomic_load(&over))
		;
	attempts(who);
	return NULL;
}

/* All that pthread_sigmask(3) can block. */
static void *blocking(void *who)
{
	sigset_t every;
	sigfillset(&every);
	pthread_sigmask(SIG_SETMASK, &every, NULL);
	return reading(who);
}

/* malloc's lock is held at most times. */
static void *allocating(void *who)
{
	atomic_fetch_add(&ready, 1);
	while (!atomic_load(&over))
		free(malloc(200000 + (size_t)rand() % 100000));
	attempts(who);
	return NULL;
}

/* A filter of its own, which allows everything. */
static void *filtered(void *who)
{
	struct sock_filter allow = { BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW };
	struct sock_fprog program = { 1, &allow };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0)
		abort();
	return reading(who);
}

/* Children by vfork one after another, in each of which the thread can't be reached. */
static void *spawning(void *who)
{
	char *const yes[] = { "/bin/true", NULL };
	atomic_fetch_add(&ready, 1);
	while (!atomic_load(&over))
		spawned(yes);
	attempts(who);
	return NULL;
}

/* Threads that are made all the time, until the call is over, by one another. */
static void *born(void *unused)
{
	pthread_attr_t detached;
	pthread_t next;
	int fd;

	if (!atomic_load(&over)) {
		pthread_attr_init(&detached);
		pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
		atomic_fetch_add(&kids, 1);
		if (pthread_create(&next, &detached, born, unused) != 0)
			abort();
	}
	while (!atomic_load(&over))
		if (atomic_load(&kids) > 20)
			break; /* and ends, meanwhile */
	if (atomic_load(&over)) {
		report("born", "read", fd = open(secret, O_RDONLY));
		close(fd);
	}
	atomic_fetch_sub(&kids, 1);
	return NULL;
}

static void *later(void *who)
{
	attempts(who);
	return NULL;
}

static const struct { const char *name; void *(*run)(void *); } kinds[] = {
	{ "reading", reading }, { "polling", polling }, { "spinning", spinning }, { "blocking", blocking },
	{ "allocating", allocating }, { "filtered", filtered }, { "spawning", spawning },
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static int confine(void)
{
	static const char *const readable[] = { "/usr", "/lib", "/lib64", "/bin" };
	sandlock_builder_t *b = sandlock_sandbox_builder_new();
	sandlock_sandbox_t *p;
	size_t i;
	int r;

	for (i = 0; i < sizeof readable / sizeof *readable; i++)
		b = sandlock_sandbox_builder_fs_read(b, readable[i]);
	b = sandlock_sandbox_builder_fs_write(b, granted);
	b = sandlock_sandbox_builder_fs_write(b, "/dev/null");
	p = sandlock_sandbox_build(b, NULL, NULL);
	r = sandlock_confine(p);
	if (r != 0)
		fprintf(stderr, "%s\n", sandlock_last_error());
	sandlock_sandbox_free(p);
	return r;
}

int main(int argc, char **argv)
{
	pthread_t threads[KINDS], after, births;
	size_t i;

	if (argc > 1 && !strcmp(argv[1], "outside")) {
		printf("%d %lu\n", getpid(), (unsigned long)&kinds);
		fflush(stdout);
		while (getchar() != EOF)
			;
		return 0;
	}
	if (argc < 7)
		return 2;
	secret = argv[2], granted = argv[3], pid = atoi(argv[4]), address = strtoul(argv[5], NULL, 10), port = atoi(argv[6]);
	for (i = 0; i < sizeof sockets / sizeof *sockets; i++)
		sockets[i] = socket(AF_INET, SOCK_STREAM, 0);
	if (pipe(go) != 0)
		return 2;
	for (i = 0; i < KINDS; i++)
		pthread_create(&threads[i], NULL, kinds[i].run, (void *)kinds[i].name);
	atomic_fetch_add(&kids, 1);
	pthread_create(&births, NULL, born, NULL);
	pthread_detach(births);
	while (atomic_load(&ready) < KINDS)
		sched_yield();
	if (!strcmp(argv[1], "confine") && confine() != 0)
		return 3;
	atomic_store(&over, 1);
	close(go[1]);
	attempts("caller");
	pthread_create(&after, NULL, later, "later");
	pthread_join(after, NULL);
	for (i = 0; i < KINDS; i++)
		pthread_join(threads[i], NULL);
	while (atomic_load(&kids) > 0)
		sched_yield();
	return 0;
}
