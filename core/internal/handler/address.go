package handler

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// maxAddress is sizeof(struct sockaddr_storage), beyond which the kernel takes no address.
const maxAddress = 128

const (
	sizeofInet4 = 16 // struct sockaddr_in, ip(7)
	sizeofInet6 = 28 // struct sockaddr_in6, ipv6(7)
	shortInet6  = 24 // the same without the scope, SIN6_LEN_RFC2133 of the kernel
)

// address is what a call names, copied out of its caller.
type address struct {
	family uint16
	raw    []byte // what goes to the kernel: as judged, and nothing else
	to     netip.AddrPort
}

// inetAddress reads an address for a socket of the family, as the kernel does: the errno is the
// kernel's for an address that such a socket does not take. An address that stands for
// the host itself is made the loopback address that the kernel makes of it, so that what
// is judged is what is dialled.
//
// A datagram socket of IPv6 takes IPv4 addresses as well.
func inetAddress(b []byte, s socket) (a address, errno unix.Errno) {
	least := sizeofInet4
	if s.domain == unix.AF_INET6 {
		least = shortInet6
	}
	both := s.domain == unix.AF_INET6 && s.kind == unix.SOCK_DGRAM && s.protocol == unix.IPPROTO_UDP
	switch family := familyOf(b); {
	case len(b) < 2:
		return a, unix.EINVAL
	case family == unix.AF_UNSPEC, family == unix.AF_INET && both:
	case len(b) < least:
		return a, unix.EINVAL
	case int(family) != s.domain:
		return a, unix.EAFNOSUPPORT
	}
	switch a.family = familyOf(b); a.family {
	case unix.AF_UNSPEC:
		a.raw = make([]byte, sizeofInet4)
		return a, 0
	case unix.AF_INET:
		if len(b) < sizeofInet4 {
			return a, unix.EINVAL
		}
		ip := netip.AddrFrom4([4]byte(b[4:8]))
		if ip.IsUnspecified() {
			ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		a.to = netip.AddrPortFrom(ip, binary.BigEndian.Uint16(b[2:]))
		a.raw = make([]byte, sizeofInet4)
		copy(a.raw, b[:4])
		copy(a.raw[4:], ip.AsSlice())
		return a, 0
	case unix.AF_INET6:
		if len(b) < shortInet6 {
			return a, unix.EINVAL
		}
		ip := netip.AddrFrom16([16]byte(b[8:24]))
		switch {
		case ip.IsUnspecified():
			ip = netip.IPv6Loopback()
		case ip.Unmap().IsUnspecified():
			ip = netip.AddrFrom16(netip.AddrFrom4([4]byte{127, 0, 0, 1}).As16())
		}
		a.to = netip.AddrPortFrom(ip, binary.BigEndian.Uint16(b[2:]))
		a.raw = make([]byte, sizeofInet6)
		copy(a.raw, b[:min(len(b), sizeofInet6)])
		copy(a.raw[8:], ip.AsSlice())
		return a, 0
	}
	return a, unix.EAFNOSUPPORT
}

// datagramAddress reads the address of a message; without a raw one it has none, and goes
// where the socket is connected to. udp_sendmsg() and udpv6_sendmsg() of the kernel differ in
// what AF_UNSPEC means: to the one it is an IPv4 address, to the other none; and in the errno
// for a family that is none of the Internet's.
func datagramAddress(b []byte, s socket, p Protocol) (address, unix.Errno) {
	switch family := familyOf(b); {
	case len(b) == 0:
		return address{}, 0
	case p == UDP && s.domain == unix.AF_INET6 && family != unix.AF_UNSPEC && family != unix.AF_INET && family != unix.AF_INET6:
		return address{}, unix.EINVAL
	case family != unix.AF_UNSPEC:
	case len(b) < 2:
		return address{}, unix.EINVAL
	case p != UDP:
		return address{}, unix.EAFNOSUPPORT
	case s.domain == unix.AF_INET6:
		return address{}, 0
	default:
		b = append([]byte(nil), b...)
		binary.NativeEndian.PutUint16(b, unix.AF_INET)
	}
	return inetAddress(b, s)
}

// undialled is an address by which a TCP socket that is connecting learns how that went,
// and no other connects: the kernel looks at the address only in a socket that is not
// connecting, __inet_stream_connect() of its net/ipv4/af_inet.c, and no TCP goes to a
// multicast group. Else, whoever takes a connect back (AF_UNSPEC) while its caller waits would
// have it made once more, by a verdict that may no longer hold.
func (a address) undialled() address {
	group := []byte{224, 0, 0, 1}
	at := 4
	if a.family == unix.AF_INET6 {
		group, at = netip.IPv6LinkLocalAllNodes().AsSlice(), 8
	}
	a.raw = append([]byte(nil), a.raw...)
	copy(a.raw[at:], group)
	return a
}

func familyOf(b []byte) uint16 {
	if len(b) < 2 {
		return 0
	}
	return binary.NativeEndian.Uint16(b)
}

// shown is the address as events have it: IPv4 as such, without a zone.
func (a address) shown() netip.AddrPort {
	return netip.AddrPortFrom(a.to.Addr().Unmap(), a.to.Port())
}
