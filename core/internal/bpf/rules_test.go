package bpf

import (
	"testing"

	"golang.org/x/sys/unix"
)

const dirty = 0xdeadbeef << 32 // in the high word, which an int argument does not have
const sigchld = uint64(unix.SIGCHLD)

// TestRules: what each rule says, in words of the callers. Both architectures.
func TestRules(t *testing.T) {
	const tcp, none = true, false
	ok, refused := uint32(retAllow), retErrno|uint32(unix.EPERM)
	errno := func(e unix.Errno) uint32 { return retErrno | uint32(e) }
	tests := []struct {
		name string
		inet bool
		args [6]uint64
		want uint32
	}{
		{"clone", none, [6]uint64{sigchld}, ok},
		{"clone", none, [6]uint64{0x3d0f00}, ok},                                                   // pthread_create(3)
		{"clone", none, [6]uint64{unix.CLONE_VFORK | unix.CLONE_VM | sigchld}, ok},                 // posix_spawn(3)
		{"clone", none, [6]uint64{unix.CLONE_CHILD_SETTID | unix.CLONE_CHILD_CLEARTID | 0x11}, ok}, // fork(3)
		{"clone", none, [6]uint64{unix.CLONE_VM | unix.CLONE_PIDFD | sigchld}, ok},                 // Go
		{"clone", none, [6]uint64{dirty | sigchld}, ok},                                            // only 32 bits count
		{"clone", none, [6]uint64{unix.CLONE_NEWUSER | sigchld}, refused},
		{"clone", none, [6]uint64{dirty | unix.CLONE_NEWNS}, refused},
		{"clone", none, [6]uint64{unix.CLONE_NEWTIME}, refused},
		{"clone", none, [6]uint64{unix.CLONE_NEWCGROUP}, refused},
		{"clone", none, [6]uint64{unix.CLONE_PARENT | sigchld}, ok}, // a sandbox inside
		{"clone", none, [6]uint64{unix.CLONE_PTRACE | sigchld}, refused},
		{"clone", none, [6]uint64{unix.CLONE_UNTRACED | sigchld}, refused},
		{"clone3", none, [6]uint64{}, errno(unix.ENOSYS)},
		{"socket", none, [6]uint64{unix.AF_UNIX, unix.SOCK_STREAM | unix.SOCK_CLOEXEC}, ok},
		{"socket", none, [6]uint64{unix.AF_UNIX, unix.SOCK_DGRAM}, ok},
		{"socket", none, [6]uint64{dirty | unix.AF_UNIX, dirty | unix.SOCK_SEQPACKET}, ok},
		{"socket", none, [6]uint64{unix.AF_UNIX, unix.SOCK_RAW}, errno(unix.ESOCKTNOSUPPORT)},
		{"socket", none, [6]uint64{unix.AF_INET, unix.SOCK_STREAM}, errno(unix.EACCES)},
		{"socket", none, [6]uint64{unix.AF_INET6, unix.SOCK_STREAM, 262}, errno(unix.EACCES)},
		{"socket", tcp, [6]uint64{unix.AF_INET, unix.SOCK_STREAM}, ok},
		{"socket", tcp, [6]uint64{unix.AF_INET6, unix.SOCK_STREAM | unix.SOCK_NONBLOCK, 6}, ok},
		{"socket", tcp, [6]uint64{dirty | unix.AF_INET, dirty | unix.SOCK_STREAM, dirty | 6}, ok},
		{"socket", tcp, [6]uint64{unix.AF_INET, unix.SOCK_STREAM, 262}, errno(unix.EPROTONOSUPPORT)},  // MPTCP
		{"socket", tcp, [6]uint64{unix.AF_INET6, unix.SOCK_STREAM, 256}, errno(unix.EPROTONOSUPPORT)}, // SMC
		{"socket", tcp, [6]uint64{unix.AF_INET, unix.SOCK_STREAM, dirty | 132}, errno(unix.EPROTONOSUPPORT)},
		{"socket", tcp, [6]uint64{unix.AF_INET, unix.SOCK_DGRAM}, errno(unix.EACCES)},
		{"socket", tcp, [6]uint64{unix.AF_INET, unix.SOCK_RAW | unix.SOCK_CLOEXEC, 6}, errno(unix.EACCES)},
		{"socket", tcp, [6]uint64{unix.AF_INET, unix.SOCK_SEQPACKET, 132}, errno(unix.EACCES)},
		{"socket", tcp, [6]uint64{unix.AF_INET, unix.SOCK_PACKET}, errno(unix.EACCES)}, // becomes AF_PACKET
		{"socket", tcp, [6]uint64{dirty | unix.AF_PACKET, unix.SOCK_RAW}, errno(unix.EAFNOSUPPORT)},
		{"socket", tcp, [6]uint64{unix.AF_NETLINK, unix.SOCK_RAW}, errno(unix.EAFNOSUPPORT)},
		{"socketpair", none, [6]uint64{unix.AF_UNIX, unix.SOCK_STREAM}, ok},
		{"socketpair", none, [6]uint64{30, unix.SOCK_STREAM}, errno(unix.EAFNOSUPPORT)}, // AF_TIPC
		{"sendto", tcp, [6]uint64{3, 0, 0, unix.MSG_NOSIGNAL | unix.MSG_DONTWAIT}, ok},
		{"sendto", tcp, [6]uint64{3, 0, 0, unix.MSG_ZEROCOPY}, ok},
		{"sendto", tcp, [6]uint64{3, 0, 0, unix.MSG_FASTOPEN}, refused},
		{"sendto", tcp, [6]uint64{3, 0, 0, dirty | unix.MSG_FASTOPEN | unix.MSG_NOSIGNAL}, refused},
		{"sendto", tcp, [6]uint64{3, 0, unix.MSG_FASTOPEN, 0, 0, unix.MSG_FASTOPEN}, ok},
		{"sendmsg", tcp, [6]uint64{3, 0, unix.MSG_NOSIGNAL, unix.MSG_FASTOPEN}, ok},
		{"sendmsg", tcp, [6]uint64{3, 0, unix.MSG_FASTOPEN}, refused},
		{"sendmmsg", tcp, [6]uint64{3, 0, unix.MSG_FASTOPEN, unix.MSG_NOSIGNAL}, ok},
		{"sendmmsg", tcp, [6]uint64{3, 0, 1, dirty | unix.MSG_FASTOPEN}, refused},
		{"setsockopt", tcp, [6]uint64{3, unix.SOL_TCP, unix.TCP_NODELAY}, ok},
		{"setsockopt", tcp, [6]uint64{3, unix.SOL_TCP, unix.TCP_FASTOPEN_CONNECT}, ok},
		{"setsockopt", tcp, [6]uint64{3, dirty | unix.SOL_TCP, dirty | unix.TCP_ULP}, errno(unix.ENOENT)},
		{"setsockopt", tcp, [6]uint64{3, unix.SOL_SOCKET, 31}, ok},
		{"setsockopt", tcp, [6]uint64{3, unix.SOL_IP, 64}, refused}, // IPT_SO_SET_REPLACE
		{"setsockopt", tcp, [6]uint64{3, unix.SOL_IP, unix.IP_TOS}, ok},
		{"setsockopt", tcp, [6]uint64{3, unix.SOL_IP, unix.IP_OPTIONS}, refused}, // a source route
		{"setsockopt", tcp, [6]uint64{3, dirty | unix.SOL_IP, dirty | unix.IP_ADD_MEMBERSHIP}, refused},
		{"setsockopt", tcp, [6]uint64{3, unix.SOL_IP, unix.IP_MULTICAST_LOOP}, ok},
		{"setsockopt", tcp, [6]uint64{3, unix.SOL_IP, unix.IP_PKTINFO}, ok},
		{"setsockopt", tcp, [6]uint64{3, unix.SOL_IPV6, unix.IPV6_RTHDR}, refused},
		{"setsockopt", tcp, [6]uint64{3, unix.SOL_IPV6, unix.IPV6_JOIN_GROUP}, refused},
		{"setsockopt", tcp, [6]uint64{3, unix.SOL_IPV6, 32}, refused}, // IPV6_FLOWLABEL_MGR
		{"setsockopt", tcp, [6]uint64{3, unix.SOL_IPV6, unix.IPV6_RECVPKTINFO}, ok},
		{"setsockopt", tcp, [6]uint64{3, unix.SOL_UDP, unix.UDP_SEGMENT}, ok},
		{"setsockopt", tcp, [6]uint64{3, unix.SOL_UDP, unix.UDP_ENCAP}, errno(unix.ENOPROTOOPT)},
		{"setsockopt", tcp, [6]uint64{3, unix.SOL_IPV6, 64}, refused},
		{"setsockopt", tcp, [6]uint64{3, unix.SOL_IPV6, unix.IPV6_V6ONLY}, ok},
		{"setsockopt", tcp, [6]uint64{3, unix.SOL_IPV6, unix.IPV6_TCLASS}, ok},
		{"ioctl", none, [6]uint64{0, unix.TCGETS}, ok},
		{"ioctl", none, [6]uint64{0, unix.TIOCGWINSZ}, ok},
		{"ioctl", none, [6]uint64{0, unix.TIOCSPGRP}, ok},
		{"ioctl", none, [6]uint64{0, unix.TIOCINQ}, ok},
		{"ioctl", none, [6]uint64{0, unix.FICLONE}, ok},
		{"ioctl", none, [6]uint64{0, 0x80086601}, ok}, // FS_IOC_GETFLAGS
		{"ioctl", none, [6]uint64{0, dirty | 0x40086602}, errno(unix.EOPNOTSUPP)},
		{"ioctl", none, [6]uint64{0, 0x40086604}, errno(unix.EOPNOTSUPP)}, // EXT4_IOC_SETVERSION
		{"ioctl", none, [6]uint64{0, 0x5000940f}, errno(unix.EOPNOTSUPP)}, // BTRFS_IOC_SNAP_DESTROY
		{"ioctl", none, [6]uint64{0, 0x401c5820}, errno(unix.EOPNOTSUPP)},
		{"ioctl", none, [6]uint64{0, unix.TIOCSTI}, refused},
		{"ioctl", none, [6]uint64{dirty, dirty | unix.TIOCSTI}, refused},
		{"ioctl", none, [6]uint64{0, dirty | unix.TIOCLINUX}, refused},
		{"ioctl", none, [6]uint64{0, unix.TIOCSETD}, refused},
		{"ioctl", none, [6]uint64{0, unix.TIOCCONS}, refused},
		{"ioctl", none, [6]uint64{0, unix.TIOCSCTTY, 1}, ok},      // script(1)
		{"ioctl", none, [6]uint64{0, 0x4b47}, errno(unix.ENOTTY)}, // KDSKBENT
		{"ioctl", none, [6]uint64{0, 0x5606}, errno(unix.ENOTTY)}, // VT_ACTIVATE
		{"ioctl", none, [6]uint64{0, 0x80044b47}, ok},             // an unlike command that ends so
		{"ioctl", none, [6]uint64{3, unix.SIOCGIFCONF}, ok},
		{"ioctl", none, [6]uint64{3, unix.SIOCSIFADDR}, refused},
		{"ioctl", none, [6]uint64{3, dirty | unix.SIOCADDRT}, refused},
		{"ioctl", none, [6]uint64{3, 0x89a0}, refused}, // SIOCBRADDBR
		{"ioctl", none, [6]uint64{3, unix.SIOCETHTOOL}, errno(unix.EOPNOTSUPP)},
		{"ioctl", none, [6]uint64{3, 0xaa00}, refused},
		{"prctl", none, [6]uint64{unix.PR_SET_NAME}, ok},
		{"prctl", none, [6]uint64{dirty | unix.PR_SET_DUMPABLE}, ok},
		{"prctl", none, [6]uint64{unix.PR_SET_VMA}, ok},
		{"prctl", none, [6]uint64{unix.PR_SET_PTRACER, ^uint64(0)}, ok},
		{"prctl", none, [6]uint64{unix.PR_SET_SECCOMP, 2}, ok},
		{"prctl", none, [6]uint64{dirty | unix.PR_SET_MM, 8}, refused},
		{"prctl", none, [6]uint64{unix.PR_SCHED_CORE, 1}, refused},
		{"prctl", none, [6]uint64{0}, errno(unix.EINVAL)},
		{"prctl", none, [6]uint64{1000}, errno(unix.EINVAL)},
		{"personality", none, [6]uint64{0xffffffff}, ok},
		{"personality", none, [6]uint64{dirty | 0xffffffff}, ok},
		{"personality", none, [6]uint64{0}, ok},
		{"personality", none, [6]uint64{0x40000}, ok},
		{"personality", none, [6]uint64{0x20008}, ok},
		{"personality", none, [6]uint64{0x440000}, refused}, // READ_IMPLIES_EXEC
		{"personality", none, [6]uint64{0x100000}, refused}, // MMAP_PAGE_ZERO
		{"prlimit64", none, [6]uint64{0, 7, 0x7ffe0000}, ok},
		{"prlimit64", none, [6]uint64{dirty, 7, 0x7ffe0000}, ok},
		{"prlimit64", none, [6]uint64{1234, 7, 0, 0x7ffe0000}, ok},
		{"prlimit64", none, [6]uint64{1234, 7, 0x7ffe0000}, refused},
		{"prlimit64", none, [6]uint64{1234, 7, 1 << 32}, refused}, // an address whose low word is 0
		{"setrlimit", none, [6]uint64{10, 0x7ffe0000}, ok},
		{"setpriority", none, [6]uint64{unix.PRIO_PROCESS, 0, 5}, ok},
		{"setpriority", none, [6]uint64{unix.PRIO_PROCESS, 1234, 5}, refused},
		{"setpriority", none, [6]uint64{unix.PRIO_PGRP, 0, 5}, refused},
		{"setpriority", none, [6]uint64{unix.PRIO_USER, 0, 19}, refused},
		{"ioprio_set", none, [6]uint64{1, 0, 0x6000}, ok},
		{"ioprio_set", none, [6]uint64{3, 0, 0x6000}, refused},
		{"sched_setaffinity", none, [6]uint64{dirty}, ok},
		{"sched_setaffinity", none, [6]uint64{1}, refused},
		{"sched_setattr", none, [6]uint64{1}, refused},
		{"unshare", none, [6]uint64{0}, refused},
	}
	for _, a := range arches {
		machines := map[bool]machine{
			tcp:  newMachine(t, compile(t, Spec{Arch: a, InetStream: true})),
			none: newMachine(t, compile(t, Spec{Arch: a})),
		}
		for _, tt := range tests {
			c := call{a.AuditArch(), number(t, a, tt.name), tt.args}
			if got := machines[tt.inet].run(t, c); got != tt.want {
				t.Errorf("%v: %s(%#x) with TCP %v: %s, want %s", a, tt.name, tt.args, tt.inet, actionName(got), actionName(tt.want))
			}
		}
	}
}

