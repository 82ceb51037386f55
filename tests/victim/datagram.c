/* datagram MODE …: datagrams, the right way and with cheats. ADVERSARY sections 5, 19. */
#include "try.h"
#include "address.h"

#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <sys/mman.h>

static long message(int fd, union address *a, socklen_t len, const char *word, void *control, size_t size, int flags)
{
	struct iovec v = { (void *)word, strlen(word) };
	struct msghdr m = { .msg_name = a, .msg_namelen = len, .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = size };
	return sendmsg(fd, &m, flags);
}

/* Every way to send a datagram to host, each with its own word. */
static void ways(const char *host, int port)
{
	union address a, b;
	socklen_t len = fill(&a, host, port);
	int family = a.any.sa_family, fd = socket(family, SOCK_DGRAM, 0);
	TRY("sendto", sendto(fd, "sendto", 6, 0, &a.any, len));
	TRY("sendmsg", message(fd, &a, len, "sendmsg", NULL, 0, 0));
	struct iovec v[4] = { { "mm", 2 }, { "sg-1", 4 }, { "mmsg-2", 6 }, { "mmsg-3", 6 } };
	struct mmsghdr mm[3] = { { .msg_hdr = { &a, len, v, 2, NULL, 0, 0 } }, { .msg_hdr = { &a, len, v + 2, 1, NULL, 0, 0 } }, { .msg_hdr = { &a, len, v + 3, 1, NULL, 0, 0 } } };
	TRY("sendmmsg", sendmmsg(fd, mm, 3, 0));
	printf("sendmmsg-lengths %u%u%u 0\n", mm[0].msg_len, mm[1].msg_len, mm[2].msg_len);
	TRY("more", sendto(fd, "mo", 2, MSG_MORE, &a.any, len));
	TRY("more-end", sendto(fd, "re", 2, 0, &a.any, len));
	TRY("connect", connect(fd, &a.any, len));
	TRY("connected-send", send(fd, "connected-send", 14, 0));
	TRY("connected-write", write(fd, "connected-write", 15));
	TRY("connected-sendmsg", message(fd, NULL, 0, "connected-sendmsg", NULL, 0, 0));
	TRY("connected-sendto", sendto(fd, "connected-sendto", 16, 0, &a.any, len));
	b.any.sa_family = AF_UNSPEC;
	TRY("disconnect", connect(fd, &b.any, sizeof b.in));
	TRY("disconnected", send(fd, "disconnected", 12, 0));
	TRY("no-port", (fill(&b, host, 0), sendto(fd, "no-port", 7, 0, &b.any, len)));
	a.any.sa_family = AF_UNSPEC;
	TRY("unspec", sendto(fd, "unspec", 6, 0, &a.any, len));
	a.any.sa_family = (sa_family_t)family;
	if (family == AF_INET) {
		union address mapped;
		char text[64];
		snprintf(text, sizeof text, "::ffff:%s", host);
		socklen_t len6 = fill(&mapped, text, port);
		int six = socket(AF_INET6, SOCK_DGRAM, 0);
		TRY("mapped", sendto(six, "mapped", 6, 0, &mapped.any, len6));
		TRY("four-on-six", sendto(six, "four-on-six", 11, 0, &a.any, len));
		TRY("four-on-six-connect", connect(six, &a.any, len));
		TRY("four-on-six-send", send(six, "four-on-six-send", 16, 0));
		fill(&b, "0.0.0.0", port);
		int own = socket(AF_INET, SOCK_DGRAM, 0);
		if (!strcmp(host, "127.0.0.1"))
			TRY("any", sendto(own, "any", 3, 0, &b.any, len));
	}
	fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	TRY("nonblocking", sendto(fd, "nonblocking", 11, 0, &a.any, len));
	TRY("dontwait", sendto(fd, "dontwait", 8, MSG_DONTWAIT | MSG_NOSIGNAL, &a.any, len));
}

