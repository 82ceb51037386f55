/* network MODE PORT...: tries to reach a listener, or to become one. ADVERSARY
 * sections 17 and 19. */
#include "try.h"

#include <arpa/inet.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#define IPPROTO_SMC_ 256
#define AF_SMC_ 43

union address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

static socklen_t fill(union address *a, int family, const char *host, int port)
{
	memset(a, 0, sizeof *a);
	a->any.sa_family = (sa_family_t)family;
	a->in.sin_port = htons((uint16_t)port); /* at the same place in both */
	if (family == AF_INET)
		inet_pton(AF_INET, host, &a->in.sin_addr);
	else
		inet_pton(AF_INET6, host, &a->in6.sin6_addr);
	return family == AF_INET ? sizeof a->in : sizeof a->in6;
}

/* What one door does: the way to PORT, with a word that names it as data. */
typedef long door(int fd, union address *a, socklen_t len, const char *word);

static long by_connect(int fd, union address *a, socklen_t len, const char *word)
{
	if (connect(fd, &a->any, len) != 0)
		return -1;
	return write(fd, word, strlen(word));
}
static long by_sendto(int fd, union address *a, socklen_t len, const char *word)
{
	return sendto(fd, word, strlen(word), MSG_FASTOPEN, &a->any, len);
}
static long by_sendmsg(int fd, union address *a, socklen_t len, const char *word)
{
	struct iovec v = { (void *)word, strlen(word) };
	struct msghdr m = { .msg_name = a, .msg_namelen = len, .msg_iov = &v, .msg_iovlen = 1 };
	return sendmsg(fd, &m, MSG_FASTOPEN);
}
static long by_sendmmsg(int fd, union address *a, socklen_t len, const char *word)
{
	struct iovec v = { (void *)word, strlen(word) };
	struct mmsghdr m[2] = { { .msg_hdr = { .msg_name = a, .msg_namelen = len, .msg_iov = &v, .msg_iovlen = 1 } } };
	m[1] = m[0];
	return sendmmsg(fd, m, 2, MSG_FASTOPEN);
}
static long dirty_sendto(int fd, union address *a, socklen_t len, const char *word)
{
	return syscall(SYS_sendto, fd, word, strlen(word), 0xdeadbeef00000000ul | MSG_FASTOPEN, a, len);
}
static long by_option(int fd, union address *a, socklen_t len, const char *word)
{
	int one = 1;
	if (setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof one) != 0)
		return -1;
	return by_connect(fd, a, len, word);
}
static long by_ulp(int fd, union address *a, socklen_t len, const char *word)
{
	if (setsockopt(fd, IPPROTO_TCP, TCP_ULP, "smc", 3) != 0)
		return -1;
	return by_connect(fd, a, len, word);
}
static long by_plain_sendto(int fd, union address *a, socklen_t len, const char *word)
{
	return sendto(fd, word, strlen(word), 0, &a->any, len);
}
static long by_plain_sendmmsg(int fd, union address *a, socklen_t len, const char *word)
{
	struct iovec v = { (void *)word, strlen(word) };
	struct mmsghdr m[2] = { { .msg_hdr = { .msg_name = a, .msg_namelen = len, .msg_iov = &v, .msg_iovlen = 1 } } };
	m[1] = m[0];
	return sendmmsg(fd, m, 2, 0);
}

static const struct {
	const char *name;
	int family, type, protocol;
	door *open;
	int udp;
} doors[] = {
	{ "connect", 0, SOCK_STREAM, 0, by_connect, 0 },
	{ "sendto", 0, SOCK_STREAM, 0, by_sendto, 0 },
	{ "sendmsg", 0, SOCK_STREAM, 0, by_sendmsg, 0 },
	{ "sendmmsg", 0, SOCK_STREAM, 0, by_sendmmsg, 0 },
	{ "sendto-dirty", 0, SOCK_STREAM, 0, dirty_sendto, 0 },
	{ "fastopen-connect", 0, SOCK_STREAM, 0, by_option, 0 },
	{ "ulp-smc", 0, SOCK_STREAM, 0, by_ulp, 0 },
	{ "mptcp", 0, SOCK_STREAM, IPPROTO_MPTCP, by_connect, 0 },
	{ "ipproto-smc", 0, SOCK_STREAM, IPPROTO_SMC_, by_connect, 0 },
	{ "af-smc", AF_SMC_, SOCK_STREAM, 0, by_connect, 0 },
	{ "sctp", 0, SOCK_STREAM, IPPROTO_SCTP, by_connect, 0 },
	{ "raw", 0, SOCK_RAW, IPPROTO_TCP, by_plain_sendto, 0 },
	{ "udp-connect", 0, SOCK_DGRAM, 0, by_connect, 1 },
	{ "udp-sendto", 0, SOCK_DGRAM, 0, by_plain_sendto, 1 },
	{ "udp-sendmmsg", 0, SOCK_DGRAM, 0, by_plain_sendmmsg, 1 },
	{ "udplite", 0, SOCK_DGRAM, IPPROTO_UDPLITE, by_plain_sendto, 1 },
};

static const struct { const char *name; int family; const char *host; } ways[] = {
	{ "4", AF_INET, "127.0.0.1" }, { "6", AF_INET6, "::1" }, { "mapped", AF_INET6, "::ffff:127.0.0.1" },
	{ "any", AF_INET, "0.0.0.0" },
};

