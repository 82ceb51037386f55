package handler

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

var (
	tcp4  = socket{domain: unix.AF_INET, kind: unix.SOCK_STREAM, protocol: unix.IPPROTO_TCP}
	tcp6  = socket{domain: unix.AF_INET6, kind: unix.SOCK_STREAM, protocol: unix.IPPROTO_TCP}
	udp4  = socket{domain: unix.AF_INET, kind: unix.SOCK_DGRAM, protocol: unix.IPPROTO_UDP}
	udp6  = socket{domain: unix.AF_INET6, kind: unix.SOCK_DGRAM, protocol: unix.IPPROTO_UDP}
	ping4 = socket{domain: unix.AF_INET, kind: unix.SOCK_DGRAM, protocol: unix.IPPROTO_ICMP}
)

// packed is a struct sockaddr_in or sockaddr_in6 as it lies in memory.
func packed(family uint16, to string, size int) []byte {
	at := netip.MustParseAddrPort(to)
	b := binary.NativeEndian.AppendUint16(nil, family)
	b = binary.BigEndian.AppendUint16(b, at.Port())
	if at.Addr().Is4() {
		b = append(b, at.Addr().AsSlice()...)
	} else {
		b = append(b, 0, 0, 0, 7) // flow information
		b = append(b, at.Addr().AsSlice()...)
		b = append(b, 3, 0, 0, 0) // scope
	}
	return append(b, make([]byte, maxAddress)...)[:size]
}

func TestInetAddress(t *testing.T) {
	for _, tt := range []struct {
		name  string
		s     socket
		b     []byte
		shown string
		errno unix.Errno
	}{
		{"IPv4", tcp4, packed(unix.AF_INET, "1.2.3.4:80", 16), "1.2.3.4:80", 0},
		{"IPv4, long", tcp4, packed(unix.AF_INET, "1.2.3.4:80", 128), "1.2.3.4:80", 0},
		{"IPv4, short", tcp4, packed(unix.AF_INET, "1.2.3.4:80", 15), "", unix.EINVAL},
		{"any IPv4", tcp4, packed(unix.AF_INET, "0.0.0.0:80", 16), "127.0.0.1:80", 0},
		{"IPv6", tcp6, packed(unix.AF_INET6, "[2001:db8::1]:80", 28), "[2001:db8::1]:80", 0},
		{"IPv6 without a scope", tcp6, packed(unix.AF_INET6, "[2001:db8::1]:80", 24), "[2001:db8::1]:80", 0},
		{"IPv6, short", tcp6, packed(unix.AF_INET6, "[2001:db8::1]:80", 23), "", unix.EINVAL},
		{"any IPv6", tcp6, packed(unix.AF_INET6, "[::]:80", 28), "[::1]:80", 0},
		{"mapped", tcp6, packed(unix.AF_INET6, "[::ffff:1.2.3.4]:80", 28), "1.2.3.4:80", 0},
		{"any mapped", tcp6, packed(unix.AF_INET6, "[::ffff:0.0.0.0]:80", 28), "127.0.0.1:80", 0},
		{"IPv4 on IPv6", tcp6, packed(unix.AF_INET, "1.2.3.4:80", 28), "", unix.EAFNOSUPPORT},
		{"IPv4 on UDP over IPv6", udp6, packed(unix.AF_INET, "1.2.3.4:80", 16), "1.2.3.4:80", 0},
		{"IPv6 on IPv4", tcp4, packed(unix.AF_INET6, "[::1]:80", 28), "", unix.EAFNOSUPPORT},
		{"another family", tcp4, packed(99, "1.2.3.4:80", 16), "", unix.EAFNOSUPPORT},
		{"nothing", tcp4, nil, "", unix.EINVAL},
		{"half a family", tcp4, []byte{2}, "", unix.EINVAL},
	} {
		a, errno := inetAddress(tt.b, tt.s)
		if errno != tt.errno || errno == 0 && a.shown().String() != tt.shown {
			t.Errorf("%s: %v, errno %v", tt.name, a.to, errno)
		}
	}
	if a, errno := inetAddress(packed(unix.AF_UNSPEC, "1.2.3.4:80", 16), tcp4); errno != 0 || a.family != unix.AF_UNSPEC || a.to.IsValid() {
		t.Errorf("AF_UNSPEC: %+v, %v", a, errno)
	}
}

func TestDatagramAddress(t *testing.T) {
	unspecified := packed(unix.AF_UNSPEC, "1.2.3.4:80", 16)
	before := bytes.Clone(unspecified)
	if a, errno := datagramAddress(unspecified, udp4, UDP); errno != 0 || a.shown().String() != "1.2.3.4:80" || !bytes.Equal(unspecified, before) {
		t.Errorf("AF_UNSPEC is an IPv4 address: %+v, %v", a, errno)
	}
	if a, errno := datagramAddress(unspecified, udp6, UDP); errno != 0 || a.raw != nil {
		t.Errorf("… and on IPv6 none: %+v, %v", a, errno)
	}
	if _, errno := datagramAddress(unspecified, ping4, ICMP); errno != unix.EAFNOSUPPORT {
		t.Errorf("… and none that ping takes: %v", errno)
	}
	if a, errno := datagramAddress(nil, udp4, UDP); errno != 0 || a.raw != nil {
		t.Errorf("no address: %+v, %v", a, errno)
	}
}

