package core

import (
	"fmt"
	"path"
	"slices"

	"github.com/sandlock/sandlock/core/internal/broker"
	"github.com/sandlock/sandlock/core/internal/handler"
	"github.com/sandlock/sandlock/core/internal/notify"
	"golang.org/x/sys/unix"
)

// unixSockets says what becomes of unix sockets. Landlock has no rule for named ones before
// ABI 9, so the supervisor makes each call that may name one, in a copy of the caller's
// address, unless nothing can be reached, or everything may.
type unixSockets int

const (
	// unixPairs: no policy path could hold a socket, or the kernel can't have the calls made
	// for their callers. The filter lets connected pairs be made, and no other.
	unixPairs unixSockets = iota
	unixJudged
	unixFree // the kernel decides, or unix_allow has everything
)

func (u unixSockets) String() string {
	return [...]string{"pairs only", "by the supervisor", "by the kernel"}[u]
}

// landlockUnix is the ABI that knows named unix sockets, LANDLOCK_ACCESS_FS_RESOLVE_UNIX.
const landlockUnix = 9

func (p *Policy) unixSockets(k Kernel) unixSockets {
	all := slices.ContainsFunc(p.UnixAllow, func(name string) bool { return path.Clean(name) == "/" })
	denies := p.judgesFiles() || p.mayDenyLater(k)
	switch {
	case len(p.FSWritable) == 0 && len(p.UnixAllow) == 0:
		return unixPairs
	case !denies && (all || k.LandlockABI >= landlockUnix):
		return unixFree
	case !k.reachesSockets():
		return unixPairs
	}
	return unixJudged
}

// reachesSockets reports whether the supervisor can take sockets of the sandbox and make
// calls on them.
func (k Kernel) reachesSockets() bool {
	return k.UserNotification && k.ListenerProblem == "" && k.traces() && k.GetFDProblem == ""
}

// judgesUnix reports whether the supervisor makes calls that may name a unix socket.
func (p *Plan) judgesUnix() bool { return p.unix == unixJudged }

// makesUnix reports whether the supervisor makes named sockets, as their names may be denied.
func (p *Plan) makesUnix() bool { return p.judgesUnix() && len(p.writable) > 0 && p.judgesFiles }

// traps are the calls that name a unix socket, or may. Who restricts itself further is
// noted, see noteRestriction.
func (u unixSockets) traps(restrictable bool) []string {
	switch {
	case u != unixJudged:
		return nil
	case restrictable:
		return append(slices.Clone(netEvents), restrictSelf)
	}
	return netEvents
}

const restrictSelf = "landlock_restrict_self"

// openSockets opens what unix_allow and fs_writable say of named sockets.
func (p *Plan) openSockets() (*broker.Grants, error) {
	g, err := broker.OpenGrants(p.writable)
	if err != nil {
		return nil, err
	}
	if err := g.AddSockets(p.unixAllow); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// noteRestriction lets a task restrict itself. Such a one may be barred from abstract sockets
// of the rest of the sandbox, which nobody but the kernel can tell, so none is reached from
// then on.
func (s *Sandbox) noteRestriction(next notify.Handler) notify.Handler {
	return func(r *notify.Request) {
		s.restricted.Store(true)
		if next != nil {
			next(r)
		} else if r.Claim() {
			r.ContinueClaimed()
		}
	}
}

// setUnix has a handler reach unix sockets.
func (s *Sandbox) setUnix(h *handler.Net) {
	h.Named, h.Broker, h.Denials = s.plan.judgesUnix(), s.broker, s.denials
	h.Makes, h.MakesOnly = s.plan.makesUnix(), s.plan.makesUnix() && !s.plan.net.bindOnBehalf
	if s.plan.scopeAbstract {
		h.Abstract = func(name []byte, kind int, caller uint32) (func(), bool) {
			fd, ok := s.holderOf(name, kind, int(caller))
			if !ok || s.restricted.Load() {
				return nil, false
			}
			return func() { unix.Close(fd) }, true
		}
	}
}

// checkUnix says what unix_allow lacks.
func (p *Plan) checkUnix(k Kernel, lack func(format string, args ...any)) {
	if len(p.unixAllow) > 0 && p.unix == unixPairs && !k.reachesSockets() {
		why := k.GetFDProblem
		switch {
		case !k.UserNotification:
			why = "there are no seccomp user notifications (Linux 5.0)"
		case k.ListenerProblem != "":
			why = k.ListenerProblem
		case !k.traces():
			why = fmt.Sprintf("/proc/sys/kernel/yama/ptrace_scope=%d forbids it here; 1 is enough", k.Yama)
		}
		lack("unix_allow needs a seccomp listener and pidfd_getfd(2) (Linux 5.6) to connect on the command's behalf: %s", why)
	}
}
