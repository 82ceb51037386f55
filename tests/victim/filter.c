/* filter MODE [CANARY]: tries to get around the filter. ADVERSARY sections 8 and 9. */
#include "try.h"

#include <linux/bpf.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/xattr.h>

static long int80(long nr)
{
#if defined(__x86_64__)
	long r;
	__asm__ volatile("int $0x80" : "=a"(r) : "a"(nr), "b"(0L), "c"(0L), "d"(0L) : "memory", "r8", "r9", "r10", "r11");
	return r;
#else
	(void)nr;
	raise(SIGSYS); /* there is no such door here */
	return 0;
#endif
}

static void namespaces(void)
{
	static const struct { const char *name; unsigned long flag; } flags[] = {
		{ "newns", CLONE_NEWNS }, { "newcgroup", CLONE_NEWCGROUP }, { "newuts", CLONE_NEWUTS },
		{ "newipc", CLONE_NEWIPC }, { "newuser", CLONE_NEWUSER }, { "newpid", CLONE_NEWPID }, { "newnet", CLONE_NEWNET },
	};
	char name[64];
	for (unsigned i = 0; i < sizeof flags / sizeof *flags; i++) {
		for (int dirty = 0; dirty < 2; dirty++) {
			unsigned long high = dirty ? 0xdeadbeef00000000ul : 0;
			snprintf(name, sizeof name, "clone-%s-%d", flags[i].name, dirty);
			long pid = syscall(SYS_clone, flags[i].flag | SIGCHLD | high, 0, 0, 0, 0);
			if (pid == 0)
				_exit(0);
			say(name, pid);
			if (pid > 0)
				waitpid((pid_t)pid, NULL, 0);
			snprintf(name, sizeof name, "unshare-%s-%d", flags[i].name, dirty);
			TRY_FORKED(name, syscall(SYS_unshare, flags[i].flag | high));
		}
	}
	struct clone_args args = { .exit_signal = SIGCHLD };
	long pid = syscall(SYS_clone3, &args, sizeof args);
	if (pid == 0)
		_exit(0);
	say("clone3", pid);
}

static void kernel(void)
{
	union bpf_attr map = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1 };
	struct perf_event_attr perf = { .type = PERF_TYPE_SOFTWARE, .size = sizeof perf, .config = PERF_COUNT_SW_CPU_CLOCK };
	char buffer[256] = { 0 };

	int net = open("/proc/self/ns/net", O_RDONLY);
	TRY_FORKED("setns", syscall(SYS_setns, net, 0));
	TRY_FORKED("mount", mount("none", "/nowhere", "tmpfs", 0, ""));
	TRY_FORKED("umount2", umount2("/nowhere", 0));
	TRY_FORKED("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
	TRY_FORKED("fsmount", syscall(SYS_fsmount, -1, 0, 0));
	TRY_FORKED("move_mount", syscall(SYS_move_mount, -1, "", -1, "", 0));
	TRY_FORKED("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", 1));
	TRY_FORKED("mount_setattr", syscall(442, -1, "", 0, buffer, 32));
	TRY_FORKED("chroot", chroot("/usr"));
	TRY_FORKED("pivot_root", syscall(SYS_pivot_root, "/", "/"));
	TRY_FORKED("open_by_handle_at", syscall(SYS_open_by_handle_at, AT_FDCWD, buffer, 0));
	TRY_FORKED("userfaultfd", syscall(SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */));
	TRY_FORKED("perf_event_open", syscall(SYS_perf_event_open, &perf, 0, -1, -1, 0));
	TRY_FORKED("bpf", syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof map));
	TRY_FORKED("keyctl", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 1));
	TRY_FORKED("add_key", syscall(SYS_add_key, "user", "sandlock", "x", 1, KEY_SPEC_PROCESS_KEYRING));
	TRY_FORKED("request_key", syscall(SYS_request_key, "user", "none", 0, 0));
	TRY_FORKED("init_module", syscall(SYS_init_module, buffer, 1, ""));
	TRY_FORKED("finit_module", syscall(SYS_finit_module, -1, "", 0));
	TRY_FORKED("kexec_load", syscall(SYS_kexec_load, 0, 0, 0, 0));
	TRY_FORKED("io_uring_setup", syscall(SYS_io_uring_setup, 1, buffer));
	TRY_FORKED("settimeofday", syscall(SYS_settimeofday, 0, buffer));
	TRY_FORKED("sethostname", syscall(SYS_sethostname, "", 0x7fffffff));
	TRY_FORKED("personality", syscall(SYS_personality, READ_IMPLIES_EXEC));
	TRY_FORKED("quotactl", syscall(SYS_quotactl, -1, "", 0, 0));
	TRY_FORKED("swapon", syscall(SYS_swapon, "/nowhere", 0));
	TRY_FORKED("acct", syscall(SYS_acct, "/nowhere"));
}

