/* What the killer's limits share: tree.c, memory.c, cpu.c. All of it is run by the
 * killer. */
#ifndef SANDLOCK_WARDEN_LIMITS_H
#define SANDLOCK_WARDEN_LIMITS_H

#include "warden.h"

/* A process of the sandbox, as the last walk has found it. */
struct process {
	s32 pid;
	s32 parent;
	s32 live;      /* a thread of it that has not ended, whose files in /proc tell of its memory */
	u32 threads;   /* the ended leader included */
	u8 state;      /* of proc_pid_stat(5); 0: gone */
	u8 autoreaps;  /* it ignores SIGCHLD, and so the time of its children */
	/* WALK_MEMORY, bytes: anonymous, also what is shared with others or swapped; shared memory
	 * that it maps, also what others map; page tables and huge pages; its address space */
	u64 anon, shmem, rest, size;
	u64 share; /* memory.c: its part of the sandbox's memory */
	u64 cpu; /* nanoseconds */
	u64 reaped, faults; /* WALK_CPU: ns of the children that it has waited for; page faults */
};

enum { CLOCK_MONOTONIC = 1 };

enum walk { WALK_MEMORY = 1 << 0, WALK_CPU = 1 << 1 };

/* tree.c */
extern struct process *tree;
extern u32 ntree;
/* Fills tree. 1: exactly; 0: tasks came and went meanwhile, so that some may be missing or
 * be there twice; or -errno. */
long tree_walk(enum walk what);
/* The same, exactly: where tasks come and go too fast, it stops them for the time. */
long tree_walk_exactly(enum walk what);
int tree_is_hard_to_see(void); /* so that the last of those has held them */

/* Calls f for each thread of p. Returns a sum that is another when its threads are others. */
u64 threads_of(struct process *p, void (*f)(struct process *, s32 tid));
/* Time of the children that a process has waited for, ns: of the warden's own task here. */
u64 tree_reaped(void);

/* Who holds the sandbox stopped. It goes on when nobody does, except for those tasks that
 * were stopped before. */
enum holder { HOLD_HOST = 1 << 0, HOLD_LOOK = 1 << 1, HOLD_OVER = 1 << 2, HOLD_CPU = 1 << 3 };
void tree_hold(enum holder who);
void tree_signal(int sig);
void tree_hold_again(void); /* those who have gone on meanwhile */
void tree_let_go(void); /* whoever holds it */
void tree_release(enum holder who);
int tree_held(void);

/* A file of /proc, line by line or number by number. */
struct reader { s32 fd; u32 at, have; char buf[2048]; };
long reader_open(struct reader *r, const char *path);
int reader_char(struct reader *r); /* -1 at the end */
int reader_line(struct reader *r, char *line, u32 max); /* cut to max-1; 0 at the end */
void reader_close(struct reader *r);
/* If line begins with key: the number behind it, else -1. */
s64 value_of(const char *line, const char *key);
void *grown(void *old, u64 bytes, u64 to); /* 0: none to be had */

enum { KCMP_VM = 1, KCMP_FILES = 2 };
static inline int same(s32 a, s32 b, int what) /* kcmp(2) */
{
	return sys5(__NR_kcmp, a, b, what, 0, 0) == 0;
}

/* shmem.c: each adds to shmem_bytes, and to share of the process, the files that the ones
 * before since shmem_forget have not added. */
extern u64 shmem_bytes;
extern int shmem_opaque; /* somebody may hold memory where nobody can look */
extern long shmem_error; /* -errno, for good */
long shmem_begin(void);  /* before the command is there */
void shmem_forget(void);
void shmem_descriptors(struct process *p);
void shmem_mappings(struct process *p);
/* What p maps of the files that are counted, in its proportion: proc_pid_smaps(5), "Pss". */
u64 shmem_counted_twice(struct process *p);

void killer_reap_some(void); /* of the dead; killer.c */
u32 cpus_of_sandbox(void);

/* memory.c and cpu.c: each does what is due at now, and sets next to when it is to be called
 * again; next is left alone when there is no such limit. Negative: it can't be enforced. */
enum { NEVER = 0 };
long memory_begin(void);    /* before the command is there */
void memory_measure(void); /* unless a cgroup keeps the limit, until that is lowered */
void cpu_begin(void);
long memory_run(u64 now, u64 *next);
long memory_restrict(u64 bytes);
long cpu_run(u64 now, u64 *next);

#endif
