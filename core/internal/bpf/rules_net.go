package bpf

import "golang.org/x/sys/unix"

// typeMask is SOCK_TYPE_MASK, linux/net.h: the rest of the type is flags.
const typeMask = 0xf

// NetlinkNumbers is how many numbers of descriptors may be netlink sockets, see Spec.Netlink.
const NetlinkNumbers = 32

// netlinkRule: what names a descriptor that may be a netlink socket is for the listener.
var netlinkRule = rule{name: "netlink socket", write: writeNetlink}

func writeNetlink(c *compiler, pass label) {
	c.load(low(0))
	c.branch(pass, interval{c.spec.Netlink, c.spec.Netlink + NetlinkNumbers - 1, c.ret(retNotify)})
}

// writeSocket: socket(2) and socketpair(2), whose arguments are alike ints.
//   - AF_UNIX: the three types there are. SOCK_RAW would be a SOCK_DGRAM. Under UnixPairs
//     those alone that can reach nothing but their other end: a stream of a pair is connected
//     for good, while a datagram can be sent to any name.
//   - AF_INET, AF_INET6: TCP, UDP and ping sockets, each where the policy has a rule for
//     it. Other types carry addresses that no rule judges. Other stream protocols (MPTCP,
//     SMC, SCTP) reach TCP peers unseen by Landlock; on EPROTONOSUPPORT software falls
//     back to TCP.
//   - AF_NETLINK: sockets of rtnetlink(7), where the listener makes them.
//   - Every other family is answered as by a kernel without it. libc and Chromium do
//     without AF_NETLINK then.
func writeSocket(name string) func(*compiler, label) {
	return func(c *compiler, pass label) { writeFamilies(c, pass, name == "socketpair") }
}

func writeFamilies(c *compiler, pass label, pair bool) {
	withNetlink := !pair && c.spec.Netlink != 0
	local, inet := c.label("unix socket"), c.label("inet socket")
	internet := inet
	if !c.spec.InetStream && !c.spec.InetUDP && !c.spec.InetPing {
		internet = c.errno(unix.EACCES)
	}
	unsupported := c.errno(unix.EAFNOSUPPORT)
	c.load(low(0))
	netlink := unsupported
	if withNetlink {
		netlink = c.label("netlink")
	}
	c.branch(unsupported, single(unix.AF_UNIX, local), single(unix.AF_INET, internet), single(unix.AF_INET6, internet), single(unix.AF_NETLINK, netlink))
	if withNetlink {
		c.place(netlink)
		c.load(low(2))
		c.ifEqual(unix.NETLINK_ROUTE, next, unsupported)
		c.load(low(1))
		c.and(typeMask)
		c.branch(unsupported, interval{unix.SOCK_DGRAM, unix.SOCK_RAW, c.ret(retNotify)})
	}
	if internet == inet {
		c.place(inet)
		writeInet(c, pass)
	}
	c.place(local)
	c.load(low(1))
	c.and(typeMask)
	refused, stream, datagram := c.errno(unix.EACCES), pass, pass
	if c.spec.UnixPairs {
		datagram = refused
		if !pair {
			stream = refused
		}
	}
	c.branch(c.errno(unix.ESOCKTNOSUPPORT),
		single(unix.SOCK_STREAM, stream), single(unix.SOCK_DGRAM, datagram), single(unix.SOCK_SEQPACKET, stream))
}

// writeInet looks at type and protocol of an inet socket.
func writeInet(c *compiler, pass label) {
	refused := c.errno(unix.EACCES)
	stream, datagram := refused, refused
	if c.spec.InetStream {
		stream = c.label("TCP socket")
	}
	if c.spec.InetUDP || c.spec.InetPing {
		datagram = c.label("datagram socket")
	}
	c.load(low(1))
	c.and(typeMask)
	c.branch(refused, single(unix.SOCK_STREAM, stream), single(unix.SOCK_DGRAM, datagram))
	if c.spec.InetStream {
		c.place(stream)
		c.load(low(2))
		c.ifEqual(unix.IPPROTO_IP, pass, next)
		c.ifEqual(unix.IPPROTO_TCP, pass, c.errno(unix.EPROTONOSUPPORT))
	}
	if datagram == refused {
		return
	}
	udp, ping := refused, refused
	if c.spec.InetUDP {
		udp = pass
	}
	if c.spec.InetPing {
		ping = pass
	}
	c.place(datagram)
	c.load(low(2))
	c.branch(refused, single(unix.IPPROTO_IP, udp), single(unix.IPPROTO_ICMP, ping), single(unix.IPPROTO_UDP, udp), single(unix.IPPROTO_ICMPV6, ping))
}

