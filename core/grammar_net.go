package core

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/sandlock/sandlock/core/internal/landlock"
)

// netProtocol is a protocol that a rule can name.
type netProtocol uint8

const (
	netTCP netProtocol = iota
	netUDP
	netICMP // ping sockets, of both ICMP and ICMPv6
	netProtocols
)

var netProtocolNames = [netProtocols]string{"tcp", "udp", "icmp"}

func (p netProtocol) String() string { return netProtocolNames[p] }

// netRule is one rule of net_allow or net_deny, policy.md section 8.
type netRule struct {
	protocols []netProtocol // without a scheme TCP and UDP
	target    netTarget
	ports     portSet
}

// netTarget is any address when all of it is zero, or one of the others.
type netTarget struct {
	network netip.Prefix // masked; IPv4 as such, not mapped
	host    string       // lower case, without the dot at its end
	private bool
}

func (t netTarget) any() bool { return t == netTarget{} }

func (t netTarget) String() string {
	switch {
	case t.private:
		return privateToken
	case t.host != "":
		return t.host
	case t.network.IsValid() && t.network.IsSingleIP():
		return t.network.Addr().String()
	case t.network.IsValid():
		return t.network.String()
	}
	return "*"
}

// String is the rule in a form that parses to the same.
func (r netRule) String() string {
	scheme := ""
	if len(r.protocols) == 1 {
		scheme = r.protocols[0].String() + "://"
	}
	target := r.target.String()
	if r.ports.any {
		return scheme + target
	}
	if strings.Contains(target, ":") {
		target = "[" + target + "]"
	}
	return scheme + target + ":" + r.ports.list()
}

// privateToken is, in net_deny, every address that is not one of the public Internet.
const privateToken = "private"

// syntaxError is a malformed rule. Offset counts bytes from its start.
type syntaxError struct {
	offset int
	reason string
}

func (e *syntaxError) Error() string { return fmt.Sprintf("at byte %d: %s", e.offset, e.reason) }

// side is the field that a rule stands in.
type side bool

const (
	inAllow side = true
	inDeny  side = false
)

func (s side) field() string {
	if s == inAllow {
		return "net_allow"
	}
	return "net_deny"
}

// parseNetRule reads [scheme://]target[:ports].
func parseNetRule(rule string, on side) (netRule, error) {
	fail := func(offset int, format string, args ...any) (netRule, error) {
		return netRule{}, &syntaxError{offset, fmt.Sprintf(format, args...)}
	}
	r := netRule{protocols: []netProtocol{netTCP, netUDP}}
	body, at := rule, 0
	if i := strings.Index(rule, "://"); i >= 0 {
		p := slices.Index(netProtocolNames[:], strings.ToLower(rule[:i]))
		if p < 0 {
			return fail(0, "unknown scheme %s; there are tcp, udp and icmp", quote(rule[:i]))
		}
		r.protocols = []netProtocol{netProtocol(p)}
		at = i + len("://")
		body = rule[at:]
	}
	if body == "" {
		return fail(at, "there is no target; write a host, an address, or :PORT for any")
	}
	target, ports, portsAt, syntax := splitTarget(body)
	if syntax != nil {
		syntax.offset += at
		return netRule{}, syntax
	}
	if target != "" && target != "*" {
		var reason string
		if r.target, reason = parseTarget(target, on); reason != "" {
			return fail(at, "%s", reason)
		}
	}
	switch {
	case portsAt < 0:
		r.ports.any = true
	case r.protocols[0] == netICMP:
		return fail(at+portsAt, "icmp has no ports")
	default:
		if r.ports, syntax = parseRulePorts(ports); syntax != nil {
			syntax.offset += at + portsAt
			return netRule{}, syntax
		}
	}
	return r, nil
}

// splitTarget splits off the ports; portsAt is where they start, -1 without any.
// Brackets around an IPv6 address are taken off.
func splitTarget(body string) (target, ports string, portsAt int, err *syntaxError) {
	if strings.HasPrefix(body, "[") {
		end := strings.IndexByte(body, ']')
		if end < 0 {
			return "", "", 0, &syntaxError{0, "the [ is not closed"}
		}
		target, rest := body[1:end], body[end+1:]
		if strings.HasPrefix(rest, "/") && !strings.Contains(target, "/") { // [2001:db8::]/32
			colon := strings.IndexByte(rest, ':')
			if colon < 0 {
				colon = len(rest)
			}
			target, rest = target+rest[:colon], rest[colon:]
		}
		if !strings.Contains(target, ":") {
			return "", "", 0, &syntaxError{1, "only an IPv6 address stands in brackets"}
		}
		if rest == "" {
			return target, "", -1, nil
		}
		at := len(body) - len(rest)
		if rest[0] != ':' {
			return "", "", 0, &syntaxError{at, "a : and ports, or nothing, may follow the ]"}
		}
		return target, rest[1:], at + 1, nil
	}
	switch strings.Count(body, ":") {
	case 0:
		return body, "", -1, nil
	case 1:
		target, ports, _ = strings.Cut(body, ":")
		return target, ports, len(target) + 1, nil
	default: // an IPv6 address; ports would need brackets
		return body, "", -1, nil
	}
}

