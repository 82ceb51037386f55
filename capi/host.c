#define _GNU_SOURCE
#include "host.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "_cgo_export.h"

/* ---- last error ------------------------------------------------------------ */

/* Not thread-local storage: the Go runtime's makes the library's part of the static
 * block, whose reserve is small when the library is loaded late. */
static pthread_key_t message_key;
static pthread_once_t message_once = PTHREAD_ONCE_INIT;

static void make_message_key(void) { pthread_key_create(&message_key, free); }

struct message { int number; char text[]; };

void sl_set_error(const char *text, int number)
{
	size_t size = text ? strlen(text) + 1 : 0;
	struct message *m = text ? malloc(sizeof *m + size) : NULL;

	if (m) {
		m->number = number;
		memcpy(m->text, text, size);
	}
	pthread_once(&message_once, make_message_key);
	free(pthread_getspecific(message_key));
	if (pthread_setspecific(message_key, m) != 0)
		free(m);
}

static const struct message *last_message(void)
{
	pthread_once(&message_once, make_message_key);
	return pthread_getspecific(message_key);
}

const char *sl_last_error(void)
{
	const struct message *m = last_message();
	return m ? m->text : "";
}

int sl_last_errno(void)
{
	const struct message *m = last_message();
	return m ? m->number : 0;
}

/* ---- fork -------------------------------------------------------------------
 * In the child of a fork only the calling thread exists, so entering Go would wait
 * for threads that are not there. And the child has copies of every descriptor
 * of the library, which close-on-exec leaves open while it does not exec. */

static atomic_bool forked;

/* A bit for each descriptor below 65,536; a table that is larger is beyond the
 * default of fs.nr_open only for the numbers above it, which are not tracked. */
enum { DESCRIPTORS = 1 << 16 };
static _Atomic uint64_t descriptors[DESCRIPTORS / 64];

void sl_descriptor_opened(int fd)
{
	if (fd >= 0 && fd < DESCRIPTORS)
		atomic_fetch_or(&descriptors[fd / 64], UINT64_C(1) << (fd % 64));
}

void sl_descriptor_closing(int fd)
{
	if (fd >= 0 && fd < DESCRIPTORS)
		atomic_fetch_and(&descriptors[fd / 64], ~(UINT64_C(1) << (fd % 64)));
}

/* Held while a warden is spawned: for that time there are descriptors that are not
 * noted above, and a forked child with a copy of one of them would keep the spawn, and
 * all that come after it, waiting for as long as it lives. */
static pthread_mutex_t spawn = PTHREAD_MUTEX_INITIALIZER;

void sl_hold_forks(void) { pthread_mutex_lock(&spawn); }
void sl_let_forks(void) { pthread_mutex_unlock(&spawn); }

static void child_after_fork(void)
{
	int i, bit;

	sl_let_forks();
	atomic_store(&forked, true);
	for (i = 0; i < DESCRIPTORS / 64; i++) {
		uint64_t word = atomic_exchange(&descriptors[i], 0);
		for (bit = 0; word; bit++, word >>= 1)
			if (word & 1)
				close(i * 64 + bit);
	}
}

/* ---- crashes ----------------------------------------------------------------
 * The Go runtime takes SIGSEGV, SIGBUS and SIGFPE when it starts. On a thread of its
 * own, as in a callback, it takes each that is not a fault of Go code for one: it prints
 * all its stacks and ends the host with SIGQUIT, where there was no handler before
 * (sigfwdgo in its signal_unix.go), and always when the signal was sent, as faulthandler
 * and others do that print and then raise it again. So there is a handler before Go's,
 * to which it passes on the faults that are not its own, and one in its place, which
 * gives it the faults alone: si_code of sigaction(2). */

static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE };
enum { FAULTS = sizeof faults / sizeof *faults };
static struct sigaction hosts[FAULTS], gos[FAULTS]; /* handlers */

static void call(const struct sigaction *handler, int sig, siginfo_t *info, void *context)
{
	if (handler->sa_flags & SA_SIGINFO)
		handler->sa_sigaction(sig, info, context);
	else if (handler->sa_handler == SIG_DFL)
		signal(sig, SIG_DFL), raise(sig); /* blocked until the handler returns */
	else if (handler->sa_handler != SIG_IGN)
		handler->sa_handler(sig);
}

static void before_go(int sig, siginfo_t *info, void *context)
{
	(void)info, (void)context;
	signal(sig, SIG_DFL); /* the instruction faults again */
}

static void in_place_of_go(int sig, siginfo_t *info, void *context)
{
	int i;

	for (i = 0; i < FAULTS; i++)
		if (faults[i] == sig)
			call(info->si_code > 0 ? &gos[i] : &hosts[i], sig, info, context);
}

static bool is_default(const struct sigaction *a) { return !(a->sa_flags & SA_SIGINFO) && a->sa_handler == SIG_DFL; }

static void handle(void (*handler)(int, siginfo_t *, void *), int sig)
{
	struct sigaction own = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };

	sigfillset(&own.sa_mask);
	sigaction(sig, &own, NULL);
}

static void note_hosts_handlers(void)
{
	int i;

	for (i = 0; i < FAULTS; i++)
		if (sigaction(faults[i], NULL, &hosts[i]) == 0 && is_default(&hosts[i]))
			handle(before_go, faults[i]);
}

void sl_take_faults(void)
{
	int i;

	for (i = 0; i < FAULTS; i++)
		if (sigaction(faults[i], NULL, &gos[i]) == 0 && gos[i].sa_flags & SA_SIGINFO && gos[i].sa_sigaction != before_go)
			handle(in_place_of_go, faults[i]);
}

/* ---- RLIMIT_NOFILE -----------------------------------------------------------
 * The Go runtime raises the soft limit to the hard one when it starts, for the whole
 * host and its children. This constructor runs before that: 101 is the first
 * priority that is not the implementation's. */

static struct rlimit limit;
static bool limit_known;

__attribute__((constructor(101))) static void loaded(void)
{
	limit_known = getrlimit(RLIMIT_NOFILE, &limit) == 0;
	pthread_atfork(sl_hold_forks, sl_let_forks, child_after_fork);
	note_hosts_handlers();
}

/* Called when the runtime has changed it. Only what the runtime changed is put back,
 * to the hard limit or one less: the host may have set the limit itself since. */
void sl_restore_limit(void)
{
	struct rlimit now;

	if (limit_known && getrlimit(RLIMIT_NOFILE, &now) == 0 && now.rlim_max == limit.rlim_max &&
	    now.rlim_cur >= now.rlim_max - 1 && limit.rlim_cur < now.rlim_cur)
		setrlimit(RLIMIT_NOFILE, &limit);
}

bool sl_enter(void)
{
	if (atomic_load(&forked)) {
		sl_set_error("sandlock can't be used in a child of fork() that has not exec'd; load a second copy of the library there", 0);
		return false;
	}
	return true;
}
