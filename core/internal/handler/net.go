package handler

import (
	"fmt"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sandlock/sandlock/core/internal/audit"
	"github.com/sandlock/sandlock/core/internal/broker"
	"github.com/sandlock/sandlock/core/internal/notify"
	"golang.org/x/sys/unix"
)

// Protocol is what a socket speaks, of those that rules know.
type Protocol uint8

const (
	TCP Protocol = iota
	UDP
	ICMP // a ping socket, of ICMP or ICMPv6
)

// NetEvent is an address that a task of the sandbox is about to reach.
type NetEvent struct {
	Syscall   string
	PID, PPID uint32
	To        netip.AddrPort // IPv4 as such, without a zone
	Protocol  Protocol
	Who       func() *audit.Who // makes the call
}

// NetDecider has events decided, see [Decider].
type NetDecider interface {
	AskNet(decode func() (*NetEvent, unix.Errno), answer func(unix.Errno))
}

// Net carries out on the caller's behalf what names an address: connect(2), bind(2) and
// the sends. The address is copied once, judged, shown to the policy function, and used;
// the socket is judged and used through a descriptor of the same open file. So nothing
// that the sandbox swaps in between is looked at again.
//
// What is no inet socket goes to the kernel ("continue"), which reads the descriptor and
// the address again. That is safe only while whatever stands there then can do no more:
//   - the ruleset denies every connect(2) and bind(2) of TCP, as the supervisor, which is
//     in no domain, makes them all;
//   - datagrams to inet addresses the kernel can't deny before Landlock ABI 10, and it has no
//     rule for named unix sockets before ABI 9. Where there are such sockets, or TCP is not
//     denied (Exposed), a call goes on only if nobody shares the caller's table of
//     descriptors, which then can't change while it waits; the filter sees to it that only
//     threads share one. Otherwise the call is carried out as well, see unix.go.
//   - what may name a unix socket that is judged (Named) never goes on.
type Net struct {
	// Permits reports whether a thread may reach the address, by the rules as they are now.
	Permits func(p Protocol, to netip.AddrPort, tid uint32) bool
	// Asks are the calls whose addresses are events.
	Asks    map[string]bool
	Decider NetDecider
	Exposed bool
	// MayBind reports whether a TCP port may be bound; ExposedBind is Exposed of bind(2).
	MayBind     func(port uint16) bool
	ExposedBind bool
	// Remap, if not nil, makes the TCP ports of the sandbox virtual ones. Rules and events
	// are about these.
	Remap *Remap
	// Netlink, if not nil, is there for the sandbox's netlink sockets.
	Netlink *Netlink
	// Named: named unix sockets are judged.
	Named bool
	// Makes: a path at which one is made may be denied. MakesOnly: bind(2) is made for the
	// caller for no other reason, and by the kernel while nothing is denied.
	Makes, MakesOnly bool
	// Broker and Denials say which may be reached, and reach them with the caller's
	// credentials.
	Broker  *broker.Broker
	Denials *broker.Denials
	// Abstract finds the sandbox's own socket of an abstract name and a type, and keeps it so
	// until release is called; false: there is none. nil: any abstract socket may be reached.
	Abstract func(name []byte, kind int, caller uint32) (release func(), ok bool)
	// Log takes a sentence for the user.
	Log func(format string, args ...any)
	// Audit, if not nil, is told of what is refused.
	Audit audit.Log

	places chan struct{} // of the calls in work
	asking chan struct{} // of those that wait for a verdict, each with descriptors
	waits  waiting
	// carried are the descriptors on their way through this process, see unixControl.
	carried    atomic.Int32
	maxCarried int32

	mu      sync.Mutex // guards what follows
	changed sync.Cond  // of active and apart
	active  map[*netCall]bool
	apart   int // of active, in the caller's memory or the policy function, which may take for ever
	closed  bool
	sockets map[uint64]*socketLock
}

