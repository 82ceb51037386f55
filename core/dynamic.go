package core

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// What a PolicyFunc may ask for at most, so that a decision stays cheap and a function
// that always adds and never takes away does not grow its host.
const (
	// MaxAddresses is the length of a list of addresses.
	MaxAddresses   = 1024
	maxLists       = 1024 // of processes
	maxDeniedPaths = 1024
	maxPID         = 1 << 22 // pids are below it: proc_sys_kernel(5), pid_max
)

// dynamic is what a PolicyFunc has made of the policy of its running sandbox. Whoever
// decides something takes the state once: it is a value that never changes, and the one
// that a change leaves is there for the next decision of any task.
//
// The rules: nothing here is wider than the ceilings, which are the policy's own. A
// restriction holds until the run is over or a later one replaces it, and no grant undoes
// it. What asks for more than that is no error, as a stricter policy than asked for does no
// harm; a restriction that can't be had is one.
type dynamic struct {
	mu    sync.Mutex // one change at a time
	state atomic.Pointer[dynamicState]

	enforcers
}

// enforcers carry out a limit that was lowered: it is in force when they return, or holds
// for what anybody does who was answered after that. nil is nobody, in tests.
type enforcers struct {
	reachable        func() error // nil: every address is judged, so that the lists count
	mark             func(pid uint32, choose func(now listMark) (listMark, error)) error
	enforceMemory    func(bytes uint64) error
	enforceProcesses func(n uint32) error
	enforceDeny      func(path string) error
	enforceAllow     func(path string)
}

type dynamicState struct {
	ceiling    []netip.Prefix // what may be reached at the start; IPv4 as such, not mapped
	restricted bool
	only       addrSet   // all that may be reached, once restricted
	lists      []addrSet // all that a process of a mark may reach, besides
	memory     limit
	processes  limit
	denied     []string // paths, sorted
}

// ceilings are the policy's own limits. The zero value has nothing that could be
// lowered, and reaches nothing.
type ceilings struct {
	addrs             []netip.Prefix
	memory, processes limit

	enforcers
}

func newDynamic(c ceilings) *dynamic {
	d := &dynamic{enforcers: c.enforcers}
	d.state.Store(&dynamicState{ceiling: c.addrs, memory: c.memory, processes: c.processes})
	return d
}

// change publishes what f makes of a copy of the state, also when f returns an error. f
// replaces slices and maps, as the states before share them.
func (d *dynamic) change(f func(*dynamicState) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := *d.state.Load()
	err := f(&next)
	d.state.Store(&next)
	return err
}

// addrSet is sorted. The empty one closes the network.
type addrSet []netip.Addr

func (s addrSet) contains(a netip.Addr) bool {
	_, found := slices.BinarySearchFunc(s, a, netip.Addr.Compare)
	return found
}

// parseAddrs reads exact addresses. An IPv4 address that is mapped into IPv6 is the IPv4
// address, since that is where the packets go. A zone names an interface of the host, which
// a rule by address says nothing about.
func parseAddrs(texts []string) (addrSet, error) {
	if len(texts) > MaxAddresses {
		return nil, fmt.Errorf("the list has more than %d addresses", MaxAddresses)
	}
	set := make(addrSet, len(texts))
	for i, text := range texts {
		a, err := netip.ParseAddr(text)
		switch {
		case err != nil:
			return nil, fmt.Errorf("address %d: %s is not an IP address", i, quote(text))
		case a.Zone() != "":
			return nil, fmt.Errorf("address %d: %s: an address has no zone here", i, quote(text))
		}
		set[i] = a.Unmap()
	}
	slices.SortFunc(set, netip.Addr.Compare)
	return slices.Compact(set), nil
}

// reaches reports whether a process of the mark may reach the address. The static rules, which know
// ports and protocols, are asked besides.
func (s *dynamicState) reaches(mark listMark, a netip.Addr) bool {
	if a.Zone() != "" || mark > listMark(len(s.lists)) {
		return false // no list can name it
	}
	a = a.Unmap()
	var only addrSet
	restricted := mark > 0
	if restricted {
		only = s.lists[mark-1]
	}
	return slices.ContainsFunc(s.ceiling, func(p netip.Prefix) bool { return p.Contains(a) }) &&
		(!s.restricted || s.only.contains(a)) && (!restricted || only.contains(a))
}

// restrictNetwork replaces what may be reached. A list that is wrong closes the network,
// until one that is right.
func (d *dynamic) restrictNetwork(ips []string) error {
	addrs, wrong := parseAddrs(ips)
	return d.change(func(s *dynamicState) error {
		if err := d.judged(); err != nil {
			return err
		}
		s.restricted, s.only = true, addrs
		return wrong
	})
}

