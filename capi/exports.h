/* What the files of the public symbols share. */
#ifndef SANDLOCK_EXPORTS_H
#define SANDLOCK_EXPORTS_H

#include "host.h"

#define API __attribute__((visibility("default")))
#define ENTER(failure)          \
	do {                    \
		if (!sl_enter()) \
			return failure; \
	} while (0)

#endif
