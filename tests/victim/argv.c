/* argv MODE [ROUNDS]: cheats with the arguments of an exec. ADVERSARY sections 1, 2, 4.
 * What is executed is this program in the mode "say", which prints its next argument:
 * "good" may run, "evil" may not. */
#include "try.h"

#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>

#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif

static char *self;
extern char **environ;

static long exec_in_child(const char *path, char *const *args)
{
	int status, p[2];
	if (pipe2(p, O_CLOEXEC) != 0)
		return -1;
	pid_t pid = fork();
	if (pid == 0) {
		execve(path, args, environ);
		int e = errno;
		_exit(write(p[1], &e, sizeof e) != sizeof e);
	}
	close(p[1]);
	int e = 0;
	if (read(p[0], &e, sizeof e) < 0)
		e = EIO;
	close(p[0]);
	waitpid(pid, &status, 0);
	errno = e;
	return e ? -1 : status;
}

static void extremes(void)
{
	static char *list[65536 + 8];
	char *none[] = { NULL };
	TRY("argc-0", exec_in_child(self, none));
	TRY("argv-null", exec_in_child(self, NULL));

	char *big = malloc(1 << 18);
	memset(big, 'x', 1 << 18);
	char *one[] = { self, (char *)"say", big, NULL };
	big[131071] = 0;
	TRY("arg-128k", exec_in_child(self, one));
	big[131071] = 'x', big[131072] = 0;
	TRY("arg-too-long", exec_in_child(self, one));
	big[131072] = 'x', strcpy(big + 131060, "evil");
	TRY("arg-evil-at-end", exec_in_child(self, one));

	for (int i = 0; i < 65536; i++)
		list[i] = (char *)"a";
	list[0] = self, list[1] = (char *)"say", list[2] = (char *)"good", list[65536] = NULL;
	TRY("args-65536", exec_in_child(self, list));
	memset(big, 'x', 1 << 18);
	big[120000] = 0;
	for (int i = 3; i < 20; i++)
		list[i] = big;
	list[20] = NULL;
	TRY("args-2m", exec_in_child(self, list));
	for (int i = 3; i < 80; i++)
		list[i] = big;
	list[80] = NULL;
	TRY("args-too-much", exec_in_child(self, list));
	char *bytes[] = { self, (char *)"say", (char *)"\xff\xfe\x80good\n\x1b", NULL };
	TRY("bytes", exec_in_child(self, bytes));
	char *empties[] = { self, (char *)"say", (char *)"good", (char *)"", (char *)"", NULL };
	TRY("empties", exec_in_child(self, empties));

	/* A string and a vector whose last bytes are the last before nothing. */
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(page + 4096, 4096);
	strcpy(page + 4091, "good");
	char **vector = (char **)(void *)(page + 4064 - 8);
	vector[0] = self, vector[1] = (char *)"say", vector[2] = page + 4091, vector[3] = NULL;
	TRY("edge-string", exec_in_child(self, vector));
	vector = (char **)(void *)(page + 4096 - 32);
	char *word = strdup("good");
	vector[0] = self, vector[1] = (char *)"say", vector[2] = word, vector[3] = NULL;
	TRY("edge-vector", exec_in_child(self, vector));
	memset(page, 'x', 4096);
	char *open[] = { self, (char *)"say", page + 4090, NULL };
	TRY("open-string", exec_in_child(self, open));
	vector = (char **)(void *)(page + 4096 - 24);
	vector[0] = self, vector[1] = (char *)"say", vector[2] = word;
	TRY("open-vector", exec_in_child(self, vector));
	TRY("bad-vector", exec_in_child(self, (char **)8));
	char *kernel[] = { self, (char *)"say", (char *)(UINTPTR_MAX - 4095), NULL };
	TRY("kernel-string", exec_in_child(self, kernel));
}

/* The ways to execute that have no path. */
static void ways(void)
{
	char *args[] = { self, (char *)"say", (char *)"good", NULL }, *evil[] = { self, (char *)"say", (char *)"evil", NULL };
	int fd = open(self, O_RDONLY | O_CLOEXEC), dir = open("/", O_PATH | O_DIRECTORY), mem = memfd_create("copy", MFD_CLOEXEC);
	char buf[65536];
	for (ssize_t n; (n = read(fd, buf, sizeof buf)) > 0;)
		if (write(mem, buf, (size_t)n) != n)
			exit(4);
	TRY_FORKED("execveat-evil", syscall(SYS_execveat, fd, "", evil, environ, AT_EMPTY_PATH));
	TRY_FORKED("fexecve-evil", fexecve(fd, evil, environ));
	TRY_FORKED("relative-evil", syscall(SYS_execveat, dir, self + 1, evil, environ, 0));
	TRY_FORKED("memfd-evil", fexecve(mem, evil, environ));
	TRY_FORKED("execve-dirty-evil", syscall(SYS_execve, self, evil, environ, -1, -1, -1));
	TRY_FORKED("execveat", syscall(SYS_execveat, fd, "", args, environ, AT_EMPTY_PATH));
	TRY_FORKED("fexecve", fexecve(fd, args, environ));
	TRY_FORKED("relative", syscall(SYS_execveat, dir, self + 1, args, environ, 0));
}

