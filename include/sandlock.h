/*
 * sandlock.h - run commands that nobody trusts, confined by Landlock, seccomp-bpf
 * and a supervisor, without root, containers or namespaces.
 *
 * MODEL
 *   A builder collects a policy; sandlock_sandbox_build checks all of it at once
 *   and makes an immutable sandbox_t, which can be run any number of times, by any
 *   number of threads. Everything is denied unless granted. sandlock_run starts a
 *   command, waits and returns its result; sandlock_create, _start and _wait are
 *   the same in steps, with a handle between them. When the command is over,
 *   everything that it has started is over too.
 *
 *     #include <sandlock.h>
 *     #include <stdio.h>
 *     #include <string.h>
 *
 *     static int32_t judge(const sandlock_event_t *ev, sandlock_ctx_t *ctx, void *user)
 *     {
 *         (void)ctx; (void)user;
 *         return ev->argc > 0 && strcmp(ev->argv[0], "curl") == 0 ? -1 : 0;
 *     }
 *
 *     int main(void)
 *     {
 *         const char *argv[] = { "sh", "-c", "echo hello; curl example.org" };
 *         char *why = NULL;
 *         sandlock_builder_t *b = sandlock_sandbox_builder_new();
 *         b = sandlock_sandbox_builder_fs_read(b, "/usr");
 *         b = sandlock_sandbox_builder_fs_read(b, "/lib");
 *         b = sandlock_sandbox_builder_fs_read(b, "/lib64");
 *         b = sandlock_sandbox_builder_fs_read(b, "/bin");
 *         b = sandlock_sandbox_builder_policy_fn(b, judge, NULL, NULL);
 *         sandlock_sandbox_t *policy = sandlock_sandbox_build(b, NULL, &why);
 *         if (!policy) { fprintf(stderr, "%s\n", why); sandlock_string_free(why); return 1; }
 *         sandlock_result_t *r = sandlock_run(policy, NULL, argv, 3);
 *         if (!r) fprintf(stderr, "%s\n", sandlock_last_error());
 *         char *out = sandlock_result_stdout(r);
 *         if (out) fputs(out, stdout);
 *         sandlock_string_free(out);
 *         sandlock_result_free(r);
 *         sandlock_sandbox_free(policy);
 *         return 0;
 *     }
 *
 * OWNERSHIP
 *   Four phrases are used: "owned by the caller, free with X"; "borrowed, valid
 *   until Y"; "consumed, even on error"; "copied". Every _free takes NULL. A
 *   handle that is NULL, freed, or of another kind is an error, never a crash.
 *
 * ERRORS
 *   A function that fails returns NULL or -1 and prints nothing;
 *   sandlock_last_error() then says why, in a sentence. A setter remembers its
 *   error and sandlock_sandbox_build reports it with all others. The sandlock_ctx_
 *   functions return nothing: a failed one denies the event, see there.
 *
 * THREADS
 *   Different objects may be used by any threads at once, and what is reached
 *   through a const pointer may be shared. A handle is used by one thread at a time,
 *   but for sandlock_handle_kill, sandlock_handle_expire, sandlock_handle_pid and
 *   sandlock_handle_pollfd, and sandlock_handle_signal, which may be called at any time until
 *   the handle is freed.
 *
 * FORK
 *   In a child of fork() that has not exec'd, every function returns its error at
 *   once and sandlock_last_error() says so; the library's descriptors are closed
 *   there, but for one that a run is making or closing at that very moment, and for
 *   four of the Go runtime's: two of its cgroup's CPU limit, an epoll instance and an
 *   eventfd. A second copy of the library, loaded in the child, works. A child that a
 *   callback forks can't return from it: it is ended with _exit(1) there.
 *
 * SIGNALS
 *   The library is a Go shared library: loading it installs handlers for SIGSEGV,
 *   SIGBUS, SIGFPE, SIGPIPE and SIGURG that pass on what is not theirs: a crash of the
 *   host, in a callback too, goes to its own handler or ends it with its signal.
 *   Handlers of the host may run on the library's threads and need SA_ONSTACK. The
 *   host gets one SIGCHLD for each run, of a process that the library reaps itself; a
 *   host that takes its status with waitpid(-1) does no harm.
 *
 * TEXT
 *   Paths, arguments and environment are bytes that end with a NUL. Messages and
 *   JSON are UTF-8.
 */
#ifndef SANDLOCK_H
#define SANDLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sandlock_builder sandlock_builder_t; /* a policy in the making */
typedef struct sandlock_sandbox sandlock_sandbox_t; /* a built policy */
typedef struct sandlock_handle sandlock_handle_t;   /* one run */
typedef struct sandlock_result sandlock_result_t;   /* the outcome of one run */
typedef struct sandlock_pipeline sandlock_pipeline_t; /* commands that feed one another, before they run */
typedef struct sandlock_gather sandlock_gather_t;     /* several that feed one */
typedef struct sandlock_ctx sandlock_ctx_t;         /* valid during a callback */

/* How a run ended. */
typedef uint32_t sandlock_exit_reason;
enum {
	SANDLOCK_EXITED = 0,   /* by itself: the exit code is valid */
	SANDLOCK_SIGNALED = 1, /* by a signal other than SIGKILL */
	SANDLOCK_KILLED = 2,   /* by SIGKILL: the library's, the kernel's, its own */
	SANDLOCK_TIMEOUT = 3   /* by the library, because the time was over */
};

