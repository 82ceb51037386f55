/*
 * shell N NAME COMMAND [ARGUMENT…] [, NAME COMMAND [ARGUMENT…]]…: starts and waits for
 * each command N times, one after the other in each round, as a shell does.
 */
#include "bench.h"

#include <spawn.h>
#include <string.h>
#include <sys/wait.h>

#define MOST 16

int main(int argc, char **argv)
{
	extern char **environ;
	char **commands[MOST]; /* the name, then its argv */
	int rounds = argc > 3 ? atoi(argv[1]) : 0, count = 0, i;

	if (rounds <= 0) {
		fprintf(stderr, "usage: shell N NAME COMMAND… [, NAME COMMAND…]…\n");
		return 2;
	}
	commands[count++] = argv + 2;
	for (i = 3; i < argc && count < MOST; i++) {
		if (strcmp(argv[i], ",") == 0) {
			argv[i] = NULL;
			commands[count++] = argv + i + 1;
		}
	}
	while (rounds-- > 0) {
		for (i = 0; i < count; i++) {
			double start = now_us();
			pid_t pid;
			int status;
			if (posix_spawn(&pid, commands[i][1], NULL, NULL, commands[i] + 1, environ) != 0 || waitpid(pid, &status, 0) != pid)
				die(commands[i][1]);
			if (status != 0) {
				fprintf(stderr, "%s: status %#x\n", commands[i][1], (unsigned)status);
				return 1;
			}
			sample(commands[i][0], now_us() - start);
		}
	}
	return 0;
}
