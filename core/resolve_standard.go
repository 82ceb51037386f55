//go:build !sandlock_capi

package core

import (
	"context"
	"net"
	"net/netip"
)

// standardResolver is Go's. The library that capi makes is without it: it has the host's C
// library ask, and package net would add a poller to a stranger's process.
func standardResolver(name string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(context.Background(), "ip", name)
}