/* Parts of Landlock that a kernel may lack, for allow_degraded and disable. */
enum {
	SANDLOCK_PROTECTION_FS_REFER = 0,                   /* ABI 2, Linux 5.19 */
	SANDLOCK_PROTECTION_FS_TRUNCATE = 1,                /* ABI 3, Linux 6.2 */
	SANDLOCK_PROTECTION_NET_TCP = 2,                    /* ABI 4, Linux 6.7 */
	SANDLOCK_PROTECTION_FS_IOCTL_DEV = 3,               /* ABI 5, Linux 6.10 */
	SANDLOCK_PROTECTION_SIGNAL_SCOPE = 4,               /* ABI 6, Linux 6.12 */
	SANDLOCK_PROTECTION_ABSTRACT_UNIX_SOCKET_SCOPE = 5  /* ABI 6, Linux 6.12 */
};

/* ---- callbacks ----------------------------------------------------------- */

/* Groups of events. */
enum { SANDLOCK_CATEGORY_FILE = 0, SANDLOCK_CATEGORY_NETWORK = 1, SANDLOCK_CATEGORY_PROCESS = 2, SANDLOCK_CATEGORY_MEMORY = 3 };

/* What a sandbox is about to do. Borrowed, with all that it points to, valid
 * during the callback. There is no path, and there will be none: paths belong to
 * the kernel's static rules. */
typedef struct sandlock_event {
	const char *syscall;      /* name, such as "execve" */
	uint8_t category;         /* SANDLOCK_CATEGORY_* */
	uint32_t pid;             /* process id of the caller */
	uint32_t parent_pid;      /* 0: unknown */
	const char *host;         /* numeric address, NULL: not applicable */
	uint16_t port;
	bool denied;
	const char *const *argv;  /* argc strings and a NULL; NULL: not applicable */
	uint32_t argc;
} sandlock_event_t;

/* Decides an event. 0 allows; -1 denies with EPERM; -2 allows and keeps a line in
 * the result's log; a positive number denies with that errno; any other denies
 * with EPERM.
 *
 * Callbacks run on one thread of the library per sandbox, one at a time for that
 * sandbox, never on the caller's thread; two runs of one policy call it at the same
 * time. These threads serve one run after the other, and those that are left do not end
 * before the host: destructors of thread-local storage that a callback makes there
 * (pthread_key_create(3), thread_local) may never run. A callback must not wait for or
 * free its own run. One that has not returned after policy_timeout has denied, and later
 * events of that run are denied at once until it returns. */
typedef int32_t (*sandlock_policy_fn_t)(const sandlock_event_t *event, sandlock_ctx_t *ctx, void *user_data);

/* The same, for languages whose callbacks can throw: *verdict is -1 when the
 * callback starts, and what it holds when the callback returns is the verdict. */
typedef void (*sandlock_policy_callback_t)(void *user_data, const sandlock_event_t *event, sandlock_ctx_t *ctx,
                                           int32_t *verdict);

/* ---- callback contexts ------------------------------------------------------
 * What a callback may do beside its verdict: change the policy of its own run. A change
 * is in force from the next decision on, of any task of the run, and until the run is
 * over. Nothing becomes wider than the built policy, and no grant undoes a restriction.
 *
 * What they say of the network is asked at each connect and at each datagram that names an
 * address; connections that are there go on. They fail in a run in which connects are not
 * trapped, as policy_events names none of these calls.
 *
 * They return nothing. After a call sandlock_last_error() is "" if it succeeded. If it
 * failed, that says why, so does a line of the result's log, and the event that ctx was
 * made for is denied, whatever the callback returns (with EPERM, unless it denies with an
 * errno of its own): a callback that takes something for restricted does not go on
 * allowing. A ctx that is none, or whose callback has returned, denies the event of the
 * callback that runs on the calling thread, if one does; the latter is a line of its own
 * run's log besides, while that goes on.
 *
 * ctx is borrowed, valid until its callback returns. Strings are copied; a NULL in place
 * of one is an error. ips are count exact addresses, at most 1,024, IPv4 or IPv6, without
 * a zone; ::ffff:192.0.2.1 is 192.0.2.1. path is absolute and without "..". */

/* Lets these addresses be reached, of those that the policy lets be reached, in place of
 * a list given before; sandlock_ctx_grant_network adds none to it. An empty list closes
 * the network. One that is wrong is an error and closes it too, until one that is right. */
void sandlock_ctx_restrict_network(sandlock_ctx_t *ctx, const char *const *ips, uint32_t count);
/* Adds addresses, of those that the policy lets be reached. Ignored once the network was
 * restricted. */
void sandlock_ctx_grant_network(sandlock_ctx_t *ctx, const char *const *ips, uint32_t count);
/* Lowers max_memory. More than it is now is no error and changes nothing; without one in
 * the policy, it is an error. */
void sandlock_ctx_restrict_max_memory(sandlock_ctx_t *ctx, uint64_t bytes);
/* The same with max_processes; 0: no new process. */
void sandlock_ctx_restrict_max_processes(sandlock_ctx_t *ctx, uint32_t n);
/* sandlock_ctx_restrict_network for the process pid, and those that it starts from then
 * on: they reach what this list and the run's both have. At most 1,024 different lists. A
 * pid that is not of this sandbox is an error. */
void sandlock_ctx_restrict_pid_network(sandlock_ctx_t *ctx, uint32_t pid, const char *const *ips, uint32_t count);
/* Denies what lies at path, and beneath it, as sandlock_sandbox_builder_fs_deny does, from
 * the next call on, of any task. path is absolute, without "..", and its directory exists. It
 * fails in a run in which calls that take a path are not trapped: policy_events is given and
 * does not name openat, and nothing was denied by the policy. At most 1,024 paths. */
