/* The calling process confines itself, every thread of it. See confine.c. */
#ifndef SANDLOCK_CONFINE_H
#define SANDLOCK_CONFINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sl_step {
	STEP_MEMORY,   /* of the library's own */
	STEP_LIST,     /* /proc/self/task */
	STEP_WORKER,   /* a thread of io_uring's, which no signal reaches */
	STEP_SIGNAL,   /* rt_tgsigqueueinfo */
	STEP_SILENT,   /* a thread that did not answer */
	STEP_PRIVS,    /* no_new_privs */
	STEP_LANDLOCK,
	STEP_CAPS,
	STEP_FILTER
};

struct sl_failure {
	int step;   /* enum sl_step */
	int thread; /* its number, 0 for none */
	int error;  /* errno */
	bool part;  /* some threads are confined, and will stay so */
};

/* Restricts every thread of the calling process by the Landlock ruleset, takes from them
 * all capabilities but those of the set, and installs the filter, of count instructions of
 * struct sock_filter. Returns 0; or -1, and failure says why, and whether something was
 * changed. */
int sl_confine(int ruleset, uint64_t capabilities, const void *filter, size_t count, struct sl_failure *failure);

#endif
