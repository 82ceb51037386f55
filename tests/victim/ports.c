/* ports MODE PORT …: binds a port that may be another one on the host. ADVERSARY sections 5,
 * 6, 19. */
#include "try.h"
#include "address.h"

#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/time.h>

static int tcp(int family, int option)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	if (option)
		setsockopt(fd, SOL_SOCKET, option, &one, sizeof one);
	return fd;
}

static int bound(const char *host, int port, int option)
{
	union address a;
	socklen_t len = fill(&a, host, port);
	int fd = tcp(a.any.sa_family, option);
	if (bind(fd, &a.any, len) == 0)
		return fd;
	int e = errno;
	close(fd);
	errno = e;
	return -1;
}

static int serve(const char *host, int port, int option)
{
	int fd = bound(host, port, option);
	if (fd >= 0 && listen(fd, 8) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static int dial(const char *host, int port)
{
	union address a;
	socklen_t len = fill(&a, host, port);
	int fd = tcp(a.any.sa_family, 0);
	if (connect(fd, &a.any, len) == 0)
		return fd;
	int e = errno;
	close(fd);
	errno = e;
	return -1;
}

typedef int namer(int, struct sockaddr *restrict, socklen_t *restrict);

static int port_of(namer *name, int fd)
{
	union address a;
	socklen_t len = sizeof a;
	return name(fd, &a.any, &len) == 0 ? ntohs(a.in.sin_port) : -1;
}

/* Whether a connection from host to the port comes to the listener, and both ends see the
 * same of it. */
static int meets(int listener, const char *host, int port)
{
	union address peer;
	socklen_t len = sizeof peer;
	int c = dial(host, port);
	if (c < 0)
		return -1;
	struct pollfd ready = { .fd = listener, .events = POLLIN };
	if (poll(&ready, 1, 10000) != 1) {
		close(c);
		return 0;
	}
	int s = accept(listener, &peer.any, &len);
	int same = port_of(getpeername, c) == port && port_of(getsockname, s) == port &&
		port_of(getsockname, c) == port_of(getpeername, s) && ntohs(peer.in.sin_port) == port_of(getpeername, s);
	close(c);
	close(s);
	return same;
}

static int send_descriptor(int to, int fd)
{
	char room[CMSG_SPACE(sizeof fd)] = { 0 }, x = 'x';
	struct iovec v = { &x, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	*c = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	return (int)sendmsg(to, &m, 0);
}

/* What a port that is free answers, to be compared with what one answers that is taken by
 * somebody outside of the sandbox, who does not listen there. */
static void semantics(int port, int zero, char *self)
{
	union address a;
	socklen_t len;
	int s, t, u, err;
	char text[16];
	TRY("connect-to-nobody", dial("127.0.0.1", port));
	say("bind", (s = bound("127.0.0.1", port, 0)) >= 0);
	say("name", port_of(getsockname, s) == port);
	TRY("bind-again", bind(s, (fill(&a, "127.0.0.1", port), &a.any), sizeof a.in));
	TRY("second", bound("127.0.0.1", port, 0));
	TRY("second-any", bound("0.0.0.0", port, 0));
	TRY("second-both", bound("::", port, 0));
	TRY("second-mapped", bound("::ffff:127.0.0.1", port, 0));
	TRY("connect-unheard", dial("127.0.0.1", port));
	TRY("listen", listen(s, 8));
	say("meets", meets(s, "127.0.0.1", port));
	say("meets-any", meets(s, "0.0.0.0", port));
	say("meets-mapped", meets(s, "::ffff:127.0.0.1", port));
	TRY("elsewhere", dial("127.0.0.3", port));
	say("six", (t = serve("::1", port, 0)) >= 0);
	say("six-meets", meets(t, "::1", port));
	say("elsewhere-bind", (u = serve("127.0.0.3", port, 0)) >= 0);
	say("elsewhere-meets", meets(u, "127.0.0.3", port));
	say("meets-still", meets(s, "127.0.0.1", port));

	/* The lengths of names. */
	memset(&a, 0x55, sizeof a);
	len = 0;
	TRY("name-0", getsockname(s, &a.any, &len));
	say("name-0-length", len);
	say("name-0-kept", a.any.sa_family == 0x5555);
	len = 3;
	TRY("name-3", getsockname(s, &a.any, &len));
	say("name-3-length", len);
	say("name-3-kept", a.room[2] != 0x55 && a.room[3] == 0x55);
	len = sizeof a;
	TRY("name-long", getsockname(t, &a.any, &len));
	say("name-long-length", len);
	len = (socklen_t)-1;
	TRY("name-negative", getsockname(s, &a.any, &len));
	len = sizeof a;
	TRY("name-nowhere", getsockname(s, (void *)16, &len));
	TRY("name-no-length", getsockname(s, &a.any, (void *)16));
	void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TRY("name-read-only", getsockname(s, page, &len));
	TRY("name-no-descriptor", getsockname(-1, &a.any, &len));
	TRY("name-bad-descriptor", getsockname(999, &a.any, &len));
	TRY("name-a-file", getsockname(open("/", O_RDONLY), &a.any, &len));
	TRY("peer-of-none", getpeername(s, &a.any, &len));
	int pair[2];
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	len = sizeof a;
	TRY("name-unix", getsockname(pair[0], &a.any, &len));
	say("name-unix-family", a.any.sa_family == AF_UNIX);

	/* Who has the listener. */
	int moved = fcntl(s, F_DUPFD_CLOEXEC, 400);
	close(s);
	say("moved", meets(moved, "127.0.0.1", port));
	send_descriptor(pair[0], moved);
	if (fork() == 0) {
		char room[CMSG_SPACE(sizeof s)], x;
		struct iovec v = { &x, 1 };
		struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room };
		close(moved);
		recvmsg(pair[1], &m, 0);
		memcpy(&s, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof s);
		say("passed", meets(s, "127.0.0.1", port));
		_exit(0);
	}
	close(moved);
	wait(NULL);
	TRY("after-the-last", dial("127.0.0.1", port)); /* the kernel's queue of pair is empty */
	close(t);
	close(u);
	say("bind-once-more", (s = serve("0.0.0.0", port, 0)) >= 0);
	say("name-once-more", port_of(getsockname, s) == port);
	say("meets-once-more", meets(s, "127.0.0.7", port));
	TRY("six-only", t = serve("::", port, 0)); /* both, which it is not free for */
	if (fork() == 0) {
		snprintf(text, sizeof text, "%d", fcntl(s, F_DUPFD, 50));
		snprintf(a.room, sizeof a.room, "%d", port);
		execl(self, self, "inherited", a.room, text, (char *)NULL);
		_exit(1);
	}
	close(s);
	wait(NULL);

	/* What shares a port. */
	say("reuse-bound", (s = bound("127.0.0.1", port, SO_REUSEADDR)) >= 0);
	say("reuse-kept", getsockopt(s, SOL_SOCKET, SO_REUSEADDR, &err, (len = sizeof err, &len)) == 0 && err);
	say("reuse-second", (t = bound("127.0.0.1", port, SO_REUSEADDR)) >= 0);
	TRY("reuse-listen", listen(s, 1));
	TRY("reuse-listen-second", listen(t, 1));
	TRY("reuse-third", bound("127.0.0.1", port, SO_REUSEADDR));
	close(s);
	close(t);
	say("share", (s = serve("127.0.0.1", port, SO_REUSEPORT)) >= 0);
	say("share-second", (t = serve("127.0.0.1", port, SO_REUSEPORT)) >= 0);
	say("share-kept", getsockopt(s, SOL_SOCKET, SO_REUSEPORT, &err, (len = sizeof err, &len)) == 0 && err);
	TRY("share-not", bound("127.0.0.1", port, 0));
	int c = dial("127.0.0.1", port);
	struct pollfd both[2] = { { .fd = s, .events = POLLIN }, { .fd = t, .events = POLLIN } };
	say("share-meets", c >= 0 && poll(both, 2, 10000) == 1);
	close(s);
	close(t);

	/* Without waiting. */
	s = serve("127.0.0.1", port, 0);
	c = tcp(AF_INET, 0);
	fcntl(c, F_SETFL, O_NONBLOCK);
	len = fill(&a, "127.0.0.1", port);
	TRY("nonblocking", connect(c, &a.any, len));
	struct pollfd ready = { .fd = c, .events = POLLOUT };
	say("nonblocking-ready", poll(&ready, 1, 10000) == 1 && ready.revents == POLLOUT);
	say("nonblocking-error", getsockopt(c, SOL_SOCKET, SO_ERROR, &err, (len = sizeof err, &len)) == 0 ? err : -1);
	TRY("nonblocking-again", connect(c, &a.any, sizeof a.in));
	TRY("nonblocking-more", connect(c, &a.any, sizeof a.in));
	say("nonblocking-peer", port_of(getpeername, c) == port);
	TRY("shut", shutdown(s, SHUT_RD));
	TRY("shut-dial", dial("127.0.0.1", port));
	TRY("shut-listen", listen(s, 1));
	say("shut-name", port_of(getsockname, s) == port);
	close(s);
	TRY("not-here", bound("192.0.2.1", port, 0));

	/* Where its own connections are still closing: whoever closes first waits (TIME_WAIT). */
	s = serve("127.0.0.1", port, SO_REUSEADDR);
	c = dial("127.0.0.1", port);
	close(accept(s, NULL, NULL));
	say("closing", read(c, text, 1));
	close(c);
	close(s);
	say("closing-bind", (s = serve("127.0.0.1", port, SO_REUSEADDR)) >= 0);
	say("closing-name", port_of(getsockname, s) == port);
	say("closing-meets", meets(s, "127.0.0.1", port));
	close(s);

	if (!zero)
		return;
	say("zero", (s = serve("127.0.0.1", 0, 0)) >= 0);
	say("zero-meets", meets(s, "127.0.0.1", port_of(getsockname, s)));
	TRY("zero-second", bound("127.0.0.1", port_of(getsockname, s), 0));
}

static void inherited(int port, int fd)
{
	say("executed-name", port_of(getsockname, fd) == port);
	say("executed-meets", meets(fd, "127.0.0.1", port));
}

/* The harness says when, and is told, over standard input. */
static void tell(void) { (void)!write(0, "x", 1); }
static void hear(void)
{
	char x;
	if (read(0, &x, 1) != 1)
		_exit(0);
}

static int says(int listener, const char *host, int port)
{
	int c = dial(host, port);
	if (c < 0)
		return -1;
	struct pollfd ready = { .fd = listener, .events = POLLIN };
	int mine = poll(&ready, 1, 10000) == 1;
	if (mine)
		close(accept(listener, NULL, NULL));
	close(c);
	return mine;
}

/* Serves one of many sandboxes that all have the port. */
static void crowd(int port, int option)
{
	int on4 = bound("127.0.0.1", port, option), on6 = bound("::1", port, option);
	tell(); /* all bind before any listens */
	hear();
	TRY("listen-4", listen(on4, 4));
	TRY("listen-6", listen(on6, 4));
	tell();
	hear();
	say("own-4", says(on4, "127.0.0.1", port));
	say("own-6", says(on6, "::1", port));
	tell();
	hear();
}

/* Dials a port of its own whose listener is gone, when somebody else has what it was. */
static void gone(int port)
{
	int s = serve("127.0.0.1", port, SO_REUSEADDR);
	say("own", says(s, "127.0.0.1", port));
	tell();
	hear();
	/* A connection that is not taken up: it goes on when there is somebody. */
	int kept[2];
	union address a;
	socklen_t len = fill(&a, "127.0.0.1", port);
	listen(s, 0);
	for (int i = 0; i < 2; i++) {
		kept[i] = tcp(AF_INET, 0);
		fcntl(kept[i], F_SETFL, O_NONBLOCK);
		if (connect(kept[i], &a.any, len) != 0 && errno != EINPROGRESS)
			say("queue-full", -1);
	}
	shutdown(s, SHUT_RD); /* not listened on, but still its own */
	TRY("shut", dial("127.0.0.1", port));
	close(s);
	tell();
	hear();
	for (int i = 0; i < 2; i++) {
		struct pollfd ready = { .fd = kept[i], .events = POLLOUT };
		if (poll(&ready, 1, 0) == 1 && !(ready.revents & (POLLHUP | POLLERR)))
			(void)!write(kept[i], "kept", 4);
	}
	TRY("gone", dial("127.0.0.1", port));
	tell();
	hear();
}

static volatile int over;
static int storm_port;

static void *open_and_close(void *unused)
{
	while (!over) {
		int s = serve("127.0.0.1", storm_port, SO_REUSEADDR);
		if (s >= 0) {
			int c = accept4(s, NULL, NULL, SOCK_NONBLOCK);
			close(c);
		}
		close(s);
	}
	return unused;
}

/* Dials while another thread closes the listener as soon as it has a connection, and somebody
 * outside takes its port. */
static void storm(int port, int rounds)
{
	pthread_t t;
	int connected = 0;
	storm_port = port;
	pthread_create(&t, NULL, open_and_close, NULL);
	for (int i = 0; i < rounds || (!connected && i < 100 * rounds); i++) {
		int c = dial("127.0.0.1", port);
		if (c >= 0)
			connected++, (void)!send(c, "storm", 5, MSG_NOSIGNAL);
		close(c);
	}
	over = 1;
	while (pthread_tryjoin_np(t, NULL) != 0)
		close(dial("127.0.0.1", port));
	say("connected", connected > 0);
}

static pthread_barrier_t start;
static int bound_by[4];

static void *contender(void *at)
{
	int *mine = at;
	for (;;) {
		pthread_barrier_wait(&start);
		if (over)
			return NULL;
		*mine = bound("127.0.0.1", storm_port, 0);
		pthread_barrier_wait(&start);
	}
}

/* Several threads bind one port at the same time: one has it. */
static void contend(int port, int rounds)
{
	pthread_t t[4];
	int once = 0, held[2];
	storm_port = port;
	pthread_barrier_init(&start, NULL, 5);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, contender, &bound_by[i]);
	for (int r = 0; r < rounds; r++) {
		int won = 0;
		pthread_barrier_wait(&start);
		pthread_barrier_wait(&start);
		for (int i = 0; i < 4; i++)
			if (bound_by[i] >= 0)
				held[won++ % 2] = bound_by[i];
		once += won == 1 && port_of(getsockname, held[0]) == port;
		for (int i = 0; i < 4; i++)
			close(bound_by[i]);
	}
	over = 1;
	pthread_barrier_wait(&start);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	say("once", once);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	int port = atoi(argv[2]), more = argc > 3 ? atoi(argv[3]) : 0;
	if (!strcmp(argv[1], "semantics"))
		semantics(port, more, argv[0]);
	else if (!strcmp(argv[1], "inherited"))
		inherited(port, more);
	else if (!strcmp(argv[1], "crowd"))
		crowd(port, more);
	else if (!strcmp(argv[1], "gone"))
		gone(port);
	else if (!strcmp(argv[1], "storm"))
		storm(port, more);
	else if (!strcmp(argv[1], "contend"))
		contend(port, more);
	else if (!strcmp(argv[1], "dial"))
		TRY("dial", dial("127.0.0.1", port));
	else
		return 2;
	return 0;
}