const (
	// maxActing bounds the calls of one sandbox in work: each is short, as none waits for
	// the network, but all may wait for memory behind FUSE. A call has its descriptors, two
	// and those of its message, only while it has a place here, among those that ask or
	// among those that wait, and it leaves none before it has the next.
	maxActing  = 64
	maxAsking  = 64
	maxWaiting = 256
	maxCarried = 256 // descriptors of messages, see unixControl
)

// NewNet makes a handler; its fields are set before the first call. All bounds together are
// no more than half of the descriptors that this process may have.
func NewNet() *Net {
	room := unix.Rlimit{}
	_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &room)
	bound := func(most, share uint64) int { return int(max(2, min(most, room.Cur/share))) }
	h := &Net{places: make(chan struct{}, bound(maxActing, 48)), asking: make(chan struct{}, bound(maxAsking, 48)),
		active: map[*netCall]bool{}, sockets: map[uint64]*socketLock{}}
	h.waits.places = make(chan struct{}, bound(maxWaiting, 12))
	h.maxCarried = int32(bound(maxCarried, 4))
	h.changed.L = &h.mu
	return h
}

// answered is no errno: the call has its answer.
const answered = unix.Errno(0xffff)

// handle carries f out elsewhere.
func (h *Net) handle(name string, f func(*netCall) (int64, unix.Errno)) notify.Handler {
	return func(r *notify.Request) {
		l := r.Listener()
		l.Hold()
		c := &netCall{r: r, name: name, h: h, pidfd: -1, fd: -1, number: int32(r.Data.Args[0])}
		l.Go(func() func() {
			v, errno := h.run(c, f)
			h.end(c) // first, so that a close(2) that comes next is the last
			l.Release()
			return func() {
				switch errno {
				case 0:
					r.Return(v)
				case answered:
				default:
					r.Errno(errno)
				}
			}
		})
	}
}

func (h *Net) run(c *netCall, f func(*netCall) (int64, unix.Errno)) (v int64, errno unix.Errno) {
	if !h.begin(c) {
		return 0, unix.EPERM
	}
	h.places <- struct{}{}
	defer func() { <-h.places }()
	defer func() {
		if p := recover(); p != nil {
			h.Log("BUG(sandlock): %s of task %d denied, please report: %v\n%s", c.name, c.r.TID, p, debug.Stack())
			v, errno = 0, unix.EPERM
		}
	}()
	return f(c)
}

func (h *Net) begin(c *netCall) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.active[c] = true
	}
	return !h.closed
}

func (h *Net) end(c *netCall) {
	c.close()
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.active, c)
	h.changed.Broadcast()
}

// Close ends what is in work when every task of the sandbox is dead. It waits for all but
// those that are in the memory of a task or in the policy function.
func (h *Net) Close() {
	h.mu.Lock()
	h.closed = true
	for c := range h.active {
		c.interrupt()
	}
	h.mu.Unlock()
	h.waits.close()
	if h.Netlink != nil {
		h.Netlink.close()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.active) > h.apart {
		h.changed.Wait()
	}
}

// wait is [waiting.wait], without a place among the calls in work.
func (h *Net) wait(c *netCall, events int16, deadline time.Time) waitOutcome {
	select {
	case h.waits.places <- struct{}{}:
	default:
		return waitFull
	}
	defer func() { <-h.waits.places }()
	<-h.places
	defer func() { h.places <- struct{}{} }()
	return h.waits.wait(c, events, deadline)
}

// waitFor is wait, and what its end means to a call: 0 is another try. Of what no event tells,
// it returns every now and then. limited: the socket has a timeout.
func (h *Net) waitFor(c *netCall, events int16, deadline time.Time, limited bool) unix.Errno {
	until := deadline
	if next := time.Now().Add(signalTick); events == 0 && (deadline.IsZero() || next.Before(deadline)) {
		until = next
	}
	switch h.wait(c, events, until) {
	case waitReady:
		return 0
	case waitInterrupted:
		if limited {
			return unix.EINTR
		}
		return restart
	case waitGone:
		return unix.EPERM
	case waitTimedOut:
		if until != deadline {
			return 0
		}
	}
	return unix.EAGAIN
}

