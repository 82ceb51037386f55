package core

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
)

// everywhere is the ceiling of a policy that names no address.
var everywhere = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

// processTable has the marks of processes, as the kernel does.
type processTable map[uint32]listMark

func (k processTable) enforcers() enforcers {
	return enforcers{mark: func(pid uint32, choose func(listMark) (listMark, error)) error {
		m, err := choose(k[pid])
		if err == nil && m < k[pid] {
			err = fmt.Errorf("the mark of process %d falls from %d to %d", pid, k[pid], m)
		}
		if err == nil {
			k[pid] = m
		}
		return err
	}}
}

func TestDynamicAddresses(t *testing.T) {
	list := func(ips ...string) []string { return ips }
	restrict := func(ips ...string) func(*dynamic) error {
		return func(d *dynamic) error { return d.restrictNetwork(ips) }
	}
	grant := func(ips ...string) func(*dynamic) error {
		return func(d *dynamic) error { return d.grantNetwork(ips) }
	}
	pid := func(pid uint32, ips ...string) func(*dynamic) error {
		return func(d *dynamic) error { return d.restrictPIDNetwork(pid, ips) }
	}
	private := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct {
		name       string
		ceiling    []netip.Prefix
		steps      []func(*dynamic) error
		fork       [2]uint32 // after the first step, the parent and the child
		fails      string    // the last step, with this
		yes, no    []string
		asked      uint32 // the process
		nobodyElse bool
	}{
		{name: "nothing said", ceiling: everywhere, yes: list("10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1", "0.0.0.0", "::")},
		{name: "no ceiling", no: list("10.0.0.1", "::1")},
		{name: "the ceiling", ceiling: private, yes: list("10.0.0.1", "10.255.255.255", "fd00::1", "::ffff:10.0.0.1"), no: list("11.0.0.0", "::1", "::ffff:11.0.0.0", "::10.0.0.1", "64:ff9b::10.0.0.1")},
		{name: "restricted", ceiling: everywhere, steps: []func(*dynamic) error{restrict("10.0.0.1", "2001:db8::1", "10.0.0.1")},
			yes: list("10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1"), no: list("10.0.0.2", "2001:db8::2", "0.0.0.0", "::", "127.0.0.1")},
		{name: "mapped in the list", ceiling: everywhere, steps: []func(*dynamic) error{restrict("::ffff:10.0.0.1", "::FFFF:a00:2")},
			yes: list("10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2"), no: list("10.0.0.3")},
		{name: "not above the ceiling", ceiling: private, steps: []func(*dynamic) error{restrict("10.0.0.1", "11.0.0.1")},
			yes: list("10.0.0.1"), no: list("11.0.0.1", "10.0.0.2")},
		{name: "empty closes", ceiling: everywhere, steps: []func(*dynamic) error{restrict()}, no: list("10.0.0.1", "::1")},
		{name: "replaced", ceiling: everywhere, steps: []func(*dynamic) error{restrict("10.0.0.1"), restrict("10.0.0.2")},
			yes: list("10.0.0.2"), no: list("10.0.0.1")},
		{name: "wrong closes", ceiling: everywhere, steps: []func(*dynamic) error{restrict("10.0.0.1"), restrict("10.0.0.1", "localhost")},
			fails: `address 1: "localhost" is not an IP address`, no: list("10.0.0.1", "::1")},
		{name: "right opens", ceiling: everywhere, steps: []func(*dynamic) error{restrict("x"), restrict("10.0.0.1")}, yes: list("10.0.0.1"), no: list("10.0.0.2")},
		{name: "a grant is not what opens", ceiling: everywhere, steps: []func(*dynamic) error{restrict("x"), grant("10.0.0.1")}, no: list("10.0.0.1")},
		{name: "never granted again", ceiling: everywhere, steps: []func(*dynamic) error{restrict("10.0.0.1"), grant("10.0.0.2")}, yes: list("10.0.0.1"), no: list("10.0.0.2")},
		{name: "not granted beyond", ceiling: private, steps: []func(*dynamic) error{grant("11.0.0.1", "10.0.0.1")}, yes: list("10.0.0.1"), no: list("11.0.0.1")},
		{name: "a wrong grant", ceiling: private, steps: []func(*dynamic) error{grant("10.0.0.1", "10.0.0.0/8")}, fails: "not an IP address", yes: list("10.0.0.1"), no: list("11.0.0.1")},
		{name: "a process", ceiling: everywhere, steps: []func(*dynamic) error{pid(7, "10.0.0.1")}, asked: 7, nobodyElse: true, yes: list("10.0.0.1", "::ffff:10.0.0.1"), no: list("10.0.0.2", "::1")},
		{name: "a process and all", ceiling: everywhere, steps: []func(*dynamic) error{pid(7, "10.0.0.1", "10.0.0.2"), restrict("10.0.0.2", "10.0.0.3")}, asked: 7,
			yes: list("10.0.0.2"), no: list("10.0.0.1", "10.0.0.3")},
		{name: "a process not above the ceiling", ceiling: private, steps: []func(*dynamic) error{pid(7, "11.0.0.1")}, asked: 7, no: list("11.0.0.1", "10.0.0.1")},
		{name: "a process, wrong", ceiling: everywhere, steps: []func(*dynamic) error{pid(7, "10.0.0.1"), pid(7, "")}, fails: `"" is not an IP address`, asked: 7, nobodyElse: true, no: list("10.0.0.1", "::1")},
		{name: "a process, right again", ceiling: everywhere, steps: []func(*dynamic) error{pid(7, "x"), pid(7, "10.0.0.1")}, asked: 7, yes: list("10.0.0.1"), no: list("10.0.0.2")},
		{name: "no process", ceiling: everywhere, steps: []func(*dynamic) error{pid(0, "10.0.0.1")}, fails: "0 is not a process id", yes: list("10.0.0.2")},
		{name: "no such process", ceiling: everywhere, steps: []func(*dynamic) error{pid(1<<22, "10.0.0.1")}, fails: "4194304 is not a process id", asked: 1 << 22, yes: list("10.0.0.2")},
		{name: "a fork", ceiling: everywhere, fork: [2]uint32{7, 8}, steps: []func(*dynamic) error{pid(7, "10.0.0.1")}, asked: 8,
			yes: list("10.0.0.1"), no: list("10.0.0.2")},
		{name: "a fork of another", ceiling: everywhere, fork: [2]uint32{9, 8}, steps: []func(*dynamic) error{pid(7, "10.0.0.1")}, asked: 8,
			yes: list("10.0.0.1", "10.0.0.2")},
		{name: "a fork is not its parent", ceiling: everywhere, fork: [2]uint32{7, 8}, steps: []func(*dynamic) error{pid(7, "10.0.0.1"), pid(7, "10.0.0.2")}, asked: 8,
			yes: list("10.0.0.1"), no: list("10.0.0.2")},
		{name: "too many", ceiling: everywhere, steps: []func(*dynamic) error{restrict(slices.Repeat(list("10.0.0.1"), MaxAddresses+1)...)}, fails: "more than 1024", no: list("10.0.0.1")},
		{name: "just enough", ceiling: everywhere, steps: []func(*dynamic) error{restrict(slices.Repeat(list("10.0.0.1"), MaxAddresses)...)}, yes: list("10.0.0.1"), no: list("10.0.0.2")},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := processTable{}
			d := newDynamic(ceilings{addrs: c.ceiling, enforcers: k.enforcers()})
			for i, step := range c.steps {
				err := step(d)
				if i == 0 {
					k[c.fork[1]] = k[c.fork[0]]
				}
				if i == len(c.steps)-1 && (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
					t.Errorf("step %d: %v, want %q", i, err, c.fails)
				}
			}
			s := d.state.Load()
			for want, addrs := range map[bool][]string{true: c.yes, false: c.no} {
				for _, text := range addrs {
					a := netip.MustParseAddr(text)
					if s.reaches(k[c.asked], a) != want {
						t.Errorf("%s is reached: %t", text, !want)
					}
					if s.reaches(k[c.asked], a.WithZone("lo")) && a.Is6() {
						t.Errorf("%s in a zone is reached", text)
					}
					if c.nobodyElse && !s.reaches(k[c.asked+1], a) {
						t.Errorf("another process does not reach %s", text)
					}
				}
			}
		})
	}
}

