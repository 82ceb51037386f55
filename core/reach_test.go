package core

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// naiveReach judges by the words of the rules. It shares no code with reach: addresses are
// sixteen bytes, rules are texts.
type naiveReach struct{ allow, deny []string }

func (n naiveReach) permits(protocol string, ip net.IP, port int) bool {
	for _, rule := range n.deny {
		if naiveMatch(rule, protocol, ip, port) {
			return false
		}
	}
	for _, rule := range n.allow {
		if naiveMatch(rule, protocol, ip, port) {
			return true
		}
	}
	return len(n.allow) == 0 && len(n.deny) > 0 && protocol != "icmp"
}

// naiveMatch takes the rules that randomRule writes: SCHEME|NETWORK|PORTS.
func naiveMatch(rule, protocol string, ip net.IP, port int) bool {
	part := strings.Split(rule, "|")
	if part[0] != "" && part[0] != protocol || part[0] == "" && protocol == "icmp" {
		return false
	}
	if part[1] != "*" {
		_, network, err := net.ParseCIDR(part[1])
		if err != nil {
			panic(err)
		}
		// net.IPNet takes a mapped network for IPv4, and a mapped address too.
		if !network.Contains(ip) {
			return false
		}
	}
	return part[2] == "*" || slices.Contains(strings.Split(part[2], ","), strconv.Itoa(port))
}

var someNetworks = []string{"*", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "127.0.0.1/32", "0.0.0.0/0", "0.0.0.0/32",
	"::/0", "::1/128", "2001:db8::/32", "2001:db8::1/128", "fe80::/10"}

func randomRule(random *rand.Rand) string {
	scheme := []string{"", "tcp", "udp", "icmp"}[random.IntN(4)]
	ports := []string{"*", "80", "443", "80,443", "1,80"}[random.IntN(5)]
	if scheme == "icmp" {
		ports = "*"
	}
	return scheme + "|" + someNetworks[random.IntN(len(someNetworks))] + "|" + ports
}

// written is the rule in the grammar of policies, in one of its spellings.
func written(random *rand.Rand, rule string) string {
	part := strings.Split(rule, "|")
	scheme, target, ports := part[0], part[1], part[2]
	if scheme != "" {
		scheme += "://"
	}
	if a, _, _ := strings.Cut(target, "/"); !strings.Contains(a, ":") && a != "*" && random.IntN(3) == 0 {
		p := netip.MustParsePrefix(target)
		b := p.Addr().As16()
		target = fmt.Sprintf("%v/%d", netip.AddrFrom16(b), p.Bits()+96)
	}
	if ports == "*" && (scheme == "icmp://" || random.IntN(2) == 0) {
		return scheme + target
	}
	if strings.Contains(target, ":") {
		target = "[" + target + "]"
	}
	return scheme + target + ":" + ports
}

func randomAddress(random *rand.Rand) netip.Addr {
	pick := []string{"10.0.0.1", "10.1.2.3", "10.1.9.9", "127.0.0.1", "0.0.0.0", "8.8.8.8", "::1", "::", "2001:db8::1", "2001:db8::2", "fe80::1", "fec0::1"}
	a := netip.MustParseAddr(pick[random.IntN(len(pick))])
	if a.Is4() && random.IntN(3) == 0 {
		a = netip.AddrFrom16(a.As16()) // mapped
	}
	if a.Is6() && random.IntN(4) == 0 {
		a = a.WithZone("7")
	}
	return a
}

func TestReachAgreesWithANaiveOne(t *testing.T) {
	random := rand.New(rand.NewPCG(6, 6))
	yes, no := 0, 0
	for range 3000 {
		var n naiveReach
		var f faults
		var allow, deny []string
		for range random.IntN(4) {
			rule := randomRule(random)
			n.allow, allow = append(n.allow, rule), append(allow, written(random, rule))
		}
		for range random.IntN(3) {
			rule := randomRule(random)
			n.deny, deny = append(n.deny, rule), append(deny, written(random, rule))
		}
		r := newReach(parseNetRules(allow, inAllow, &f), parseNetRules(deny, inDeny, &f))
		if f.err() != nil {
			t.Fatal(f.err())
		}
		for range 60 {
			p, a := netProtocol(random.IntN(int(netProtocols))), randomAddress(random)
			port := []int{0, 1, 80, 443, 8080}[random.IntN(5)]
			if p == netICMP {
				port = 0
			}
			bytes16 := a.As16()
			want := n.permits(p.String(), net.IP(bytes16[:]), port)
			if got := r.permits(p, a, uint16(port)); got != want {
				t.Fatalf("allow %q deny %q: %v %v port %d: %t, want %t", allow, deny, p, a, port, got, want)
			}
			if want {
				yes++
			} else {
				no++
			}
			if set, ok := r.byPort(p); ok && set.contains(uint16(port)) != want {
				t.Fatalf("allow %q deny %q: by port %v, %v port %d: want %t", allow, deny, set, p, port, want)
			}
			if !r.some(p) && want {
				t.Fatalf("allow %q deny %q: nothing of %v, but %v port %d", allow, deny, p, a, port)
			}
		}
	}
	t.Logf("%d yes, %d no", yes, no)
	if yes < 1000 || no < 1000 {
		t.Errorf("%d yes, %d no: the test asks too little", yes, no)
	}
}

func TestPrivate(t *testing.T) {
	for _, text := range []string{"127.0.0.1", "127.255.255.255", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
		"169.254.169.254", "100.64.0.1", "224.0.0.251", "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "ff02::1",
		"::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::5", "64:ff9b:1::1", "fec0::1"} {
		if !isPrivate(netip.MustParseAddr(text)) {
			t.Errorf("%s is not private", text)
		}
	}
	for _, text := range []string{"1.1.1.1", "172.15.255.255", "172.32.0.1", "192.167.255.255", "100.63.255.255", "100.128.0.1", "223.255.255.255",
		"2606:4700::1111", "2001:4860:4860::8888", "64:ff9b::808:808", "2002:808:808::1", "::ffff:8.8.8.8", "2600::"} {
		if isPrivate(netip.MustParseAddr(text)) {
			t.Errorf("%s is private", text)
		}
	}
}

// private is what Go's own notion of it has, and more.
func TestPrivateHasWhatGoCallsSo(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		b := binary.BigEndian.AppendUint32(nil, random.Uint32())
		a, _ := netip.AddrFromSlice(b)
		if random.IntN(2) == 0 {
			a, _ = netip.AddrFromSlice(bytes.Repeat(b, 4))
		}
		if (a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified()) && !isPrivate(a) {
			t.Fatalf("%v", a)
		}
	}
}
