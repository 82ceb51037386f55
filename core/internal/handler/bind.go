package handler

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"github.com/sandlock/sandlock/core/internal/audit"
	"github.com/sandlock/sandlock/core/internal/notify"
	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// Bind is the [notify.Handler] of bind(2). Landlock denies the sandbox every bind of TCP, or
// where it is made for the sake of names, those of other ports.
// Other sockets may be bound to whatever they like: that of UDP reaches nobody.
func (h *Net) Bind() notify.Handler { return h.handle("bind", h.bind) }

func (h *Net) bind(c *netCall) (int64, unix.Errno) {
	if h.MakesOnly && !h.Denials.Any() {
		return 0, c.letGoOn()
	}
	if errno := c.open(); errno != 0 {
		return 0, errno
	}
	p, inet := c.socket.inet()
	if !inet && c.socket.domain == unix.AF_UNIX {
		return 0, h.bindUnix(c)
	} else if !inet {
		_, errno := h.other(c, false)
		return 0, errno
	}
	b, errno := c.readAddress(c.r.Data.Args[1], int32(c.r.Data.Args[2]))
	if errno != 0 {
		return 0, errno
	}
	if p == TCP {
		if errno := h.judgeBind(c, b); errno != 0 {
			return 0, errno
		}
	}
	if errno := mayBindLow(c, b); errno != 0 {
		return 0, errno
	}
	if !c.r.Valid() {
		return 0, unix.EPERM
	}
	if p == TCP && h.Remap != nil {
		return 0, h.Remap.bind(c, b)
	}
	return 0, errnoOrNone(sys.Bind(c.fd, b))
}

// bindUnix leaves the making of a named socket to the kernel where no name is denied, which
// can bind no TCP socket then, whatever stands in the descriptor's place.
func (h *Net) bindUnix(c *netCall) unix.Errno {
	if h.Makes {
		return h.makeUnix(c)
	}
	if h.ExposedBind {
		own, errno := c.keepsSocket()
		if errno != 0 {
			return errno
		}
		if !own {
			h.Log("bind of task %d denied: without net-tcp, a program with threads can't make named unix sockets where bind is judged", c.r.TID)
			return unix.EPERM
		}
	}
	return c.letGoOn()
}

// boundTo is the address in b, whose port is at the same place in each family. AF_UNSPEC
// counts as AF_INET, inet_bind() of the kernel's net/ipv4/af_inet.c. An address that the
// kernel refuses is the zero one.
func boundTo(b []byte, domain int) netip.AddrPort {
	switch {
	case domain == unix.AF_INET && len(b) >= sizeofInet4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:]))
	case domain == unix.AF_INET6 && len(b) >= shortInet6:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])).Unmap(), binary.BigEndian.Uint16(b[2:]))
	}
	return netip.AddrPort{}
}

func (h *Net) judgeBind(c *netCall, b []byte) unix.Errno {
	to := boundTo(b, c.socket.domain)
	if !to.IsValid() {
		return 0 // the kernel says what is wrong with it
	}
	if !h.MayBind(to.Port()) {
		return c.refuse(unix.EACCES, audit.Refusal{By: audit.ByPort, Protocol: TCP.String(), To: to})
	}
	if h.Asks[c.name] {
		return h.ask(c, TCP, to)
	}
	return 0
}

// mayBindLow keeps the supervisor's privilege from a caller that has given up its own: to
// bind low ports, capabilities(7).
func mayBindLow(c *netCall, b []byte) unix.Errno {
	port := boundTo(b, c.socket.domain).Port()
	if port == 0 || port >= 1024 {
		return 0
	}
	if text, err := sys.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", 64); err == nil {
		first, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err == nil && int(port) >= first {
			return 0
		}
	} else if !errors.Is(err, unix.ENOENT) {
		return unix.EACCES
	}
	caps, err := effective(c.r.TID)
	if err != nil || caps&(1<<unix.CAP_NET_BIND_SERVICE) == 0 {
		return unix.EACCES
	}
	return 0
}