void sandlock_ctx_deny_path(sandlock_ctx_t *ctx, const char *path);
/* Takes back a sandlock_ctx_deny_path of the same path; any other stays as it is. */
void sandlock_ctx_allow_path(sandlock_ctx_t *ctx, const char *path);

/* ---- builder --------------------------------------------------------------
 * Each function takes the builder first and returns it; a NULL builder comes back
 * as NULL. Strings are copied. A wrong value is reported by sandlock_sandbox_build. */

/* A builder with the default policy, which grants nothing. Never NULL, but in a
 * forked child. Owned by the caller; consumed by sandlock_sandbox_build. */
sandlock_builder_t *sandlock_sandbox_builder_new(void);

/* Merges a JSON document whose keys are the field names of the documentation
 * (fs_readable, max_output, …); lists replace those set before. In its strings the
 * escapes \udc80 … \udcff stand for the bytes 0x80 … 0xff, so that any path can be
 * written. len in bytes. */
sandlock_builder_t *sandlock_sandbox_builder_json(sandlock_builder_t *b, const char *json, size_t len);

/* Grants reading, executing and listing of path and what lies beneath. Symbolic
 * links in it are followed once, at the start of a run; a path that does not exist
 * then is an error of the start (/lib, /lib64, /bin and /sbin are passed over). */
sandlock_builder_t *sandlock_sandbox_builder_fs_read(sandlock_builder_t *b, const char *path);
/* The same, and writing, creating and removing. No device nodes can be made. */
sandlock_builder_t *sandlock_sandbox_builder_fs_write(sandlock_builder_t *b, const char *path);
/* Once given, only what lies beneath such a path can be executed; it needs to be
 * readable too. */
sandlock_builder_t *sandlock_sandbox_builder_fs_exec(sandlock_builder_t *b, const char *path);
/* Denies an object within what is granted, and what lies beneath it: opening, executing,
 * making, renaming, linking, removing and changing it fail with EACCES, by whatever name it
 * is reached, and so does all that with its own name, whatever gets it. Of the path, which
 * is followed once, at the start, the last component may be missing. Each call that takes a
 * path is carried out by the library then, which takes time: docs/files.md. */
sandlock_builder_t *sandlock_sandbox_builder_fs_deny(sandlock_builder_t *b, const char *path);
/* Named unix sockets that may be connected and sent to, beside those beneath writable paths:
 * the path of a socket, or of a directory that holds some. A socket's name is allowed too, so
 * that its server may be started again. "/" is all. A path that does not exist is an error of
 * the start. Without such a path and a writable one, no unix sockets but connected pairs can
 * be made; else connects and sends are made by the library: docs/network.md. */
sandlock_builder_t *sandlock_sandbox_builder_unix_allow(sandlock_builder_t *b, const char *path);
/* Working directory; without it, the host's. */
sandlock_builder_t *sandlock_sandbox_builder_cwd(sandlock_builder_t *b, const char *path);

/* What may be reached: "[SCHEME://]TARGET[:PORT,…]". The scheme is tcp, udp or icmp (ping
 * sockets; it has no ports), none is TCP and UDP. The target is an IPv4 or IPv6 address
 * ("[::1]" before ports), a network as "10.0.0.0/8", or "*" or nothing for any; no ports
 * or "*" are all. An IPv4 address that is mapped into IPv6 is the IPv4 address. Without any
 * rule no network socket can be made.
 *
 * The target can be a host name as well: the start of a run resolves it, as the host's
 * programs do (getaddrinfo(3)), which may take time; what it has resolved to then may be
 * reached, and is in the /etc/hosts that the command sees; a name that does not resolve is
 * an error of the start. One that resolves to an address that is not of the public Internet
 * is too, but localhost and *.localhost. */
sandlock_builder_t *sandlock_sandbox_builder_net_allow(sandlock_builder_t *b, const char *spec);
/* What may not be reached, of what net_allow lets; without any net_allow, everything else
 * may, by TCP and UDP. The same form; the target can be "private" too, every address that
 * is not of the public Internet, but no name. */
sandlock_builder_t *sandlock_sandbox_builder_net_deny(sandlock_builder_t *b, const char *spec);
/* Names in net_allow may resolve to any address. */
sandlock_builder_t *sandlock_sandbox_builder_net_allow_private_names(sandlock_builder_t *b, bool v);
/* TCP ports that may be bound: "N", "a,b", "lo-hi", or "*" alone. */
sandlock_builder_t *sandlock_sandbox_builder_net_allow_bind(sandlock_builder_t *b, const char *spec);
/* TCP ports that may not be bound, all others may: "N", "a,b", "lo-hi". Not together with
 * net_allow_bind. */
sandlock_builder_t *sandlock_sandbox_builder_net_deny_bind(sandlock_builder_t *b, const char *spec);
/* TCP ports of the sandbox's own: one that may be bound and is taken on the host is bound
 * all the same, and is another one there: sandlock_handle_port_mappings tells which. */
sandlock_builder_t *sandlock_sandbox_builder_port_remap(sandlock_builder_t *b, bool v);

/* Keep only PATH, HOME, USER, TERM and LANG of the host's environment. */
sandlock_builder_t *sandlock_sandbox_builder_clean_env(sandlock_builder_t *b, bool v);
/* Sets a variable, after clean_env. */
sandlock_builder_t *sandlock_sandbox_builder_env_var(sandlock_builder_t *b, const char *key, const char *value);

