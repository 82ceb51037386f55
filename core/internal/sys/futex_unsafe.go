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
	tid    int32  // of who is in WaitLocked
	handed uint32 // somebody is in HandOver
	pinned bool   // who waits may run on one CPU alone, and before on those of mask
	mask   cpuSet // this and pinned belong to who has handed set, or else who waits
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
		if tid := atomic.LoadInt32(&b.tid); tid != 0 && !b.pinned {
			b.pinned = b.pin(uintptr(tid))
		}
		atomic.StoreUint32(&b.handed, 0)
	}
	b.Ring()
}

func (b *Bell) pin(tid uintptr) bool {
	var here cpuSet
	var cpu uint32
	if _, _, e := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0); e != 0 || cpu/64 >= uint32(len(here)) {
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
// be called by one goroutine at a time.
func (b *Bell) Wait() {
	for atomic.SwapUint32(&b.rung, 0) == 0 {
		unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&b.rung)), futexWait, 0, 0, 0, 0)
	}
}

// WaitLocked is Wait by a goroutine that is locked to its thread (runtime.LockOSThread), which
// HandOver then is for: neither does the goroutine go on elsewhere, nor does the runtime make a
// thread that is like this one.
func (b *Bell) WaitLocked() {
	atomic.StoreInt32(&b.tid, int32(unix.Gettid()))
	b.Wait()
	atomic.StoreInt32(&b.tid, 0)
	for !atomic.CompareAndSwapUint32(&b.handed, 0, 1) { // for some microseconds, if ever
		unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0) // in which the runtime may stop this thread
	}
	if b.pinned {
		b.pinned = !affinity(unix.SYS_SCHED_SETAFFINITY, 0, &b.mask)
	}
	atomic.StoreUint32(&b.handed, 0)
}