/* Callers with the longest command lines that are stopped in the middle of their exec.
 * Others execute, and when they go on their exec has failed as it had to. */
static void stopped(int rounds)
{
	static char big[120000], *list[48];
	char *args[] = { self, (char *)"say", (char *)"good", NULL };
	pid_t pids[2000];
	int status, ready[2], stopped = 0, failed = 0;
	memset(big, 'x', sizeof big - 1);
	for (int i = 0; i < 47; i++)
		list[i] = big;
	rounds = rounds > 2000 ? 2000 : rounds;
	for (int i = 0; i < rounds; i++) {
		if (pipe(ready) != 0 || (pids[i] = fork()) < 0)
			exit(4);
		if (pids[i] == 0) {
			if (write(ready[1], "x", 1) != 1)
				_exit(4);
			execve("/usr/nothing", list, environ);
			/* Before Linux 6.8, which looks for the file first, the usual stack limit. */
			_exit(errno == ENOENT || errno == E2BIG ? 5 : 6);
		}
		if (read(ready[0], &status, 1) != 1)
			exit(4);
		kill(pids[i], SIGSTOP);
		close(ready[0]), close(ready[1]);
	}
	for (int i = 0; i < rounds; i++)
		stopped += waitpid(pids[i], &status, WUNTRACED) == pids[i] && WIFSTOPPED(status);
	say("ran", run(args));
	for (int i = 0; i < rounds; i++)
		kill(pids[i], SIGCONT);
	for (int i = 0; i < rounds; i++)
		failed += waitpid(pids[i], &status, 0) == pids[i] && status == 5 << 8;
	say("stopped", stopped), say("failed", failed);
}

/* Traces a task from outside, so that nobody else can, from when it has become a shell
 * and its exec is over until its end. */
static void attach(pid_t pid)
{
	char path[32], name[16] = "";
	int status, fd;
	snprintf(path, sizeof path, "/proc/%d/comm", pid);
	while (strncmp(name, "sh\n", 3) != 0) {
		sched_yield();
		if ((fd = open(path, O_RDONLY)) < 0 || read(fd, name, sizeof name) < 0)
			exit(4);
		close(fd);
	}
	while (ptrace(PTRACE_SEIZE, pid, 0, 0) != 0)
		if (errno != EPERM)
			exit(4);
	say("attached", 0);
	while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status))
		ptrace(PTRACE_CONT, pid, 0, 0);
}

/* Has /proc say that its arguments are others, prctl(2) PR_SET_MM_MAP. */
static void pretend(void)
{
	static char word[] = "good";
	struct prctl_mm_map map;
	uint64_t here = (uint64_t)(uintptr_t)word, code = (uint64_t)(uintptr_t)&pretend;
	memset(&map, 0, sizeof map);
	map.start_code = code, map.end_code = code + 1;
	map.start_data = here, map.end_data = here + 1;
	map.start_brk = map.brk = (uint64_t)(uintptr_t)sbrk(0);
	map.start_stack = (uint64_t)(uintptr_t)&map;
	map.arg_start = here, map.arg_end = map.env_start = map.env_end = here + sizeof word;
	map.exe_fd = (uint32_t)-1;
	TRY("pretend", prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0));
}

/* Hides its memory from other processes, then executes. */
static void hidden(void)
{
	char *args[] = { self, (char *)"say", (char *)"good", NULL };
	TRY("hide", prctl(PR_SET_DUMPABLE, 0));
	TRY("hidden-exec", execv(self, args));
}

/* The caller is killed while its exec is judged, or just before, or just after; every
 * eighth is let through. */
static void killed(int rounds)
{
	int gone = 0;
	for (int i = 0; i < rounds; i++) {
		char *args[] = { self, (char *)"say", (char *)"good", NULL };
		int status, done[2];
		if (pipe2(done, O_CLOEXEC) != 0)
			exit(4);
		pid_t pid = fork();
		if (pid == 0) {
			execv(self, args);
			_exit(1);
		}
		close(done[1]);
		if (i % 8 == 0 && read(done[0], args, 1) != 0)
			exit(4);
		for (int j = 0; j < i % 512 * 2000; j++)
			__asm__ volatile("" ::: "memory");
		close(done[0]);
		kill(pid, SIGKILL);
		gone += waitpid(pid, &status, 0) == pid;
	}
	say("gone", gone);
}

int main(int argc, char **argv)
{
	if (is_say(argc, argv))
		return 7;
	if (argc < 3)
		return 7;
	self = argv[0];
	int rounds = atoi(argv[2]);
	if (!strcmp(argv[1], "extremes"))
		extremes();
	else if (!strcmp(argv[1], "ways"))
		ways();
	else if (!strcmp(argv[1], "stopped"))
		stopped(rounds);
	else if (!strcmp(argv[1], "attach"))
		attach(rounds);
	else if (!strcmp(argv[1], "pretend"))
		pretend();
	else if (!strcmp(argv[1], "hidden"))
		hidden();
	else if (!strcmp(argv[1], "killed"))
		killed(rounds);
	return 0;
}
