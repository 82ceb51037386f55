/* Named unix sockets, ADVERSARY section 20.
 *   reach DIR TARGET          tries to reach the sockets "stream", "packet" and "dgram" in TARGET;
 *                             DIR is the victim's own. Each way sends its name.
 *   race DIR TARGET N WAY     changes under the call what it names or is about
 *   semantics DIR             what honest programs see
 *   passed FD TARGET          a socket that somebody outside has given */
#include "try.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

static const char *dir, *target;
static int dontwait = MSG_DONTWAIT;
static char text[4096];

static const char *in(const char *at, const char *name)
{
	snprintf(text, sizeof text, "%s/%s", at, name);
	return text;
}

/* A path that fills sun_path needs no NUL, unix(7). */
static socklen_t fill(struct sockaddr_un *a, const char *path)
{
	memset(a, 0, sizeof *a);
	a->sun_family = AF_UNIX;
	size_t len = strlen(path);
	memcpy(a->sun_path, path, len < sizeof a->sun_path ? len : sizeof a->sun_path);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (len < sizeof a->sun_path ? len + 1 : len));
}

static long send_by(int fd, const char *way, const char *path, const char *word)
{
	struct sockaddr_un a;
	socklen_t len = fill(&a, path);
	struct iovec v = { (void *)(unsigned long)word, strlen(word) };
	struct mmsghdr m[2] = { { { .msg_iov = &v, .msg_iovlen = 1 }, 0 } };
	m[1] = m[0];
	m[1].msg_hdr.msg_name = &a, m[1].msg_hdr.msg_namelen = len;
	if (!strcmp(way, "sendto"))
		return sendto(fd, word, strlen(word), dontwait, (void *)&a, len);
	if (!strcmp(way, "sendmsg"))
		return sendmsg(fd, &m[1].msg_hdr, dontwait);
	if (!strcmp(way, "sendmmsg"))
		return sendmmsg(fd, m + 1, 1, dontwait) == 1 ? 0 : -1;
	return connect(fd, (void *)&a, len) ? -1 : send(fd, word, strlen(word), dontwait);
}

static void stream_by(int fd, const char *name, const char *path)
{
	struct sockaddr_un a;
	socklen_t len = fill(&a, path);
	long n = connect(fd, (void *)&a, len);
	if (n == 0)
		n = write(fd, name, strlen(name));
	say(name, n);
	close(fd);
}
static void stream(const char *name, const char *path) { stream_by(socket(AF_UNIX, SOCK_STREAM, 0), name, path); }

static void *by_thread(void *unused)
{
	(void)unused;
	stream("thread", in(target, "stream"));
	TRY("thread-sendto", send_by(socket(AF_UNIX, SOCK_DGRAM, 0), "sendto", in(target, "dgram"), "thread-sendto"));
	TRY("thread-sendmsg", send_by(socket(AF_UNIX, SOCK_DGRAM, 0), "sendmsg", in(target, "dgram"), "thread-sendmsg"));
	return NULL;
}

