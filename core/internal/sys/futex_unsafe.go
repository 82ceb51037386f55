package sys

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Bell wakes one thread, futex(2). A goroutine that is locked to its thread is
// woken by the Go scheduler through two others; a futex wakes it at once.
type Bell struct{ rung uint32 }

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

// Wait blocks the thread until the bell rings. Spurious returns are possible; to
// be called by one goroutine at a time.
func (b *Bell) Wait() {
	for atomic.SwapUint32(&b.rung, 0) == 0 {
		unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&b.rung)), futexWait, 0, 0, 0, 0)
	}
}
