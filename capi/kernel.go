package main

/*
#include <stdint.h>
#include <stdlib.h>
*/
import "C"

import "github.com/sandlock/sandlock/core"

//export goKernelReport
func goKernelReport() *C.char { return C.CString(string(core.KernelReport())) }

//export goLandlockABI
func goLandlockABI() C.int { return C.int(core.LandlockABIVersion()) }

//export goProtectionMinABI
func goProtectionMinABI(protection C.uint32_t) C.uint32_t {
	return C.uint32_t(core.MinABI(core.Protection(protection)))
}

//export goSyscallNr
func goSyscallNr(name *C.char) C.int64_t {
	if name == nil {
		return -1
	}
	return C.int64_t(core.SyscallNumber(C.GoString(name)))
}
