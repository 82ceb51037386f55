package bpf

// Sockets. Landlock judges connect(2) and bind(2) of TCP by port and abstract
// names by scope; families, types and protocols are ruled here.
var socketsTable = []row{
	{"connect", 42, 203, allowed, ""},
	{"accept", 43, 202, allowed, ""},
	{"accept4", 288, 242, allowed, ""},
	{"bind", 49, 200, allowed, ""},
	{"listen", 50, 201, allowed, ""},
	{"recvfrom", 45, 207, allowed, ""},
	{"recvmsg", 47, 212, allowed, ""},
	{"recvmmsg", 299, 243, allowed, ""},
	{"shutdown", 48, 210, allowed, ""},
	{"getsockname", 51, 204, allowed, ""},
	{"getpeername", 52, 205, allowed, ""},
	{"getsockopt", 55, 209, allowed, ""},
	{"socket", 41, 198, ruled, "unix, and TCP where a rule for it exists"},
	{"socketpair", 53, 199, ruled, "unix"},
	{"sendto", 44, 206, ruled, "no MSG_FASTOPEN, which connects unseen"},
	{"sendmsg", 46, 211, ruled, "no MSG_FASTOPEN, which connects unseen"},
	{"sendmmsg", 307, 269, ruled, "no MSG_FASTOPEN, which connects unseen"},
	{"setsockopt", 54, 208, ruled, "no upper layer protocol, no packet filter tables"},
}

// System V queues, semaphores and shared memory are in one namespace with every
// other process of the user, and neither file rule nor scope holds them. POSIX
// queues are too: Landlock lets none be opened (EACCES on 6.18, whatever is granted),
// but mq_unlink(3) removes any, and mq_open(3) may leave one behind. sem_open(3) and
// shm_open(3) are files.
var ipcTable = []row{
	{"mq_timedsend", 242, 182, allowed, ""},
	{"mq_timedreceive", 243, 183, allowed, ""},
	{"mq_notify", 244, 184, allowed, ""},
	{"mq_getsetattr", 245, 185, allowed, ""},
	{"mq_open", 240, 180, forbidden, "makes queues outside, and Landlock lets none be opened"},
	{"mq_unlink", 241, 181, forbidden, "removes queues outside"},
	{"shmget", 29, 194, denied, "reaches objects outside"},
	{"shmat", 30, 196, denied, "reaches objects outside"},
	{"shmctl", 31, 195, denied, "reaches objects outside"},
	{"shmdt", 67, 197, denied, "reaches objects outside"},
	{"semget", 64, 190, denied, "reaches objects outside"},
	{"semop", 65, 193, denied, "reaches objects outside"},
	{"semctl", 66, 191, denied, "reaches objects outside"},
	{"semtimedop", 220, 192, denied, "reaches objects outside"},
	{"msgget", 68, 186, denied, "reaches objects outside"},
	{"msgsnd", 69, 189, denied, "reaches objects outside"},
	{"msgrcv", 70, 188, denied, "reaches objects outside"},
	{"msgctl", 71, 187, denied, "reaches objects outside"},
}

// The machine.
var systemTable = []row{
	{"uname", 63, 160, allowed, ""},
	{"sysinfo", 99, 179, allowed, ""},
	{"getrandom", 318, 278, allowed, ""},
	{"sethostname", 170, 161, forbidden, "names the machine"},
	{"setdomainname", 171, 162, forbidden, "names the machine"},
	{"reboot", 169, 142, forbidden, "restarts the machine"},
	{"kexec_load", 246, 104, forbidden, "replaces the kernel"},
	{"kexec_file_load", 320, 294, forbidden, "replaces the kernel"},
	{"init_module", 175, 105, forbidden, "loads code into the kernel"},
	{"finit_module", 313, 273, forbidden, "loads code into the kernel"},
	{"delete_module", 176, 106, forbidden, "removes code from the kernel"},
	{"bpf", 321, 280, forbidden, "loads code into the kernel"},
	{"perf_event_open", 298, 241, denied, "watches the kernel and other processes"},
	{"syslog", 103, 116, denied, "reads and clears the log of the kernel"},
	{"acct", 163, 89, forbidden, "has the kernel write a file"},
	{"lookup_dcookie", 212, 18, forbidden, "a profiler's, for the administrator"},
	{"add_key", 248, 217, forbidden, "reaches keys outside"},
	{"request_key", 249, 218, forbidden, "reaches keys outside"},
	{"keyctl", 250, 219, forbidden, "reaches keys outside"},
}

// Names without a system call behind them, on 5.13 and later.
var goneTable = []row{
	{"uselib", 134, none, missing, "the kernel has none"},
	{"_sysctl", 156, none, missing, "the kernel has none"},
	{"create_module", 174, none, missing, "the kernel has none"},
	{"get_kernel_syms", 177, none, missing, "the kernel has none"},
	{"query_module", 178, none, missing, "the kernel has none"},
	{"nfsservctl", 180, 42, missing, "the kernel has none"},
	{"getpmsg", 181, none, missing, "the kernel has none"},
	{"putpmsg", 182, none, missing, "the kernel has none"},
	{"afs_syscall", 183, none, missing, "the kernel has none"},
	{"tuxcall", 184, none, missing, "the kernel has none"},
	{"security", 185, none, missing, "the kernel has none"},
	{"vserver", 236, none, missing, "the kernel has none"},
	{"set_thread_area", 205, none, missing, "the kernel has none"},
	{"get_thread_area", 211, none, missing, "the kernel has none"},
	{"epoll_ctl_old", 214, none, missing, "the kernel has none"},
	{"epoll_wait_old", 215, none, missing, "the kernel has none"},
}
