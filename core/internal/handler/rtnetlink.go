package handler

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// sizeofNlmsg is that of struct nlmsghdr, netlink(7).
const sizeofNlmsg = 16

// netlinkMessage is one request.
type netlinkMessage struct {
	kind, flags uint16
	seq         uint32
	body        []byte
}

// answer is what the kernel of a machine that has only loopback would say to a packet of
// requests, as packets.
func (s *netlinkSocket) answer(b []byte) (packets [][]byte, errno unix.Errno) {
	for len(b) >= sizeofNlmsg {
		size := int(binary.NativeEndian.Uint32(b))
		if size < sizeofNlmsg || size > len(b) {
			return packets, 0 // netlink_rcv_skb() of the kernel's net/netlink/af_netlink.c
		}
		m := netlinkMessage{binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint16(b[6:]), binary.NativeEndian.Uint32(b[8:]), b[sizeofNlmsg:size]}
		if m.flags&unix.NLM_F_REQUEST != 0 && m.kind >= unix.NLMSG_MIN_TYPE {
			if s.looksForFamilies(m) {
				return nil, unix.EPERM
			}
			s.asked = s.asked || m.kind == unix.RTM_GETLINK
			packets = append(packets, s.answerOne(m)...)
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return packets, 0
}

// looksForFamilies reports whether a request is that of glibc's getaddrinfo(3), which wants
// to know which families the machine has addresses of besides loopback (AI_ADDRCONFIG,
// sysdeps/unix/sysv/linux/check_pf.c), and finds no name of a family that it has none of.
// What may be reached is for the rules to say: without an answer it takes all families to be
// there. It is the first request on its socket, and its length counts the padding, which
// Go's does not.
func (s *netlinkSocket) looksForFamilies(m netlinkMessage) bool {
	return m.kind == unix.RTM_GETADDR && !s.asked && len(m.body) == 4
}

func (s *netlinkSocket) answerOne(m netlinkMessage) [][]byte {
	dump := m.flags&unix.NLM_F_DUMP == unix.NLM_F_DUMP
	family := byte(unix.AF_UNSPEC)
	if len(m.body) > 0 {
		family = m.body[0]
	}
	switch {
	case m.kind&3 != 2: // not one of RTM_GET*, rtnetlink_rcv_msg() of the kernel's net/core/rtnetlink.c
		return [][]byte{s.failure(m, unix.EPERM)}
	case dump:
		var all []byte
		switch m.kind {
		case unix.RTM_GETLINK:
			all = s.packet(m, unix.RTM_NEWLINK, unix.NLM_F_MULTI, loopbackLink())
		case unix.RTM_GETADDR:
			if family == unix.AF_UNSPEC || family == unix.AF_INET {
				all = s.packet(m, unix.RTM_NEWADDR, unix.NLM_F_MULTI, loopbackAddress4())
			}
			if family == unix.AF_UNSPEC || family == unix.AF_INET6 {
				all = append(all, s.packet(m, unix.RTM_NEWADDR, unix.NLM_F_MULTI, loopbackAddress6())...)
			}
		}
		done := s.packet(m, unix.NLMSG_DONE, unix.NLM_F_MULTI, make([]byte, 4))
		if len(all) == 0 {
			return [][]byte{done}
		}
		return [][]byte{all, done}
	case m.kind == unix.RTM_GETLINK && isLoopback(m.body):
		packets := [][]byte{s.packet(m, unix.RTM_NEWLINK, 0, loopbackLink())}
		if m.flags&unix.NLM_F_ACK != 0 {
			packets = append(packets, s.failure(m, 0))
		}
		return packets
	case m.kind == unix.RTM_GETLINK:
		return [][]byte{s.failure(m, unix.ENODEV)}
	}
	return [][]byte{s.failure(m, unix.EOPNOTSUPP)}
}

// isLoopback reports whether a struct ifinfomsg, and what follows, names the interface, by
// its index or its name.
func isLoopback(body []byte) bool {
	if len(body) < unix.SizeofIfInfomsg {
		return false
	}
	if index := binary.NativeEndian.Uint32(body[4:]); index != 0 {
		return index == loopbackIndex
	}
	for b := body[unix.SizeofIfInfomsg:]; len(b) >= unix.SizeofRtAttr; {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return false
		}
		if kind := binary.NativeEndian.Uint16(b[2:]); kind == unix.IFLA_IFNAME {
			return string(b[unix.SizeofRtAttr:size]) == "lo\x00" || string(b[unix.SizeofRtAttr:size]) == "lo"
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return false
}

func (s *netlinkSocket) packet(to netlinkMessage, kind, flags uint16, body []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(sizeofNlmsg+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, to.seq)
	b = binary.NativeEndian.AppendUint32(b, s.port)
	b = append(b, body...)
	return append(b, make([]byte, -len(b)&3)...)
}

// failure is a struct nlmsgerr: the errno, and the header of what it is about.
func (s *netlinkSocket) failure(to netlinkMessage, errno unix.Errno) []byte {
	body := binary.NativeEndian.AppendUint32(nil, uint32(-int32(errno)))
	body = binary.NativeEndian.AppendUint32(body, uint32(sizeofNlmsg+len(to.body)))
	body = binary.NativeEndian.AppendUint16(body, to.kind)
	body = binary.NativeEndian.AppendUint16(body, to.flags)
	body = binary.NativeEndian.AppendUint32(body, to.seq)
	body = binary.NativeEndian.AppendUint32(body, s.port)
	const capped = 0x100 // NLM_F_CAPPED: what it was is not repeated
	return s.packet(to, unix.NLMSG_ERROR, capped, body)
}

const (
	loopbackIndex = 1 // in every network namespace
	scopeHost     = 254
	permanent     = unix.IFA_F_PERMANENT
)

func attribute(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	return append(b, make([]byte, -len(b)&3)...)
}

func number(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// loopbackLink is a struct ifinfomsg with the attributes that libc looks at, and counters of
// 0, which programs take to be there.
func loopbackLink() []byte {
	b := []byte{unix.AF_UNSPEC, 0}
	b = binary.NativeEndian.AppendUint16(b, unix.ARPHRD_LOOPBACK)
	b = append(b, number(loopbackIndex)...)
	b = append(b, number(unix.IFF_UP|unix.IFF_LOOPBACK|unix.IFF_RUNNING|unix.IFF_LOWER_UP)...)
	b = append(b, number(0)...)
	b = attribute(b, unix.IFLA_IFNAME, []byte("lo\x00"))
	b = attribute(b, unix.IFLA_TXQLEN, number(1000))
	b = attribute(b, unix.IFLA_OPERSTATE, []byte{0})
	b = attribute(b, unix.IFLA_LINKMODE, []byte{0})
	b = attribute(b, unix.IFLA_MTU, number(65536))
	b = attribute(b, unix.IFLA_QDISC, []byte("noqueue\x00"))
	b = attribute(b, unix.IFLA_ADDRESS, make([]byte, 6))
	b = attribute(b, unix.IFLA_BROADCAST, make([]byte, 6))
	return attribute(b, unix.IFLA_STATS, make([]byte, 24*4)) // struct rtnl_link_stats
}

// loopbackAddress4 and loopbackAddress6 are structs ifaddrmsg with their attributes.
func loopbackAddress4() []byte {
	b := append([]byte{unix.AF_INET, 8, permanent, scopeHost}, number(loopbackIndex)...)
	b = attribute(b, unix.IFA_ADDRESS, []byte{127, 0, 0, 1})
	b = attribute(b, unix.IFA_LOCAL, []byte{127, 0, 0, 1})
	b = attribute(b, unix.IFA_LABEL, []byte("lo\x00"))
	return lasting(b)
}

func loopbackAddress6() []byte {
	b := append([]byte{unix.AF_INET6, 128, permanent, scopeHost}, number(loopbackIndex)...)
	one := make([]byte, 16)
	one[15] = 1
	return lasting(attribute(b, unix.IFA_ADDRESS, one))
}

// lasting adds the flags once more, and a struct ifa_cacheinfo of for ever.
func lasting(b []byte) []byte {
	const forever = ^uint32(0)
	b = attribute(b, unix.IFA_FLAGS, number(permanent))
	return attribute(b, unix.IFA_CACHEINFO, append(append(number(forever), number(forever)...), make([]byte, 8)...))
}
