/* What the warden's tasks share: they run in one address space. Set by the task named
 * beside each, before the clone of whoever reads it where it is not volatile. */
#ifndef SANDLOCK_WARDEN_H
#define SANDLOCK_WARDEN_H

#include <asm/unistd.h>
#include "protocol.h"
#include "runtime.h"

/* parent: the request */
extern struct request *req;
extern char **argv, **envp, *path;
extern void *filter;
extern u32 nfds; /* the command's descriptors are 0 … nfds-1 */
extern s32 parent_pid, parent_pidfd;
extern u8 host_cpus[CPU_BYTES]; /* that the host may run on, if the parent is */
extern int confined_to_cpu;     /* to one of them */

/* progress: CREATING until the child is confined, then CONFINED; 0 once it has
 * exec'd or died, or the killer died (CLONE_CHILD_CLEARTID). Non-private futex:
 * the kernel wakes that kind, clone(2). */
enum { GONE, CREATING, CONFINED };
enum { HANDSHAKE = REQ_LISTENER | REQ_PARK | REQ_MAX_PROCESSES }; /* the parent waits for that */
extern volatile u32 progress;
extern volatile u32 gate;     /* parent; 1: a child that waits for it may exec */
extern volatile s32 listener; /* child */
extern volatile s32 child_pid; /* child */
extern s32 child_parent;      /* killer: whose child the child is to be */
extern s32 child_pidfd;       /* killer, by its clone */
extern volatile s32 child_status; /* whoever reaps the child: a wait status */
extern volatile u32 limits_met;   /* any task, atomically: enum limit */
extern volatile s32 memory_victim; /* killer: see struct message */
extern volatile u64 memory_found;  /* killer */

static inline int fd_of(enum fd_slot slot) { return (int)nfds + (int)slot; }

/* Any task: the first failure is the one that is reported. err is -errno. */
void fail(enum step step, long err);
void __attribute__((noreturn)) die(enum step step, long err); /* fail, and exit */
void check(enum step step, long r);                           /* die if r < 0 */

enum { REAP_AT_ONCE = 64 }; /* then it is somebody else's turn */
void walk(void); /* any subreaper */
void child_main(void);
void killer_main(void);

/* tracee.c, run by the parent */
void tracee_freeze(s32 tid, u64 id);
void tracee_thaw(u64 id);
void tracee_approve(s32 tid, s32 tgid, u64 id, const char *cmdline, u32 len);
void tracee_settle(u32 order, u64 id);
void tracee_stopped(s32 tid, s32 status);
void tracee_died(s32 tid);
/* Whether a freeze is under way; and looks at one again. For a leader that ends while
 * others of its group live, of which nothing tells: wait(2) is for whole groups. */
int tracee_stopping(void);
int tracee_interrupted(s32 tid); /* it has an interrupt queued, which must not get lost */
void tracee_recheck(void);

/* The state of a task as proc_pid_stat(5) has it, 0 for none, and its flags unless NULL. */
char task_state(s32 tid, u64 *flags);

/* fork.c, run by the parent: the tasks that are traced from birth */
int all_traced(void); /* from the command on */
long fork_begin(s32 pid); /* the command's; -errno */
int fork_stopped(s32 tid, s32 status); /* 1: and has gone on, or will */
void fork_died(s32 tid);
void fork_limit(u32 n);
u64 fork_total(void);

/* parent: what the host has sent so far */
void take_orders(void);

/* parent: to the host, with fd unless it is -1 */
void send_message(struct message *m, int fd);

#endif
