package core

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/sandlock/sandlock/core/internal/virtual"
)

// Resolver finds the addresses of a host name, as the host's own programs would. It may
// block for as long as that takes.
type Resolver func(name string) ([]netip.Addr, error)

// resolve is the one that starts of runs use.
var resolve Resolver = standardResolver

// SetResolver has names in the rules of net_allow resolved by r. It is to be called before
// any run is started.
func SetResolver(r Resolver) { resolve = r }

// maxResolved bounds the addresses of one name.
const maxResolved = 256

// isLocalhost: RFC 6761 gives these names the loopback addresses, whatever a resolver says.
func isLocalhost(name string) bool {
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

// resolveNames returns what may be reached once the rules for names have their addresses,
// and which these are. The error is a *StartError that tells of every name that is wrong.
func (n *netPlan) resolveNames() (all *reach, pins []virtual.Pin, err error) {
	all = n.reach
	known := map[string][]netip.Addr{}
	var wrong []error
	for _, rule := range n.names {
		name := rule.target.host
		addrs, asked := known[name]
		if !asked {
			var err error
			if addrs, err = n.resolveName(name); err != nil {
				wrong = append(wrong, err)
			}
			known[name] = addrs
			pins = append(pins, virtual.Pin{Name: name, Addresses: addrs})
		}
		all = all.with(rule, addrs)
	}
	if wrong != nil {
		return nil, nil, &StartError{Step: "net_allow", Err: errors.Join(wrong...)}
	}
	return all, pins, nil
}

func (n *netPlan) resolveName(name string) ([]netip.Addr, error) {
	if isLocalhost(name) {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, nil
	}
	start := time.Now()
	addrs, err := resolve(name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s does not resolve (asked for %v): %w", quote(name), time.Since(start).Round(time.Millisecond), err)
	case len(addrs) == 0:
		return nil, fmt.Errorf("%s has no address", quote(name))
	case len(addrs) > maxResolved:
		return nil, fmt.Errorf("%s has %d addresses, of which %d are the most", quote(name), len(addrs), maxResolved)
	}
	for _, a := range addrs {
		if isPrivate(a) && !n.privateNames {
			return nil, fmt.Errorf("%s resolves to %v, which is not an address of the public Internet: net_allow_private_names allows that; or name the address", quote(name), a.Unmap().WithZone(""))
		}
	}
	return addrs, nil
}