/* A socket that has been through a message. */
static int through_rights(int fd)
{
	int sv[2], got = -1;
	char c = 0, room[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec v = { &c, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room };
	struct cmsghdr *h = (void *)room;
	h->cmsg_len = CMSG_LEN(sizeof(int)), h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS;
	memcpy(CMSG_DATA(h), &fd, sizeof fd);
	socketpair(AF_UNIX, SOCK_STREAM, 0, sv);
	if (sendmsg(sv[0], &m, 0) == 1 && recvmsg(sv[1], &m, 0) == 1)
		memcpy(&got, CMSG_DATA(h), sizeof got);
	return got;
}

static void reach(void)
{
	char path[4096], name[64];
	int fd, sv[2];
	dontwait = 0;
	stream("absolute", in(target, "stream"));
	snprintf(path, sizeof path, "/.//%s/./stream", target);
	stream("slashes", path);
	chdir(target);
	stream("relative", "stream");
	stream("dot", "./stream");
	stream("proc-cwd", "/proc/self/cwd/stream");
	chdir(dir);
	snprintf(path, sizeof path, "../../../../../../../..%s/stream", target);
	stream("dotdot", path);
	symlink(in(target, "stream"), "link");
	stream("symlink", "link");
	symlink("link", "link2");
	stream("symlinks", "link2");
	symlink(target, "dirlink");
	stream("directory-symlink", "dirlink/stream");
	link(in(target, "stream"), "hard");
	stream("hard-link", access("hard", F_OK) == 0 ? "hard" : in(target, "stream"));
	snprintf(path, sizeof path, "/proc/self/root%s/stream", target);
	stream("proc-root", path);
	fd = open(target, O_PATH | O_DIRECTORY);
	snprintf(path, sizeof path, "/proc/self/fd/%d/stream", fd);
	stream("proc-fd-directory", path);
	fchdir(fd);
	stream("fchdir", "stream");
	chdir(dir);
	fd = open(in(target, "stream"), O_PATH);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	stream("proc-fd", path);
	snprintf(path, sizeof path, "/proc/thread-self/fd/%d", fd);
	stream("proc-thread-self-fd", path);
	snprintf(path, sizeof path, "/dev/fd/%d", fd);
	stream("dev-fd", path);
	in(target, "stream");
	size_t len = strlen(text), room = sizeof ((struct sockaddr_un *)0)->sun_path;
	memset(path, '/', room);
	memcpy(path + room - len, text, len + 1);
	stream("no-nul", path);
	stream_by(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), "nonblocking", in(target, "stream"));
	struct sockaddr_un a;
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	bind(fd, (void *)&a, fill(&a, "bound"));
	stream_by(fd, "bound", in(target, "stream"));
	TRY("bind", bind(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&a, fill(&a, in(target, "made"))));
	unlink(in(target, "made"));
	stream_by(dup(socket(AF_UNIX, SOCK_STREAM, 0)), "dup", in(target, "stream"));
	stream_by(through_rights(socket(AF_UNIX, SOCK_STREAM, 0)), "rights", in(target, "stream"));
	stream_by(socket(AF_UNIX, SOCK_SEQPACKET, 0), "packet", in(target, "packet"));
	if (fork() == 0) {
		stream("child", in(target, "stream"));
		_exit(0);
	}
	wait(NULL);

	static const char *const ways[] = { "connect", "sendto", "sendmsg", "sendmmsg" };
	for (int i = 0; i < 4; i++) {
		TRY(ways[i], send_by(socket(AF_UNIX, SOCK_DGRAM, 0), ways[i], in(target, "dgram"), ways[i]));
		snprintf(name, sizeof name, "raw-%s", ways[i]);
		TRY(name, send_by(socket(AF_UNIX, SOCK_RAW, 0), ways[i], in(target, "dgram"), name));
		socketpair(AF_UNIX, SOCK_DGRAM, 0, sv);
		snprintf(name, sizeof name, "pair-%s", ways[i]);
		TRY(name, send_by(sv[0], ways[i], in(target, "dgram"), name));
		snprintf(name, sizeof name, "unspec-%s", ways[i]);
		connect(sv[1], &(struct sockaddr){ .sa_family = AF_UNSPEC }, sizeof(struct sockaddr));
		TRY(name, send_by(sv[1], ways[i], in(target, "dgram"), name));
		snprintf(name, sizeof name, "relative-%s", ways[i]);
		chdir(target);
		TRY(name, send_by(socket(AF_UNIX, SOCK_DGRAM, 0), ways[i], "dgram", name));
		chdir(dir);
		symlink(in(target, "dgram"), "dlink");
		snprintf(name, sizeof name, "symlink-%s", ways[i]);
		TRY(name, send_by(through_rights(socket(AF_UNIX, SOCK_DGRAM, 0)), ways[i], "dlink", name));
	}
	/* The second of two messages. */
	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	bind(fd, (void *)&a, fill(&a, "mine"));
	struct sockaddr_un own, theirs;
	struct iovec v = { "second", 6 };
	struct mmsghdr two[2] = { { { .msg_name = &own, .msg_namelen = fill(&own, "mine"), .msg_iov = &v, .msg_iovlen = 1 }, 0 },
		{ { .msg_name = &theirs, .msg_namelen = fill(&theirs, in(target, "dgram")), .msg_iov = &v, .msg_iovlen = 1 }, 0 } };
	say("second", sendmmsg(socket(AF_UNIX, SOCK_DGRAM, 0), two, 2, 0) == 2 ? 0 : (errno = EACCES, -1));
	/* Connected to one of its own, sends to another. */
	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	connect(fd, (void *)&own, fill(&own, "mine"));
	TRY("connected-sendto", send_by(fd, "sendto", in(target, "dgram"), "connected-sendto"));
	pthread_t t;
	pthread_create(&t, NULL, by_thread, NULL);
	pthread_join(t, NULL);
}