// parseTarget reads a target that is not "any", or says what is wrong with it.
func parseTarget(text string, on side) (t netTarget, reason string) {
	switch {
	case strings.Contains(text, "%"):
		return t, quote(text) + ": an address has no zone here; the address counts, on whichever interface"
	case strings.Contains(text, "/"):
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return t, quote(text) + " is not a network in CIDR notation"
		}
		if network.Addr().Is4In6() && network.Bits() < 96 {
			return t, quote(text) + " is wider than IPv4 in IPv6; write the IPv4 and the IPv6 network as two rules"
		}
		return netTarget{network: unmapPrefix(network)}, ""
	case strings.Contains(text, ":"):
		address, err := netip.ParseAddr(text)
		if err != nil {
			return t, quote(text) + " is not an IPv6 address; with ports write [ADDRESS]:PORT"
		}
		return netTarget{network: single(address)}, ""
	}
	if address, err := netip.ParseAddr(text); err == nil {
		return netTarget{network: single(address)}, ""
	}
	if reason := checkHostName(text); reason != "" {
		return t, reason
	}
	host := strings.ToLower(strings.TrimSuffix(text, "."))
	switch {
	case host == privateToken && on == inDeny:
		return netTarget{private: true}, ""
	case text == privateToken:
		return t, `"private" stands for the internal ranges and belongs into net_deny; a host of that name is "private."`
	case on == inDeny:
		return t, quote(text) + " is a host name, which says nothing about other names of the same address; deny addresses, networks or private"
	}
	return netTarget{host: host}, ""
}

// single is the network of one address; an IPv4 address that is mapped into IPv6 is the
// IPv4 address, since that is where the packets go.
func single(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen())
}

// unmapPrefix does the same to a network.
func unmapPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// parseRulePorts reads a comma list of ports, or * alone.
func parseRulePorts(text string) (portSet, *syntaxError) {
	if text == "*" {
		return portSet{any: true}, nil
	}
	var ranges []landlock.PortRange
	offset := 0
	for part := range strings.SplitSeq(text, ",") {
		if part == "*" {
			return portSet{}, &syntaxError{offset, "* can't be mixed with ports"}
		}
		if part == "" {
			return portSet{}, &syntaxError{offset, "a port is missing"}
		}
		port, err := parsePort(part)
		if err != nil {
			return portSet{}, &syntaxError{offset, quote(part) + " is not a port; there are 1 to 65535"}
		}
		if port == 0 {
			return portSet{}, &syntaxError{offset, "port 0 can't be reached; there are 1 to 65535"}
		}
		ranges = append(ranges, landlock.PortRange{Lo: port, Hi: port})
		offset += len(part) + 1
	}
	return newPortSet(ranges), nil
}

// checkHostName follows RFC 1123, and takes the underscore that names in use have.
func checkHostName(name string) string {
	plain := strings.TrimSuffix(name, ".")
	if plain == "" || len(plain) > 253 {
		return "a host name has 1 to 253 characters"
	}
	digits := true
	for label := range strings.SplitSeq(plain, ".") {
		if label == "" || len(label) > 63 {
			return quote(name) + ": each label of a host name has 1 to 63 characters"
		}
		if strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return quote(name) + ": a label of a host name neither starts nor ends with -"
		}
		digits = true
		for _, c := range []byte(label) {
			letter := 'a' <= c|0x20 && c|0x20 <= 'z'
			digit := '0' <= c && c <= '9'
			if !letter && !digit && c != '-' && c != '_' {
				return quote(name) + " is neither a host name nor an address; a name has letters, digits, - and dots"
			}
			digits = digits && digit
		}
	}
	if digits {
		return quote(name) + " is not an address, and the last label of a host name is not a number"
	}
	return ""
}

// parseNetRules reads net_allow or net_deny; its problems go to f.
func parseNetRules(rules []string, on side, f *faults) []netRule {
	var list []netRule
	for _, text := range rules {
		rule, err := parseNetRule(text, on)
		if err != nil {
			f.add(on.field(), quote(text), "%v", err)
			continue
		}
		list = append(list, rule)
	}
	return list
}
