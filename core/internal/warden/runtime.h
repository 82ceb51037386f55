/* What a program without libc needs: syscalls, a clone onto a new stack, and
 * the few constants whose headers would pull libc in. */
#ifndef SANDLOCK_WARDEN_RUNTIME_H
#define SANDLOCK_WARDEN_RUNTIME_H

#include <asm/errno.h>

#define L(x) ((long)(x))

#if defined(__x86_64__)
static inline long sys6_(long n, long a, long b, long c, long d, long e, long f)
{
	long r;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall" : "=a"(r)
			 : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return r;
}
#elif defined(__aarch64__)
static inline long sys6_(long n, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = n;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;
	__asm__ volatile("svc 0" : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}
#else
#error "the warden is written for x86-64 and arm64"
#endif

#define sys0(n) sys6_(n, 0, 0, 0, 0, 0, 0)
#define sys1(n, a) sys6_(n, L(a), 0, 0, 0, 0, 0)
#define sys2(n, a, b) sys6_(n, L(a), L(b), 0, 0, 0, 0)
#define sys3(n, a, b, c) sys6_(n, L(a), L(b), L(c), 0, 0, 0)
#define sys4(n, a, b, c, d) sys6_(n, L(a), L(b), L(c), L(d), 0, 0)
#define sys5(n, a, b, c, d, e) sys6_(n, L(a), L(b), L(c), L(d), L(e), 0)
#define sys6(n, a, b, c, d, e, f) sys6_(n, L(a), L(b), L(c), L(d), L(e), L(f))
#define sys4x sys4 /* recvfrom and sendto without an address: the last two are 0 */

/* runtime.c */
void *memcpy(void *to, const void *from, unsigned long n);
long spawn_(unsigned long flags, void *stack, void *ptid, volatile void *ctid, void (*fn)(void));
static inline long spawn(u64 flags, void *stack, void *ptid, volatile void *ctid, void (*fn)(void))
{
	return spawn_((unsigned long)flags, stack, ptid, ctid, fn);
}

struct clone_args { /* clone3(2) */
	u64 flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};
long spawn_into(struct clone_args *args, unsigned long size, void (*fn)(void));

enum { FUTEX_WAIT, FUTEX_WAKE };
static inline void futex_wait(volatile u32 *word, u32 value)
{
	sys4(__NR_futex, word, FUTEX_WAIT, value, 0);
}
static inline void futex_wake(volatile u32 *word)
{
	sys3(__NR_futex, word, FUTEX_WAKE, 1);
}

struct pollfd { s32 fd; short events, revents; };
struct timespec { s64 sec, nsec; };
static inline long sys_poll(struct pollfd *fds, unsigned n, struct timespec *timeout)
{
	return sys5(__NR_ppoll, fds, n, timeout, 0, 8);
}

struct iovec { void *base; u64 len; };
struct msghdr { void *name; u32 namelen; struct iovec *iov; u64 iovlen; void *control; u64 controllen; u32 flags; u32 pad; };

struct dirent64 { u64 ino; s64 off; u16 reclen; u8 type; char name[]; }; /* getdents64(2) */

enum { PATH_BYTES = 64 };
static inline void format_path(char *out, const char *head, s32 number, const char *tail)
{
	char digits[12];
	int n = 0;
	while (*head)
		*out++ = *head++;
	do
		digits[n++] = (char)('0' + number % 10);
	while ((number /= 10));
	while (n)
		*out++ = digits[--n];
	while ((*out++ = *tail++))
		;
}

static inline unsigned long length(const char *s)
{
	unsigned long n = 0;
	while (s[n])
		n++;
	return n;
}

static inline s32 parse_number(const char *s) /* 0: none */
{
	s32 v = 0;
	while (*s >= '0' && *s <= '9')
		v = v * 10 + (*s++ - '0');
	return *s ? 0 : v;
}

enum {
	CLONE_VM = 0x100, CLONE_FILES = 0x400, CLONE_PIDFD = 0x1000, CLONE_PARENT = 0x8000,
	CLONE_CHILD_CLEARTID = 0x200000,
	SIGTRAP = 5, SIGKILL = 9, SIGTERM = 15, SIGCHLD = 17, SIGCONT = 18, SIGSTOP = 19, SIGTSTP = 20, SIGTTIN = 21, SIGTTOU = 22,
	SIG_SETMASK = 2, WNOHANG = 1, WUNTRACED = 2, WSTOPPED = 2, WEXITED = 4, WNOWAIT = 0x1000000, P_ALL = 0, P_PID = 1, CLD_TRAPPED = 4, RUSAGE_CHILDREN = -1,
	ACCESS_FS_REFER = 1 << 13, RULE_PATH_BENEATH = 1, /* linux/landlock.h */
	O_PATH = 010000000, O_RDONLY = 0, O_NONBLOCK = 04000, O_CLOEXEC = 02000000, AT_FDCWD = -100, AT_REMOVEDIR = 0x200,
	PROT_READ = 1, PROT_WRITE = 2, MAP_PRIVATE = 2, MAP_ANONYMOUS = 0x20,
	POLLIN = 1, POLLHUP = 0x10, POLLNVAL = 0x20,
	SOL_SOCKET = 1, SCM_RIGHTS = 1, MSG_PEEK = 2, MSG_DONTWAIT = 0x40, MSG_NOSIGNAL = 0x4000,
	TIOCSCTTY = 0x540E, TIOCSPGRP = 0x5410, RLIMIT_CORE = 4, RLIMIT_NOFILE = 7, ADDR_NO_RANDOMIZE = 0x40000,
	PR_SET_PDEATHSIG = 1, PR_CAPBSET_DROP = 24, PR_SET_CHILD_SUBREAPER = 36, PR_SET_NO_NEW_PRIVS = 38, PR_SET_THP_DISABLE = 41,
	CLOSE_RANGE_UNSHARE = 2, CLOSE_RANGE_CLOEXEC = 4, CAP_SETPCAP = 8, CAPABILITY_VERSION_3 = 0x20080522,
	SECCOMP_SET_MODE_FILTER = 1, SECCOMP_FILTER_FLAG_NEW_LISTENER = 1 << 3,
	SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 1 << 5,
	PTRACE_POKEUSER = 6, PTRACE_CONT = 7, PTRACE_DETACH = 17, PTRACE_SYSCALL = 24,
	PTRACE_SETOPTIONS = 0x4200, PTRACE_GETEVENTMSG = 0x4201, PTRACE_GETREGSET = 0x4204,
	PTRACE_SETREGSET = 0x4205, PTRACE_SEIZE = 0x4206, PTRACE_INTERRUPT = 0x4207,
	PTRACE_LISTEN = 0x4208, PTRACE_GETSIGMASK = 0x420a, PTRACE_SETSIGMASK = 0x420b, PTRACE_GET_SYSCALL_INFO = 0x420e, PTRACE_SYSCALL_INFO_SECCOMP = 3,
	PTRACE_O_TRACESYSGOOD = 1 << 0, PTRACE_O_TRACEFORK = 1 << 1, PTRACE_O_TRACEVFORK = 1 << 2,
	PTRACE_O_TRACECLONE = 1 << 3, PTRACE_O_TRACEEXEC = 1 << 4, PTRACE_O_TRACESECCOMP = 1 << 7,
	PTRACE_O_EXITKILL = 1 << 20,
	BORN_OPTIONS = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
		PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL,
	PTRACE_EVENT_FORK = 1, PTRACE_EVENT_VFORK = 2, PTRACE_EVENT_CLONE = 3, PTRACE_EVENT_EXEC = 4,
	PTRACE_EVENT_SECCOMP = 7, PTRACE_EVENT_STOP = 128,
};
#define WALL 0x40000000L
#define CLONE_INTO_CGROUP 0x200000000ULL
#define SECCOMP_IOCTL_NOTIF_SEND 0xc0182101UL
#define SECCOMP_IOCTL_NOTIF_ID_VALID 0x40082102UL
/* asm/unistd.h of older systems lacks them; the numbers are common to both
 * architectures (Documentation: syscall.tbl) */
#ifndef __NR_landlock_create_ruleset
#define __NR_landlock_create_ruleset 444
#define __NR_landlock_add_rule 445
#define __NR_landlock_restrict_self 446
#endif

#endif