// writeSend: a send with MSG_FASTOPEN connects to an address that connect(2) and so
// Landlock never sees. TCP_FASTOPEN_CONNECT still calls connect(2) and stays. The
// flags of the messages of sendmmsg(2) are for the kernel to write, not to read.
//
// A trapped sendto(2) without an address goes where connect(2) has led, and is let through.
func writeSend(name string, flags int) func(*compiler, label) {
	return func(c *compiler, pass label) {
		netlink := c.spec.Netlink != 0 && name != "sendmmsg"
		trapped := name == "sendto" && c.trap[name]
		rest := pass
		if trapped || netlink {
			rest = next
		}
		c.load(low(flags))
		c.ifAny(unix.MSG_FASTOPEN, c.errno(unix.EPERM), rest)
		if netlink {
			rest = pass
			if trapped {
				rest = c.label("no netlink socket")
			}
			writeNetlink(c, rest)
			if trapped {
				c.place(rest)
			}
		}
		if trapped {
			c.load(low(4))
			c.ifEqual(0, next, pass)
			c.load(high(4))
			c.ifEqual(0, c.ret(retAllow), pass)
		}
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
//   - routes in packets: IP_OPTIONS with a source route, and the routing headers of IPv6,
//     have a packet go to another address first than the one that was dialled; a flow
//     label (IPV6_FLOWLABEL_MGR) can carry such a header.
//   - multicast groups: joining one tells the network its address (IGMP, MLD), which is
//     datagrams that no rule judges.
//   - UDP's encapsulations, which take packets for other protocols of the kernel.
//
// Where it is trapped, only SO_SNDTIMEO, SO_LINGER and TCP_FASTOPEN_CONNECT are.
func writeSockopt(c *compiler, pass label) {
	tcp, ip, ip6, udp := c.label("TCP option"), c.label("IP option"), c.label("IPv6 option"), c.label("UDP option")
	refused, unknown := c.errno(unix.EPERM), c.errno(unix.ENOPROTOOPT)
	rest, own := pass, pass
	if c.trap["setsockopt"] {
		rest, own = c.ret(retAllow), c.label("socket's own option")
	}
	c.load(low(1))
	c.branch(rest, single(unix.SOL_SOCKET, own), single(unix.SOL_IP, ip), single(unix.SOL_TCP, tcp), single(unix.SOL_UDP, udp), single(unix.SOL_IPV6, ip6))
	c.place(tcp)
	c.load(low(2))
	c.branch(rest, single(unix.TCP_FASTOPEN_CONNECT, pass), single(unix.TCP_ULP, c.errno(unix.ENOENT)))
	c.place(ip)
	c.load(low(2))
	c.branch(rest, single(unix.IP_OPTIONS, refused),
		interval{unix.IP_ADD_MEMBERSHIP, unix.MCAST_MSFILTER, refused}, // and what lies between
		interval{netfilterOptions, ^uint32(0), refused})
	c.place(ip6)
	c.load(low(2))
	c.branch(rest,
		interval{ipv6OldRouting, ipv6OldOptions, refused},
		single(unix.IPV6_JOIN_GROUP, refused), single(unix.IPV6_JOIN_ANYCAST, refused), single(ipv6FlowLabel, refused),
		interval{mcastJoinGroup, unix.MCAST_MSFILTER, refused},
		interval{unix.IPV6_HOPOPTS, unix.IPV6_RTHDRDSTOPTS, refused}, single(unix.IPV6_RTHDR, refused), single(unix.IPV6_DSTOPTS, refused),
		interval{64, 65, refused}) // IP6T_SO_SET_REPLACE, _ADD_COUNTERS
	c.place(udp)
	c.load(low(2))
	c.branch(unknown, single(unix.UDP_CORK, rest), interval{udpNoCheck6TX, unix.UDP_GRO, rest})
	if own != pass {
		c.place(own)
		c.load(low(2))
		c.branch(rest, single(unix.SO_LINGER, pass), single(unix.SO_SNDTIMEO, pass), single(unix.SO_SNDTIMEO_NEW, pass))
	}
}

// Of linux/in6.h, linux/in.h and linux/udp.h.
const (
	ipv6OldRouting = 5 // IPV6_2292RTHDR
	ipv6OldOptions = 6 // IPV6_2292PKTOPTIONS
	ipv6FlowLabel  = 32
	mcastJoinGroup = 42
	udpNoCheck6TX  = 101
)
