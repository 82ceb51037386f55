package core

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// naive is the contract in its own words.
type naive struct {
	start, set        map[string]bool // addresses
	restricted        bool
	pids              map[uint32]map[string]bool
	memory, processes uint64
	denied            map[string]bool
}

// The world of the model: few names, so that they meet.
var (
	worldStart = []string{"10.0.0.1", "10.0.0.2", "fd00::1"}
	worldAddrs = []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "fd00::2"}
	worldPaths = []string{"/a", "/a/b", "/b", "/"}
)

// play makes the same changes, which ops stand for, to a dynamic and to the model, and
// compares what they say after each.
func play(t *testing.T, ops []byte) {
	const most = 8
	c := ceilings{memory: limit{most, true}, processes: limit{most, true}}
	m := naive{start: map[string]bool{}, set: map[string]bool{}, pids: map[uint32]map[string]bool{}, memory: most, processes: most, denied: map[string]bool{}}
	for _, text := range worldStart {
		a := netip.MustParseAddr(text)
		c.addrs = append(c.addrs, netip.PrefixFrom(a, a.BitLen()))
		m.start[text], m.set[text] = true, true
	}
	kernel := processTable{}
	c.enforcers = kernel.enforcers()
	d := newDynamic(c)
	for len(ops) >= 3 {
		op, x, y := ops[0], ops[1], ops[2]
		ops = ops[3:]
		pid := uint32(y%3 + 1)
		var ips []string
		want := map[string]bool{} // what a right list lets be reached
		for i, text := range worldAddrs {
			if x&(1<<i) != 0 {
				ips = append(ips, text)
				want[text] = true
			}
		}
		wrong := x&(1<<5) != 0
		if wrong {
			ips = append(ips, "wrong")
			want = map[string]bool{}
		}
		before := d.state.Load()
		was := fmt.Sprint(*before)
		var err error
		switch op % 9 {
		case 0:
			err = d.restrictNetwork(ips)
			m.restricted, m.set = true, want
		case 1:
			err = d.grantNetwork(ips)
			for _, text := range slices.Collect(maps.Keys(want)) {
				if !m.restricted && m.start[text] {
					m.set[text] = true
				}
			}
		case 2:
			err = d.restrictPIDNetwork(pid, ips)
			m.pids[pid] = want
		case 3:
			wrong = false
			child := uint32(x%3 + 1)
			kernel[child] = kernel[pid]
			list := m.pids[pid]
			delete(m.pids, child)
			if list != nil {
				m.pids[child] = list
			}
		case 4:
			wrong = false
			delete(kernel, pid) // its number can be another's
			delete(m.pids, pid)
		case 5:
			wrong, err = false, d.restrictMaxMemory(uint64(x%10))
			m.memory = min(m.memory, uint64(x%10))
		case 6:
			wrong, err = false, d.restrictMaxProcesses(uint32(x%10))
			m.processes = min(m.processes, uint64(x%10))
		case 7:
			p := worldPaths[int(x)%len(worldPaths)]
			wrong, err = false, d.denyPath(p)
			m.denied[p] = true
		case 8:
			p := worldPaths[int(x)%len(worldPaths)]
			wrong, err = false, d.allowPath(p)
			delete(m.denied, p)
		}
		if (err != nil) != wrong {
			t.Fatalf("op %d %d %d: %v", op, x, y, err)
		}
		if now := fmt.Sprint(*before); now != was {
			t.Fatalf("op %d %d %d changed a published state from %s to %s", op, x, y, was, now)
		}
		s := d.state.Load()
		for pid := range uint32(4) {
			for _, text := range worldAddrs {
				list, ok := m.pids[pid]
				want := m.start[text] && m.set[text] && (!ok || list[text])
				if got := s.reaches(kernel[pid], netip.MustParseAddr(text)); got != want {
					t.Fatalf("op %d %d %d: process %d reaches %s: %t", op, x, y, pid, text, got)
				}
			}
		}
		if s.memory.n != m.memory || s.processes.n != m.processes || !slices.Equal(s.denied, slices.Sorted(maps.Keys(m.denied))) {
			t.Fatalf("op %d %d %d: %+v, want %+v", op, x, y, s, m)
		}
	}
}

func TestDynamicAgainstModel(t *testing.T) {
	for seed := range byte(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			ops := make([]byte, 3*200)
			_, _ = rand.NewChaCha8([32]byte{seed}).Read(ops)
			play(t, ops)
		})
	}
}

func FuzzDynamic(f *testing.F) {
	f.Add([]byte{0, 1, 0, 1, 3, 0, 2, 1, 1, 3, 1, 0, 4, 0, 1, 5, 3, 0, 6, 3, 0, 7, 0, 0, 8, 0, 0})
	f.Add([]byte{0, 33, 0, 1, 1, 0, 0, 1, 0, 2, 33, 0, 2, 1, 0})
	f.Fuzz(play)
}