// Whatever lies in memory: what goes to the kernel says what was judged.
func FuzzAddress(f *testing.F) {
	f.Add(packed(unix.AF_INET, "0.0.0.0:80", 16), false, false)
	f.Add(packed(unix.AF_INET6, "[::ffff:0.0.0.0]:80", 28), true, true)
	f.Add(packed(unix.AF_UNSPEC, "1.2.3.4:80", 16), true, false)
	f.Fuzz(func(t *testing.T, b []byte, six, udp bool) {
		s := map[[2]bool]socket{{false, false}: tcp4, {true, false}: tcp6, {false, true}: udp4, {true, true}: udp6}[[2]bool{six, udp}]
		a, errno := inetAddress(b, s)
		if udp {
			a, errno = datagramAddress(b, s, UDP)
		}
		if errno != 0 || a.raw == nil || a.family == unix.AF_UNSPEC {
			return
		}
		again, errno := inetAddress(a.raw, s)
		if errno != 0 || again.to != a.to || !bytes.Equal(again.raw, a.raw) {
			t.Errorf("%x: %v, and what goes to the kernel is %v (%v)", b, a.to, again.to, errno)
		}
		if to := a.shown().Addr(); to.IsUnspecified() || to.Is4In6() || to.Zone() != "" {
			t.Errorf("%x: judged as %v", b, to)
		}
	})
}

func control(list ...controlMessage) (b []byte) {
	for _, m := range list {
		whole := binary.NativeEndian.AppendUint64(nil, uint64(sizeofCmsghdr+len(m.data)))
		whole = binary.NativeEndian.AppendUint32(whole, uint32(m.level))
		whole = binary.NativeEndian.AppendUint32(whole, uint32(m.kind))
		b = aligned(b, append(whole, m.data...))
	}
	return b
}

func TestInetControl(t *testing.T) {
	ttl := controlMessage{level: unix.SOL_IP, kind: unix.IP_TTL, data: []byte{9, 0, 0, 0}}
	rights := controlMessage{level: unix.SOL_SOCKET, kind: unix.SCM_RIGHTS, data: []byte{0, 0, 0, 0}}
	segment := controlMessage{level: unix.SOL_UDP, kind: unix.UDP_SEGMENT, data: []byte{100, 0}}
	if got, errno := inetControl(control(ttl, rights, segment)); errno != 0 || !bytes.Equal(got, control(ttl, segment)) {
		t.Errorf("%x, %v", got, errno)
	}
	for name, m := range map[string]controlMessage{
		"IP_RETOPTS": {level: unix.SOL_IP, kind: unix.IP_RETOPTS}, "IPV6_RTHDR": {level: unix.SOL_IPV6, kind: unix.IPV6_RTHDR},
		"IPV6_FLOWINFO": {level: unix.SOL_IPV6, kind: 11}, "SO_MARK": {level: unix.SOL_SOCKET, kind: unix.SO_MARK, data: []byte{1, 0, 0, 0}},
		"another level": {level: 250, kind: 1},
	} {
		if got, errno := inetControl(control(ttl, m)); errno != unix.EPERM {
			t.Errorf("%s: %x, %v", name, got, errno)
		}
	}
	for name, b := range map[string][]byte{
		"too small": binary.NativeEndian.AppendUint64(nil, 8), "too large": binary.NativeEndian.AppendUint64(nil, 1<<40),
	} {
		if _, errno := inetControl(append(b, make([]byte, 24)...)); errno != unix.EINVAL {
			t.Errorf("%s: %v", name, errno)
		}
	}
	if got, errno := inetControl(make([]byte, 15)); errno != 0 || got != nil {
		t.Errorf("less than a header: %x, %v", got, errno)
	}
}

func FuzzControl(f *testing.F) {
	f.Add(control(controlMessage{level: unix.SOL_IP, kind: unix.IP_TTL, data: []byte{9, 0, 0, 0}}))
	f.Add(bytes.Repeat([]byte{0x11, 0, 0, 0, 0, 0, 0, 0}, 5))
	f.Fuzz(func(t *testing.T, b []byte) {
		passed, errno := inetControl(b)
		if errno != 0 {
			return
		}
		list, errno := controlMessages(passed)
		if errno != 0 || len(passed)%8 != 0 {
			t.Fatalf("%x became %x: %v", b, passed, errno)
		}
		for _, m := range list {
			if !inetPassed[[2]int32{m.level, m.kind}] {
				t.Errorf("%x passes level %d, kind %d", b, m.level, m.kind)
			}
		}
	})
}
