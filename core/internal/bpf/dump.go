package bpf

import (
	"fmt"
	"strings"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// String is a readable dump: one line an instruction, blocks by their names.
func (p *Program) String() string {
	var b strings.Builder
	for i, raw := range p.raw {
		if name := p.labels[i]; name != "" {
			fmt.Fprintf(&b, "%s:\n", name)
		}
		fmt.Fprintf(&b, "%5d  %s\n", i, p.line(i, raw.Disassemble()))
	}
	return b.String()
}

func (p *Program) line(i int, ins bpf.Instruction) string {
	switch ins := ins.(type) {
	case bpf.LoadAbsolute:
		return "load " + fieldName(ins.Off)
	case bpf.ALUOpConstant:
		return fmt.Sprintf("and %#x", ins.Val)
	case bpf.RetConstant:
		return "return " + actionName(ins.Val)
	case bpf.Jump:
		return "goto " + p.place(i, ins.Skip)
	case bpf.JumpIf:
		return p.jumpLine(i, ins)
	}
	return fmt.Sprint(ins)
}

// jumpLine says a jump with the sense that the assembler gave it; x/net/bpf may
// disassemble one as its opposite.
func (p *Program) jumpLine(i int, ins bpf.JumpIf) string {
	test := map[bpf.JumpTest]string{
		bpf.JumpEqual: "==", bpf.JumpNotEqual: "!=", bpf.JumpGreaterThan: ">", bpf.JumpLessThan: "<",
		bpf.JumpGreaterOrEqual: ">=", bpf.JumpLessOrEqual: "<=", bpf.JumpBitsSet: "&", bpf.JumpBitsNotSet: "!&",
	}[ins.Cond]
	value := fmt.Sprintf("%#x", ins.Val)
	if name, ok := Name(p.arch, int(ins.Val)); ok && i > 1 && i < p.search {
		value = fmt.Sprintf("%d (%s)", ins.Val, name)
	}
	return fmt.Sprintf("if %s %s goto %s else %s", test, value,
		p.place(i, uint32(ins.SkipTrue)), p.place(i, uint32(ins.SkipFalse)))
}

// place is the target of a jump.
func (p *Program) place(i int, skip uint32) string {
	target := i + 1 + int(skip)
	if name := p.labels[target]; name != "" {
		return fmt.Sprintf("%d (%s)", target, name)
	}
	return fmt.Sprint(target)
}

func fieldName(offset uint32) string {
	switch {
	case offset == offNr:
		return "nr"
	case offset == offArch:
		return "arch"
	case offset%8 == 0:
		return fmt.Sprintf("low word of argument %d", (offset-offArgs)/8)
	}
	return fmt.Sprintf("high word of argument %d", (offset-offArgs)/8)
}

func actionName(value uint32) string {
	switch value {
	case retAllow:
		return "allow"
	case retNotify:
		return "notify"
	case retTrace:
		return "trace"
	case retKillProcess:
		return "kill process"
	}
	if name := unix.ErrnoName(unix.Errno(value &^ retErrno)); name != "" {
		return name
	}
	return fmt.Sprintf("%#x", value)
}