/* ---- races */

static volatile int over;
static struct sockaddr_un flipped;
static int flip_at, way, cwds[2], kinds[2], swapped;

static void *flip(void *unused)
{
	(void)unused;
	for (unsigned i = 0; !over; i++) {
		switch (way) {
		case 0: /* the address */
		case 1:
			flipped.sun_path[flip_at] = i & 1 ? 'a' : 'b';
			break;
		case 2: /* what it leads through */
			symlink(i & 1 ? in(dir, "own") : in(target, "stream"), "new");
			rename("new", "link");
			break;
		case 3: /* the working directory */
			fchdir(cwds[i & 1]);
			break;
		case 4: /* the descriptor */
			dup2(kinds[i & 1], swapped);
			break;
		}
		if (i % 64 == 0)
			sched_yield();
	}
	return NULL;
}

static void *serve(void *fd)
{
	for (;;) {
		int got = accept(*(int *)fd, NULL, NULL);
		if (got < 0)
			return NULL;
		close(got);
	}
}

static void race(int rounds)
{
	struct sockaddr_un a;
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), mine = socket(AF_UNIX, SOCK_DGRAM, 0), sv[2];
	pthread_t t, s;
	long reached = 0, refused = 0;
	chdir(dir);
	bind(listener, (void *)&a, fill(&a, in(dir, "own")));
	listen(listener, 128);
	bind(mine, (void *)&a, fill(&a, "dgram"));
	symlink(way ? in(dir, "dgram") : in(dir, "own"), "a");
	symlink(in(target, way ? "dgram" : "stream"), "b");
	symlink(in(dir, "own"), "link");
	socketpair(AF_UNIX, SOCK_STREAM, 0, sv);
	kinds[0] = sv[0], kinds[1] = socket(AF_UNIX, SOCK_DGRAM, 0), swapped = dup(sv[0]);
	cwds[0] = open(dir, O_PATH), cwds[1] = open(target, O_PATH);
	socklen_t len = fill(&flipped, way == 2 ? "link" : way == 3 ? "dgram" : way == 4 ? in(target, "dgram") : in(dir, "a"));
	flip_at = (int)strlen(flipped.sun_path) - 1;
	pthread_create(&s, NULL, serve, &listener);
	pthread_create(&t, NULL, flip, NULL);
	for (int i = 0; i < rounds; i++) {
		long n;
		if (way == 0 || way == 2) {
			int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
			n = connect(fd, (void *)&flipped, len);
			if (n == 0)
				n = write(fd, "race", 4);
			close(fd);
		} else {
			int fd = way == 4 ? swapped : socket(AF_UNIX, SOCK_DGRAM, 0);
			struct iovec v = { "race", 4 };
			struct msghdr m = { .msg_name = &flipped, .msg_namelen = len, .msg_iov = &v, .msg_iovlen = 1 };
			n = i & 1 ? sendmsg(fd, &m, MSG_DONTWAIT) : sendto(fd, "race", 4, MSG_DONTWAIT, (void *)&flipped, len);
			if (fd != swapped)
				close(fd);
			char c[8];
			while (recv(mine, c, sizeof c, MSG_DONTWAIT) > 0) {
			}
		}
		reached += n >= 0;
		refused += n < 0;
	}
	over = 1;
	pthread_join(t, NULL);
	say("reached", reached > 0);
	say("refused", refused > 0);
}

