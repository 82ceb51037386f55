package core

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sandlock/sandlock/core/internal/bpf"
	"github.com/sandlock/sandlock/core/internal/landlock"
)

// netPlan is what a policy says of the network, and who carries it out: Landlock, where a
// port is all that decides, and the supervisor elsewhere.
type netPlan struct {
	reach *reach    // the rules for addresses
	names []netRule // those for names, which the start of a run resolves
	// privateNames: a name may resolve to an address that is not of the public Internet.
	privateNames bool

	// Which inet sockets may be made.
	tcp, udp, icmp bool

	// onBehalf: the supervisor makes each connect(2) of an inet socket, and Landlock lets
	// the sandbox itself make none of TCP.
	onBehalf bool
	// datagrams: … and the sends that name an address or may.
	datagrams bool

	connect portSet // TCP ports that Landlock lets be connected to
	bind    portSet // TCP ports that may be bound and listened on
	// bindOnBehalf: the supervisor makes each bind(2) of TCP, and Landlock lets the sandbox
	// itself make none.
	bindOnBehalf bool
	bindDenied   bool // net_deny_bind says what bind is
	// netlink is the first number of the descriptors that stand for netlink sockets, 0 for
	// none: see handler.Netlink.
	netlink uint32

	portRemap bool // as the policy says
	remap     bool // … and TCP ports that may be bound are virtual ones
}

// bindEvent is the event of a TCP socket that is bound.
const bindEvent = "bind"

// netEvents are the events that name an address to be reached.
var netEvents = []string{"connect", "sendto", "sendmsg", "sendmmsg"}

// compileNet: judgesUnix is that of the plan. A connect or send that may be about a unix
// socket can't be left to the kernel, whatever it is about.
func (p *Policy) compileNet(judgesUnix bool) netPlan {
	var none faults // of a policy that is valid
	allow, deny := parseNetRules(p.NetAllow, inAllow, &none), parseNetRules(p.NetDeny, inDeny, &none)
	n := netPlan{bind: parseBindPorts(p.NetAllowBind, &none), privateNames: p.NetAllowPrivateNames}
	n.names = slices.DeleteFunc(slices.Clone(allow), func(r netRule) bool { return r.target.host == "" })
	allow = slices.DeleteFunc(allow, func(r netRule) bool { return r.target.host != "" })
	n.reach = newReach(allow, deny)
	if len(allow) == 0 && len(n.names) > 0 {
		n.reach.open = [netProtocols]bool{} // net_deny does not stand alone
	}
	if n.bindDenied = len(p.NetDenyBind) > 0; n.bindDenied {
		n.bind = parseDeniedPorts(p.NetDenyBind, &none)
	}
	n.portRemap = p.PortRemap
	n.remap = p.PortRemap && !n.bind.empty()
	n.bindOnBehalf = !n.bind.empty() && (n.remap || n.bindDenied || slices.Contains(p.events(), bindEvent))
	n.tcp = n.some(netTCP) || !n.bind.empty()
	n.udp, n.icmp = n.some(netUDP), n.some(netICMP)

	asked := slices.ContainsFunc(netEvents, func(name string) bool { return slices.Contains(p.events(), name) })
	var byPort [netProtocols]bool // decides alone
	var ports [netProtocols]portSet
	for protocol := range netProtocols {
		ports[protocol], byPort[protocol] = n.byPort(protocol)
	}
	// Of UDP and ICMP only all or nothing needs nobody to decide.
	free := func(protocol netProtocol) bool {
		return !n.some(protocol) || byPort[protocol] && ports[protocol].any && !asked && !judgesUnix
	}
	n.datagrams = !free(netUDP) || !free(netICMP)
	n.onBehalf = n.datagrams || n.some(netTCP) && (!byPort[netTCP] || asked || n.remap || judgesUnix)
	if p.RecordDenials && n.tcp {
		n.onBehalf, n.bindOnBehalf = true, true
	}
	if !n.onBehalf {
		n.connect = ports[netTCP]
	}
	return n
}

// some reports whether anything of the protocol may be reached.
func (n *netPlan) some(p netProtocol) bool {
	return n.reach.some(p) || slices.ContainsFunc(n.names, func(r netRule) bool { return slices.Contains(r.protocols, p) })
}

// byPort returns the ports that may be reached, when the port is all that decides.
func (n *netPlan) byPort(p netProtocol) (portSet, bool) {
	set, ok := n.reach.byPort(p)
	ok = ok && !slices.ContainsFunc(n.names, func(r netRule) bool { return slices.Contains(r.protocols, p) })
	return set, ok
}

// compileNetlink has netlink sockets where there are sockets of the Internet, and somebody who
// asks what they may be bound to. Their numbers are the last that select(2) takes, or that the
// policy lets there be.
func (p *Policy) compileNetlink(n *netPlan, k Kernel) {
	const highest, least = 1024, 128
	limit := uint32(highest)
	if p.MaxOpenFiles != nil {
		limit = min(limit, *p.MaxOpenFiles)
	}
	if (n.tcp || n.udp || n.icmp) && k.AddFDSend && k.ListenerProblem == "" && k.traces() && limit >= least {
		n.netlink = limit - bpf.NetlinkNumbers
	}
}

// grant says what Landlock has to let through.
func (n *netPlan) grant(g *landlock.Grants) {
	g.Connect, g.ConnectAny = n.connect.ranges, n.connect.any
	if !n.bindOnBehalf {
		g.Bind, g.BindAny = n.bind.ranges, n.bind.any
	}
}

// traps are the calls that the supervisor makes.
func (n *netPlan) traps() (calls []string) {
	if n.onBehalf {
		calls = append(calls, "connect")
	}
	if n.bindOnBehalf {
		calls = append(calls, bindEvent)
	}
	if n.remap {
		calls = append(calls, "getsockname", "getpeername")
	}
	if n.datagrams {
		calls = append(calls, "sendto", "sendmsg", "sendmmsg")
	}
	return calls
}

func (n *netPlan) String() string {
	who := "in the kernel"
	switch {
	case n.datagrams:
		who = "connects and datagrams by the supervisor"
	case n.onBehalf:
		who = "connects by the supervisor"
	}
	lines := []string{who}
	if n.bindOnBehalf {
		lines = append(lines, "tcp binds by the supervisor")
	}
	if n.netlink != 0 {
		lines = append(lines, fmt.Sprintf("netlink sockets, which know loopback alone, as descriptors %d to %d", n.netlink, n.netlink+bpf.NetlinkNumbers-1))
	}
	if text := n.reach.String(); text != "" {
		lines = append(lines, text)
	}
	for _, rule := range n.names {
		lines = append(lines, "name: allow "+rule.String())
	}
	return strings.ReplaceAll(strings.Join(lines, "\n"), "\n", "\n  ")
}

// checkNet looks at net_allow and net_deny.
func (p *Policy) checkNet(f *faults) {
	parseNetRules(p.NetDeny, inDeny, f)
	parseNetRules(p.NetAllow, inAllow, f)
	parseDeniedPorts(p.NetDenyBind, f)
	if len(p.NetAllowBind) > 0 && len(p.NetDenyBind) > 0 {
		f.add("net_deny_bind", quote(p.NetDenyBind[0]), "together with net_allow_bind, which says what may be bound; leave one of them out")
	}
}