/* What sends answer, to be compared with what they answer outside. */
static void semantics(int port)
{
	union address a, b;
	socklen_t len = fill(&a, "127.0.0.1", port), len6 = fill(&b, "::1", port);
	static char big[1 << 17];
	int fd = socket(AF_INET, SOCK_DGRAM, 0), six = socket(AF_INET6, SOCK_DGRAM, 0), tcp = socket(AF_INET, SOCK_STREAM, 0);
	TRY("no-descriptor", sendto(-1, "x", 1, 0, &a.any, len));
	TRY("a-file", sendto(0, "x", 1, 0, &a.any, len));
	TRY("empty", sendto(fd, "", 0, 0, &a.any, len));
	TRY("largest", sendto(fd, big, 65507, 0, &a.any, len));
	TRY("too-large", sendto(fd, big, 65508, 0, &a.any, len));
	TRY("much-too-large", sendto(fd, big, sizeof big, 0, &a.any, len));
	TRY("no-page", sendto(fd, (void *)16, 8, 0, &a.any, len));
	TRY("no-address", sendto(fd, "x", 1, 0, (void *)16, len));
	TRY("size-0", sendto(fd, "x", 1, 0, &a.any, 0));
	TRY("size-1", sendto(fd, "x", 1, 0, &a.any, 1));
	TRY("size-8", sendto(fd, "x", 1, 0, &a.any, 8));
	TRY("size-129", sendto(fd, "x", 1, 0, &a.any, 129));
	TRY("size-negative", sendto(fd, "x", 1, 0, &a.any, (socklen_t)-1));
	TRY("size-128", sendto(fd, "x", 1, 0, &a.any, 128));
	TRY("six-on-four", sendto(fd, "x", 1, 0, &b.any, len6));
	TRY("six-short", sendto(six, "x", 1, 0, &b.any, 20));
	TRY("six-no-scope", sendto(six, "x", 1, 0, &b.any, 24));
	b.any.sa_family = AF_UNIX;
	TRY("unix-on-four", sendto(fd, "x", 1, 0, &b.any, len));
	TRY("unix-on-six", sendto(six, "x", 1, 0, &b.any, len6));
	b.any.sa_family = AF_INET6;
	TRY("oob", sendto(fd, "x", 1, MSG_OOB, &a.any, len));
	TRY("not-connected", message(fd, NULL, 0, "x", NULL, 0, 0));
	TRY("tcp", sendto(tcp, "x", 1, MSG_NOSIGNAL, &a.any, len));
	struct msghdr m = { .msg_name = &a, .msg_namelen = len, .msg_iov = (void *)16, .msg_iovlen = 1 };
	TRY("iov-no-page", sendmsg(fd, &m, 0));
	m.msg_iovlen = 1025;
	TRY("iov-many", sendmsg(fd, &m, 0));
	struct iovec v = { big, (size_t)-1 };
	m.msg_iov = &v, m.msg_iovlen = 1;
	TRY("iov-negative", sendmsg(fd, &m, 0));
	v.iov_len = 1;
	m.msg_namelen = 4000;
	TRY("name-long", sendmsg(fd, &m, 0));
	m.msg_namelen = (socklen_t)-1;
	TRY("name-negative", sendmsg(fd, &m, 0));
	m.msg_namelen = len;
	m.msg_iovlen = 0;
	TRY("iov-none", sendmsg(fd, &m, 0));
	TRY("message-no-page", sendmsg(fd, (void *)16, 0));
	char control[64] = { 0 };
	m.msg_control = control, m.msg_controllen = 64;
	TRY("control-bad", sendmsg(fd, &m, 0));
	m.msg_controllen = 8;
	TRY("control-short", sendmsg(fd, &m, 0));
	struct cmsghdr *h = (void *)control;
	int ttl = 9;
	m.msg_controllen = CMSG_SPACE(sizeof ttl);
	h->cmsg_len = CMSG_LEN(sizeof ttl), h->cmsg_level = IPPROTO_IP, h->cmsg_type = IP_TTL;
	memcpy(CMSG_DATA(h), &ttl, sizeof ttl);
	TRY("control-ttl", sendmsg(fd, &m, 0));
	h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS;
	TRY("control-rights", sendmsg(fd, &m, 0));
	uint16_t segment = 100;
	h->cmsg_len = CMSG_LEN(sizeof segment), h->cmsg_level = IPPROTO_UDP, h->cmsg_type = UDP_SEGMENT;
	memcpy(CMSG_DATA(h), &segment, sizeof segment);
	m.msg_iov = &v, m.msg_iovlen = 1, v.iov_len = 1000;
	m.msg_controllen = CMSG_SPACE(sizeof segment);
	TRY("control-segment", sendmsg(fd, &m, 0));
	struct mmsghdr mm[3] = { 0 };
	v.iov_len = 1;
	for (int i = 0; i < 3; i++)
		mm[i].msg_hdr = (struct msghdr){ .msg_name = &a, .msg_namelen = len, .msg_iov = &v, .msg_iovlen = 1 };
	TRY("mmsg-none", sendmmsg(fd, mm, 0, 0));
	mm[1].msg_hdr.msg_iovlen = 5000;
	TRY("mmsg-second-bad", sendmmsg(fd, mm, 3, 0));
	mm[0].msg_hdr.msg_namelen = 3;
	TRY("mmsg-first-bad", sendmmsg(fd, mm, 3, 0));
	TRY("mmsg-no-page", sendmmsg(fd, (void *)16, 3, 0));
	/* A port that nobody has answers, with an error at the next call. */
	int refused = socket(AF_INET, SOCK_DGRAM, 0);
	fill(&b, "127.0.0.1", 1);
	TRY("refused-connect", connect(refused, &b.any, len));
	TRY("refused-first", message(refused, NULL, 0, "x", NULL, 0, 0));
	TRY("refused-second", message(refused, NULL, 0, "x", NULL, 0, 0));
}

