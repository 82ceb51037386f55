package bpf

import (
	"encoding/binary"
	"testing"

	"golang.org/x/net/bpf"
)

// call is struct seccomp_data without the instruction pointer.
type call struct {
	arch uint32
	nr   uint32
	args [6]uint64
}

// packet lays a call out for the VM of x/net/bpf, which loads words in network byte
// order: each word of the little endian struct is turned around.
func (c call) packet() []byte {
	b := make([]byte, 64)
	binary.BigEndian.PutUint32(b[0:], c.nr)
	binary.BigEndian.PutUint32(b[4:], c.arch)
	for i, arg := range c.args {
		binary.BigEndian.PutUint32(b[16+8*i:], uint32(arg))
		binary.BigEndian.PutUint32(b[20+8*i:], uint32(arg>>32))
	}
	return b
}

// machine runs a program in user space.
type machine struct{ vm *bpf.VM }

func newMachine(t testing.TB, p *Program) machine {
	t.Helper()
	ins, ok := bpf.Disassemble(p.Raw())
	if !ok {
		t.Fatal("an instruction that x/net/bpf does not know")
	}
	vm, err := bpf.NewVM(ins)
	if err != nil {
		t.Fatal(err)
	}
	return machine{vm}
}

func (m machine) run(t testing.TB, c call) uint32 {
	t.Helper()
	value, err := m.vm.Run(c.packet())
	if err != nil {
		t.Fatal(err)
	}
	return uint32(value)
}

func compile(t testing.TB, spec Spec) *Program {
	t.Helper()
	p, err := Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// number is Number of a syscall that there is.
func number(t testing.TB, a Arch, name string) uint32 {
	t.Helper()
	nr, ok := Number(a, name)
	if !ok {
		t.Fatalf("no syscall %q on %v", name, a)
	}
	return uint32(nr)
}
