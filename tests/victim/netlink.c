/* netlink MODE …: what a netlink socket tells, and what it does. ADVERSARY section 18. */
#include "try.h"
#include "address.h"

#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netdb.h>
#include <signal.h>
#include <stdint.h>

/* What the C library makes of it: every interface and address that it knows of. */
static void list(void)
{
	struct ifaddrs *all;
	if (TRY("getifaddrs", getifaddrs(&all)) != 0)
		return;
	int other = 0, loopback = 0;
	for (struct ifaddrs *a = all; a; a = a->ifa_next) {
		union address *at = (union address *)a->ifa_addr;
		if (strcmp(a->ifa_name, "lo") != 0 || !(a->ifa_flags & IFF_LOOPBACK))
			other++;
		else if (at->any.sa_family == AF_INET && at->in.sin_addr.s_addr == htonl(INADDR_LOOPBACK))
			loopback |= 1;
		else if (at->any.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&at->in6.sin6_addr))
			loopback |= 2;
		else if (at->any.sa_family == AF_PACKET)
			loopback |= 4;
		else
			other++;
	}
	say("loopback", loopback);
	say("other", other);
	struct if_nameindex *names = if_nameindex();
	say("names", names && names[0].if_index == 1 && !strcmp(names[0].if_name, "lo"));
	say("names-other", names && names[1].if_index != 0);
	/* A family is not taken to be missing for want of addresses that are no loopback. */
	struct addrinfo hints = { .ai_family = AF_INET, .ai_flags = AI_ADDRCONFIG, .ai_socktype = SOCK_STREAM }, *found;
	TRY("getaddrinfo", getaddrinfo("localhost", "80", &hints, &found));
}

struct request {
	struct nlmsghdr head;
	union {
		struct rtgenmsg any;
		struct ifinfomsg link;
		struct ifaddrmsg addr;
		char room[64];
	};
};

static int route(int flags)
{
	struct sockaddr_nl me = { .nl_family = AF_NETLINK };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, NETLINK_ROUTE);
	if (fd >= 0)
		(void)!bind(fd, (struct sockaddr *)&me, sizeof me);
	return fd;
}

static long ask(int fd, uint16_t type, uint16_t flags, size_t body)
{
	struct request r = { .head = { (uint32_t)(NLMSG_LENGTH(0) + body), type, NLM_F_REQUEST | flags, 1, 0 } };
	r.link.ifi_index = type == RTM_NEWADDR ? 0 : 1;
	if (type == RTM_NEWADDR) {
		struct { struct ifaddrmsg m; struct rtattr a; in_addr_t at; } add = {
			{ AF_INET, 32, 0, RT_SCOPE_HOST, 0x7fffffff }, { sizeof(struct rtattr) + 4, IFA_LOCAL }, htonl(0x7fabcdef) };
		memcpy(r.room, &add, sizeof add);
	}
	return send(fd, &r, r.head.nlmsg_len, MSG_NOSIGNAL);
}

/* How many messages come of interfaces, addresses, routes and neighbours that are not
 * loopback's; -1 and the errno of the answer. */
static long told(int fd)
{
	char buf[1 << 16];
	long other = 0;
	for (;;) {
		struct sockaddr_nl from;
		struct iovec v = { buf, sizeof buf };
		struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &v, .msg_iovlen = 1 };
		ssize_t n = recvmsg(fd, &m, 0);
		if (n < 0)
			return -1;
		if (from.nl_pid != 0)
			return -2;
		for (struct nlmsghdr *h = (void *)buf; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
			if (h->nlmsg_type == NLMSG_DONE)
				return other;
			if (h->nlmsg_type == NLMSG_ERROR) {
				errno = -((struct nlmsgerr *)NLMSG_DATA(h))->error;
				return errno ? -1 : other;
			}
			struct ifinfomsg *link = NLMSG_DATA(h); /* the index is at the same place in an address */
			other += h->nlmsg_type == RTM_NEWROUTE || h->nlmsg_type == RTM_NEWNEIGH || link->ifi_index != 1;
		}
	}
}

static long asked(uint16_t type, uint16_t flags, size_t body)
{
	int fd = route(0);
	long r = fd < 0 ? -1 : ask(fd, type, flags, body);
	if (r >= 0)
		r = told(fd);
	int e = errno;
	close(fd);
	errno = e;
	return r;
}