static void peer(void)
{
	static char secret[16] = "peer";
	char buffer[16] = { 0 };
	struct iovec local = { buffer, sizeof buffer }, remote = { secret, sizeof secret };
	pid_t pid = fork();
	if (pid == 0)
		for (;;)
			pause();
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	TRY_FORKED("ptrace-traceme", ptrace(PTRACE_TRACEME, 0, 0, 0));
	TRY_FORKED("ptrace-seize", ptrace(PTRACE_SEIZE, pid, 0, 0));
	TRY_FORKED("process_vm_readv", process_vm_readv(pid, &local, 1, &remote, 1, 0));
	TRY_FORKED("process_vm_writev", process_vm_writev(pid, &local, 1, &remote, 1, 0));
	TRY_FORKED("pidfd_getfd", syscall(438, fd, 1, 0));
	TRY_FORKED("process_madvise", syscall(440, fd, &remote, 1, 20 /* MADV_COLD */, 0));
	TRY_FORKED("kcmp", syscall(SYS_kcmp, getpid(), pid, 0, 0, 0));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void ioctls(void)
{
	int fd = open("/dev/ptmx", O_RDWR | O_NOCTTY), discipline = 0, sock = socket(AF_UNIX, SOCK_DGRAM, 0);
	struct ifreq lo = { .ifr_name = "lo" };
	char c = 'x';
	for (int dirty = 0; dirty < 2; dirty++) {
		unsigned long high = dirty ? 0xffffffff00000000ul : 0;
		TRY(dirty ? "TIOCSTI-dirty" : "TIOCSTI", syscall(SYS_ioctl, fd, 0x5412 | high, &c));
		TRY(dirty ? "TIOCLINUX-dirty" : "TIOCLINUX", syscall(SYS_ioctl, fd, 0x541c | high, &c));
		TRY(dirty ? "TIOCSETD-dirty" : "TIOCSETD", syscall(SYS_ioctl, fd, 0x5423 | high, &discipline));
		/* Sets what is set already, so that the control harms nobody. */
		TRY("SIOCGIFFLAGS", ioctl(sock, SIOCGIFFLAGS, &lo));
		TRY(dirty ? "SIOCSIFFLAGS-dirty" : "SIOCSIFFLAGS", syscall(SYS_ioctl, sock, SIOCSIFFLAGS | high, &lo));
	}
}

/* Changes a canary by the old calls. */
static void legacy(const char *canary)
{
	char other[4096];
	snprintf(other, sizeof other, "%s.other", canary);
#if defined(__x86_64__)
	TRY("open", syscall(SYS_open, canary, O_RDONLY));
	TRY("open-write", syscall(SYS_open, canary, O_WRONLY | O_TRUNC));
	TRY("creat", syscall(SYS_creat, canary, 0600));
	TRY("link", syscall(SYS_link, canary, other));
	TRY("symlink", syscall(SYS_symlink, "x", other));
	TRY("mkdir", syscall(SYS_mkdir, other, 0700));
	TRY("mknod", syscall(SYS_mknod, other, S_IFREG | 0600, 0));
	TRY("rename", syscall(SYS_rename, canary, other));
	TRY("unlink", syscall(SYS_unlink, canary));
#else
	TRY("open", openat(AT_FDCWD, canary, O_RDONLY));
#endif
	TRY("truncate", truncate(canary, 0));
	TRY("openat", openat(AT_FDCWD, canary, O_RDONLY));
	TRY("renameat2", syscall(SYS_renameat2, AT_FDCWD, canary, AT_FDCWD, other, 0));
	TRY("unlinkat", syscall(SYS_unlinkat, AT_FDCWD, canary, 0));
}

/* Every number there could be, with arguments that are good for nothing. */
static void numbers(long first, long last)
{
	char name[32];
	for (long nr = first; nr <= last; nr++) {
		pid_t pid;
		int status;
		snprintf(name, sizeof name, "nr-%ld", nr);
		if ((pid = fork()) == 0) {
			alarm(2); /* pause, sigsuspend and their like wait for ever */
			say(name, syscall(nr, -1, -1, -1, -1, -1, -1));
			_exit(0);
		}
		waitpid(pid, &status, 0);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
}

static void devices(const char *dir)
{
	char name[4096];
	snprintf(name, sizeof name, "%s/block", dir);
	TRY("mknod-block", mknod(name, S_IFBLK | 0600, 0xfe00));
	TRY("open-block", open(name, O_RDONLY));
	snprintf(name, sizeof name, "%s/char", dir);
	TRY("mknod-char", mknod(name, S_IFCHR | 0600, 0x101)); /* /dev/mem */
	TRY("open-char", open(name, O_RDONLY));
	snprintf(name, sizeof name, "%s/fifo", dir);
	TRY("mknod-fifo", mknod(name, S_IFIFO | 0600, 0));
}

/* What Landlock does not see is refused where nothing may be written. */
static void attributes(const char *canary)
{
	struct timespec now[2] = { { 0, UTIME_NOW }, { 0, UTIME_NOW } };
	struct { uint64_t value; uint32_t size, flags; } xattr = { (uint64_t)(uintptr_t)"x", 1, 0 };
	int fd = open(canary, O_RDONLY);
	if (fd < 0)
		fd = open("/usr", O_RDONLY); /* some file */
	TRY("chmod", chmod(canary, 04777));
	TRY("fchmod", fchmod(fd, 04777));
	TRY("fchmodat", fchmodat(AT_FDCWD, canary, 04777, 0));
	TRY("fchmodat2", syscall(452, AT_FDCWD, canary, 04777, 0));
	TRY("chown", chown(canary, getuid(), getgid()));
	TRY("lchown", lchown(canary, getuid(), getgid()));
	TRY("fchown", fchown(fd, getuid(), getgid()));
	TRY("utimensat", utimensat(AT_FDCWD, canary, now, 0));
	TRY("futimens", futimens(fd, now));
	TRY("setxattr", setxattr(canary, "user.a", "x", 1, 0));
	TRY("fsetxattr", fsetxattr(fd, "user.b", "x", 1, 0));
	TRY("setxattrat", syscall(463, AT_FDCWD, canary, 0, "user.c", &xattr, sizeof xattr));
	TRY("fremovexattr", fremovexattr(fd, "user.b"));
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	if (!strcmp(mode, "foreign"))
		TRY_FORKED("int80", int80(20));
	else if (!strcmp(mode, "x32"))
		TRY("x32", syscall(0x40000000 | SYS_getpid));
	else if (!strcmp(mode, "namespaces"))
		namespaces();
	else if (!strcmp(mode, "kernel"))
		kernel();
	else if (!strcmp(mode, "peer"))
		peer();
	else if (!strcmp(mode, "ioctls"))
		ioctls();
	else if (!strcmp(mode, "legacy") && argc > 2)
		legacy(argv[2]);
	else if (!strcmp(mode, "attributes") && argc > 2)
		attributes(argv[2]);
	else if (!strcmp(mode, "devices") && argc > 2)
		devices(argv[2]);
	else if (!strcmp(mode, "numbers") && argc > 3)
		numbers(atol(argv[2]), atol(argv[3]));
	else
		return 2;
	return 0;
}