/* Ways by which a datagram to an address that may be reached could go to another. */
static void detours(const char *good, const char *bad, int port)
{
	union address a;
	socklen_t len = fill(&a, good, port);
	int fd = socket(AF_INET, SOCK_DGRAM, 0), six = socket(AF_INET6, SOCK_DGRAM, 0), tcp = socket(AF_INET, SOCK_STREAM, 0);
	unsigned char route[8] = { 131, 7, 4 }; /* loose source route over one hop */
	inet_pton(AF_INET, bad, route + 3);
	TRY("ip-options", setsockopt(fd, IPPROTO_IP, IP_OPTIONS, route, sizeof route));
	TRY("ip-options-tcp", setsockopt(tcp, IPPROTO_IP, IP_OPTIONS, route, sizeof route));
	char control[CMSG_SPACE(sizeof route)] = { 0 };
	struct cmsghdr *h = (void *)control;
	h->cmsg_len = CMSG_LEN(sizeof route), h->cmsg_level = IPPROTO_IP, h->cmsg_type = IP_RETOPTS;
	memcpy(CMSG_DATA(h), route, sizeof route);
	TRY("retopts", message(fd, &a, len, "retopts", control, sizeof control, 0));
	struct ip6_rthdr routing = { 0 };
	TRY("rthdr", setsockopt(six, IPPROTO_IPV6, IPV6_RTHDR, &routing, sizeof routing));
	TRY("multicast", setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &(struct ip_mreqn){ .imr_multiaddr = { htonl(0xe0010203) } }, sizeof(struct ip_mreqn)));
	TRY("encap", setsockopt(fd, IPPROTO_UDP, UDP_ENCAP, &(int){ 2 }, sizeof(int)));
	TRY("zerocopy", sendto(fd, "zerocopy", 8, MSG_ZEROCOPY, &a.any, len));
	TRY("clone-files", syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0));
	struct { struct cmsghdr h; int mark; } mark = { { CMSG_LEN(sizeof(int)), SOL_SOCKET, SO_MARK }, 1 };
	TRY("mark", message(fd, &a, len, "mark", &mark, sizeof mark, 0));
}

static volatile int over, started;
static volatile int swapped;
static int pair[2], both;
static union address shared, good_, bad_;

static void *flip(void *unused)
{
	(void)unused;
	volatile in_addr_t *at = &shared.in.sin_addr.s_addr;
	for (unsigned turn = 0; !over; started = 1, turn++) {
		*at = good_.in.sin_addr.s_addr;
		if (both)
			dup2(pair[0], swapped);
		if (turn % 16 == 0)
			sched_yield(); /* the other may be on the same CPU */
		*at = bad_.in.sin_addr.s_addr;
		if (both)
			dup2(pair[1], swapped);
		if (turn % 16 == 8)
			sched_yield();
	}
	return NULL;
}

