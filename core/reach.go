package core

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// reach is what may be reached by the rules of a policy, addresses only: names are
// resolved before. It does not change once it is made.
type reach struct {
	allow, deny [netProtocols][]addrRule
	// open protocols are those of which everything may be reached that is not denied.
	open [netProtocols]bool
}

// addrRule is about some ports of some addresses.
type addrRule struct {
	network netip.Prefix // the zero one is any
	ports   portSet
}

func (r addrRule) matches(a netip.Addr, port uint16) bool {
	return (!r.network.IsValid() || r.network.Contains(a)) && r.ports.contains(port)
}

// newReach makes it of rules without names. net_deny alone opens TCP and UDP.
func newReach(allow, deny []netRule) *reach {
	r := &reach{}
	if len(allow) == 0 && len(deny) > 0 {
		r.open[netTCP], r.open[netUDP] = true, true
	}
	for _, rule := range allow {
		r.add(&r.allow, rule)
	}
	for _, rule := range deny {
		r.add(&r.deny, rule)
	}
	return r
}

func (r *reach) add(to *[netProtocols][]addrRule, rule netRule) {
	networks := []netip.Prefix{rule.target.network}
	if rule.target.private {
		networks = privateNetworks
	}
	for _, p := range rule.protocols {
		for _, network := range networks {
			to[p] = append(to[p], addrRule{network, rule.ports})
		}
	}
}

// with returns a reach that has the addresses of a name besides.
func (r *reach) with(rule netRule, addrs []netip.Addr) *reach {
	more := *r
	for _, p := range rule.protocols {
		more.allow[p] = slices.Clip(more.allow[p])
		for _, a := range addrs {
			more.allow[p] = append(more.allow[p], addrRule{single(a), rule.ports})
		}
	}
	return &more
}

// permits reports whether the address and port may be reached. An IPv4 address that is
// mapped into IPv6 is the IPv4 address; a zone says nothing. ICMP has port 0.
func (r *reach) permits(p netProtocol, a netip.Addr, port uint16) bool {
	a = a.Unmap().WithZone("")
	if !a.IsValid() {
		return false
	}
	matches := func(rule addrRule) bool { return rule.matches(a, port) }
	return !slices.ContainsFunc(r.deny[p], matches) && (r.open[p] || slices.ContainsFunc(r.allow[p], matches))
}

// denies reports whether a rule takes the address and port away.
func (r *reach) denies(p netProtocol, a netip.Addr, port uint16) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(r.deny[p], func(rule addrRule) bool { return rule.matches(a, port) })
}

// some reports whether anything of the protocol may be reached.
func (r *reach) some(p netProtocol) bool { return r.open[p] || len(r.allow[p]) > 0 }

// byPort returns the ports that may be reached, when the port is all that decides.
func (r *reach) byPort(p netProtocol) (portSet, bool) {
	switch {
	case len(r.deny[p]) > 0:
		return portSet{}, false
	case r.open[p]:
		return portSet{any: true}, true
	}
	set := portSet{}
	for _, rule := range r.allow[p] {
		if rule.network.IsValid() {
			return portSet{}, false
		}
		if set.any = set.any || rule.ports.any; !set.any {
			set = newPortSet(append(set.ranges, rule.ports.ranges...))
		}
	}
	return set, true
}

// networks are all that may be reached of any protocol on any port; denials are not
// taken away.
func (r *reach) networks() []netip.Prefix {
	var list []netip.Prefix
	for p := range netProtocols {
		if r.open[p] || slices.ContainsFunc(r.allow[p], func(rule addrRule) bool { return !rule.network.IsValid() }) {
			return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
		}
		for _, rule := range r.allow[p] {
			list = append(list, rule.network)
		}
	}
	return list
}

func (r *reach) String() string {
	var lines []string
	for p := range netProtocols {
		if r.open[p] {
			lines = append(lines, fmt.Sprintf("%v: all but what is denied", p))
		}
		for _, rule := range r.deny[p] {
			lines = append(lines, fmt.Sprintf("%v: deny %v", p, rule))
		}
		for _, rule := range r.allow[p] {
			lines = append(lines, fmt.Sprintf("%v: allow %v", p, rule))
		}
	}
	return strings.Join(lines, "\n")
}

func (r addrRule) String() string {
	return fmt.Sprintf("%v ports %v", netTarget{network: r.network}, r.ports)
}

// internal are the IPv4 ranges that lead to the host itself, to a network that it is in,
// or nowhere: the special-purpose registry of RFC 6890, without the documentation ranges.
var internal = []string{
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
	"192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
}

// internal6 are the same of IPv6: unspecified and loopback, local-use translation
// (RFC 8215), unique local, link-local, site-local, multicast.
var internal6 = []string{"::/127", "64:ff9b:1::/48", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"}

// carriers are the IPv6 networks that carry an IPv4 address right behind their prefix:
// IPv4-compatible addresses, translation (RFC 6052), 6to4 (RFC 3056).
var carriers = []string{"::/96", "64:ff9b::/96", "2002::/16"}

// privateNetworks are what "private" stands for.
var privateNetworks = func() (list []netip.Prefix) {
	for _, text := range internal {
		v4 := netip.MustParsePrefix(text)
		list = append(list, v4)
		for _, text := range carriers {
			carrier := netip.MustParsePrefix(text)
			b := carrier.Addr().As16()
			inside := v4.Addr().As4()
			copy(b[carrier.Bits()/8:], inside[:])
			list = append(list, netip.PrefixFrom(netip.AddrFrom16(b), carrier.Bits()+v4.Bits()))
		}
	}
	for _, text := range internal6 {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}()

// isPrivate reports whether the address is one of them.
func isPrivate(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(privateNetworks, func(p netip.Prefix) bool { return p.Contains(a) })
}