// outside runs what may take for ever.
func (h *Net) outside(f func()) {
	count := func(by int) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.apart += by
		h.changed.Broadcast()
	}
	count(1)
	defer count(-1)
	f()
}

// judge says whether an address may be reached: by the rules, by the policy function, and
// by the rules that are left when that has answered.
func (h *Net) judge(c *netCall, p Protocol, a address) unix.Errno {
	to := a.shown()
	if p == ICMP {
		to = netip.AddrPortFrom(to.Addr(), 0)
	}
	permitted := h.Permits(p, to, c.r.TID)
	if permitted && h.Asks[c.name] {
		if errno := h.ask(c, p, to); errno != 0 {
			return errno
		}
		permitted = h.Permits(p, to, c.r.TID)
	}
	if !permitted {
		return c.refuse(unix.EACCES, audit.Refusal{By: audit.ByAddress, Protocol: p.String(), To: to})
	}
	if !c.r.Valid() {
		return unix.EPERM
	}
	return 0
}

// refuse tells of a refusal with that errno, and returns it.
func (c *netCall) refuse(errno unix.Errno, x audit.Refusal) unix.Errno {
	x.Syscall, x.Errno = c.name, errno
	refuse(c.h.Audit, c.r, x)
	return errno
}

// ask waits for a verdict, without a place among the calls in work. A call that finds too
// many waiting holds no descriptors until its turn, and then looks at its socket again.
func (h *Net) ask(c *netCall, p Protocol, to netip.AddrPort) unix.Errno {
	reopen := false
	select {
	case h.asking <- struct{}{}:
		<-h.places
	default:
		c.close()
		reopen = true
		<-h.places
		h.asking <- struct{}{}
	}
	verdict := make(chan unix.Errno, 1)
	h.Decider.AskNet(func() (*NetEvent, unix.Errno) {
		t, err := readTask(c.r.TID)
		if err != nil || !c.r.Valid() {
			return nil, unix.EPERM // nobody is there to hear it
		}
		return &NetEvent{Syscall: c.name, PID: t.tgid, PPID: t.ppid, To: to, Protocol: p, Who: Who(c.r)}, 0
	}, func(errno unix.Errno) { verdict <- errno })
	c.parked(true)
	var errno unix.Errno
	h.outside(func() { errno = <-verdict })
	there := c.parked(false)
	h.places <- struct{}{}
	<-h.asking
	if errno == 0 && !reopen && !there {
		return unix.EPERM // the sandbox is over
	}
	if errno == 0 && reopen {
		before := c.socket
		if errno := c.open(); errno != 0 {
			return errno
		}
		if c.socket != before {
			h.Log("%s of task %d denied: another socket stands in its place", c.name, c.r.TID)
			return unix.EPERM
		}
	}
	return errno
}

// other lets a call go on that is not about an inet socket, where that is safe. connects: it
// is a connect(2).
func (h *Net) other(c *netCall, connects bool) (handled bool, errno unix.Errno) {
	if c.socket.domain != unix.AF_UNIX {
		h.Log("%s of task %d denied: a socket of family %d, type %d, protocol %d is none that a rule speaks of",
			c.name, c.r.TID, c.socket.domain, c.socket.kind, c.socket.protocol)
		return true, unix.EACCES
	}
	if h.Named && (connects || c.socket.kind == unix.SOCK_DGRAM) {
		return false, 0 // its address may lead anywhere, and would be read again
	}
	if h.Exposed {
		if own, errno := c.keepsSocket(); !own {
			return errno != 0, errno
		}
	}
	return true, c.letGoOn()
}

// letGoOn has the kernel run the call.
func (c *netCall) letGoOn() unix.Errno {
	c.close() // see handle
	if c.r.Claim() {
		c.r.ContinueClaimed()
	}
	return answered
}

func (p Protocol) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case ICMP:
		return "icmp"
	}
	return fmt.Sprintf("protocol %d", uint8(p))
}
