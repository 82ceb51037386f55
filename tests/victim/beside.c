/* beside PORT, beside SCRIPT CHILDREN: how long decisions take that need no policy function, before and while one
 * sleeps over the execs of children. These are an exec by execveat(2), which the policy
 * does not ask about, and listen(2) on a port that it grants. Says "r" on descriptor 0
 * when it has forked the children. With a script, each child says "r" before it executes
 * that; an exec that is not asked about, at SIGUSR1, says "r" too. ADVERSARY section 25. */
#include "try.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <time.h>

enum { CHILDREN = 4, SAMPLES = 4096 };

static long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int port;
static long listening(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
	if (bind(fd, (struct sockaddr *)&a, sizeof a) != 0)
		exit(4);
	long start = now();
	if (listen(fd, 1) != 0)
		exit(5);
	start = now() - start;
	close(fd);
	return start;
}

static long executing(void)
{
	char *args[] = { (char *)"true", NULL };
	long start = now();
	int status;
	pid_t pid = vfork();
	if (pid == 0) {
		syscall(SYS_execveat, AT_FDCWD, "/bin/true", args, args + 1, 0);
		_exit(1);
	}
	if (waitpid(pid, &status, 0) != pid || status != 0)
		exit(6);
	return now() - start;
}

static int by_size(const void *a, const void *b)
{
	long x = *(const long *)a, y = *(const long *)b;
	return (x > y) - (x < y);
}

static void show(const char *when, const char *what, long *us, int n)
{
	char name[64];
	qsort(us, (size_t)n, sizeof *us, by_size);
	snprintf(name, sizeof name, "%s-%s-median", when, what), say(name, us[n / 2]);
	snprintf(name, sizeof name, "%s-%s-most", when, what), say(name, us[n - 1]);
}

static void sample(const char *when, int last, int atleast)
{
	static long listens[SAMPLES], execs[SAMPLES];
	char name[64];
	int n = 0, status, gone = 0;
	while (n < SAMPLES && (n < atleast || (last && (gone = waitpid(last, &status, WNOHANG)) == 0))) {
		listens[n] = listening();
		execs[n++] = executing();
		usleep(2000); /* others want to work, too */
	}
	snprintf(name, sizeof name, "%s-samples", when), say(name, n);
	show(when, "listen", listens, n), show(when, "exec", execs, n);
	if (last && !gone)
		waitpid(last, &status, 0);
}

static void ready(void)
{
	if (write(0, "r", 1) != 1)
		_exit(3);
}

static void scripts(const char *script, int children)
{
	sigset_t set;
	int sig, ended = 0;
	sigemptyset(&set), sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (int i = 0; i < children; i++)
		if (fork() == 0) {
			ready();
			execl(script, "script", (char *)NULL);
			_exit(1);
		}
	sigwait(&set, &sig);
	executing();
	ready();
	while (wait(NULL) > 0)
		ended++;
	say("ended", ended);
}

int main(int argc, char **argv)
{
	pid_t pid = 0;
	int ended = 1;
	if (argc < 2)
		return 2;
	if (argc > 2) {
		scripts(argv[1], atoi(argv[2]));
		return 0;
	}
	port = atoi(argv[1]);
	sample("before", 0, 50);
	for (int i = 0; i < CHILDREN; i++)
		if ((pid = fork()) == 0) {
			execl("/bin/true", "true", "slow", (char *)NULL);
			_exit(1);
		}
	ready();
	sample("during", pid, 1);
	while (wait(NULL) > 0)
		ended++;
	say("ended", ended);
	return 0;
}