// grantNetwork adds what the ceiling has, unless the network was restricted. But what the
// ceiling has may be reached until then: so by its two rules a grant never changes the
// state, and only a wrong list is told.
func (d *dynamic) grantNetwork(ips []string) error {
	_, err := parseAddrs(ips)
	return errors.Join(err, d.judged())
}

// judged says why what may be reached can't be restricted; nil: it can.
func (d *dynamic) judged() error {
	if d.reachable == nil {
		return nil
	}
	return d.reachable()
}

// restrictPIDNetwork replaces what one process, and those that it starts from then on, may
// reach, of what all may.
func (d *dynamic) restrictPIDNetwork(pid uint32, ips []string) error {
	if pid == 0 || pid >= maxPID {
		return fmt.Errorf("%d is not a process id", pid)
	}
	addrs, wrong := parseAddrs(ips)
	return d.change(func(s *dynamicState) error {
		if err := d.judged(); err != nil {
			return err
		}
		// The list is there before any process has its mark.
		if err := d.mark(pid, func(now listMark) (listMark, error) { return d.addList(s, addrs, now) }); err != nil {
			return err
		}
		return wrong
	})
}

// addList returns the mark of the list, for a process that has the mark now: marks only
// rise. d.mu is held.
func (d *dynamic) addList(s *dynamicState, addrs addrSet, now listMark) (listMark, error) {
	for i, list := range s.lists {
		if m := listMark(i + 1); m >= now && slices.Equal(list, addrs) {
			return m, nil
		}
	}
	if len(s.lists) >= maxLists {
		return 0, fmt.Errorf("there are %d lists of addresses for processes already, which is the most", maxLists)
	}
	s.lists = append(slices.Clip(s.lists), addrs)
	d.state.Store(s) // whoever sees the mark sees the list
	return listMark(len(s.lists)), nil
}

// listMark is what a process is marked with that has a list of its own; 0 is none. Its
// children have its mark, and nothing that a process does changes it.
type listMark uint64

// limit is a number that can only fall, if there is one.
type limit struct {
	n      uint64
	exists bool
}

func (l *limit) lower(n uint64, field string) error {
	if !l.exists {
		return fmt.Errorf("the policy has no %s that could be lowered", field)
	}
	l.n = min(l.n, n)
	return nil
}

func (d *dynamic) restrictMaxMemory(bytes uint64) error {
	return d.change(func(s *dynamicState) error {
		if err := s.memory.lower(bytes, "max_memory"); err != nil || d.enforceMemory == nil {
			return err
		}
		return d.enforceMemory(s.memory.n)
	})
}

func (d *dynamic) restrictMaxProcesses(n uint32) error {
	return d.change(func(s *dynamicState) error {
		if err := s.processes.lower(uint64(n), "max_processes"); err != nil || d.enforceProcesses == nil {
			return err
		}
		return d.enforceProcesses(uint32(s.processes.n))
	})
}

// plainPath makes one spelling of those that mean the same on every file system. A
// relative path would be relative to the host or to whoever opens it, and "a/.." is not
// always where it seems to be, as a can be a symbolic link.
func plainPath(name string) (string, error) {
	problem := pathProblem(name)
	switch {
	case problem != "":
	case name[0] != '/':
		problem = "the path is not absolute"
	case slices.Contains(strings.Split(name, "/"), ".."):
		problem = `the path has a ".."`
	default:
		return path.Clean(name), nil
	}
	return "", errors.New(quote(name) + ": " + problem)
}

func (d *dynamic) denyPath(name string) error {
	plain, err := plainPath(name)
	if err != nil {
		return err
	}
	return d.change(func(s *dynamicState) error {
		i, found := slices.BinarySearch(s.denied, plain)
		switch {
		case found:
			return nil
		case len(s.denied) >= maxDeniedPaths:
			return fmt.Errorf("%d paths are denied already, which is the most", maxDeniedPaths)
		}
		if d.enforceDeny != nil {
			if err := d.enforceDeny(plain); err != nil {
				return err
			}
		}
		s.denied = slices.Insert(slices.Clone(s.denied), i, plain)
		return nil
	})
}

// allowPath takes back a denyPath of the same path; what the policy itself denies is not
// here to be taken back.
func (d *dynamic) allowPath(name string) error {
	plain, err := plainPath(name)
	if err != nil {
		return err
	}
	return d.change(func(s *dynamicState) error {
		if i, found := slices.BinarySearch(s.denied, plain); found {
			s.denied = slices.Delete(slices.Clone(s.denied), i, i+1)
			if d.enforceAllow != nil {
				d.enforceAllow(plain)
			}
		}
		return nil
	})
}
