/* swap MODE DIR ROUNDS: what a path leads to is changed while it is looked at. ADVERSARY
 * sections 2, 5, 6 and 12. DIR/denied/secret and DIR/denied/prog are denied; DIR/other may be
 * read, DIR/prog is this program. Whatever is read of a secret is printed. */
#include "try.h"

#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static char path[64]; /* shared by the threads */
static volatile int over;
static unsigned refused, done;

/* Flips the path in memory: of the same length, so that each moment is one or the other, or
 * a mixture that leads nowhere. */
static void *flip(void *with)
{
	char **two = with;
	size_t n = strlen(two[0]) + 1;
	while (!over) {
		memcpy(path, two[1], n);
		memcpy(path, two[0], n);
	}
	return NULL;
}

/* Swaps what the name leads to, in another process. */
static pid_t swapper(void (*swap)(void))
{
	pid_t pid = fork();
	if (pid == 0)
		for (;;)
			swap();
	return pid;
}

static void links(void)
{
	symlink("denied", "l1");
	rename("l1", "way");
	symlink("open", "l2");
	rename("l2", "way");
}

/* The directory itself and a link to the denied one. */
static void exchange(void) { renameat2(AT_FDCWD, "dir", AT_FDCWD, "link-to-denied", RENAME_EXCHANGE); }

/* A file that is there, and a link to a denied one that is not. */
static void dangling(void) { renameat2(AT_FDCWD, "new-file", AT_FDCWD, "dangling", RENAME_EXCHANGE); }

static void look(const char *what, int flags)
{
	char buf[64];
	int fd = open(what, flags, 0600);
	if (fd < 0) {
		refused++;
		return;
	}
	done++;
	ssize_t n = read(fd, buf, sizeof buf);
	if (n >= 6 && !memcmp(buf, "SECRET", 6))
		printf("SECRET\n");
	close(fd);
}

static void rounds(int n, const char *name, int flags)
{
	for (int i = 0; i < n || (i < 100 * n && done == 0); i++)
		look(name, flags);
}

/* Makes a socket at PATH-N, and removes it where it may be. */
static void make(const char *what, int i)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char there[64];

	snprintf(a.sun_path, sizeof a.sun_path, "%s-%d", what, i);
	bind(fd, (void *)&a, sizeof a) == 0 ? done++ : refused++;
	snprintf(there, sizeof there, "open/socket-%d", i);
	unlink(there);
	close(fd);
}

/* The working directory of all threads. */
static void *move(void *unused)
{
	int dirs[] = { open("open", O_PATH), open("denied", O_PATH) };
	while (!over) {
		fchdir(dirs[1]);
		fchdir(dirs[0]);
	}
	return unused;
}

int main(int argc, char **argv)
{
	char exe[4096] = "";
	if (argc == 2 && !strcmp(argv[1], "which")) {
		if (readlink("/proc/self/exe", exe, sizeof exe - 1) > 0 && strstr(exe, "/denied/"))
			puts("SECRET");
		return 7;
	}
	if (argc < 4 || chdir(argv[2]) != 0)
		return 1;
	const char *mode = argv[1];
	int n = atoi(argv[3]);
	pid_t pid = 0;
	pthread_t t;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!strcmp(mode, "memory")) {
		/* The one with a dot goes another way through the library. */
		char *two[] = { "open/./secret", "denied/secret" };
		strcpy(path, two[0]);
		pthread_create(&t, NULL, flip, two);
		rounds(n, path, O_RDONLY);
	} else if (!strcmp(mode, "plain memory")) {
		char *two[] = { "opened/secret", "denied/secret" };
		strcpy(path, two[0]);
		pthread_create(&t, NULL, flip, two);
		rounds(n, path, O_RDONLY);
	} else if (!strcmp(mode, "absolute links")) {
		char name[4096];
		snprintf(name, sizeof name, "%s/way/secret", argv[2]);
		links();
		pid = swapper(links);
		rounds(n, name, O_RDONLY);
	} else if (!strcmp(mode, "links")) {
		links();
		pid = swapper(links);
		rounds(n, "way/secret", O_RDONLY);
	} else if (!strcmp(mode, "exchange")) {
		pid = swapper(exchange);
		rounds(n, "dir/secret", O_RDONLY);
	} else if (!strcmp(mode, "create")) {
		pid = swapper(dangling);
		rounds(n, "new-file", O_RDWR | O_CREAT | O_TRUNC);
	} else if (!strcmp(mode, "truncate")) {
		links();
		pid = swapper(links);
		for (int i = 0; i < n || (i < 100 * n && done == 0); i++) {
			truncate("way/secret", 6) == 0 ? done++ : refused++;
			chmod("way/secret", 0755) == 0 ? done++ : refused++;
		}
	} else if (!strcmp(mode, "bind")) {
		links();
		pid = swapper(links);
		for (int i = 0; i < n || (i < 100 * n && done == 0); i++)
			make("way/socket", i);
	} else if (!strcmp(mode, "bind, directory")) {
		pthread_create(&t, NULL, move, NULL);
		for (int i = 0; i < n || (i < 100 * n && done == 0); i++)
			make("socket", i);
	} else if (!strcmp(mode, "exec")) {
		char *two[] = { "open///prog", "denied/prog" };
		char *args[] = { "prog", "which", NULL };
		strcpy(path, two[0]);
		pthread_create(&t, NULL, flip, two);
		for (int i = 0; i < n || (i < 100 * n && done == 0); i++) {
			int status;
			pid_t child = vfork();
			if (child == 0) {
				execv(path, args);
				_exit(1);
			}
			waitpid(child, &status, 0);
			WIFEXITED(status) && WEXITSTATUS(status) == 7 ? done++ : refused++;
		}
	}
	over = 1;
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	printf("done %u 0\nrefused %u 0\n", done, refused);
	return 0;
}
