/* What the measuring programs share: each prints one sample a line, "NAME µs",
 * and bench.py makes medians of them. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline double now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static inline void sample(const char *name, double us)
{
	printf("%s %.4f\n", name, us);
}

static inline _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}