/* Sends while a sibling changes the address; with both, the descriptor as well, between a
 * unix socket and one for datagrams. */
static void race(const char *good, const char *bad, int port, int rounds, int with)
{
	socklen_t len = fill(&good_, good, port);
	fill(&bad_, bad, port);
	shared = good_;
	both = with;
	pair[0] = socket(AF_UNIX, SOCK_DGRAM, 0);
	pair[1] = socket(AF_INET, SOCK_DGRAM, 0);
	swapped = dup(pair[1]);
	pthread_t t;
	pthread_create(&t, NULL, flip, NULL);
	while (!started)
		sched_yield();
	int sent = 0, refused = 0;
	struct iovec v = { "race", 4 };
	struct mmsghdr mm[2] = { { .msg_hdr = { &shared, len, &v, 1, NULL, 0, 0 } }, { .msg_hdr = { &shared, len, &v, 1, NULL, 0, 0 } } };
	for (int i = 0; i < rounds || (i < 100 * rounds && !((sent || both) && refused)); i++) {
		long n;
		sched_yield();
		switch (i % 4) {
		case 0:
			n = sendto(swapped, "race", 4, MSG_DONTWAIT, &shared.any, len);
			break;
		case 1:
			n = sendmsg(swapped, &mm[0].msg_hdr, MSG_DONTWAIT);
			break;
		case 2:
			n = sendmmsg(swapped, mm, 2, MSG_DONTWAIT);
			break;
		default:
			n = connect(swapped, &shared.any, len);
			if (n == 0)
				send(swapped, "race", 4, MSG_DONTWAIT);
			connect(swapped, &(struct sockaddr){ .sa_family = AF_UNSPEC }, 16);
		}
		sent += n >= 0;
		refused += n < 0 && errno == EACCES;
	}
	over = 1;
	pthread_join(t, NULL);
	say("sent", sent > 0);
	say("refused", refused > 0);
}

static volatile int delay;

static void *swap_once(void *unused)
{
	(void)unused;
	for (volatile int i = 0; i < delay; i++)
		;
	dup2(pair[1], swapped);
	return NULL;
}

/* The same, with a sibling that exchanges the descriptor once and ends: then the caller has
 * no other threads, and a socket that it did not have. */
static void race_exit(const char *bad, int port, int rounds)
{
	socklen_t len = fill(&bad_, bad, port);
	pair[0] = socket(AF_UNIX, SOCK_DGRAM, 0);
	pair[1] = socket(AF_INET, SOCK_DGRAM, 0);
	swapped = dup(pair[0]);
	int refused = 0;
	for (int i = 0; i < rounds; i++) {
		pthread_t t;
		dup2(pair[0], swapped);
		delay = i % 128 * 64;
		pthread_create(&t, NULL, swap_once, NULL);
		long n = i % 2 ? connect(swapped, &bad_.any, len) : message(swapped, &bad_, len, "race", NULL, 0, MSG_DONTWAIT);
		refused += n < 0;
		pthread_join(t, NULL);
		if (n == 0)
			send(pair[1], "race", 4, MSG_DONTWAIT);
		connect(pair[1], &(struct sockaddr){ .sa_family = AF_UNSPEC }, 16);
	}
	say("refused", refused > 0);
}

