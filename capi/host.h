/* The library's place in its host: what happens when it is loaded, first called
 * and forked. See host.c. */
#ifndef SANDLOCK_HOST_H
#define SANDLOCK_HOST_H

#include <stdbool.h>

/* Whether the library can be called here; otherwise last_error says why not. */
bool sl_enter(void);
/* Undoes what the Go runtime did to RLIMIT_NOFILE. */
void sl_restore_limit(void);
/* Puts a handler in the place of Go's for the signals of a crash. */
void sl_take_faults(void);
/* Keeps a copy of message as the calling thread's last error, NULL is none, and the errno
 * behind it, 0 for none. */
void sl_set_error(const char *message, int number);
const char *sl_last_error(void);
int sl_last_errno(void);
/* Notes a descriptor that a forked child is to close, and forgets it. */
void sl_descriptor_opened(int fd);
void sl_descriptor_closing(int fd);
/* While a thread holds forks back, another that forks waits. */
void sl_hold_forks(void);
void sl_let_forks(void);

#endif