static void reach(int tcp, int udp)
{
	char name[64];
	for (unsigned w = 0; w < sizeof ways / sizeof *ways; w++)
		for (unsigned d = 0; d < sizeof doors / sizeof *doors; d++) {
			union address a;
			socklen_t len = fill(&a, ways[w].family, ways[w].host, doors[d].udp ? udp : tcp);
			snprintf(name, sizeof name, "%s-%s", doors[d].name, ways[w].name);
			int family = doors[d].family ? doors[d].family : ways[w].family;
			int fd = socket(family, doors[d].type, doors[d].protocol);
			if (fd < 0) {
				say(name, -1);
				continue;
			}
			TRY(name, doors[d].open(fd, &a, len, name));
			close(fd);
		}
}

static int accepting(int fd)
{
	int on = -1;
	socklen_t len = sizeof on;
	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 ? on : -2;
}

/* Becomes a listener on a port that no rule grants, in every way but bind to it. */
static void serve(int granted, int reachable)
{
	char name[64];
	for (unsigned w = 0; w < 2; w++) {
		union address a;
		socklen_t len = fill(&a, ways[w].family, ways[w].host, 0);
		int fd = socket(ways[w].family, SOCK_STREAM, 0);
		snprintf(name, sizeof name, "unbound-%s", ways[w].name);
		TRY(name, listen(fd, 1));
		snprintf(name, sizeof name, "accepting-unbound-%s", ways[w].name);
		say(name, accepting(fd));
		snprintf(name, sizeof name, "bind-zero-%s", ways[w].name);
		TRY(name, bind(fd, &a.any, len));
		listen(fd, 1);
		snprintf(name, sizeof name, "accepting-zero-%s", ways[w].name);
		say(name, accepting(fd));
		close(fd);
	}
	union address a;
	socklen_t len = fill(&a, AF_INET, "127.0.0.1", granted + 1);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	TRY("bind-other", bind(fd, &a.any, len));
	close(fd);

	/* A port that the kernel chose for a connection, kept over its end. */
	fd = socket(AF_INET, SOCK_STREAM, 0);
	len = fill(&a, AF_INET, "127.0.0.1", reachable);
	TRY("connect-reachable", connect(fd, &a.any, len));
	a.any.sa_family = AF_UNSPEC;
	TRY("disconnect", connect(fd, &a.any, sizeof a.any));
	TRY("listen-disconnected", listen(fd, 1));
	say("accepting-disconnected", accepting(fd));
	close(fd);

	fd = socket(AF_INET, SOCK_STREAM, 0);
	len = fill(&a, AF_INET, "127.0.0.1", granted);
	int one = 1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	TRY("bind-granted", bind(fd, &a.any, len));
	TRY("listen-granted", listen(fd, 1));
	say("accepting-granted", accepting(fd));
}

/* Swaps the descriptor under listen(2): one socket may listen, the other not. */
static int swapped, granted_socket;
static volatile int started, over;

static void *swap(void *unbound)
{
	for (; !over; started = 1) {
		dup2(granted_socket, swapped);
		dup2((int)(intptr_t)unbound, swapped);
	}
	return NULL;
}

static void race(int granted, int rounds)
{
	union address a;
	socklen_t len = fill(&a, AF_INET, "127.0.0.1", granted);
	int one = 1, unbound = socket(AF_INET, SOCK_STREAM, 0), hits = 0;
	granted_socket = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(granted_socket, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	TRY("bind-granted", bind(granted_socket, &a.any, len));
	swapped = dup(granted_socket);
	pthread_t t;
	pthread_create(&t, NULL, swap, (void *)(intptr_t)unbound);
	int listened = 0;
	while (!started)
		sched_yield();
	for (int i = 0; i < rounds || (i < 100 * rounds && listened == 0); i++) {
		listened += listen(swapped, 1) == 0;
		hits += accepting(unbound) == 1;
	}
	over = 1;
	pthread_join(t, NULL);
	say("listened", listened);
	say("hits", hits);
}

static void abstract(const char *word)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	snprintf(a.sun_path + 1, sizeof a.sun_path - 1, "%s", word);
	socklen_t len = (socklen_t)(sizeof(sa_family_t) + 1 + strlen(word));
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	TRY("abstract-connect", connect(fd, (struct sockaddr *)&a, len));
	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	a.sun_path[1] = 'd'; /* the datagram socket of the same name */
	TRY("abstract-sendto", sendto(fd, word, strlen(word), 0, (struct sockaddr *)&a, len));
}

/* Listens while another task waits for the verdict about its exec, and says so on its
 * standard input, the only stream that is not collected. */
static void beside(int port)
{
	union address a;
	socklen_t len = fill(&a, AF_INET, "127.0.0.1", port);
	int fd = socket(AF_INET, SOCK_STREAM, 0), status;
	pid_t pid = fork();
	if (pid == 0) {
		execl("/bin/true", "true", "wait", (char *)NULL);
		_exit(1);
	}
	TRY("bind-granted", bind(fd, &a.any, len));
	TRY("listen", listen(fd, 1));
	TRY("told", write(0, "x", 1));
	say("accepted", accept(fd, NULL, NULL) >= 0);
	say("waited", waitpid(pid, &status, 0) == pid && status == 0);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	int first = atoi(argv[2]), second = argc > 3 ? atoi(argv[3]) : 0;
	if (!strcmp(argv[1], "reach"))
		reach(first, second);
	else if (!strcmp(argv[1], "beside") && argc > 2)
		beside(atoi(argv[2]));
	else if (!strcmp(argv[1], "serve"))
		serve(first, second);
	else if (!strcmp(argv[1], "race"))
		race(first, second);
	else if (!strcmp(argv[1], "abstract"))
		abstract(argv[2]);
	return 0;
}
