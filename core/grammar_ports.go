package core

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sandlock/sandlock/core/internal/landlock"
)

// portSet is a set of TCP ports: disjoint ranges in order, or every port.
type portSet struct {
	any    bool
	ranges []landlock.PortRange
}

func (s portSet) contains(port uint16) bool {
	if s.any {
		return true
	}
	i, found := slices.BinarySearchFunc(s.ranges, port, func(r landlock.PortRange, port uint16) int {
		switch {
		case r.Hi < port:
			return -1
		case r.Lo > port:
			return 1
		}
		return 0
	})
	return found && i < len(s.ranges)
}

func (s portSet) empty() bool { return !s.any && len(s.ranges) == 0 }

func (s portSet) String() string {
	if s.any {
		return "any"
	}
	if s.empty() {
		return "none"
	}
	return s.list()
}

// list spells the ranges.
func (s portSet) list() string {
	parts := make([]string, len(s.ranges))
	for i, r := range s.ranges {
		parts[i] = r.String()
	}
	return strings.Join(parts, ",")
}

// newPortSet sorts the ranges and joins those that touch.
func newPortSet(ranges []landlock.PortRange) portSet {
	ranges = slices.Clone(ranges)
	slices.SortFunc(ranges, func(a, b landlock.PortRange) int { return int(a.Lo) - int(b.Lo) })
	var out []landlock.PortRange
	for _, r := range ranges {
		if n := len(out); n > 0 && int(r.Lo) <= int(out[n-1].Hi)+1 {
			out[n-1].Hi = max(out[n-1].Hi, r.Hi)
			continue
		}
		out = append(out, r)
	}
	return portSet{ranges: out}
}

// parsePorts reads one item of the ports grammar of policy.md, section 8: comma
// lists of N and LO-HI, each from 0 to 65535. Port 0 is the request for a port
// that the kernel chooses.
func parsePorts(item string) ([]landlock.PortRange, error) {
	var ranges []landlock.PortRange
	for part := range strings.SplitSeq(item, ",") {
		if part == "" {
			return nil, fmt.Errorf("a part is empty; write N, LO-HI or a comma list of them")
		}
		first, last, isRange := strings.Cut(part, "-")
		lo, err := parsePort(first)
		if err != nil {
			return nil, err
		}
		hi := lo
		if isRange {
			if hi, err = parsePort(last); err != nil {
				return nil, err
			}
			if hi < lo {
				return nil, fmt.Errorf("the range %d-%d is reversed; write %d-%d", lo, hi, hi, lo)
			}
		}
		ranges = append(ranges, landlock.PortRange{Lo: lo, Hi: hi})
	}
	return ranges, nil
}

func parsePort(text string) (uint16, error) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, fmt.Errorf("%s is not a port number; write N, LO-HI or a comma list of them", quote(text))
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("port %s is out of range; the highest is 65535", text)
	}
	return uint16(n), nil
}

// parseDeniedPorts reads net_deny_bind and returns the ports that it leaves. Its problems
// go to f.
func parseDeniedPorts(items []string, f *faults) portSet {
	var ranges []landlock.PortRange
	for _, item := range items {
		if strings.Contains(item, "*") {
			f.add("net_deny_bind", quote(item), "* is for net_allow_bind; without one no port may be bound")
			continue
		}
		part, err := parsePorts(item)
		if err != nil {
			f.add("net_deny_bind", quote(item), "%v", err)
			continue
		}
		ranges = append(ranges, part...)
	}
	return newPortSet(ranges).complement()
}

// complement is every other port.
func (s portSet) complement() portSet {
	if s.any {
		return portSet{}
	}
	if len(s.ranges) == 0 {
		return portSet{any: true}
	}
	var rest []landlock.PortRange
	next := 0
	for _, r := range s.ranges {
		if int(r.Lo) > next {
			rest = append(rest, landlock.PortRange{Lo: uint16(next), Hi: r.Lo - 1})
		}
		next = int(r.Hi) + 1
	}
	if next <= 65535 {
		rest = append(rest, landlock.PortRange{Lo: uint16(next), Hi: 65535})
	}
	return portSet{ranges: rest}
}

// parseBindPorts reads net_allow_bind. Its problems go to f.
func parseBindPorts(items []string, f *faults) portSet {
	var ranges []landlock.PortRange
	stars, ports := 0, 0
	for _, item := range items {
		if strings.Trim(item, "*,") == "" && strings.Contains(item, "*") {
			if !isStars(item) {
				f.add("net_allow_bind", quote(item), "write * alone for every port")
			}
			stars++
			continue
		}
		ports++
		if slices.Contains(strings.Split(item, ","), "*") {
			f.add("net_allow_bind", quote(item), "* can't be mixed with ports; write * alone for every port")
			continue
		}
		part, err := parsePorts(item)
		if err != nil {
			f.add("net_allow_bind", quote(item), "%v", err)
			continue
		}
		ranges = append(ranges, part...)
	}
	if stars > 0 && ports > 0 {
		f.add("net_allow_bind", quote("*"), "* can't be mixed with ports; write * alone for every port")
	}
	if stars > 0 {
		return portSet{any: true}
	}
	return newPortSet(ranges)
}

// isStars holds for "*" and its repetition "*,*".
func isStars(item string) bool {
	for part := range strings.SplitSeq(item, ",") {
		if part != "*" {
			return false
		}
	}
	return true
}
