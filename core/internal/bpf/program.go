package bpf

import (
	"encoding/binary"
	"slices"

	"golang.org/x/net/bpf"
)

// Program is a seccomp filter. It is immutable.
type Program struct {
	arch   Arch
	raw    []bpf.RawInstruction
	labels map[int]string // instruction → the name of the block that it begins
	search int            // the instructions before this one see the architecture and the number
}

// Raw returns a copy of the instructions.
func (p *Program) Raw() []bpf.RawInstruction { return slices.Clone(p.raw) }

// Len is the number of instructions; the kernel takes at most 4096 (BPF_MAXINSNS).
func (p *Program) Len() int { return len(p.raw) }

// Bytes returns a new array of struct sock_filter (linux/filter.h), in the byte
// order of both architectures.
func (p *Program) Bytes() []byte {
	b := make([]byte, 0, 8*len(p.raw))
	for _, ins := range p.raw {
		b = binary.LittleEndian.AppendUint16(b, ins.Op)
		b = append(b, ins.Jt, ins.Jf)
		b = binary.LittleEndian.AppendUint32(b, ins.K)
	}
	return b
}
