/* kept DIR: descriptors that lead to what is denied, DIR/denied, got with O_PATH; and the same
 * when somebody outside has removed the files. DIR/go is a FIFO that says when: section 12.
 * kept linked DIR: another name of a file in DIR/denied, which an exec that fails has denied.
 * kept late DIR: what lies in the directories DIR/missing and DIR/denied, which somebody outside
 *   makes, from where a path to them is not.
 * kept wait DIR N: N readers of the FIFO DIR/go that nobody opens; then another file. */
#include "try.h"

#include <sys/stat.h>

static int path(const char *name)
{
	return open(name, O_PATH | O_NOFOLLOW);
}

static void by(const char *what, int fd)
{
	char link[64], name[128], buf[64];

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	snprintf(name, sizeof name, "open:%s", what);
	int got = (int)TRY(name, open(link, O_RDONLY | O_NONBLOCK));
	if (got >= 0) {
		ssize_t n = read(got, buf, sizeof buf);
		if (n > 0)
			printf("read %.*s\n", (int)n, buf);
	}
	snprintf(name, sizeof name, "write:%s", what);
	TRY(name, open(link, O_RDWR | O_NONBLOCK));
}

static void late(const char *in, const char *what, int result)
{
	int e = errno;
	char name[128], buf[64];

	snprintf(name, sizeof name, "%s:%s", in, what);
	errno = e;
	say(name, result);
	ssize_t n = result > 2 ? read(result, buf, sizeof buf) : 0;
	if (n > 0)
		printf("read %.*s\n", (int)n, buf);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "late")) {
		char c;
		if (chdir(argv[2]))
			return 1;
		int top = open(".", O_PATH), go = open("go", O_RDONLY);
		if (go < 0 || read(go, &c, 1) != 0)
			return 1;
		for (int i = 0; i < 4; i++) {
			const char *in = (const char *[]){ "missing", "denied", "missing/sub", "denied/sub" }[i];
			if (fchdir(top) || chdir(in))
				return 1;
			int dir = open(".", O_PATH), secret = open("secret", O_PATH);
			if (dir < 0 || secret < 0)
				return 1;
			late(in, "by-cwd", open("secret", O_RDONLY));
			late(in, "write-by-cwd", open("secret", O_RDWR));
			late(in, "new", open("new", O_WRONLY | O_CREAT, 0644));
			late(in, "mkdir", mkdir("made", 0755));
			late(in, "unlink", unlink("secret"));
			late(in, "chmod", chmod("secret", 0));
			late(in, "exec", execl("secret", "secret", NULL));
			if (fchdir(top))
				return 1;
			late(in, "by-dir", openat(dir, "secret", O_RDONLY));
			late(in, "up", openat(dir, "./secret", O_RDONLY));
			char path[64];
			snprintf(path, sizeof path, "/proc/self/fd/%d/secret", dir);
			late(in, "by-proc", open(path, O_RDONLY));
			snprintf(path, sizeof path, "/proc/self/fd/%d", secret);
			late(in, "by-file", open(path, O_RDONLY));
		}
		return 0;
	}
	if (argc == 3) {
		char *args[] = { "deny", NULL };
		if (chdir(argv[2]))
			return 1;
		for (int i = 0; i < 10; i++) { /* until opens take the short way */
			if (i == 5)
				TRY("exec", execv("missing", args));
			char buf[64];
			const char *name = i < 9 ? "other" : "hard-secret";
			int fd = (int)TRY(name, open(name, O_RDONLY));
			ssize_t n = read(fd, buf, sizeof buf);
			if (n > 0)
				printf("read %.*s\n", (int)n, buf);
			close(fd);
		}
		return 0;
	}
	if (argc == 4) {
		int started[2];
		char c;
		if (chdir(argv[2]) || pipe(started))
			return 1;
		for (int i = 0, n = atoi(argv[3]); i < n; i++) {
			pid_t pid = fork();
			if (pid < 0)
				return 1;
			if (pid == 0) {
				if (write(started[1], "x", 1) != 1)
					_exit(1);
				_exit(open("go", O_RDONLY) < 0);
			}
		}
		for (int i = 0, n = atoi(argv[3]); i < n; i++)
			if (read(started[0], &c, 1) != 1)
				return 1;
		TRY("other", open("other", O_RDONLY));
		return 0;
	}
	if (argc != 2 || chdir(argv[1]))
		return 1;
	int secret = path("denied/secret"), fifo = path("denied/fifo"), sub = path("denied/sub/secret");
	if (secret < 0 || fifo < 0 || sub < 0)
		return 1;
	by("fifo", fifo);
	by("secret", secret);
	char c;
	int go = open("go", O_RDONLY);
	if (go < 0 || read(go, &c, 1) != 0)
		return 1;
	by("removed", secret);
	by("removed-with-its-directory", sub);
	return 0;
}
