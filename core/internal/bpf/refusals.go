package bpf

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Reporting returns a program that asks the listener where p fails a call with an errno,
// and the Refusals by which the listener gives the same answer. ENOSYS stays the program's
// own: on it software falls back, again and again.
func (p *Program) Reporting() (*Program, *Refusals, error) {
	instructions, ok := bpf.Disassemble(p.raw)
	if !ok {
		return nil, nil, fmt.Errorf("BUG(sandlock): a program that can't be read back, please report")
	}
	vm, err := bpf.NewVM(instructions)
	if err != nil {
		return nil, nil, fmt.Errorf("BUG(sandlock): a program that can't be run, please report: %w", err)
	}
	out := *p
	out.raw = slices.Clone(p.raw)
	for i, ins := range instructions {
		if ret, ok := ins.(bpf.RetConstant); ok && refusal(ret.Val) != 0 {
			out.raw[i].K = retNotify
		}
	}
	return &out, &Refusals{vm}, nil
}

// Refusals tells what a program refuses. Its methods may be called from any goroutine.
type Refusals struct{ vm *bpf.VM }

// Of returns the errno that a call fails with by the program, 0 when it does not, or not
// by what Reporting has changed.
func (r *Refusals) Of(nr int32, arch uint32, args [6]uint64) unix.Errno {
	// The VM loads words in network byte order: each of the little endian struct is turned
	// around.
	b := make([]byte, offArgs+8*len(args))
	binary.BigEndian.PutUint32(b[offNr:], uint32(nr))
	binary.BigEndian.PutUint32(b[offArch:], arch)
	for i, arg := range args {
		binary.BigEndian.PutUint32(b[low(i):], uint32(arg))
		binary.BigEndian.PutUint32(b[high(i):], uint32(arg>>32))
	}
	value, err := r.vm.Run(b)
	if err != nil {
		return unix.EPERM
	}
	return refusal(uint32(value))
}

func refusal(value uint32) unix.Errno {
	const action, data = 0xffff0000, 0xffff // SECCOMP_RET_ACTION_FULL, SECCOMP_RET_DATA
	if errno := unix.Errno(value & data); value&action == retErrno && errno != unix.ENOSYS {
		return errno
	}
	return 0
}

// Numbers are those that the architecture has.
func Numbers(a Arch) (list []int) {
	for _, r := range rowsOf(a) {
		list = append(list, r.number(a))
	}
	return list
}
