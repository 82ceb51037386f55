package sys

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Bell wakes one thread, futex(2). A goroutine that is locked to its thread is
// woken by the Go scheduler through two others; a futex wakes it at once.
type Bell struct {
	rung   uint32
	tid    int32  // of who waits, once it has
	handed uint32 // somebody is in HandOver
	pinned uint32 // who waits may run on one CPU alone, and before on those of mask
	mask   cpuSet // written in HandOver while pinned is 0, read by who waits while it is 1
}

type cpuSet [16]uint64 // 1,024 CPUs, as the C library's cpu_set_t

const (
	futexWait = 0 | 128 // FUTEX_WAIT | FUTEX_PRIVATE_FLAG
	futexWake = 1 | 128
)

// Ring ends the current Wait, or the next one.
func (b *Bell) Ring() {
	if atomic.SwapUint32(&b.rung, 1) == 0 {
		unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&b.rung)), futexWake, 1, 0, 0, 0)
	}
}

// HandOver is Ring by a thread that has nothing left to do, and waits itself next: who waits
// for the bell is woken on the caller's CPU. On another one, as the caller's is busy, it would
// mostly be woken by an interrupt, which takes tens of microseconds where that CPU sleeps, above
// all in a virtual machine.
func (b *Bell) HandOver() {
	if atomic.CompareAndSwapUint32(&b.handed, 0, 1) {
		if atomic.LoadUint32(&b.pinned) == 0 && b.pin() {
			atomic.StoreUint32(&b.pinned, 1)
		}
		atomic.StoreUint32(&b.handed, 0)
	}
	b.Ring()
}

func (b *Bell) pin() bool {
	var here cpuSet
	var cpu uint32
	tid := uintptr(atomic.LoadInt32(&b.tid))
	if _, _, e := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0); e != 0 || tid == 0 || cpu/64 >= uint32(len(here)) {
		return false
	}
	here[cpu/64] = 1 << (cpu % 64)
	return affinity(unix.SYS_SCHED_GETAFFINITY, tid, &b.mask) && b.mask[cpu/64]&here[cpu/64] != 0 && b.mask != here &&
		affinity(unix.SYS_SCHED_SETAFFINITY, tid, &here)
}

func affinity(call, tid uintptr, set *cpuSet) bool {
	_, _, e := unix.RawSyscall(call, tid, unsafe.Sizeof(*set), uintptr(unsafe.Pointer(set)))
	return e == 0
}

// Wait blocks the thread until the bell rings. Spurious returns are possible; to
// be called by one thread alone.
func (b *Bell) Wait() {
	if b.tid == 0 {
		atomic.StoreInt32(&b.tid, int32(unix.Gettid()))
	}
	for atomic.SwapUint32(&b.rung, 0) == 0 {
		unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&b.rung)), futexWait, 0, 0, 0, 0)
	}
	if atomic.LoadUint32(&b.pinned) != 0 {
		affinity(unix.SYS_SCHED_SETAFFINITY, 0, &b.mask)
		atomic.StoreUint32(&b.pinned, 0)
	}
}