func TestDynamicRefusesAddresses(t *testing.T) {
	for _, text := range []string{
		"", " ", "10.0.0.1 ", "10.0.0", "10.0.0.0/8", "010.0.0.1", "0x7f.1", "2130706433", "localhost", "*", "[::1]", "10.0.0.1:80",
		"::1%lo", "fe80::1%1", "::ffff:10.0.0.1%lo", "::1%", ":::", "10.0.0.1\x00", "\xff", strings.Repeat("1", 1<<20),
	} {
		d := newDynamic(ceilings{addrs: everywhere})
		if err := d.restrictNetwork([]string{"::1", text}); err == nil || len(err.Error()) > 300 {
			t.Errorf("%.50q: %.500v", text, err)
		}
		if d.state.Load().reaches(0, netip.MustParseAddr("::1")) {
			t.Errorf("%.50q leaves the network open", text)
		}
	}
}

func TestDynamicProcessesAreBounded(t *testing.T) {
	k := processTable{}
	d := newDynamic(ceilings{addrs: everywhere, enforcers: k.enforcers()})
	list := func(i uint32) []string { return []string{fmt.Sprintf("10.0.%d.%d", i>>8, i&255)} }
	for i := range uint32(maxLists) {
		if err := d.restrictPIDNetwork(i+1, list(i)); err != nil {
			t.Fatal(err)
		}
	}
	before := d.state.Load()
	full := uint32(maxLists + 1)
	if err := d.restrictPIDNetwork(full, nil); err == nil || !strings.Contains(err.Error(), "which is the most") {
		t.Errorf("one too many: %v", err)
	}
	if err := d.restrictPIDNetwork(full, list(7)); err != nil || k[full] != k[8] {
		t.Errorf("a list that is there: %v, mark %d", err, k[full])
	}
	if err := d.restrictPIDNetwork(full, list(6)); err == nil || k[full] != k[8] {
		t.Errorf("a mark would fall: %v, mark %d", err, k[full])
	}
	if err := d.restrictPIDNetwork(full, list(8)); err != nil || k[full] != k[9] {
		t.Errorf("a later list that is there: %v, mark %d", err, k[full])
	}
	if len(before.lists) != maxLists || d.state.Load().reaches(maxLists+1, netip.MustParseAddr("10.0.0.1")) {
		t.Error("a state that was published has changed, or a mark without a list reaches something")
	}
}

