/* What the victims share: each attempt prints "NAME RESULT ERRNO". */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static inline long say(const char *name, long result)
{
	int e = result == -1 ? errno : 0;
	printf("%s %ld %d\n", name, result, e);
	fflush(stdout);
	return result;
}
#define TRY(name, call) say(name, (long)(call))

/* The same in a child, for what could end or change the caller. A child that a signal
 * ends prints "NAME -SIGNAL 0". */
#define TRY_FORKED(name, call)                                   \
	do {                                                     \
		pid_t forked_ = fork();                          \
		int status_ = 0;                                 \
		if (forked_ == 0) {                              \
			say(name, (long)(call));                 \
			_exit(0);                                \
		}                                                \
		waitpid(forked_, &status_, 0);                   \
		if (WIFSIGNALED(status_)) {                      \
			printf("%s -%d 0\n", name, WTERMSIG(status_)); \
			fflush(stdout);                          \
		}                                                \
	} while (0)

/* Executes args in a child and returns its wait status. */
static inline int run(char *const *args)
{
	int status;
	pid_t pid = vfork();
	if (pid == 0) {
		execv(args[0], args);
		_exit(1);
	}
	waitpid(pid, &status, 0);
	return status;
}

/* The mode "say" of what executes itself: prints the next argument. */
static inline int is_say(int argc, char **argv)
{
	int yes = argc > 2 && !strcmp(argv[1], "say");
	if (yes)
		printf("%.64s\n", argv[2]);
	return yes;
}