// TestSocketFamilies: every family, type and protocol, with each of the kinds of inet sockets.
func TestSocketFamilies(t *testing.T) {
	for _, a := range arches {
		for which := range 16 {
			spec := Spec{Arch: a, InetStream: which&1 != 0, InetUDP: which&2 != 0, InetPing: which&4 != 0, UnixPairs: which&8 != 0}
			m := newMachine(t, compile(t, spec))
			passed, pairs := 0, 0
			for family := range uint64(64) {
				for kind := range uint64(16) {
					for _, protocol := range []uint64{0, 1, 6, 17, 33, 41, 58, 132, 136, 255, 256, 262} {
						c := call{a.AuditArch(), number(t, a, "socket"), [6]uint64{family, kind, protocol}}
						checkCall(t, m, spec, c)
						if m.run(t, c) == retAllow {
							passed++
						}
						if c.nr = number(t, a, "socketpair"); family == unix.AF_UNIX && m.run(t, c) == retAllow {
							pairs++
						}
					}
				}
			}
			want, wantPairs := 3*12, 3*12
			if spec.UnixPairs {
				want, wantPairs = 0, 2*12
			}
			want += which&1*2*2 + which>>1&1*2*2 + which>>2&1*2*2
			if passed != want || pairs != wantPairs {
				t.Errorf("%+v: %d sockets can be made, not %d, and %d unix pairs, not %d", spec, passed, want, pairs, wantPairs)
			}
		}
	}
}

