package bpf

import (
	"math"
	"math/rand/v2"
	"testing"

	"golang.org/x/net/bpf"
)

// assembled makes a machine of what follows a load of the number.
func assembled(t *testing.T, write func(a *asm)) machine {
	t.Helper()
	a := newAsm()
	a.load(offNr)
	write(a)
	raw, _, err := a.assemble()
	if err != nil {
		t.Fatal(err)
	}
	return newMachine(t, &Program{raw: raw})
}

// TestBranch: random intervals, against a search one by one. Enough of them that
// jumps get long.
func TestBranch(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, count := range []int{0, 1, 2, 3, 4, 7, 30, 300, 1200} {
		type piece struct{ lo, hi, value uint32 }
		var pieces []piece
		var edges []uint32
		lo := uint64(random.IntN(3))
		for range count {
			hi := lo + uint64(random.IntN(3))
			pieces = append(pieces, piece{uint32(lo), uint32(hi), 1 + random.Uint32N(5)})
			edges = append(edges, uint32(lo-1), uint32(lo), uint32(hi), uint32(hi+1))
			lo = hi + 1 + uint64(random.IntN(3))
		}
		if count > 3 {
			pieces = append(pieces, piece{math.MaxUint32 - 1, math.MaxUint32, 7})
		}
		edges = append(edges, 0, 1, math.MaxUint32-2, math.MaxUint32-1, math.MaxUint32)
		m := assembled(t, func(a *asm) {
			var intervals []interval
			for _, p := range pieces {
				intervals = append(intervals, interval{p.lo, p.hi, a.ret(p.value)})
			}
			random.Shuffle(len(intervals), func(i, j int) { intervals[i], intervals[j] = intervals[j], intervals[i] })
			a.branch(a.ret(99), intervals...)
		})
		for _, value := range edges {
			want := uint32(99)
			for _, p := range pieces {
				if p.lo <= value && value <= p.hi {
					want = p.value
				}
			}
			if got := m.run(t, call{nr: value}); got != want {
				t.Fatalf("%d intervals: %d leads to %d, want %d", count, value, got, want)
			}
		}
	}
}

// TestLongJumps: both ways of a jump around the reach of 8 bits, to code and to a
// return.
func TestLongJumps(t *testing.T) {
	for gap := 250; gap <= 260; gap++ {
		m := assembled(t, func(a *asm) {
			code, more := a.label(""), a.label("")
			a.ifEqual(1, a.ret(11), next)
			a.ifEqual(2, code, more)
			a.place(more)
			a.ifEqual(3, next, code)
			for range gap {
				a.and(math.MaxUint32)
			}
			a.goTo(a.ret(12))
			a.place(code)
			a.ifEqual(2, a.ret(13), a.ret(14))
		})
		for nr, want := range map[uint32]uint32{1: 11, 2: 13, 3: 12, 4: 14} {
			if got := m.run(t, call{nr: nr}); got != want {
				t.Errorf("gap %d: %d leads to %d, want %d", gap, nr, got, want)
			}
		}
	}
}

func TestWrongJumps(t *testing.T) {
	for _, placed := range []bool{true, false} {
		a := newAsm()
		target := a.label("target")
		if placed {
			a.place(target)
		}
		a.load(offNr)
		a.ifEqual(1, target, a.ret(1))
		if _, _, err := a.assemble(); err == nil {
			t.Errorf("placed behind: %v: assembled all the same", placed)
		}
	}
}

// TestOutliers: single values in one range are compared one by one.
func TestOutliers(t *testing.T) {
	a := newAsm()
	a.load(offNr)
	a.branch(a.ret(1), single(5, a.ret(2)), single(9, a.ret(3)))
	raw, _, err := a.assemble()
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) != 3+3 {
		t.Errorf("%d instructions", len(raw))
	}
	if _, ok := raw[1].Disassemble().(bpf.JumpIf); !ok {
		t.Error("no jump")
	}
}