static void *locals(void *path)
{
	/* Unix sockets, and what they carry, in a program that has threads. */
	int sv[2], p[2];
	char c = 0, room[CMSG_SPACE(sizeof(int))] = { 0 };
	if (pipe(p))
		return NULL;
	TRY("pair", socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	struct cmsghdr *h = (void *)room;
	h->cmsg_len = CMSG_LEN(sizeof(int)), h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS;
	memcpy(CMSG_DATA(h), &p[1], sizeof(int));
	TRY("rights", message(sv[0], NULL, 0, "f", room, sizeof room, 0));
	struct iovec v = { &c, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room };
	int got = -1;
	TRY("rights-received", recvmsg(sv[1], &m, 0));
	memcpy(&got, CMSG_DATA(h), sizeof got);
	TRY("rights-written", write(got, "y", 1));
	TRY("rights-read", read(p[0], &c, 1) == 1 && c == 'y');
	static char big[300000], back[300000];
	for (size_t i = 0; i < sizeof big; i++)
		big[i] = (char)(i * 7 + (i >> 8));
	if (fork() == 0) {
		struct iovec parts[2] = { { big, 1000 }, { big + 1000, sizeof big - 1000 } };
		struct msghdr large = { .msg_iov = parts, .msg_iovlen = 2 };
		_exit(sendmsg(sv[0], &large, 0) != (long)sizeof big);
	}
	size_t n = 0;
	for (long r; n < sizeof big && (r = read(sv[1], back + n, sizeof back - n)) > 0;)
		n += (size_t)r;
	int status;
	wait(&status);
	TRY("large", n == sizeof big && memcmp(big, back, n) == 0 && status == 0);
	struct iovec large = { big, sizeof big };
	struct msghdr from = { .msg_iov = &large, .msg_iovlen = 1 };
	int block[2];
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, block);
	long part = sendmsg(block[0], &from, 0);
	say("nonblocking-part", part > 0 && part < (long)sizeof big);
	TRY("nonblocking-full", sendmsg(block[0], &from, 0));
	close(block[1]);
	TRY("closed", sendmsg(block[0], &from, MSG_NOSIGNAL));
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int packets[2];
	socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packets);
	TRY("stream-address", sendto(sv[0], "x", 1, 0, (void *)&a, sizeof a));
	TRY("stream-address-unconnected", sendto(socket(AF_UNIX, SOCK_STREAM, 0), "x", 1, 0, (void *)&a, sizeof a));
	TRY("packets-address", sendto(packets[0], "x", 1, 0, (void *)&a, sizeof a));
	TRY("packets-address-unconnected", sendto(socket(AF_UNIX, SOCK_SEQPACKET, 0), "x", 1, 0, (void *)&a, sizeof a));
	strncpy(a.sun_path, path, sizeof a.sun_path - 1);
	int server = socket(AF_UNIX, SOCK_DGRAM, 0), client = socket(AF_UNIX, SOCK_DGRAM, 0);
	TRY("bind", bind(server, (void *)&a, sizeof a));
	TRY("named", sendto(client, "named", 5, 0, (void *)&a, sizeof a));
	TRY("named-connect", connect(client, (void *)&a, sizeof a));
	TRY("named-send", message(client, NULL, 0, "named", NULL, 0, 0));
	char text[8] = { 0 };
	TRY("named-received", recv(server, text, sizeof text, 0) == 5 && recv(server, text, sizeof text, 0) == 5 && !strcmp(text, "named"));
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);
	strncat(a.sun_path, "-s", 3);
	TRY("listen", bind(listener, (void *)&a, sizeof a) || listen(listener, 5));
	TRY("stream-connect", connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&a, sizeof a));
	strncat(a.sun_path, "-none", 6);
	TRY("nobody", connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&a, sizeof a));
	return NULL;
}

static void *idle(void *unused)
{
	(void)unused;
	pause();
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t t;
	if (argc > 3 && !strcmp(argv[1], "ways"))
		ways(argv[2], atoi(argv[3]));
	else if (argc > 2 && !strcmp(argv[1], "semantics"))
		semantics(atoi(argv[2]));
	else if (argc > 4 && !strcmp(argv[1], "detours"))
		detours(argv[2], argv[3], atoi(argv[4]));
	else if (argc > 6 && !strcmp(argv[1], "race"))
		race(argv[2], argv[3], atoi(argv[4]), atoi(argv[5]), atoi(argv[6]));
	else if (argc > 4 && !strcmp(argv[1], "exit"))
		race_exit(argv[2], atoi(argv[3]), atoi(argv[4]));
	else if (argc > 2 && !strcmp(argv[1], "unix")) {
		locals(argv[2]);
	} else if (argc > 2 && !strcmp(argv[1], "unix-threads")) {
		pthread_create(&t, NULL, idle, NULL);
		locals(argv[2]);
	} else
		return 2;
	return 0;
}
