/*
 * connect serve: takes connections on 127.0.0.1, one after the other, and writes the
 * port that it listens on. A connection that sends a byte gets a GiB.
 *
 * connect NAME PORT N: prints a few times the mean of N connections to the port that are
 * closed at once, as a sample NAME, that of N settings of SO_LINGER, as NAME-linger, that of
 * N datagrams to a port nobody has, as NAME-udp (where the socket can be made), and the time
 * for a GiB, as NAME-bulk.
 */
#include "bench.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char buffer[1 << 18];
static const long gib = 1 << 30;

static struct sockaddr_in local(int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((in_port_t)port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
	return a;
}

static int serve(void)
{
	struct sockaddr_in a = local(0);
	socklen_t len = sizeof a;
	/* A connection that is reset leaves no port behind that waits. */
	struct linger now = { 1, 0 };
	int l = socket(AF_INET, SOCK_STREAM, 0);

	if (l < 0 || bind(l, (struct sockaddr *)&a, len) < 0 || listen(l, 4096) < 0 || getsockname(l, (struct sockaddr *)&a, &len) < 0)
		die("listen");
	printf("%d\n", ntohs(a.sin_port));
	fflush(stdout);
	for (;;) {
		int c = accept(l, NULL, NULL);
		if (c < 0)
			die("accept");
		if (read(c, buffer, 1) == 1)
			for (long left = gib, n; left > 0 && (n = write(c, buffer, sizeof buffer)) > 0; left -= n)
				;
		else
			setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now);
		close(c);
	}
}

static int dial(const struct sockaddr_in *a)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)a, sizeof *a) < 0)
		die("connect");
	return fd;
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "serve") == 0)
		return serve();
	int n = argc > 3 ? atoi(argv[3]) : 0, udp;
	char name[64];
	if (n <= 0) {
		fprintf(stderr, "usage: connect serve | connect NAME PORT N\n");
		return 2;
	}
	struct sockaddr_in a = local(atoi(argv[2])), nobody = local(9);
	for (int round = 0; round < 10; round++) {
		double start = now_us();
		for (int i = 0; i < n; i++)
			close(dial(&a));
		sample(argv[1], (now_us() - start) / n);
	}
	snprintf(name, sizeof name, "%s-linger", argv[1]);
	int tcp = socket(AF_INET, SOCK_STREAM, 0);
	for (int round = 0; round < 10; round++) {
		struct linger none = { 0, 0 };
		double start = now_us();
		for (int i = 0; i < n; i++)
			setsockopt(tcp, SOL_SOCKET, SO_LINGER, &none, sizeof none);
		sample(name, (now_us() - start) / n);
	}
	close(tcp);
	snprintf(name, sizeof name, "%s-udp", argv[1]);
	for (int round = 0; round < 10 && (udp = socket(AF_INET, SOCK_DGRAM, 0)) >= 0; round++) {
		double start = now_us();
		for (int i = 0; i < n; i++)
			sendto(udp, "x", 1, 0, (struct sockaddr *)&nobody, sizeof nobody);
		sample(name, (now_us() - start) / n);
		close(udp);
	}
	int fd = dial(&a);
	double start = now_us();
	long got = 0;
	if (write(fd, "x", 1) != 1)
		die("write");
	for (long m; (m = read(fd, buffer, sizeof buffer)) > 0;)
		got += m;
	if (got < gib)
		die("read");
	snprintf(name, sizeof name, "%s-bulk", argv[1]);
	sample(name, now_us() - start);
	return 0;
}
