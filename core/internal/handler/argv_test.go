package handler

import (
	"encoding/binary"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// ownMemory reads an address range of this process through process_vm_readv(2),
// as a Request reads a task's.
type ownMemory struct{}

func (ownMemory) ReadMemory(addr uint64, buf []byte) (int, error) {
	local := []unix.Iovec{{Base: &buf[0]}}
	local[0].SetLen(len(buf))
	return unix.ProcessVMReadv(os.Getpid(), local, []unix.RemoteIovec{{Base: uintptr(addr), Len: len(buf)}}, 0)
}

// layout is memory of a shape: pages, with an unmapped one behind them.
type layout struct {
	mem  []byte
	base uint64
}

func mapped(t *testing.T, pages int) *layout {
	t.Helper()
	mem, err := unix.Mmap(-1, 0, (pages+1)*pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(mem) })
	l := &layout{mem[:pages*pageSize], uint64(reflect.ValueOf(mem).Pointer())}
	if err := unix.Mprotect(mem[pages*pageSize:], unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *layout) pointers(at int, ptrs ...uint64) uint64 {
	for i, p := range ptrs {
		binary.LittleEndian.PutUint64(l.mem[at+8*i:], p)
	}
	return l.base + uint64(at)
}

func (l *layout) str(at int, s string) uint64 {
	copy(l.mem[at:], s+"\x00")
	return l.base + uint64(at)
}

func TestReadArgv(t *testing.T) {
	l := mapped(t, 80)
	end := len(l.mem)
	long := strings.Repeat("x", maxArgStrlen-1)
	for name, c := range map[string]struct {
		addr uint64
		want []string
		err  error
	}{
		"NULL vector":            {0, []string{""}, nil},
		"empty vector":           {l.pointers(0, 0), []string{""}, nil},
		"plain":                  {l.pointers(64, l.str(200, "a"), l.str(300, ""), l.str(400, "\xff\xfe"), 0), []string{"a", "", "\xff\xfe"}, nil},
		"string across pages":    {l.pointers(128, l.str(2*pageSize-2, "abcd"), 0), []string{"abcd"}, nil},
		"vector across pages":    {l.pointers(4*pageSize-12, l.str(200, "a"), l.str(200, "a"), 0), []string{"a", "a"}, nil},
		"ends at the last byte":  {l.pointers(500, l.str(end-4, "end"), 0), []string{"end"}, nil},
		"runs off the mapping":   {l.pointers(520, l.base+uint64(end)-8, 0), nil, unix.EFAULT},
		"unmapped string":        {l.pointers(540, l.base+uint64(end), 0), nil, unix.EFAULT},
		"unmapped vector":        {l.base + uint64(end), nil, unix.EFAULT},
		"vector without an end":  {l.base + uint64(end) - 8, nil, unix.EFAULT},
		"longest argument":       {l.pointers(600, l.str(8*pageSize, long), 0), []string{long}, nil},
		"argument one too long":  {l.pointers(640, l.str(42*pageSize, long+"y"), 0), nil, unix.E2BIG},
		"top of the address map": {^uint64(0) - 3, nil, unix.EFAULT},
	} {
		if name == "runs off the mapping" || name == "vector without an end" {
			for i := end - 8; i < end; i++ {
				l.mem[i] = 'z'
			}
			if name == "vector without an end" {
				l.pointers(end-8, l.str(200, "a"))
			}
		}
		if name == "ends at the last byte" {
			l.str(end-4, "end")
		}
		got, err := readArgv(ownMemory{}, c.addr)
		if !errors.Is(err, c.err) || !slices.Equal(got, c.want) {
			t.Errorf("%s: %d arguments, error %v, want %d, %v", name, len(got), err, len(c.want), c.err)
		}
	}
}

func TestReadArgvIsBounded(t *testing.T) {
	l := mapped(t, 40)
	arg := l.str(32*pageSize, strings.Repeat("x", 7*pageSize))
	for i := range 32 * pageSize / 8 {
		l.pointers(8*i, arg)
	}
	if _, err := readArgv(ownMemory{}, l.base); !errors.Is(err, unix.E2BIG) {
		t.Errorf("%v", err)
	}
}

func TestReadCmdlineAndTask(t *testing.T) {
	argv, err := readCmdline(int32(os.Getpid()))
	if err != nil || !slices.Equal(argv, os.Args) {
		t.Errorf("%q, %v", argv, err)
	}
	me, err := readTask(uint32(unix.Gettid()))
	if err != nil || me.tgid != uint32(os.Getpid()) || me.ppid != uint32(os.Getppid()) || me.threads < 2 {
		t.Errorf("%+v %v", me, err)
	}
	if _, err := readTask(1 << 30); err == nil {
		t.Error("a task that is not there")
	}
}