static void attack(void)
{
	TRY("links", asked(RTM_GETLINK, NLM_F_DUMP, 1));
	TRY("addresses", asked(RTM_GETADDR, NLM_F_DUMP, 1));
	TRY("routes", asked(RTM_GETROUTE, NLM_F_DUMP, sizeof(struct rtmsg)));
	TRY("neighbours", asked(RTM_GETNEIGH, NLM_F_DUMP, sizeof(struct ndmsg)));
	TRY("add-address", /* to no interface that there is */
	     asked(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE, sizeof(struct ifaddrmsg) + 8));
	TRY("remove-link", asked(RTM_DELLINK, NLM_F_ACK, sizeof(struct ifinfomsg)));
	for (int protocol = 1; protocol < 32; protocol++) {
		char name[16];
		snprintf(name, sizeof name, "protocol-%d", protocol);
		int fd = socket(AF_NETLINK, SOCK_RAW, protocol);
		say(name, fd);
		close(fd);
	}
	TRY("pair", socketpair(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE, (int[2]){ 0 }));
	TRY("stream", socket(AF_NETLINK, SOCK_STREAM, NETLINK_ROUTE));

	/* To somebody else, by the right door and the wrong ones. */
	int fd = route(SOCK_NONBLOCK), copy = dup(fd), many[64];
	char buf[64];
	struct sockaddr_nl to = { .nl_family = AF_NETLINK, .nl_pid = (uint32_t)getppid() };
	struct mmsghdr m = { .msg_hdr = { .msg_name = &to, .msg_namelen = sizeof to } };
	TRY("to-a-task", sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof to));
	to = (struct sockaddr_nl){ .nl_family = AF_NETLINK, .nl_groups = 1 };
	TRY("to-all", sendmsg(fd, &m.msg_hdr, 0));
	TRY("copy", ask(copy, RTM_GETLINK, NLM_F_DUMP, 1));
	TRY("many-at-once", sendmmsg(fd, &m, 1, 0));
	TRY("write", write(fd, "x", 1));
	TRY("nothing", recv(fd, buf, sizeof buf, 0));
	TRY("not-asked", recv(fd, buf, sizeof buf, MSG_DONTWAIT));
	TRY("unreadable", sendto(fd, (void *)16, 20, 0, NULL, 0));
	TRY("too-long", sendto(fd, (void *)16, 1 << 20, 0, NULL, 0));
	long flood = 0;
	while (flood < 10000 && ask(fd, RTM_GETLINK, NLM_F_DUMP, 1) >= 0)
		flood++;
	say("flood", flood < 10000 ? -1 : flood);
	TRY("read-after", recv(fd, buf, sizeof buf, 0) > 0);

	/* Another socket that comes to stand under such a number is what it is. */
	union address a;
	socklen_t len = fill(&a, "127.0.0.1", 0);
	int tcp = socket(AF_INET, SOCK_STREAM, 0);
	say("in-the-place", dup2(tcp, fd) == fd);
	TRY("in-the-place-bind", bind(fd, &a.any, len));
	len = sizeof a;
	TRY("in-the-place-name", getsockname(fd, &a.any, &len));
	say("in-the-place-family", a.any.sa_family == AF_INET);
	TRY("in-the-place-send", send(fd, "x", 1, MSG_NOSIGNAL));
	TRY("in-the-place-ask", ask(fd, RTM_GETLINK, NLM_F_DUMP, 1));
	close(fd);
	close(copy);

	int made = 0;
	while (made < 64 && (many[made] = route(0)) >= 0)
		made++;
	say("at-a-time", made);
	say("each-answers", made > 0 && ask(many[made - 1], RTM_GETLINK, NLM_F_DUMP, 1) > 0 && told(many[made - 1]) >= 0);
	for (int i = 0; i < made; i++)
		close(many[i]);
	int again = 0;
	for (; again < 500 && (fd = route(0)) >= 0; again++)
		close(fd);
	say("again", again);
	fd = route(0);
	if (fork() == 0) {
		say("inherited", ask(fd, RTM_GETLINK, NLM_F_DUMP, 1) > 0 && told(fd) >= 0);
		_exit(0);
	}
	wait(NULL);
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	signal(SIGPIPE, SIG_DFL);
	if (!strcmp(argv[1], "list"))
		list();
	else if (!strcmp(argv[1], "attack"))
		attack();
	else
		return 2;
	return 0;
}