func TestDynamicLimits(t *testing.T) {
	none := newDynamic(ceilings{})
	if err := none.restrictMaxMemory(1); err == nil || !strings.Contains(err.Error(), "no max_memory") {
		t.Error(err)
	}
	if err := none.restrictMaxProcesses(1); err == nil || !strings.Contains(err.Error(), "no max_processes") {
		t.Error(err)
	}
	if s := none.state.Load(); s.memory.exists || s.processes.exists {
		t.Errorf("%+v", s)
	}
	for _, c := range []struct {
		asked []uint64
		want  uint64
	}{
		{nil, 100}, {[]uint64{50}, 50}, {[]uint64{100}, 100}, {[]uint64{101}, 100}, {[]uint64{1<<32 - 1}, 100},
		{[]uint64{50, 70}, 50}, {[]uint64{50, 70, 20}, 20}, {[]uint64{0}, 0}, {[]uint64{0, 1}, 0},
	} {
		d := newDynamic(ceilings{memory: limit{100, true}, processes: limit{100, true}})
		for _, n := range c.asked {
			if err := d.restrictMaxMemory(n); err != nil {
				t.Error(err)
			}
			if err := d.restrictMaxProcesses(uint32(n)); err != nil {
				t.Error(err)
			}
		}
		if s := d.state.Load(); s.memory != (limit{c.want, true}) || s.processes != (limit{c.want, true}) {
			t.Errorf("%v: %v and %v, want %d", c.asked, s.memory, s.processes, c.want)
		}
	}
}

