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
extern volatile s32 cgroup_error;  /* killer: errno */

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

/* cgroup.c */
long cgroup_clone(u64 flags, char *stack, u64 size);
u32 cgroup_remove(void); /* how many processes the limit has killed */

/* proc.c, run by any task */
struct task_stat { /* proc_pid_stat(5) */
	char state;   /* 0: there is no such task */
	u32 threads;  /* of its process; the ended leader included */
	u64 flags, faults;
	u64 reaped;   /* ns that children have used that were waited for */
	u64 ignored;  /* signals */
};
int read_stat(s32 tid, struct task_stat *stat); /* 0: none */
u64 now_ns(void);
u64 cpu_of(s32 pid, long *err); /* of a process, all of its threads, ns */

/* fork.c, run by the parent: the tasks that are traced from birth */
int all_traced(void); /* from the command on */
long fork_begin(s32 pid); /* the command's; -errno */
int fork_stopped(s32 tid, s32 status); /* 1: and has gone on, or will */
void fork_died(s32 tid);
void fork_limit(u32 n);
u64 fork_total(void);

/* tasks.c, run by the parent: a table of these tasks, and of the processes among them that
 * have ended. Pointers into it hold until one is made or forgotten. */
enum process_state { NO_PROCESS, BORN, LIVE, ENDED }; /* BORN: has not come to its first stop */
struct task {
	s32 tid;
	s32 how, sig; /* held: the ptrace(2) request by which it is to go on, and its signal; 0: it is not */
	u8 alive, process;
	u64 blocked;  /* BORN: the signals that it is to block */
};
long tasks_begin(void);
u32 tasks_room(void);
struct task *task_at(u32 place); /* of so many; NULL for none */
struct task *task_of(s32 tid);   /* or NULL */
struct task *task_make(s32 tid); /* the same, made if it isn't there; NULL: no memory, and it is killed */
void task_forget(struct task *t);
/* A stopped task goes on by that request, or when nobody holds all of them any more. */
long go_on(int how, s32 tid, s32 sig);
/* Does what the killer has asked for. */
void hold_answer(void);
/* wait4(-1, status, WNOHANG | __WALL), and adds the time of who has ended to this. */
long wait_and_count(s32 *status);
/* The killer: asks the parent to hold all, or to let them go. Returns 1 when no task runs
 * any more, but to the end of a system call; 0 if the parent does not answer, or traces
 * nobody. */
int hold_ask(int hold);
u64 cpu_of_the_dead(void); /* ns */
extern int hold_fd; /* an eventfd that wakes the parent; the killer has it as FD_CTL */

/* parent: what the host has sent so far */
void take_orders(void);

void run_in_time(int first); /* this task, whatever the sandbox's do */

/* parent: to the host, with fd unless it is -1 */
void send_message(struct message *m, int fd);

#endif
