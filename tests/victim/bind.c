/* bind DIR [denied]: sockets are made in DIR, the working directory, which is empty, in many
 * ways; "denied": in DIR/denied, which is there. What becomes of each is printed: NAME RESULT
 * ERRNO, and of those that are made the mode and the name that the kernel has for it. */
#include "try.h"

#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static char dir[96];

static int make_at(const char *name, int type, const void *path, socklen_t n)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX }, got = { 0 };
	socklen_t len = sizeof got;
	int fd = socket(AF_UNIX, type, 0);
	struct stat st;

	memcpy(a.sun_path, path, n);
	if (TRY(name, bind(fd, (void *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n))) == 0) {
		getsockname(fd, (void *)&got, &len);
		if (n > 0 && a.sun_path[0]) /* in a link of /proc numbers differ */
			printf("  %s, %d bytes, mode %o\n", strstr(got.sun_path, "proc") ? "" : got.sun_path, strstr(got.sun_path, "proc") ? 0 : (int)len,
			       stat(a.sun_path, &st) == 0 ? st.st_mode : 0);
		else
			printf("  %d bytes, %d\n", n == 0 ? 0 : (int)len, got.sun_path[0]);
	}
	return fd;
}

static int make(const char *name, int type, const char *path) { return make_at(name, type, path, (socklen_t)strlen(path) + 1); }

static char *in(const char *name)
{
	static char path[256];
	snprintf(path, sizeof path, "%.96s/%.96s", dir, name);
	return path;
}

int main(int argc, char **argv)
{
	char full[sizeof((struct sockaddr_un *)0)->sun_path], proc[64];
	int fd, again;

	snprintf(dir, sizeof dir, "%s%s", argv[1], argc > 2 ? "/denied" : "");
	if (chdir(argv[1]) != 0)
		return 1;
	const char *relative = argc > 2 ? "denied/" : "", *up = argc > 2 ? "denied/../denied/" : "sub/../";
	mkdir("sub", 0755);
	umask(027);
	fd = make("stream", SOCK_STREAM, in("stream"));
	make("datagram", SOCK_DGRAM, in("datagram"));
	make("packet", SOCK_SEQPACKET, in("packet"));
	umask(0);
	snprintf(full, sizeof full, "%srelative", relative);
	make("relative", SOCK_STREAM, full);
	snprintf(full, sizeof full, "%sup", up);
	make("up", SOCK_STREAM, full);
	make("there", SOCK_STREAM, in("stream"));
	make("a-directory", SOCK_STREAM, dir);
	make("root", SOCK_STREAM, "/");
	make("dot", SOCK_STREAM, in("."));
	make("slash", SOCK_STREAM, in("slash/"));
	make("in-nothing", SOCK_STREAM, in("nothing/socket"));
	make("in-a-file", SOCK_STREAM, in("stream/socket"));
	make("elsewhere", SOCK_STREAM, "/proc/socket");
	symlink(dir, "link");
	make("by-a-link", SOCK_STREAM, "link/by-link");
	symlink(in("dangles-to"), "dangling");
	make("a-link", SOCK_STREAM, "dangling");
	/* The longest names, without a zero at the end, and one that is longer. */
	memset(full, 'x', sizeof full);
	memcpy(full, in(""), strlen(in("")));
	make_at("full", SOCK_STREAM, full, sizeof full);
	memset(full, 'y', sizeof full);
	make_at("full-relative", SOCK_STREAM, argc > 2 ? in("y") : full, sizeof full);
	snprintf(proc, sizeof proc, "/proc/self/fd/%d/by-fd", open(dir, O_PATH));
	make("by-a-descriptor", SOCK_STREAM, proc);
	snprintf(proc, sizeof proc, "/proc/self/cwd/%sby-cwd", relative);
	make("by-the-working-directory", SOCK_STREAM, proc);
	make("working-directory-of-a-thread", SOCK_STREAM, argc > 2 ? "/proc/thread-self/cwd/denied/by-thread" : "/proc/thread-self/cwd/by-thread");
	/* Bound before. */
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	strcpy(a.sun_path, in("twice"));
	TRY("twice", bind(fd, (void *)&a, sizeof a));
	TRY("short", bind(fd, (void *)&a, 1));
	TRY("long", bind(fd, (void *)&a, sizeof a + 1));
	TRY("nowhere", bind(fd, (void *)8, sizeof a));
	a.sun_family = AF_INET;
	TRY("another-family", bind(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&a, sizeof a));
	TRY("no-socket", bind(open("/usr", O_RDONLY), (void *)&a, sizeof a));
	TRY("no-descriptor", bind(999, (void *)&a, sizeof a));
	if (argc > 2)
		return 0;
	make_at("abstract", SOCK_STREAM, "\0sandlock-bind-victim", 21);
	make("empty", SOCK_STREAM, "");
	make_at("autobind", SOCK_STREAM, "", 0);
	/* It works: somebody connects, and sees the name. */
	strcpy(a.sun_path, in("stream"));
	a.sun_family = AF_UNIX;
	TRY("listen", listen(fd, 1));
	again = socket(AF_UNIX, SOCK_STREAM, 0);
	TRY("connect", connect(again, (void *)&a, sizeof a));
	socklen_t len = sizeof a;
	TRY("peer", getpeername(again, (void *)&a, &len));
	printf("  %s\n", a.sun_path);
	return 0;
}