/* Limits of all tasks of a sandbox together.
 *
 * Processes at a time, 64 by default, the command among them, threads not counted; a
 * fork(2) beyond it fails with EAGAIN. SANDLOCK_UNLIMITED: no limit, and then no task is
 * traced, which a limit needs. Not 0. */
sandlock_builder_t *sandlock_sandbox_builder_max_processes(sandlock_builder_t *b, uint32_t n);
#define SANDLOCK_UNLIMITED UINT32_MAX
/* Bytes of anonymous and shared memory; beyond it the process that holds most is killed.
 * Not 0; UINT64_MAX: no limit, which is the default. /proc/meminfo shows it. */
sandlock_builder_t *sandlock_sandbox_builder_max_memory(sandlock_builder_t *b, uint64_t bytes);
/* Percent of one core, 1 to 100. */
sandlock_builder_t *sandlock_sandbox_builder_max_cpu(sandlock_builder_t *b, uint8_t percent);
/* How many of the CPUs that it may run on the command sees, in /proc/cpuinfo too, and uses.
 * Not 0. */
sandlock_builder_t *sandlock_sandbox_builder_num_cpus(sandlock_builder_t *b, uint32_t n);
/* The NVIDIA devices that may be used, by index; len 0: every GPU, and /dev/dri. */
sandlock_builder_t *sandlock_sandbox_builder_gpu_devices(sandlock_builder_t *b, const uint32_t *devices, uint32_t len);

/* RLIMIT_NOFILE, soft and hard, never above the inherited ones. Not 0. */
sandlock_builder_t *sandlock_sandbox_builder_max_open_files(sandlock_builder_t *b, unsigned int n);
/* Captured bytes kept per stream, 64 MiB by default; the rest is read and dropped. */
sandlock_builder_t *sandlock_sandbox_builder_max_output(sandlock_builder_t *b, uint64_t bytes);
/* Cores that the command may run on: sched_setaffinity(2). len entries, at least 1. */
sandlock_builder_t *sandlock_sandbox_builder_cpu_cores(sandlock_builder_t *b, const uint32_t *cores, uint32_t len);
/* RLIMIT_CORE 0. */
sandlock_builder_t *sandlock_sandbox_builder_no_coredump(sandlock_builder_t *b, bool v);
/* PR_SET_THP_DISABLE of prctl(2). */
sandlock_builder_t *sandlock_sandbox_builder_no_huge_pages(sandlock_builder_t *b, bool v);
/* ADDR_NO_RANDOMIZE of personality(2). */
sandlock_builder_t *sandlock_sandbox_builder_no_randomize_memory(sandlock_builder_t *b, bool v);

/* Comma lists of system call names, or the groups sysv_ipc and debug. Denied calls
 * fail with EPERM. Of the default deny list, what would undo the sandbox can't be
 * allowed. */
sandlock_builder_t *sandlock_sandbox_builder_extra_deny_syscalls(sandlock_builder_t *b, const char *names);
sandlock_builder_t *sandlock_sandbox_builder_extra_allow_syscalls(sandlock_builder_t *b, const char *names);

/* A protection that may be missing on this kernel, and one that is off on every
 * kernel: SANDLOCK_PROTECTION_*. */
sandlock_builder_t *sandlock_sandbox_builder_allow_degraded(sandlock_builder_t *b, uint32_t protection);
sandlock_builder_t *sandlock_sandbox_builder_disable(sandlock_builder_t *b, uint32_t protection);

/* Installs the callback, in place of one installed before. user_data is passed
 * through; user_data_drop, if not NULL, is called exactly once, with it, when the
 * last reference is gone: when the builder failed or was built, the built policy is
 * freed, and no run of it can call the callback any more. */
sandlock_builder_t *sandlock_sandbox_builder_policy_fn(sandlock_builder_t *b, sandlock_policy_fn_t cb, void *user_data,
                                                       void (*user_data_drop)(void *user_data));
sandlock_builder_t *sandlock_sandbox_builder_policy_callback(sandlock_builder_t *b, sandlock_policy_callback_t cb,
                                                             void *user_data, void (*user_data_drop)(void *user_data));
/* Comma list of the system calls that the callback is asked about; execve and
 * execveat, bind, connect, sendto, sendmsg and sendmmsg by default, "" for none. openat, for
 * all opens, is asked about when it is named. What is not asked about runs at full speed; but
 * by default calls that take a path make a short stop, so that sandlock_ctx_deny_path works. */
sandlock_builder_t *sandlock_sandbox_builder_policy_events(sandlock_builder_t *b, const char *names);
/* Milliseconds, 30,000 by default; 0 waits for ever. */
sandlock_builder_t *sandlock_sandbox_builder_policy_timeout(sandlock_builder_t *b, uint64_t ms);
/* Milliseconds between SIGTERM, which every task of the sandbox gets when the time of a
 * run is over, and SIGKILL; 0, the default: SIGKILL at once. */
sandlock_builder_t *sandlock_sandbox_builder_term_grace(sandlock_builder_t *b, uint64_t ms);
/* Keeps what becomes of each exec that the callback is asked about: sandlock_result_execs. */
sandlock_builder_t *sandlock_sandbox_builder_record_execs(sandlock_builder_t *b, bool v);
/* Has sandlock_result_denials hold what the kernel would refuse by itself, too: the library
 * carries out, or looks at first, each call that takes a path, connect and bind of TCP, each
 * exec, and what the system call filter refuses. That takes its time (docs/denials.md), and
 * what policies with fs_deny and rules for addresses take. What is refused stays the same. */
