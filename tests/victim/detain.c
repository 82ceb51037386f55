/* detain MODE …: the supervisor, which uses sockets of the sandbox, is to wait for ever, to run
 * out of descriptors, or to connect once more than it was allowed to. ADVERSARY section 25. */
#include "try.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

static union { struct sockaddr any; struct sockaddr_in in; struct sockaddr_un un; } to;
static socklen_t len = sizeof to.in;
static int fd, pair[2];
static sem_t refusals;

static void loopback(const char *port)
{
	to.in.sin_family = AF_INET;
	to.in.sin_port = htons((uint16_t)atoi(port));
	to.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
}

static void *dial(void *unused)
{
	(void)unused;
	TRY("dial", connect(fd, &to.any, len));
	return NULL;
}

static int state(void)
{
	struct tcp_info info;
	socklen_t size = sizeof info;
	getsockopt(fd, SOL_TCP, TCP_INFO, &info, &size);
	return info.tcpi_state;
}

/* Takes a connect back, whose caller waits, after the network was closed. */
static void again(const char *port)
{
	pthread_t t;
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	loopback(port);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	pthread_create(&t, NULL, dial, NULL);
	while (state() != TCP_SYN_SENT)
		sched_yield(); /* nothing else tells of it */
	struct sockaddr_in last = to.in;
	last.sin_port = htons(1);
	TRY("close", connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&last, sizeof last));
	TRY("take-back", connect(fd, &none, sizeof none));
	pthread_join(t, NULL);
	say("state", state());
}

/* A connect that is put off until there is something to send. */
static void defer(const char *port)
{
	int yes = 1;
	loopback(port);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	TRY("option", setsockopt(fd, SOL_TCP, TCP_FASTOPEN_CONNECT, &yes, sizeof yes));
	TRY("no-cookie", setsockopt(fd, SOL_TCP, TCP_FASTOPEN_NO_COOKIE, &yes, sizeof yes));
	TRY("connect", connect(fd, &to.any, len));
	say("state", state());
}

/* Whoever has the last descriptor of this socket waits for the peer when it closes it. */
static void linger(const char *port)
{
	struct linger l = { 1, 3600 };
	char b[4096] = { 0 };
	loopback(port);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	TRY("connect", connect(fd, &to.any, len));
	TRY("linger", setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l));
	while (send(fd, b, sizeof b, MSG_DONTWAIT) > 0)
		;
	TRY("again", connect(fd, &to.any, len)); /* is the last */
}

static void *flip(void *rounds)
{
	struct timeval never = { 0, 0 };
	for (int i = 0; i < *(int *)rounds; i++)
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &never, sizeof never);
	say("rounds", *(int *)rounds);
	_exit(0);
}

/* A connect to a socket whose queue is full waits, but not where the run can't end. */
static void wait_(const char *path, int rounds)
{
	pthread_t t;
	to.un.sun_family = AF_UNIX;
	strcpy(to.un.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	pthread_create(&t, NULL, flip, &rounds);
	say("connected", connect(fd, &to.any, sizeof to.un));
}

enum { MOST = 253 }; /* SCM_MAX_FD */

static long carry(int descriptors)
{
	static __thread char control[CMSG_SPACE(4 * (MOST + 1))];
	struct iovec v = { "x", 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(4u * descriptors) };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	*h = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(4u * descriptors) };
	for (int i = 0; i < descriptors; i++)
		((int *)CMSG_DATA(h))[i] = pair[1];
	return sendmsg(pair[0], &m, 0);
}

static void *carrier(void *unused)
{
	(void)unused;
	if (carry(MOST) < 0 && errno == ETOOMANYREFS)
		sem_post(&refusals);
	else
		say("carried", MOST);
	return NULL;
}

/* Messages with descriptors that wait for their reader. */
static void carriers(int n)
{
	pthread_t t[64];
	char b[4096] = { 0 };
	int i;
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	for (size_t size = sizeof b; size; size /= 8)
		while (send(pair[0], b, size, MSG_DONTWAIT) > 0)
			;
	sem_init(&refusals, 0, 0);
	for (i = 0; i < n; i++)
		pthread_create(&t[i], NULL, carrier, NULL);
	TRY("too-many", carry(MOST + 1));
	for (i = 0; i < n - 1; i++)
		sem_wait(&refusals);
	say("refused", n - 1);
	while (recv(pair[1], b, sizeof b, 0) > 1)
		;
	for (i = 0; i < n; i++)
		pthread_join(t[i], NULL);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	if (!strcmp(argv[1], "again"))
		again(argv[2]);
	else if (!strcmp(argv[1], "defer"))
		defer(argv[2]);
	else if (!strcmp(argv[1], "linger"))
		linger(argv[2]);
	else if (!strcmp(argv[1], "wait"))
		wait_(argv[2], atoi(argv[3]));
	else if (!strcmp(argv[1], "carry"))
		carriers(atoi(argv[2]));
	fflush(stdout);
	_exit(0);
}
