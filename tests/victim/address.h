/* An address of any family that the victims use, and how to fill in one of the internet. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

union address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
	char room[200];
};

static inline socklen_t fill(union address *a, const char *host, int port)
{
	memset(a, 0, sizeof *a);
	a->in.sin_port = htons((uint16_t)port); /* at the same place in both */
	if (strchr(host, ':')) {
		a->any.sa_family = AF_INET6;
		inet_pton(AF_INET6, host, &a->in6.sin6_addr);
		return sizeof a->in6;
	}
	a->any.sa_family = AF_INET;
	inet_pton(AF_INET, host, &a->in.sin_addr);
	return sizeof a->in;
}
