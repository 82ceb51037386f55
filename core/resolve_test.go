package core

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// answers has names resolved from a table for the time of a test.
func answers(t *testing.T, table map[string][]string) (asked *[]string) {
	t.Helper()
	before := resolve
	asked = &[]string{}
	SetResolver(func(name string) (addrs []netip.Addr, err error) {
		*asked = append(*asked, name)
		texts, ok := table[name]
		if !ok {
			return nil, errors.New("no such host")
		}
		for _, text := range texts {
			addrs = append(addrs, netip.MustParseAddr(text))
		}
		return addrs, nil
	})
	t.Cleanup(func() { SetResolver(before) })
	return asked
}

func TestNamesAreResolvedOnce(t *testing.T) {
	asked := answers(t, map[string][]string{"a.example": {"192.0.2.1", "2001:db8::1"}, "b.example": {"::ffff:192.0.2.2"}})
	p := NewPolicy()
	p.NetAllow = []string{"tcp://A.Example.:443", "udp://a.example:53", "b.example", "198.51.100.1:80", "tcp://localhost:8080"}
	p.NetDeny = []string{"192.0.2.2:25"}
	n := p.compileNet(false)
	r, _, err := n.resolveNames()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(*asked, []string{"a.example", "b.example"}) {
		t.Errorf("asked for %q", *asked)
	}
	for _, tt := range []struct {
		p    netProtocol
		addr string
		port uint16
		want bool
	}{
		{netTCP, "192.0.2.1", 443, true}, {netTCP, "2001:db8::1", 443, true}, {netTCP, "192.0.2.1", 80, false}, {netUDP, "192.0.2.1", 443, false},
		{netUDP, "192.0.2.1", 53, true}, {netTCP, "192.0.2.2", 9, true}, {netUDP, "192.0.2.2", 9, true}, {netTCP, "192.0.2.2", 25, false},
		{netICMP, "192.0.2.2", 0, false}, {netTCP, "198.51.100.1", 80, true}, {netTCP, "192.0.2.3", 443, false},
		{netTCP, "127.0.0.1", 8080, true}, {netTCP, "::1", 8080, true}, {netTCP, "127.0.0.1", 80, false}, {netTCP, "127.0.0.2", 8080, false},
	} {
		if got := r.permits(tt.p, netip.MustParseAddr(tt.addr), tt.port); got != tt.want {
			t.Errorf("%v %s port %d: %t", tt.p, tt.addr, tt.port, got)
		}
	}
	if n.reach.permits(netTCP, netip.MustParseAddr("192.0.2.1"), 443) {
		t.Error("the plan has changed")
	}
}

// A name alone with net_deny does not open the rest.
func TestNamesDoNotOpen(t *testing.T) {
	answers(t, map[string][]string{"a.example": {"192.0.2.1"}})
	p := NewPolicy()
	p.NetAllow, p.NetDeny = []string{"a.example"}, []string{"private"}
	n := p.compileNet(false)
	r, _, err := n.resolveNames()
	if err != nil || r.permits(netTCP, netip.MustParseAddr("192.0.2.9"), 1) || !r.permits(netTCP, netip.MustParseAddr("192.0.2.1"), 1) {
		t.Errorf("%v, %v", err, r)
	}
	if !n.onBehalf || !n.datagrams || n.connect.any {
		t.Errorf("%+v", n)
	}
}

func TestNamesThatAreWrong(t *testing.T) {
	answers(t, map[string][]string{"inside.example": {"192.0.2.1", "10.0.0.1"}, "meta.example": {"fd00:ec2::254"}, "empty.example": {},
		"many.example": slices.Repeat([]string{"192.0.2.1"}, maxResolved+1), "local.example": {"::ffff:127.0.0.1"}})
	for name, want := range map[string]string{
		"none.example": `"none.example" does not resolve`, "inside.example": "resolves to 10.0.0.1, which is not", "meta.example": "resolves to fd00:ec2::254",
		"empty.example": "has no address", "many.example": "has 257 addresses", "local.example": "resolves to 127.0.0.1",
	} {
		p := policy()
		p.NetAllow = []string{"tcp://" + name + ":80"}
		plan, err := p.Compile()
		if err != nil {
			t.Fatal(err)
		}
		_, err = plan.Run(Command{Argv: []string{"true"}, Stdin: -1}, 0)
		var start *StartError
		if !errors.As(err, &start) || start.Step != "net_allow" || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	p := NewPolicy()
	p.NetAllow, p.NetAllowPrivateNames = []string{"inside.example", "meta.example", "none.example", "empty.example"}, true
	n := p.compileNet(false)
	if _, _, err := n.resolveNames(); err == nil || strings.Count(err.Error(), "\n") != 1 || !strings.Contains(err.Error(), "none.example") || !strings.Contains(err.Error(), "empty.example") {
		t.Errorf("both are not told: %v", err)
	}
}