sandlock_builder_t *sandlock_sandbox_builder_record_denials(sandlock_builder_t *b, bool v);
/* What becomes of an exec that the callback judges and whose arguments can't be kept
 * from changing afterwards: tracing is refused, or the policy allows the group debug or
 * writing beneath /proc. SANDLOCK_ARGV_STRICT, the default: it fails with EPERM, and
 * such a policy is an error. SANDLOCK_ARGV_LANDLOCK: the callback gets an event without
 * argv, and the file rules alone bound what runs. */
sandlock_builder_t *sandlock_sandbox_builder_argv_safety(sandlock_builder_t *b, int mode);
enum { SANDLOCK_ARGV_STRICT = 0, SANDLOCK_ARGV_LANDLOCK = 1 };

/* ---- built policies -------------------------------------------------------- */

/* Checks everything and builds. b is consumed, even on error. *err, if err is not
 * NULL, is 0 or -1; *err_msg, if err_msg is not NULL, is a message with all faults,
 * owned by the caller, free with sandlock_string_free, or NULL. The policy is owned
 * by the caller, free with sandlock_sandbox_free. */
sandlock_sandbox_t *sandlock_sandbox_build(sandlock_builder_t *b, int *err, char **err_msg);
/* The same of one JSON document; see sandlock_sandbox_builder_json. */
sandlock_sandbox_t *sandlock_sandbox_from_json(const char *json, size_t len, int *err, char **err_msg);
/* Runs that were started with it go on. */
void sandlock_sandbox_free(sandlock_sandbox_t *p);
/* What the policy compiles to, for people: owned by the caller, free with
 * sandlock_string_free. NULL on error. */
char *sandlock_sandbox_explain(const sandlock_sandbox_t *p);

/* ---- confining oneself ---------------------------------------------------------
 * Confines the calling process itself: every thread of it, and what they start from now
 * on. There is no way back; a second call confines it further, at most 16 times, and has to
 * read /proc. Of the policy, what the kernel keeps by itself is in force: fs_read, fs_write, fs_exec, the list
 * of system calls with extra_deny_syscalls and extra_allow_syscalls, disable and
 * allow_degraded. No network socket can be made or connected any more, no process outside
 * be signalled or traced, and root keeps the capabilities that a command in a sandbox has.
 * chmod(2), chown(2), utime(2), setxattr(2) and their like are refused beneath writable
 * paths too, unless extra_allow_syscalls names them, and then work on all that the user
 * owns.
 *
 * Every other field is an error that names it, since it needs a supervisor or a command to
 * be started; max_processes has to be the default or SANDLOCK_UNLIMITED, and is no limit
 * here. So is a run of this library that is not over, and a thread that io_uring(7) has in
 * the process.
 *
 * What is open stays open: descriptors, connections, mappings; and what was started before
 * is not confined. Threads that were there before the call stand in Landlock domains of
 * their own: a child of one of them can't be signalled by another, nor reached at an abstract
 * unix socket; those that they make from now on share theirs.
 *
 * The other threads are interrupted, as by a handler with SA_RESTART (signal(7) has the
 * calls that answer EINTR all the same), by the signal that glibc has for setuid(2), and
 * wait while it happens. One that does not answer for 10 seconds is an error.
 *
 * 0, or -1: then nothing was changed, but perhaps no_new_privs of the calling thread; or
 * sandlock_last_error says that the process is confined in part, as can only be when the
 * kernel has no memory, or another thread had 16 layers before. End it then. */
int sandlock_confine(const sandlock_sandbox_t *policy);

/* ---- runs ---------------------------------------------------------------------
 * argv has argc strings, at least one; argv[0] without a slash is looked up in the
 * PATH that the command will have. name is the name of the run, at most 64 bytes
 * without '/', not that of a live run; NULL makes one. Standard input is /dev/null,
 * standard output and error are captured. */

/* Starts, waits, returns the result: owned by the caller, free with
 * sandlock_result_free. NULL: the command could not be started. */
sandlock_result_t *sandlock_run(const sandlock_sandbox_t *policy, const char *name, const char *const *argv,
                                unsigned int argc);
/* Standard streams are the host's, and so is the terminal, if they are one: it is
 * given to the command and taken back. When the command is stopped, as by Ctrl-Z, the
 * host's process group is too, by the same signal (SIGSTOP: by SIGTSTP), and continues it
 * when it is continued itself. Returns the exit code, or -1 when the command could not be
 * started or did not exit by itself. */
int sandlock_run_interactive(const sandlock_sandbox_t *policy, const char *name, const char *const *argv,
                             unsigned int argc);

/* Confines a child and parks it before its exec. The handle is owned by the caller,
 * free with sandlock_handle_free. NULL on error. */
sandlock_handle_t *sandlock_create(const sandlock_sandbox_t *policy, const char *name, const char *const *argv,
                                   unsigned int argc);
sandlock_handle_t *sandlock_create_for_run(const sandlock_sandbox_t *policy, const char *name,
                                           const char *const *argv, unsigned int argc);
/* Starts a command for a caller that waits by itself: no thread of the library
 * collects its output. The caller polls sandlock_handle_stepfd and calls
 * sandlock_handle_step whenever it is readable, until that returns 1; the waits and
 * the free work without that too. The policy's callback is not asked before the first of
 * these calls. The pid is known only when the policy has a callback. stdin_fd is copied (duplicated); -1 is /dev/null. The handle is owned by
 * the caller, free with sandlock_handle_free. NULL on error. It is in *out too, if out
 * is not NULL, before this function is back: for languages in which an exception can
 * fall between a call and the assignment of its value. */
