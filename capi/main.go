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
	"time"
	"unsafe"

	"github.com/sandlock/sandlock/core"
)

func init() {
	// The runtime opens its poller's two descriptors with the first timer, which its
	// own scavenger sets some time after the first collection: better now, when the
	// library is loaded, than in the middle of the host's life.
	time.AfterFunc(time.Hour, func() {}).Stop()
	core.SetDescriptorHooks(
		func(fd int) { C.sl_descriptor_opened(C.int(fd)) },
		func(fd int) { C.sl_descriptor_closing(C.int(fd)) },
	)
}

// setError keeps err as the calling C thread's last error: an exported function
// runs on the thread that called it.
func setError(err error) {
	text := C.CString(err.Error())
	defer C.free(unsafe.Pointer(text))
	C.sl_set_error(text)
}

//export goReady
func goReady() {}

func main() {}
