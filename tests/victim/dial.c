/* dial MODE …: connects, the right way and with cheats. ADVERSARY sections 5, 6, 17. */
#include "try.h"
#include "address.h"

#include <linux/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>

static long milliseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static volatile sig_atomic_t alarms;
static sigjmp_buf out;

static void on_alarm(int sig)
{
	(void)sig;
	if (++alarms == 3)
		siglongjmp(out, 1);
}

static void on_one_alarm(int sig) { (void)sig; }

static void ring(void (*handler)(int), int flags, int ms)
{
	struct sigaction act = { .sa_handler = handler, .sa_flags = flags };
	struct itimerval when = { { 0, ms * 1000 }, { 0, ms * 1000 } };
	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &when, NULL);
}

static void quiet(void)
{
	struct itimerval never = { { 0, 0 }, { 0, 0 } };
	setitimer(ITIMER_REAL, &never, NULL);
}

/* What connect answers, to be compared with what it answers outside: listening is a port that is
 * listened on at 127.0.0.1 and ::1, full is one where nobody takes the connections. */
static void semantics(int listening, int full)
{
	union address a, b;
	socklen_t len = fill(&a, "127.0.0.1", listening), len6 = fill(&b, "::1", listening);
	int tcp = socket(AF_INET, SOCK_STREAM, 0), tcp6 = socket(AF_INET6, SOCK_STREAM, 0), file[2];
	if (pipe(file))
		return;
	TRY("no-descriptor", connect(-1, &a.any, len));
	TRY("bad-descriptor", connect(999, &a.any, len));
	TRY("a-file", connect(file[0], &a.any, len));
	TRY("size-negative", connect(tcp, &a.any, (socklen_t)-1));
	TRY("size-129", connect(tcp, &a.any, 129));
	TRY("size-0", connect(tcp, &a.any, 0));
	TRY("size-1", connect(tcp, &a.any, 1));
	TRY("size-8", connect(tcp, &a.any, 8));
	TRY("size-16-of-6", connect(tcp6, &b.any, 16));
	TRY("no-address", connect(tcp, NULL, len));
	TRY("no-page", connect(tcp, (void *)16, len));
	char *edge = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(edge + 4096, 4096);
	memcpy(edge + 4096 - len, &a, len);
	TRY("over-the-edge", connect(tcp, (void *)(edge + 4096 - len), len + 1));
	TRY("family-4-on-6", connect(tcp6, &a.any, len));
	TRY("family-4-on-6-long", connect(tcp6, &a.any, 28));
	TRY("family-6-on-4", connect(tcp, &b.any, len6));
	a.any.sa_family = 99;
	TRY("family-99", connect(tcp, &a.any, len));
	a.any.sa_family = AF_UNIX;
	TRY("family-unix", connect(tcp, &a.any, len));
	a.any.sa_family = AF_INET;
	TRY("at-the-edge", connect(tcp, (void *)(edge + 4096 - len), len));
	TRY("again", connect(tcp, &a.any, len));
	a.any.sa_family = AF_UNSPEC;
	TRY("disconnect", connect(tcp, &a.any, len));
	a.any.sa_family = AF_INET;
	TRY("once-more", connect(tcp, &a.any, 128)); /* a longer address does no harm */
	TRY("six", connect(tcp6, &b.any, len6));
	TRY("six-again", connect(tcp6, &b.any, 24));
	fill(&b, "::ffff:127.0.0.1", listening);
	tcp6 = socket(AF_INET6, SOCK_STREAM, 0);
	TRY("mapped", connect(tcp6, &b.any, len6));
	fill(&b, "0.0.0.0", listening);
	tcp = socket(AF_INET, SOCK_STREAM, 0);
	TRY("any", connect(tcp, &b.any, len));
	TRY("any-name", getpeername(tcp, &b.any, &len));
	printf("any-peer %d 0\n", (int)ntohl(b.in.sin_addr.s_addr));
	fill(&b, "127.0.0.1", 1);
	tcp = socket(AF_INET, SOCK_STREAM, 0);
	TRY("refused", connect(tcp, &b.any, len));
	TRY("refused-again", connect(tcp, &b.any, len));
	TRY("refused-then-open", connect(tcp, &a.any, len));
	int defer = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	TRY("fastopen-option", setsockopt(defer, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof one));
	TRY("fastopen", connect(defer, &a.any, len));
	TRY("fastopen-send", send(defer, "x", 1, 0));

	struct pollfd ready = { .events = POLLOUT };
	int err = 0;
	socklen_t size = sizeof err;
	ready.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	TRY("nonblocking", connect(ready.fd, &a.any, len) == 0 || errno == EINPROGRESS);
	TRY("nonblocking-ready", poll(&ready, 1, 10000));
	TRY("nonblocking-error", getsockopt(ready.fd, SOL_SOCKET, SO_ERROR, &err, &size) == 0 ? err : -1);

	fill(&b, "127.0.0.1", full);
	ready.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	TRY("full", connect(ready.fd, &b.any, len));
	TRY("full-again", connect(ready.fd, &b.any, len));
	TRY("full-ready", poll(&ready, 1, 0));

	struct timeval limit = { 0, 150000 };
	tcp = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(tcp, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	long start = milliseconds();
	TRY("timeout", connect(tcp, &b.any, len));
	say("timeout-time", milliseconds() - start >= 150);
	size = sizeof limit;
	getsockopt(tcp, SOL_SOCKET, SO_SNDTIMEO, &limit, &size);
	say("timeout-kept", limit.tv_sec * 1000000 + limit.tv_usec >= 150000 && limit.tv_usec < 170000);
	ring(on_one_alarm, SA_RESTART, 100);
	TRY("timeout-and-signal", connect(tcp, &b.any, len));
	quiet();

	tcp = socket(AF_INET, SOCK_STREAM, 0);
	ring(on_one_alarm, 0, 100);
	TRY("interrupted", connect(tcp, &b.any, len));
	quiet();
	limit = (struct timeval){ 1, 1 };
	getsockopt(tcp, SOL_SOCKET, SO_SNDTIMEO, &limit, &size);
	say("timeout-none", limit.tv_sec == 0 && limit.tv_usec == 0);

	tcp = socket(AF_INET, SOCK_STREAM, 0);
	ring(on_alarm, SA_RESTART, 100);
	if (sigsetjmp(out, 1) == 0)
		TRY("restarted", connect(tcp, &b.any, len));
	quiet();
	say("restarts", alarms);
}

static volatile int over, started;
static union address shared;
static volatile int swapped;
static int pair[2];

static void *flip(void *allowed)
{
	union address *a = allowed;
	volatile in_addr_t *at = &shared.in.sin_addr.s_addr;
	unsigned turn = 0;
	for (; !over; started = 1) {
		*at = a[0].in.sin_addr.s_addr;
		if (++turn % 16 == 0)
			sched_yield(); /* the other may be on the same CPU */
		*at = a[1].in.sin_addr.s_addr;
		if (turn % 16 == 8)
			sched_yield();
	}
	return NULL;
}

static void *swap(void *unused)
{
	unsigned turn = 0;
	(void)unused;
	for (; !over; started = 1) {
		dup2(pair[0], swapped);
		if (++turn % 16 == 0)
			sched_yield();
		dup2(pair[1], swapped);
		if (turn % 16 == 8)
			sched_yield();
	}
	return NULL;
}

/* Connects while a sibling changes the address between one that may be reached and one
 * that may not. */
static void race_address(const char *good, const char *bad, int port, int rounds)
{
	union address both[2];
	socklen_t len = fill(&both[0], good, port);
	fill(&both[1], bad, port);
	shared = both[0];
	pthread_t t;
	pthread_create(&t, NULL, flip, both);
	while (!started)
		sched_yield();
	int connected = 0, refused = 0, cheated = 0;
	struct linger now = { 1, 0 };
	for (int i = 0; i < rounds || (i < 100 * rounds && !(connected && (refused || cheated))); i++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		union address peer;
		socklen_t size = sizeof peer;
		sched_yield();
		if (connect(fd, &shared.any, len) == 0)
			connected++, cheated += getpeername(fd, &peer.any, &size) == 0 && peer.in.sin_addr.s_addr == both[1].in.sin_addr.s_addr;
		else if (errno == EACCES)
			refused++;
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
		close(fd);
	}
	over = 1;
	pthread_join(t, NULL);
	say("connected", connected > 0);
	say("refused", refused > 0);
}

/* Connects what is a unix socket at one moment and a TCP socket at the next to what a TCP
 * socket may not be connected to. */
static void race_descriptor(const char *bad, int port, int rounds)
{
	union address a;
	socklen_t len = fill(&a, bad, port);
	pair[0] = socket(AF_UNIX, SOCK_STREAM, 0);
	pair[1] = socket(AF_INET, SOCK_STREAM, 0);
	swapped = dup(pair[0]);
	pthread_t t;
	pthread_create(&t, NULL, swap, NULL);
	while (!started)
		sched_yield();
	int connected = 0, refused = 0;
	for (int i = 0; i < rounds || (i < 100 * rounds && !refused && !connected); i++) {
		sched_yield();
		if (connect(swapped, &a.any, len) == 0)
			connected++;
		else if (errno == EACCES)
			refused++;
	}
	over = 1;
	pthread_join(t, NULL);
	say("connected", connected > 0);
	say("refused", refused > 0);
}

/* Tasks that wait for a connection that nobody takes, and one that does not. */
static void crowd(int open, int full, int tasks)
{
	union address a, b;
	socklen_t len = fill(&a, "127.0.0.1", open);
	fill(&b, "127.0.0.1", full);
	int told[2], waiting = 0;
	if (pipe(told))
		return;
	for (int i = 0; i < tasks; i++)
		if (fork() == 0) {
			int fd = socket(AF_INET, SOCK_STREAM, 0);
			if (write(told[1], "x", 1) == 1)
				connect(fd, &b.any, len);
			pause();
		}
	for (char c; waiting < tasks && read(told[0], &c, 1) == 1; waiting++)
		;
	say("waiting", waiting);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	TRY("open", connect(fd, &a.any, len));
}

static void *flip_port(void *ports)
{
	volatile in_port_t *at = &shared.in.sin_port;
	in_port_t *p = ports;
	unsigned turn = 0;
	for (; !over; started = 1) {
		*at = p[0];
		if (++turn % 16 == 0)
			sched_yield();
		*at = p[1];
		if (turn % 16 == 8)
			sched_yield();
	}
	return NULL;
}

/* Binds while a sibling changes the port between one that may be bound and one that may not. */
static void race_bind(int good, int bad, int rounds)
{
	socklen_t len = fill(&shared, "127.0.0.1", good);
	in_port_t ports[2] = { htons((uint16_t)good), htons((uint16_t)bad) };
	pthread_t t;
	pthread_create(&t, NULL, flip_port, ports);
	while (!started)
		sched_yield();
	int bound = 0, refused = 0, cheated = 0, one = 1;
	for (int i = 0; i < rounds || (i < 100 * rounds && !(bound && (refused || cheated))); i++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		union address own;
		socklen_t size = sizeof own;
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
		sched_yield();
		if (bind(fd, &shared.any, len) == 0)
			bound++, cheated += getsockname(fd, &own.any, &size) == 0 && own.in.sin_port == ports[1];
		else if (errno == EACCES)
			refused++;
		close(fd);
	}
	over = 1;
	pthread_join(t, NULL);
	say("bound", bound > 0);
	say("refused", refused > 0);
	say("cheated", cheated);
}

/* Tries to shed what its process may reach: by the limit that marks it, and by a child that
 * loses its parents. */
static void shed(const char *good, const char *bad, int port)
{
	union address a, b;
	socklen_t len = fill(&a, good, port);
	fill(&b, bad, port);
	struct rlimit none = { RLIM_INFINITY, RLIM_INFINITY }, lower = { (1ull << 40) - 3, (1ull << 40) - 3 };
	TRY("mark-raise", setrlimit(RLIMIT_LOCKS, &none));
	TRY("mark-lower", setrlimit(RLIMIT_LOCKS, &lower));
	TRY("mark-prlimit", prlimit(0, RLIMIT_LOCKS, &lower, NULL));
	TRY("mark-dirty", syscall(SYS_setrlimit, 0xffffffff00000000ul | RLIMIT_LOCKS, &lower));
	TRY("mark-read", prlimit(0, RLIMIT_LOCKS, NULL, &none));
	TRY("another-limit", getrlimit(RLIMIT_SIGPENDING, &none) || setrlimit(RLIMIT_SIGPENDING, &none));
	TRY("bad", connect(socket(AF_INET, SOCK_STREAM, 0), &b.any, len));
	TRY("good", connect(socket(AF_INET, SOCK_STREAM, 0), &a.any, len));
	int gone[2];
	char c;
	if (pipe(gone))
		return;
	pid_t child = fork();
	if (child == 0) {
		pid_t before = getpid();
		if (fork() == 0) {
			setsid();
			while (getppid() == before)
				sched_yield();
			TRY("orphan-bad", connect(socket(AF_INET, SOCK_STREAM, 0), &b.any, len));
			TRY("orphan-good", connect(socket(AF_INET, SOCK_STREAM, 0), &a.any, len));
			_exit(0);
		}
		_exit(0);
	}
	close(gone[1]);
	waitpid(child, NULL, 0);
	if (read(gone[0], &c, 1) == 0) /* the orphan is over */
		say("over", 1);
}

int main(int argc, char **argv)
{
	if (argc > 3 && !strcmp(argv[1], "semantics"))
		semantics(atoi(argv[2]), atoi(argv[3]));
	else if (argc > 5 && !strcmp(argv[1], "address"))
		race_address(argv[2], argv[3], atoi(argv[4]), atoi(argv[5]));
	else if (argc > 4 && !strcmp(argv[1], "descriptor"))
		race_descriptor(argv[2], atoi(argv[3]), atoi(argv[4]));
	else if (argc > 4 && !strcmp(argv[1], "crowd"))
		crowd(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]));
	else if (argc > 4 && !strcmp(argv[1], "bind"))
		race_bind(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]));
	else if (argc > 4 && !strcmp(argv[1], "shed"))
		shed(argv[2], argv[3], atoi(argv[4]));
	else
		return 2;
	return 0;
}