sandlock_handle_t *sandlock_spawn(const sandlock_sandbox_t *policy, const char *name, const char *const *argv,
                                  unsigned int argc, int stdin_fd, uint32_t flags, sandlock_handle_t **out);
enum {
	SANDLOCK_SPAWN_PARKED = 1,      /* as sandlock_create does it */
	SANDLOCK_SPAWN_INTERACTIVE = 2, /* on the host's streams, as sandlock_run_interactive; no stdin_fd */
	SANDLOCK_SPAWN_WATCHED = 4,     /* for sandlock_handle_execfd */
	/* The command's descriptor 0 is the slave of a pseudo-terminal, openpty(3), which becomes
	 * the controlling terminal of its session, with job control. Not with _INTERACTIVE. */
	SANDLOCK_SPAWN_TERMINAL = 8
};
/* A descriptor of the host, which the command has as number as; fd -1: it has none of that
 * number. */
typedef struct sandlock_file {
	int fd, as;
} sandlock_file_t;
/* The same with the descriptors that the command is to have, count of them; they are
 * duplicated, and remain the caller's. Where none is given for a standard stream, 0 is
 * /dev/null, 1 and 2 are captured. Not with SANDLOCK_SPAWN_INTERACTIVE. Numbers up to 8,191,
 * and up to about a half of the host's RLIMIT_NOFILE. executable, unless it is NULL or "",
 * is looked up and executed in the place of argv[0]. */
sandlock_handle_t *sandlock_spawn_files(const sandlock_sandbox_t *policy, const char *name, const char *executable,
                                        const char *const *argv, unsigned int argc, const sandlock_file_t *files, uint32_t count, uint32_t flags,
                                        sandlock_handle_t **out);
/* Starts a command on streams that the host uses meanwhile, and returns when it was
 * executed. Each mode is one of SANDLOCK_STDIO_*. The descriptor of the host's end of a
 * piped stream is stored in *out_..._fd, -1 for all others and on error; it is owned by the
 * caller, free with close(2). Such an out_..._fd may not be NULL. The library keeps nothing of
 * what goes through a pipe, which is as long as its reader lets it be, and so is not bound
 * by max_output. The handle is owned by the caller, free with sandlock_handle_free; the
 * result of its waits has no output. NULL: an unknown mode, or the command could not be
 * started. */
sandlock_handle_t *sandlock_popen(const sandlock_sandbox_t *policy, const char *name, const char *const *argv,
                                  unsigned int argc, uint32_t stdin_mode, uint32_t stdout_mode, uint32_t stderr_mode,
                                  int *out_stdin_fd, int *out_stdout_fd, int *out_stderr_fd);
enum {
	SANDLOCK_STDIO_INHERIT = 0, /* the host's; one that is closed there is closed in the command */
	SANDLOCK_STDIO_PIPED = 1,
	SANDLOCK_STDIO_NULL = 2     /* /dev/null */
};
/* Borrowed, valid until the handle is freed: a descriptor that is readable, for poll(2),
 * once the command was executed or is dead; of handles with SANDLOCK_SPAWN_WATCHED, and of
 * sandlock_popen. -1 on error. */
int sandlock_handle_execfd(const sandlock_handle_t *h);
/* To be asked when that is readable. 1: the command runs. 0: it could not be executed, or
 * is over already, as the wait says, which won't take long. -1: error. */
int sandlock_handle_executed(sandlock_handle_t *h);
/* A signal to the command alone, not to what it has started; 0 sends none. 0; -1 when it is
 * over, or sig is no signal. Of handles that sandlock_create or sandlock_popen made, or
 * whose policy has a callback. */
int sandlock_handle_signal(sandlock_handle_t *h, int sig);
/* Borrowed, valid until the handle is freed: a descriptor for poll(2). -1 on error. */
int sandlock_handle_stepfd(const sandlock_handle_t *h);
/* Takes what is there without blocking. 1: the run is over; 0: it goes on; -1: error. */
int sandlock_handle_step(sandlock_handle_t *h);
/* Lets the parked child exec. 0 / -1. That the exec fails is told by the wait. */
int sandlock_start(sandlock_handle_t *h);
/* Process id of the command, 0 if none. */
int32_t sandlock_handle_pid(const sandlock_handle_t *h);
/* The TCP ports that the command has bound and that are others on the host, as a JSON object
 * {"bound":on the host,...}, while the sockets are open and the run is not over: owned by
 * the caller, free with sandlock_string_free. NULL: there are none, or an error. It may be
 * called at any time until the handle is freed, by any thread. */
char *sandlock_handle_port_mappings(const sandlock_handle_t *h);
/* Borrowed, valid until the handle is freed: a descriptor that is readable, for
 * poll(2), when the run is over; of handles that sandlock_create or sandlock_popen made.
 * -1 on error. */
int sandlock_handle_pollfd(const sandlock_handle_t *h);
/* SIGKILL to every task of the sandbox; over already is success. 0 / -1. */
int sandlock_handle_kill(sandlock_handle_t *h);
/* Says that the time of the run is over, for a caller that keeps it by itself: the result
 * will have the reason SANDLOCK_TIMEOUT. 0: every task got SIGKILL. 1: the policy has a
 * term_grace, and every task got SIGTERM, and SIGCONT; this is to be called again when the
 * grace is over, if the run is not. -1: error. */