// TestTrap: a trapped syscall keeps the denials of its rule, a refused one stays
// refused, and a deny of the policy comes before the trap.
func TestTrap(t *testing.T) {
	for _, a := range arches {
		m := newMachine(t, compile(t, Spec{
			Arch: a, Trap: []string{"execve", "socket", "sendto", "setsockopt", "ptrace", "clone3", "openat", "fork"},
			Deny: []string{"openat"}, Allow: []string{"syslog"}, InetStream: true,
		}))
		for _, tt := range []struct {
			name string
			args [6]uint64
			want uint32
		}{
			{"execve", [6]uint64{}, retNotify},
			{"execveat", [6]uint64{}, retAllow},
			{"socket", [6]uint64{unix.AF_INET, unix.SOCK_STREAM}, retNotify},
			{"socketpair", [6]uint64{unix.AF_UNIX, unix.SOCK_STREAM}, retAllow},
			{"socket", [6]uint64{unix.AF_PACKET, unix.SOCK_RAW}, retErrno | uint32(unix.EAFNOSUPPORT)},
			{"sendto", [6]uint64{3, 0, 0, 0}, retAllow},
			{"sendto", [6]uint64{3, 0, 0, 0, 0x7ffe0000}, retNotify},
			{"sendto", [6]uint64{3, 0, 0, 0, 1 << 32}, retNotify}, // an address whose low word is 0
			{"sendto", [6]uint64{3, 0, 0, unix.MSG_FASTOPEN}, retErrno | uint32(unix.EPERM)},
			{"sendmmsg", [6]uint64{3, 0, 0, 0}, retAllow},
			{"setsockopt", [6]uint64{3, unix.SOL_SOCKET, unix.SO_SNDTIMEO}, retNotify},
			{"setsockopt", [6]uint64{3, 1<<32 | unix.SOL_SOCKET, 1<<32 | unix.SO_SNDTIMEO_NEW}, retNotify},
			{"setsockopt", [6]uint64{3, unix.SOL_SOCKET, unix.SO_LINGER}, retNotify},
			{"setsockopt", [6]uint64{3, unix.SOL_SOCKET, unix.SO_RCVTIMEO}, retAllow},
			{"setsockopt", [6]uint64{3, unix.SOL_TCP, unix.SO_SNDTIMEO}, retAllow},
			{"setsockopt", [6]uint64{3, unix.SOL_TCP, unix.TCP_FASTOPEN_CONNECT}, retNotify},
			{"setsockopt", [6]uint64{3, unix.SOL_IP, unix.IP_OPTIONS}, retErrno | uint32(unix.EPERM)},
			{"ptrace", [6]uint64{}, retErrno | uint32(unix.EPERM)},
			{"clone3", [6]uint64{}, retErrno | uint32(unix.ENOSYS)},
			{"openat", [6]uint64{}, retErrno | uint32(unix.EPERM)},
			{"syslog", [6]uint64{}, retAllow},
		} {
			if got := m.run(t, call{a.AuditArch(), number(t, a, tt.name), tt.args}); got != tt.want {
				t.Errorf("%v: %s%v: %s, want %s", a, tt.name, tt.args, actionName(got), actionName(tt.want))
			}
		}
	}
}
