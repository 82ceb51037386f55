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
	"unsafe"

	"github.com/sandlock/sandlock/core"
)

func init() {
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