int sandlock_handle_expire(sandlock_handle_t *h);
/* Stops every task of the sandbox, and lets those go on that were not stopped before: by
 * their tracer when there is a max_processes, otherwise by SIGSTOP and SIGCONT. 0, or -1
 * when it is over. */
int sandlock_handle_pause(sandlock_handle_t *h);
int sandlock_handle_resume(sandlock_handle_t *h);
/* Waits until the run is over. The result is owned by the caller, free with
 * sandlock_result_free; NULL: the command could not be started. Can be repeated. */
sandlock_result_t *sandlock_handle_wait(sandlock_handle_t *h);
/* The same for at most timeout_ms milliseconds, 0: no limit. On expiry the sandbox is
 * killed, after the policy's term_grace, and the result has the reason SANDLOCK_TIMEOUT
 * and the output so far. */
sandlock_result_t *sandlock_handle_wait_timeout(sandlock_handle_t *h, uint64_t timeout_ms);
/* The same with the result in *out. 0; -1 and NULL: no result. */
int sandlock_handle_result(sandlock_handle_t *h, uint64_t timeout_ms, sandlock_result_t **out);
/* Kills the sandbox if it runs and reaps it. */
void sandlock_handle_free(sandlock_handle_t *h);

/* ---- pipelines -------------------------------------------------------------------
 * Commands that run at once and feed one another through pipes of the kernel, each in a
 * sandbox of its own. Of each, standard error is captured; of the last one, standard
 * output too. What is wrong with a stage that is added is the error of the run. */

/* Each stage's standard output is the next one's standard input; the first one's is
 * /dev/null. Owned by the caller until it is run; sandlock_pipeline_free is for one that
 * is not. */
sandlock_pipeline_t *sandlock_pipeline_new(void);
/* The policy, which can be freed then, and argv are copied. */
void sandlock_pipeline_add_stage(sandlock_pipeline_t *pipe, const sandlock_sandbox_t *policy, const char *const *argv,
                                 unsigned int argc);
/* Runs all stages, two at least, and waits until all are over. pipe is consumed, even on
 * error. The result is the last stage's, owned by the caller, free with
 * sandlock_result_free; its error names the stage that was ended or could not be executed,
 * if one was. After timeout_ms milliseconds, 0: no limit, all are killed, each after its
 * policy's term_grace, and the reason is SANDLOCK_TIMEOUT. NULL: a stage could not be
 * started, and none has run; or the last one could not be executed. */
sandlock_result_t *sandlock_pipeline_run(sandlock_pipeline_t *pipe, uint64_t timeout_ms);
void sandlock_pipeline_free(sandlock_pipeline_t *pipe);

/* Sources that a consumer reads: the last of them as its descriptor 0, the others from 3
 * on. _SANDLOCK_GATHER=name:descriptor,… is in its environment. Ownership, timeout and
 * result, which is the consumer's, are as for a pipeline. A source's name is its own, not
 * empty, and has no ':' and ','. A second consumer takes the place of the first. */
sandlock_gather_t *sandlock_gather_new(void);
void sandlock_gather_add_source(sandlock_gather_t *g, const char *name, const sandlock_sandbox_t *policy,
                                const char *const *argv, unsigned int argc);
void sandlock_gather_set_consumer(sandlock_gather_t *g, const sandlock_sandbox_t *policy, const char *const *argv,
                                  unsigned int argc);
sandlock_result_t *sandlock_gather_run(sandlock_gather_t *g, uint64_t timeout_ms);
void sandlock_gather_free(sandlock_gather_t *g);

/* The results of the stages of a pipeline or gather, in their order, the consumer's last;
 * none for other results. One that could not be executed has an exit code of -1 and an
 * error that says why. Borrowed, valid until r is freed, not to be freed; NULL when there
 * is no such one. */
uint32_t sandlock_result_stages_len(const sandlock_result_t *r);
const sandlock_result_t *sandlock_result_stage(const sandlock_result_t *r, uint32_t i);

/* ---- results --------------------------------------------------------------- */

/* Exit code; -1 unless the reason is SANDLOCK_EXITED. */
int sandlock_result_exit_code(const sandlock_result_t *r);
/* NULL: SANDLOCK_KILLED. */
sandlock_exit_reason sandlock_result_reason(const sandlock_result_t *r);
/* Number of the signal when the reason is SANDLOCK_SIGNALED, else -1. */
int sandlock_result_signal(const sandlock_result_t *r);
/* Whether the exit code is 0. */
bool sandlock_result_success(const sandlock_result_t *r);
/* The output as text, cut at a NUL, bytes that are not UTF-8 replaced by U+FFFD:
 * owned by the caller, free with sandlock_string_free. NULL on error. */
char *sandlock_result_stdout(const sandlock_result_t *r);
char *sandlock_result_stderr(const sandlock_result_t *r);
/* The output as it is, *len bytes: borrowed, valid until the result is freed. NULL
 * and 0 when there is none. */