func TestDynamicPaths(t *testing.T) {
	for _, c := range []struct {
		deny, allow []string
		want        []string
	}{
		{[]string{"/a", "/c", "/b"}, nil, []string{"/a", "/b", "/c"}},
		{[]string{"/a", "/a", "//a/", "/./a"}, nil, []string{"/a"}},
		{[]string{"/a", "/a"}, []string{"/a"}, []string{}},
		{[]string{"/a", "/b"}, []string{"/a//"}, []string{"/b"}},
		{nil, []string{"/a", "/"}, nil}, // a path that the policy denies is no path of these
		{[]string{"/a"}, []string{"/a/b", "/", "/A", "/aa"}, []string{"/a"}},
		{[]string{"/"}, nil, []string{"/"}},
		{[]string{"/\xff\n", "/...", "/a..", "/..a"}, nil, []string{"/...", "/..a", "/a..", "/\xff\n"}},
		{[]string{"/" + strings.Repeat("x", 4094)}, nil, []string{"/" + strings.Repeat("x", 4094)}},
	} {
		d := newDynamic(ceilings{})
		for _, p := range c.deny {
			if err := d.denyPath(p); err != nil {
				t.Errorf("deny %q: %v", p, err)
			}
		}
		for _, p := range c.allow {
			if err := d.allowPath(p); err != nil {
				t.Errorf("allow %q: %v", p, err)
			}
		}
		if got := d.state.Load().denied; !slices.Equal(got, c.want) {
			t.Errorf("%q: %q", c, got)
		}
	}
	for _, p := range []string{"", "a", "./a", "../a", "/..", "/a/../b", "/a/..", "/a\x00", "/" + strings.Repeat("x", 4095)} {
		d := newDynamic(ceilings{})
		if err := d.denyPath(p); err == nil {
			t.Errorf("deny %.50q", p)
		}
		if err := d.allowPath(p); err == nil {
			t.Errorf("allow %.50q", p)
		}
		if s := d.state.Load(); len(s.denied) > 0 {
			t.Errorf("%.50q: %q", p, s.denied)
		}
	}
}

func TestDynamicPathsAreBounded(t *testing.T) {
	d := newDynamic(ceilings{})
	for i := range maxDeniedPaths {
		if err := d.denyPath(fmt.Sprintf("/%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.denyPath("/more"); err == nil || slices.Contains(d.state.Load().denied, "/more") {
		t.Errorf("one too many: %v", err)
	}
	if err := d.denyPath("/0"); err != nil {
		t.Errorf("one that is known: %v", err)
	}
	if err := d.allowPath("/0"); err != nil {
		t.Error(err)
	}
	if err := d.denyPath("/more"); err != nil {
		t.Errorf("in the place of another: %v", err)
	}
}

// Each decision sees one change or the next, never half of one: only ever one of two
// addresses is reached, and a limit never rises.
func TestDynamicAtOnce(t *testing.T) {
	const changes, readers = 2000, 4
	one, other := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	d := newDynamic(ceilings{addrs: everywhere, memory: limit{changes, true}})
	if err := d.restrictNetwork([]string{one.String()}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var reading, writing sync.WaitGroup
	for range readers {
		reading.Go(func() {
			last := uint64(changes)
			for over := false; !over; {
				select {
				case <-done:
					over = true // after one more look
				default:
				}
				s := d.state.Load()
				if s.reaches(0, one) == s.reaches(0, other) {
					t.Errorf("both or none: %v", s.only)
					return
				}
				if s.memory.n > last {
					t.Errorf("max_memory rose from %d to %d", last, s.memory.n)
					return
				}
				last = s.memory.n
			}
		})
	}
	writing.Go(func() {
		for i := range changes {
			if err := d.restrictNetwork([]string{[]string{one.String(), other.String()}[i%2]}); err != nil {
				t.Error(err)
			}
		}
	})
	writing.Go(func() {
		for i := range uint64(changes) {
			if err := d.restrictMaxMemory(changes - 1 - i); err != nil {
				t.Error(err)
			}
		}
	})
	for writer := range 2 {
		writing.Go(func() {
			for i := range maxDeniedPaths / 2 {
				if err := d.denyPath(fmt.Sprintf("/%d/%d", writer, i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writing.Wait()
	close(done)
	reading.Wait()
	if s := d.state.Load(); s.memory.n != 0 || len(s.denied) != maxDeniedPaths {
		t.Errorf("a change was lost: max_memory %d, %d paths", s.memory.n, len(s.denied))
	}
}
