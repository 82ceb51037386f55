package bpf

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"golang.org/x/net/bpf"
)

// label is a place in a program; next is the instruction that follows.
type label int

const next label = 0

// instr is one instruction whose jumps are labels still: *one of* a plain
// instruction, a return of value, or a jump.
type instr struct {
	op       bpf.Instruction // load or and
	returns  bool
	value    uint32 // returned
	test     bpf.JumpTest
	operand  uint32
	yes, no  label
	always   bool // a jump without a test, to yes
	farYes   bool // yes is too far for 8 bits: goes by way of the instruction behind
	farNo    bool
	position int
}

// asm collects instructions. Jumps go forward only, as BPF wants it.
type asm struct {
	code    []instr
	names   []string // of labels
	targets []int    // index into code of labels, -1 as long as they are not placed
	values  []uint32 // that are returned, in the order of their first use
	returns []label
}

// newAsm has room for a program as they are: the tool makes one at each start, in a heap
// that is not there yet.
func newAsm() *asm {
	return &asm{code: make([]instr, 0, 320), names: append(make([]string, 0, 192), ""), targets: append(make([]int, 0, 192), -1)}
}

// label makes a label that is not placed yet. Without a name the dump doesn't show it.
func (a *asm) label(name string) label {
	a.names = append(a.names, name)
	a.targets = append(a.targets, -1)
	return label(len(a.names) - 1)
}

// place puts a label before the next instruction.
func (a *asm) place(l label) { a.targets[l] = len(a.code) }

// ret is the label of an instruction that returns the value.
func (a *asm) ret(value uint32) label {
	if i := slices.Index(a.values, value); i >= 0 {
		return a.returns[i]
	}
	l := a.label(actionName(value))
	a.values, a.returns = append(a.values, value), append(a.returns, l)
	return l
}

func (a *asm) load(offset uint32) {
	a.code = append(a.code, instr{op: bpf.LoadAbsolute{Off: offset, Size: 4}})
}

func (a *asm) and(mask uint32) {
	a.code = append(a.code, instr{op: bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask}})
}

func (a *asm) jump(test bpf.JumpTest, operand uint32, yes, no label) {
	a.code = append(a.code, instr{test: test, operand: operand, yes: yes, no: no})
}

// ifEqual, ifAtLeast and ifAny compare what was loaded: with the value, unsigned;
// ifAny is true when one of the bits is set.
func (a *asm) ifEqual(value uint32, yes, no label)   { a.jump(bpf.JumpEqual, value, yes, no) }
func (a *asm) ifAtLeast(value uint32, yes, no label) { a.jump(bpf.JumpGreaterOrEqual, value, yes, no) }
func (a *asm) ifAny(bits uint32, yes, no label)      { a.jump(bpf.JumpBitsSet, bits, yes, no) }
func (a *asm) goTo(l label)                          { a.code = append(a.code, instr{always: true, yes: l}) }

// interval is the values from lo to hi.
type interval struct {
	lo, hi uint32
	to     label
}

func single(value uint32, to label) interval { return interval{value, value, to} }

// branch goes to the label of the interval that what was loaded lies in, or to
// other. No two intervals overlap.
func (a *asm) branch(other label, intervals ...interval) {
	slices.SortFunc(intervals, func(i, j interval) int { return cmp.Compare(i.lo, j.lo) })
	spans := append(make([]span, 0, 2*len(intervals)+1), span{0, other})
	add := func(lo uint32, to label) {
		last := &spans[len(spans)-1]
		switch {
		case last.lo == lo:
			last.to = to
		case last.to != to:
			spans = append(spans, span{lo, to})
		}
	}
	for _, i := range intervals {
		add(i.lo, i.to)
		if i.hi != math.MaxUint32 {
			add(i.hi+1, other)
		}
	}
	if spans = slices.CompactFunc(spans, func(s, t span) bool { return s.to == t.to }); len(spans) == 1 {
		a.goTo(spans[0].to)
		return
	}
	a.tree(spans)
}

// span is the values from lo up to the lo of the next span.
type span struct {
	lo uint32
	to label
}

// tree is a binary search over at least two spans, of which no two neighbours are
// equal. Every path ends in a jump.
func (a *asm) tree(spans []span) {
	if a.outliers(spans) {
		return
	}
	middle := len(spans) / 2
	below, above := spans[:middle], spans[middle:]
	yes, no := above[0].to, below[0].to
	if len(above) > 1 {
		yes = a.label("")
	}
	if len(below) > 1 {
		no = next
	}
	a.ifAtLeast(above[0].lo, yes, no)
	if len(below) > 1 {
		a.tree(below)
	}
	if len(above) > 1 {
		a.place(yes)
		a.tree(above)
	}
}