const uint8_t *sandlock_result_stdout_bytes(const sandlock_result_t *r, uintptr_t *len);
const uint8_t *sandlock_result_stderr_bytes(const sandlock_result_t *r, uintptr_t *len);
/* Whether output was dropped because of max_output: SANDLOCK_TRUNCATED_* or 0. */
enum { SANDLOCK_TRUNCATED_STDOUT = 1, SANDLOCK_TRUNCATED_STDERR = 2 };
uint32_t sandlock_result_truncated(const sandlock_result_t *r);
/* What a run took, of all its tasks that were waited for, and which limits it met. */
typedef struct sandlock_usage {
	uint64_t user_us, system_us; /* CPU time, microseconds */
	uint64_t wall_us;            /* from the start of the command to the end of the last task */
	uint64_t max_rss;            /* bytes, of the largest process */
	uint64_t processes;          /* that there were in all; 0: not counted, max_processes is unlimited */
	uint32_t limits;             /* SANDLOCK_LIMIT_* */
} sandlock_usage_t;
enum {
	SANDLOCK_LIMIT_PROCESSES = 1, /* a fork failed */
	SANDLOCK_LIMIT_MEMORY = 2,    /* a process was killed */
	SANDLOCK_LIMIT_CPU = 4,       /* the sandbox was made to wait */
	SANDLOCK_LIMIT_OUTPUT = 8,    /* output was dropped */
	SANDLOCK_LIMIT_TIME = 16      /* the time was over */
};
/* Fills the first size bytes of *usage, which is sizeof *usage; what a later version adds
 * comes at the end. 0 or -1. */
int sandlock_result_usage(const sandlock_result_t *r, sandlock_usage_t *usage, size_t size);
/* Why the sandbox was ended, "" when there is nothing to say: borrowed, valid until
 * the result is freed. NULL on error. */
const char *sandlock_result_error(const sandlock_result_t *r);
/* What the library had to say during the run, a line each: borrowed, valid until
 * the result is freed. NULL on error. */
const char *sandlock_result_log(const sandlock_result_t *r);
/* With sandlock_sandbox_builder_record_execs, each exec that the callback was asked about
 * and what became of it; and each event that it answered with -2. JSON lists of objects
 * with the keys syscall, pid, argv (a list of strings; null: judged without) and outcome,
 * which is "denied", "ran", "became" (a script is its interpreter now: the process's next
 * entry), "failed" (the kernel's error), "killed" (it had become what was not allowed),
 * "ended" (the task or the sandbox did before) or "allowed" (without its argv); and with
 * syscall, category, pid, parent_pid, argv. Bytes that are not UTF-8 are \udc80 … \udcff.
 * At most 10,000 entries and 16 MiB of arguments. Borrowed, valid until the result is
 * freed. NULL on error. */
const char *sandlock_result_execs(const sandlock_result_t *r);
const char *sandlock_result_audit(const sandlock_result_t *r);
/* What the sandbox was refused, of what the library decides or sees, in the order of their
 * first: what Landlock and the seccomp program refuse by themselves is among it only with
 * sandlock_sandbox_builder_record_denials. A JSON
 * list of objects; what is not known is null:
 *   time        of the first, in seconds since 1970
 *   syscall     what was called; "fork" is whatever makes processes
 *   pid         the process that called first, its name (comm, which it may have chosen),
 *   command     and the path of its program
 *   exe
 *   path        of the object that the call led to, as the host sees it and without a
 *               symbolic link in it, or of the name that is not there
 *   protocol    "tcp", "udp" or "icmp"; host and port are the address, of a bind the
 *   host, port  caller's own
 *   argv        of an exec, as people read it, cut where it is long
 *   errno       what the call failed with, 0: the caller was killed; errno_name "EACCES"
 *   rule        the field of the policy that decided, as Python and JSON name it, and what
 *   value       would allow it there; null: none did, or nothing in it would
 *   why         that as a sentence
 *   count       how often this has happened
 * Bytes that are not UTF-8 are \udc80 … \udcff. At most 1,000 entries and 1 MiB of names.
 * Borrowed, valid until the result is freed. NULL on error. */
const char *sandlock_result_denials(const sandlock_result_t *r);
/* How many refused calls are not in that list, as it was full. 0 for NULL. */
uint64_t sandlock_result_denials_dropped(const sandlock_result_t *r);
void sandlock_result_free(sandlock_result_t *r);

/* ---- the library and the kernel ------------------------------------------------ */

/* Why the calling thread's latest failed call failed: borrowed, valid until the
 * thread's next failure or sandlock_ctx_ call. "" before the first, and after a
 * sandlock_ctx_ call that succeeded. */
const char *sandlock_last_error(void);
/* The errno of the system call behind it, 0 when there was none. */
int sandlock_last_errno(void);
/* Frees any char * that the library returned as owned by the caller. */
void sandlock_string_free(char *s);
/* Version of the library, and of this interface: borrowed, valid for ever. */
const char *sandlock_version(void);
uint32_t sandlock_abi_version(void);
/* What this kernel offers, as JSON: owned by the caller, free with
 * sandlock_string_free. */
char *sandlock_kernel_report(void);
/* Landlock ABI of the kernel, -1 without Landlock; and the one that every
 * protection needs, 6. */
int sandlock_landlock_abi_version(void);
int sandlock_min_landlock_abi(void);
/* Landlock ABI that a protection needs, 0 for an unknown one. */
uint32_t sandlock_protection_min_abi(uint32_t protection);
/* For a host whose functions can't be called for as long as it lives, such as one with an
 * interpreter: alive is asked before each call of a callback and of a user_data_drop, on
 * any thread; when it returns 0, the callback is not called and has denied, and the user
 * data is not dropped. NULL: they are always called. Of this copy of the library. */
void sandlock_callbacks_while(int (*alive)(void));
/* Number of a system call on this architecture, -1 for an unknown name or NULL. */
int64_t sandlock_syscall_nr(const char *name);

#ifdef __cplusplus
}
#endif

#endif