/* ---- what honest programs see */

static int listener_at(const char *path, int type, int backlog)
{
	struct sockaddr_un a;
	int fd = socket(AF_UNIX, type, 0);
	if (bind(fd, (void *)&a, fill(&a, path)) || (type != SOCK_DGRAM && listen(fd, backlog)))
		return -1;
	return fd;
}

static long connect_to(int type, const char *path)
{
	struct sockaddr_un a;
	return connect(socket(AF_UNIX, type, 0), (void *)&a, fill(&a, path));
}

static void caught(int sig) { (void)sig; }

static long interrupted(int restarts, const char *path, int listener)
{
	/* A signal, sent until the connect has ended: with SA_RESTART by an accept alone. */
	struct sigaction s = { .sa_handler = caught, .sa_flags = restarts ? SA_RESTART : 0 };
	sigaction(SIGUSR1, &s, NULL);
	pid_t self = getpid(), pid = fork();
	if (pid == 0) {
		for (int i = 0;; i++) {
			if (kill(self, SIGUSR1))
				_exit(0);
			if (i == 40 && restarts)
				close(accept(listener, NULL, NULL));
			usleep(5000);
		}
	}
	long n = connect_to(SOCK_STREAM, path);
	int e = errno;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	errno = e;
	return n;
}

static long credentials(pid_t pid, uid_t uid)
{
	int sv[2], on = 1;
	char c = 'c', room[CMSG_SPACE(sizeof(struct ucred))] = { 0 };
	struct ucred mine = { pid, uid, getgid() };
	struct iovec v = { &c, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room };
	struct cmsghdr *h = (void *)room;
	h->cmsg_len = CMSG_LEN(sizeof mine), h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_CREDENTIALS;
	memcpy(CMSG_DATA(h), &mine, sizeof mine);
	socketpair(AF_UNIX, SOCK_DGRAM, 0, sv);
	setsockopt(sv[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
	if (sendmsg(sv[0], &m, 0) != 1)
		return -1;
	memset(room, 0, sizeof room);
	if (recvmsg(sv[1], &m, 0) != 1)
		return -1;
	memcpy(&mine, CMSG_DATA(h), sizeof mine);
	return mine.uid == getuid() && mine.gid == getgid() ? 0 : 1;
}

static void semantics(void)
{
	struct sockaddr_un a;
	socklen_t len;
	int l, fd, c, on = 1;
	char buf[256];
	chdir(dir);
	TRY("nothing", connect_to(SOCK_STREAM, "nothing"));
	TRY("no-directory", connect_to(SOCK_STREAM, "nothing/x"));
	close(open("file", O_CREAT | O_WRONLY, 0600));
	TRY("file", connect_to(SOCK_STREAM, "file"));
	TRY("beneath-file", connect_to(SOCK_STREAM, "file/x"));
	TRY("directory", connect_to(SOCK_STREAM, "."));
	symlink("loop", "loop");
	TRY("loop", connect_to(SOCK_STREAM, "loop"));
	close(listener_at("dead", SOCK_STREAM, 5));
	TRY("dead", connect_to(SOCK_STREAM, "dead"));
	close(listener_at("dead-dgram", SOCK_DGRAM, 0));
	TRY("dead-sendto", send_by(socket(AF_UNIX, SOCK_DGRAM, 0), "sendto", "dead-dgram", "x"));
	l = listener_at("s", SOCK_STREAM, 64);
	int d = listener_at("d", SOCK_DGRAM, 0);
	TRY("other-type", connect_to(SOCK_STREAM, "d"));
	TRY("other-type-sendto", send_by(socket(AF_UNIX, SOCK_DGRAM, 0), "sendto", "s", "x"));
	TRY("other-type-packet", connect_to(SOCK_SEQPACKET, "s"));
	TRY("slash", connect_to(SOCK_STREAM, "s/"));
	chmod("s", 0);
	TRY("mode", connect_to(SOCK_STREAM, "s"));
	chmod("s", 0600);
	mkdir("closed", 0700);
	close(listener_at("closed/s", SOCK_STREAM, 1));
	chmod("closed", 0);
	TRY("closed-directory", connect_to(SOCK_STREAM, "closed/s"));
	chmod("closed", 0700);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	fill(&a, "s");
	for (socklen_t n = 0; n <= 2; n++) {
		snprintf(buf, sizeof buf, "length-%u", n);
		TRY(buf, connect(fd, (void *)&a, n));
	}
	TRY("length-3", connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&a, 3));
	TRY("length-111", connect(fd, (void *)&a, 111));
	TRY("length-huge", connect(fd, (void *)&a, 1000));
	TRY("length-negative", connect(fd, (void *)&a, (socklen_t)-1));
	TRY("fault", connect(fd, (void *)8, sizeof a));
	a.sun_family = AF_INET;
	TRY("family", connect(fd, (void *)&a, sizeof a));
	a.sun_family = AF_UNSPEC;
	TRY("unspec", connect(fd, (void *)&a, sizeof a));
	TRY("no-descriptor", connect(999, (void *)&a, sizeof a));
	TRY("no-socket", connect(cwds[0] = open(".", O_RDONLY), (void *)&a, sizeof a));
	TRY("connect", connect(fd, (void *)&a, fill(&a, "s")));
	TRY("again", connect(fd, (void *)&a, fill(&a, "s")));
	len = sizeof a;
	TRY("peer-name", getpeername(fd, (void *)&a, &len));
	say("peer-name-is", !strcmp(a.sun_path, "s"));
	do { /* those before have sent nothing */
		c = accept(l, NULL, NULL);
		write(fd, "!", 1);
	} while (recv(c, buf, 1, MSG_DONTWAIT) != 1);
	while (recv(c, buf, sizeof buf, MSG_DONTWAIT) > 0) {
	}
	struct ucred cred = { 0 };
	len = sizeof cred;
	TRY("peercred", getsockopt(c, SOL_SOCKET, SO_PEERCRED, &cred, &len));
	say("peercred-is", cred.uid == geteuid() && cred.gid == getegid());
	TRY("talk", write(fd, "ab", 2) == 2 && read(c, buf, 9) == 2 && write(c, "c", 1) == 1 && read(fd, buf, 9) == 1);

	/* The queue is full after two. */
	l = listener_at("f", SOCK_STREAM, 1);
	connect_to(SOCK_STREAM, "f");
	connect_to(SOCK_STREAM, "f");
	TRY("full-nonblocking", connect_to(SOCK_STREAM | SOCK_NONBLOCK, "f"));
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct timeval limit = { 0, 60000 }, kept = { 0 };
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	TRY("full-limited", connect(fd, (void *)&a, fill(&a, "f")));
	len = sizeof kept;
	getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &kept, &len);
	say("limit-kept", kept.tv_usec >= 60000);
	if (fork() == 0) { /* and has room in a while */
		usleep(120000);
		close(accept(l, NULL, NULL));
		_exit(0);
	}
	TRY("full-blocking", connect_to(SOCK_STREAM, "f"));
	wait(NULL);
	TRY("full-interrupted", interrupted(0, "f", l));
	TRY("full-restarted", interrupted(1, "f", l));

	/* Datagrams. */
	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	int sent = 0;
	while (send_by(fd, "sendto", "d", "x") == 1)
		sent++;
	say("queue", sent);
	TRY("queue-full", send_by(fd, "sendmsg", "d", "x"));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	TRY("queue-limited", sendto(fd, "x", 1, 0, (void *)&a, fill(&a, "d")));
	if (fork() == 0) {
		usleep(120000);
		read(d, buf, sizeof buf);
		_exit(0);
	}
	TRY("queue-blocking", sendto(socket(AF_UNIX, SOCK_DGRAM, 0), "x", 1, 0, (void *)&a, fill(&a, "d")));
	wait(NULL);
	while (recv(d, buf, sizeof buf, MSG_DONTWAIT) > 0) {
	}
	bind(fd, (void *)&a, fill(&a, "me"));
	TRY("datagram", send_by(fd, "sendmsg", "d", "hello"));
	len = sizeof a;
	TRY("datagram-from", recvfrom(d, buf, sizeof buf, 0, (void *)&a, &len));
	say("datagram-from-is", !strcmp(a.sun_path, "me"));
	TRY("answer", sendto(d, "yes", 3, 0, (void *)&a, len));
	TRY("answer-read", recv(fd, buf, sizeof buf, 0));
	TRY("not-connected", send(fd, "x", 1, 0));
	TRY("connect-datagram", connect(fd, (void *)&a, fill(&a, "d")));
	TRY("connected-send", send(fd, "x", 1, 0));
	TRY("disconnect", connect(fd, &(struct sockaddr){ .sa_family = AF_UNSPEC }, sizeof(struct sockaddr)));
	TRY("disconnected-send", send(fd, "x", 1, 0));
	TRY("credentials", credentials(getpid(), getuid()));
	TRY("credentials-of-another", getuid() == 0 || (credentials(1, getuid()) == -1 && errno == EPERM));
	TRY("credentials-of-nobody", getuid() == 0 || (credentials(getpid(), 12345) == -1 && errno == EPERM));

	/* Abstract ones of its own. */
	memset(&a, 0, sizeof a);
	a.sun_family = AF_UNIX;
	len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (socklen_t)snprintf(a.sun_path + 1, 90, "%cvictim-%d%c\n", 0, getpid(), 0));
	l = socket(AF_UNIX, SOCK_STREAM, 0);
	TRY("abstract-nobody", connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&a, len));
	TRY("abstract-bind", bind(l, (void *)&a, len) || listen(l, 5));
	if (fork() == 0) {
		TRY("abstract-connect", connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&a, len));
		TRY("abstract-shorter", connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&a, len - 1));
		TRY("abstract-type", sendto(socket(AF_UNIX, SOCK_DGRAM, 0), "x", 1, 0, (void *)&a, len));
		_exit(0);
	}
	wait(NULL);
	c = socket(AF_UNIX, SOCK_DGRAM, 0);
	setsockopt(c, SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
	TRY("autobind", bind(c, (void *)&a, offsetof(struct sockaddr_un, sun_path)));
	len = sizeof a;
	getsockname(c, (void *)&a, &len);
	TRY("abstract-sendto", sendto(socket(AF_UNIX, SOCK_DGRAM, 0), "x", 1, 0, (void *)&a, len));
	TRY("abstract-read", recv(c, buf, sizeof buf, 0));
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
	signal(SIGPIPE, SIG_IGN);
	if (argc < 3)
		return 2;
	dir = argv[2], target = argc > 3 ? argv[3] : NULL;
	if (!strcmp(argv[1], "reach") && target)
		reach();
	else if (!strcmp(argv[1], "race") && argc > 5) {
		way = atoi(argv[5]);
		race(atoi(argv[4]));
	} else if (!strcmp(argv[1], "semantics")) {
		if (target) /* in a program with threads */
			pthread_create(&t, NULL, idle, NULL);
		semantics();
	} else if (!strcmp(argv[1], "passed") && target) {
		int fd = atoi(argv[2]);
		TRY("passed-sendto", send_by(fd, "sendto", in(target, "dgram"), "passed-sendto"));
		TRY("passed-sendmsg", send_by(fd, "sendmsg", in(target, "dgram"), "passed-sendmsg"));
		TRY("passed-connect", send_by(fd, "connect", in(target, "dgram"), "passed-connect"));
	}
	return 0;
}