// outliers writes spans that are up to three single values in one other span as a
// list of comparisons, which is shorter than a search.
func (a *asm) outliers(spans []span) bool {
	if len(spans)%2 == 0 || len(spans) > 7 {
		return false
	}
	for i := 1; i < len(spans); i += 2 {
		if spans[i+1].lo != spans[i].lo+1 || spans[i+1].to != spans[0].to {
			return false
		}
	}
	for i := 1; i < len(spans); i += 2 {
		no := next
		if i+2 == len(spans) {
			no = spans[0].to
		}
		a.ifEqual(spans[i].lo, spans[i].to, no)
	}
	return true
}

// assemble appends the returns that are used and turns labels into distances. A
// conditional jump reaches 255 instructions; what is farther goes by way of an
// instruction behind the jump: a jump, whose distance has 32 bits, or a copy of
// the return that is meant.
func (a *asm) assemble() (code []bpf.RawInstruction, labels map[int]string, err error) {
	for i, l := range a.returns {
		a.place(l)
		a.code = append(a.code, instr{returns: true, value: a.values[i]})
	}
	for i := range a.code {
		for _, l := range []label{a.code[i].yes, a.code[i].no} {
			if l != next && a.targets[l] <= i {
				return nil, nil, fmt.Errorf("BUG(sandlock): jump to label %q, which is not ahead, please report", a.names[l])
			}
		}
	}
	for a.lengthen() {
	}
	labels = make(map[int]string)
	for l, target := range a.targets {
		if a.names[l] != "" && target >= 0 {
			labels[a.code[target].position] = a.names[l]
		}
	}
	out := make([]bpf.Instruction, 0, 2*len(a.code))
	for i := range a.code {
		out = a.resolve(out, i)
	}
	code, err = bpf.Assemble(out)
	return code, labels, err
}

// lengthen lays the instructions out and marks the jumps that are too far. It
// returns whether there were any. Distances only grow, so it comes to an end.
func (a *asm) lengthen() bool {
	position := 0
	for i := range a.code {
		ins := &a.code[i]
		ins.position = position
		position++
		if ins.farYes {
			position++
		}
		if ins.farNo {
			position++
		}
	}
	more := false
	for i := range a.code {
		ins := &a.code[i]
		if ins.op != nil || ins.returns || ins.always {
			continue
		}
		if !ins.farYes && a.distance(i, ins.yes) > 255 {
			ins.farYes, more = true, true
		}
		if !ins.farNo && a.distance(i, ins.no) > 255 {
			ins.farNo, more = true, true
		}
	}
	return more
}

func (a *asm) target(i int, l label) int {
	if l == next {
		return i + 1
	}
	return a.targets[l]
}

// distance is what a jump in the place of instruction i has to skip.
func (a *asm) distance(i int, l label) int {
	return a.code[a.target(i, l)].position - a.code[i].position - 1
}

// resolve appends what instruction i becomes.
func (a *asm) resolve(out []bpf.Instruction, i int) []bpf.Instruction {
	ins := &a.code[i]
	switch {
	case ins.op != nil:
		return append(out, ins.op)
	case ins.returns:
		return append(out, bpf.RetConstant{Val: ins.value})
	case ins.always:
		return append(out, a.long(i, ins.yes, 0))
	}
	jump := bpf.JumpIf{Cond: ins.test, Val: ins.operand}
	first := len(out)
	out = append(out, nil)
	if ins.farYes {
		out = append(out, a.long(i, ins.yes, len(out)-first))
	} else {
		jump.SkipTrue = uint8(a.distance(i, ins.yes))
	}
	if ins.farNo {
		jump.SkipFalse = uint8(len(out) - first - 1)
		out = append(out, a.long(i, ins.no, len(out)-first))
	} else {
		jump.SkipFalse = uint8(a.distance(i, ins.no))
	}
	out[first] = jump
	return out
}

// long is a jump that stands behind instruction i.
func (a *asm) long(i int, l label, behind int) bpf.Instruction {
	if t := &a.code[a.target(i, l)]; t.returns {
		return bpf.RetConstant{Val: t.value}
	}
	return bpf.Jump{Skip: uint32(a.distance(i, l) - behind)}
}
