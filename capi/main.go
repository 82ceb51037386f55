// Command capi is the C ABI of Sandlock: thin exports over core. The public
// symbols are C functions in exports.c; the Go functions that they call are here,
// hidden by the linker's version script. All cgo of the project is in this package.
package main

/*
#include <stdlib.h>
#include "host.h"
*/
import "C"

import (
	"errors"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/sandlock/sandlock/core"
)

// threads is how many a run takes at once: the receiver, the one that calls
// policy_fn, one for the collector of garbage, and those that look for work for the
// processors that are left.
const threads = 7

// What the runtime would take in the middle of the host's life it takes when the
// library is loaded: its poller's two descriptors, which come with the first timer,
// often the runtime's own; and threads, which it never gives back. And the heap may
// not grow to 4 MiB before garbage is collected at all.
func settle() {
	time.AfterFunc(time.Hour, func() {}).Stop()
	debug.SetGCPercent(50)
	var all sync.WaitGroup
	all.Add(threads)
	for range threads {
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			all.Done()
			all.Wait()
		}()
	}
	all.Wait()
}

// processors is how many threads may run Go at a time, at least. A thread that has none left when
// it comes out of a system call waits for one, and while all are taken, by threads in system
// calls, the runtime looks every 20 µs whether one can be taken away (sysmon of runtime/proc.go).
const processors = 4

func init() {
	if os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) < processors {
		runtime.GOMAXPROCS(processors)
	}
	C.sl_restore_limit()
	C.sl_take_faults()
	settle()
	core.SetForkHooks(
		func(fd int) { C.sl_descriptor_opened(C.int(fd)) },
		func(fd int) { C.sl_descriptor_closing(C.int(fd)) },
		func() { C.sl_hold_forks() },
		func() { C.sl_let_forks() },
	)
	core.SetResolver(resolveName)
	_ = core.Prepare() // what fails here fails a run, which says so
}

// setError keeps err as the calling C thread's last error: an exported function
// runs on the thread that called it.
func setError(err error) {
	text := C.CString(err.Error())
	defer C.free(unsafe.Pointer(text))
	var number syscall.Errno
	errors.As(err, &number)
	C.sl_set_error(text, C.int(number))
}

func main() {}
