package bpf

import "golang.org/x/sys/unix"

// typeMask is SOCK_TYPE_MASK, linux/net.h: the rest of the type is flags.
const typeMask = 0xf

// writeSocket: socket(2) and socketpair(2), whose arguments are alike ints.
//   - AF_UNIX: the three types there are. SOCK_RAW would be a SOCK_DGRAM.
//   - AF_INET, AF_INET6: TCP, where the policy has a rule for it. Other types carry
//     addresses that no rule judges. Other stream protocols (MPTCP, SMC, SCTP) reach
//     TCP peers unseen by Landlock; on EPROTONOSUPPORT software falls back to TCP.
//   - Every other family is answered as by a kernel without it. libc and Chromium do
//     without AF_NETLINK then.
func writeSocket(c *compiler, pass label) {
	local, inet := c.label("unix socket"), c.label("inet socket")
	internet := inet
	if !c.spec.InetStream {
		internet = c.errno(unix.EACCES)
	}
	unsupported := c.errno(unix.EAFNOSUPPORT)
	c.load(low(0))
	c.branch(unsupported, single(unix.AF_UNIX, local), single(unix.AF_INET, internet), single(unix.AF_INET6, internet))
	if c.spec.InetStream {
		c.place(inet)
		c.load(low(1))
		c.and(typeMask)
		c.ifEqual(unix.SOCK_STREAM, next, c.errno(unix.EACCES))
		c.load(low(2))
		c.ifEqual(unix.IPPROTO_IP, pass, next)
		c.ifEqual(unix.IPPROTO_TCP, pass, c.errno(unix.EPROTONOSUPPORT))
	}
	c.place(local)
	c.load(low(1))
	c.and(typeMask)
	c.ifEqual(unix.SOCK_STREAM, pass, next)
	c.ifEqual(unix.SOCK_DGRAM, pass, next)
	c.ifEqual(unix.SOCK_SEQPACKET, pass, c.errno(unix.ESOCKTNOSUPPORT))
}

// writeSend: a send with MSG_FASTOPEN connects to an address that connect(2) and so
// Landlock never sees. TCP_FASTOPEN_CONNECT still calls connect(2) and stays. The
// flags of the messages of sendmmsg(2) are for the kernel to write, not to read.
func writeSend(flags int) func(*compiler, label) {
	return func(c *compiler, pass label) {
		c.load(low(flags))
		c.ifAny(unix.MSG_FASTOPEN, c.errno(unix.EPERM), pass)
	}
}

// netfilterOptions is where options of SOL_IP belong to packet filters: 64 ip_tables
// and ipvs, 96 arp_tables, 128 ebtables, 200 multicast routing. Those of sockets end
// at 52.
const netfilterOptions = 64

// writeSockopt: setsockopt(2).
//   - TCP_ULP: "smc" turns a TCP socket into one of AF_SMC (Linux 5.17 to 6.19,
//     smc_ulp_init), whose connect(2) Landlock lets pass. The name lies in memory, so
//     all are refused with the errno of an unknown one; on that TLS libraries do
//     without the kernel's TLS.
//   - packet filters, which take no more than an inet socket and CAP_NET_ADMIN:
//     IPT_SO_SET_REPLACE and its like.
func writeSockopt(c *compiler, pass label) {
	tcp, ip, ip6 := c.label("TCP option"), c.label("IP option"), c.label("IPv6 option")
	c.load(low(1))
	c.branch(pass, single(unix.SOL_IP, ip), single(unix.SOL_TCP, tcp), single(unix.SOL_IPV6, ip6))
	c.place(tcp)
	c.load(low(2))
	c.ifEqual(unix.TCP_ULP, c.errno(unix.ENOENT), pass)
	c.place(ip)
	c.load(low(2))
	c.ifAtLeast(netfilterOptions, c.errno(unix.EPERM), pass)
	c.place(ip6)
	c.load(low(2))
	c.branch(pass, interval{64, 65, c.errno(unix.EPERM)}) // IP6T_SO_SET_REPLACE, _ADD_COUNTERS
}
