/* What a record of refusals could be made to do. ADVERSARY section 25.
 *   refused flood N      N connects of UDP in four threads, to as many addresses
 *   refused name N PATH  under a name that draws on terminals, opens PATH and connects, N times
 *   refused die N PATH   N children that are killed while they open PATH
 * Prints how many came through. */
#include "try.h"

#include "address.h"
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

enum { THREADS = 4 };
static int count;
static int reached;

static int dial(int i)
{
	char host[32];
	union address a;
	int fd = socket(AF_INET, SOCK_DGRAM, 0), ok;

	snprintf(host, sizeof host, "127.%d.%d.%d", i >> 16 & 255, i >> 8 & 255, i & 255);
	ok = connect(fd, &a.any, fill(&a, host, 53)) == 0;
	close(fd);
	return ok;
}

static void *flood(void *first)
{
	for (long i = (long)first; i < count; i += THREADS)
		__sync_fetch_and_add(&reached, dial((int)i + 256));
	return NULL;
}

static int opens(const char *path)
{
	int fd = open(path, O_RDONLY);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];

	if (argc < 3)
		return 2;
	count = atoi(argv[2]);
	if (!strcmp(argv[1], "flood")) {
		for (long i = 0; i < THREADS; i++)
			pthread_create(&threads[i], NULL, flood, (void *)i);
		for (int i = 0; i < THREADS; i++)
			pthread_join(threads[i], NULL);
	} else if (!strcmp(argv[1], "name")) {
		prctl(PR_SET_NAME, "\033[2J\"\n\\\377\007");
		for (int i = 0; i < count; i++)
			reached += opens(argv[3]) + dial(256);
	} else {
		for (int i = 0; i < count; i++) {
			pid_t child = fork();
			int status;

			if (child == 0)
				for (;;)
					if (opens(argv[3]))
						_exit(1);
			usleep((useconds_t)(i % 20) * 50);
			kill(child, SIGKILL);
			waitpid(child, &status, 0);
			reached += WIFEXITED(status);
		}
	}
	printf("reached %d 0\n", reached);
	return 0;
}
