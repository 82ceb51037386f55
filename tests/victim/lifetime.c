/* lifetime MODE [N]: leaves tasks behind that want to live. Descriptor 0 is a pipe that
 * every one of them holds; each says "r" there when it is ready. ADVERSARY section 22.
 *   daemons N   N daemons of a double fork, then exits
 *   stay N      the same, but stays
 *   stopped N   the same, but all stop themselves
 *   moving N    N chains of tasks that fork and exit, for ever; stays
 *   leaving N   the same, but exits
 *   burning N   as stay, but all use the CPU
 *   session N   N children that stay, in the command's session, and stays
 *   zoo N PROG  one of each kind that might be overlooked, then runs PROG, or stays
 *   traced      exits while a child of its own traces it, so that its parent can't reap it */
#include "try.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>

static void ready(void)
{
	if (write(0, "r", 1) != 1)
		_exit(1);
}

static void deaf(void)
{
	for (int sig = 1; sig < 65; sig++)
		signal(sig, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
}

static void daemonize(void)
{
	setsid();
	if (fork() != 0)
		_exit(0);
	setpgid(0, 0);
	deaf();
}

/* Daemons that ignore all they can, one that is stopped, a zombie with its parent, one that
 * has dropped its descriptors and its name, and a chain that forks on. */
static int zoo(int n, char **nested)
{
	for (int i = 0; i < n; i++) {
		if (fork() != 0)
			continue;
		daemonize();
		switch (i % 5) {
		case 0:
			break;
		case 1:
			raise(SIGSTOP);
			break;
		case 2:
			if (fork() == 0)
				_exit(0);
			break;
		case 3:
			for (int fd = 0; fd < 64; fd++)
				close(fd);
			prctl(PR_SET_NAME, "", 0, 0, 0);
			break;
		case 4:
			for (int j = 0; j < 2000; j++)
				if (fork() > 0)
					_exit(0);
		}
		for (;;)
			pause();
	}
	deaf();
	if (nested[0])
		execv(nested[0], nested);
	for (;;)
		pause();
}

static int traced(void)
{
	pid_t self = getpid();
	int seized[2];
	char byte;

	prctl(PR_SET_PTRACER, -1, 0, 0, 0);
	if (pipe(seized) != 0)
		return 2;
	if (fork() == 0) {
		if (ptrace(PTRACE_SEIZE, self, NULL, NULL) != 0 || write(seized[1], "s", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(seized[1]);
	return read(seized[0], &byte, 1) == 1 ? 7 : 3;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	int n = argc > 2 ? atoi(argv[2]) : 0;
	if (!strcmp(mode, "traced"))
		return traced();
	if (!strcmp(mode, "zoo"))
		return zoo(n, argv + 3);
	for (int i = 0; i < n; i++) {
		pid_t pid = fork();
		if (pid > 0) {
			if (strcmp(mode, "session") != 0)
				waitpid(pid, NULL, 0);
			continue;
		}
		if (strcmp(mode, "session") != 0)
			daemonize();
		ready();
		if (!strcmp(mode, "moving") || !strcmp(mode, "leaving"))
			while (fork() <= 0)
				setsid();
		else if (!strcmp(mode, "stopped"))
			raise(SIGSTOP);
		else
			for (;;)
				if (strcmp(mode, "burning") != 0)
					pause();
		_exit(0);
	}
	deaf();
	ready();
	if (!strcmp(mode, "stopped"))
		raise(SIGSTOP);
	if (strcmp(mode, "daemons") != 0 && strcmp(mode, "leaving") != 0)
		for (;;)
			if (strcmp(mode, "burning") != 0)
				pause();
	return 0;
}
