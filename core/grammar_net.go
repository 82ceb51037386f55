package core

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/sandlock/sandlock/core/internal/landlock"
)

// netRule is one rule of net_allow, policy.md section 8.
type netRule struct {
	scheme string // tcp, udp, icmp; "" is one TCP and one UDP rule
	target string // "" is any
	ports  []uint16
	// allPorts: the rule names no port, or *.
	allPorts bool
}

// built reports whether this library carries such a rule out yet.
func (r netRule) built() bool {
	return r.scheme == "tcp" && r.target == "" && !r.allPorts
}

// syntaxError is a malformed rule. Offset counts bytes from its start.
type syntaxError struct {
	offset int
	reason string
}

func (e *syntaxError) Error() string { return fmt.Sprintf("at byte %d: %s", e.offset, e.reason) }

// parseNetRule reads [scheme://]target[:ports].
func parseNetRule(rule string) (netRule, error) {
	fail := func(offset int, format string, args ...any) (netRule, error) {
		return netRule{}, &syntaxError{offset, fmt.Sprintf(format, args...)}
	}
	r := netRule{}
	body, at := rule, 0
	if i := strings.Index(rule, "://"); i >= 0 {
		r.scheme = strings.ToLower(rule[:i])
		if !slices.Contains([]string{"tcp", "udp", "icmp"}, r.scheme) {
			return fail(0, "unknown scheme %s; there are tcp, udp and icmp", quote(rule[:i]))
		}
		at = i + len("://")
		body = rule[at:]
	}
	if body == "" {
		return fail(at, "there is no target; write a host, an address, or :PORT for any")
	}

	target, ports, portsAt, err := splitTarget(body)
	if err != nil {
		err.offset += at
		return netRule{}, err
	}
	if target != "" && target != "*" {
		if reason := checkTarget(target); reason != "" {
			return fail(at, "%s", reason)
		}
		r.target = target
	}
	switch {
	case portsAt < 0:
		r.allPorts = true
	case r.scheme == "icmp":
		return fail(at+portsAt, "icmp has no ports")
	case ports == "*":
		r.allPorts = true
	default:
		offset := at + portsAt
		for part := range strings.SplitSeq(ports, ",") {
			if part == "*" {
				return fail(offset, "* can't be mixed with ports")
			}
			if part == "" {
				return fail(offset, "a port is missing")
			}
			port, err := parsePort(part)
			if err != nil {
				return fail(offset, "%s is not a port; there are 1 to 65535", quote(part))
			}
			if port == 0 {
				return fail(offset, "port 0 can't be reached; there are 1 to 65535")
			}
			r.ports = append(r.ports, port)
			offset += len(part) + 1
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

// checkTarget says what is wrong with a target that is not "any".
func checkTarget(target string) string {
	if strings.Contains(target, "/") {
		if _, err := netip.ParsePrefix(target); err != nil {
			return quote(target) + " is not a network in CIDR notation"
		}
		return ""
	}
	if strings.Contains(target, ":") {
		if _, err := netip.ParseAddr(target); err != nil {
			return quote(target) + " is not an IPv6 address; with ports write [ADDRESS]:PORT"
		}
		return ""
	}
	if _, err := netip.ParseAddr(target); err == nil {
		return ""
	}
	return checkHostName(target)
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

// parseNetAllow reads net_allow; its problems go to f. What it returns are the
// ports of the TCP rules.
func parseNetAllow(rules []string, f *faults) portSet {
	var ranges []landlock.PortRange
	for _, text := range rules {
		rule, err := parseNetRule(text)
		switch {
		case err != nil:
			f.add("net_allow", quote(text), "%v", err)
		case !rule.built():
			f.add("net_allow", quote(text), "this rule is not built yet: only tcp://:PORT[,PORT…] is")
		}
		if err == nil && rule.built() {
			for _, port := range rule.ports {
				ranges = append(ranges, landlock.PortRange{Lo: port, Hi: port})
			}
		}
	}
	return newPortSet(ranges)
}
