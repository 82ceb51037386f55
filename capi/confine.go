package main

/*
#include "../include/sandlock.h"
#include "confine.h"
*/
import "C"

import (
	"fmt"
	"syscall"
	"unsafe"
)

// confineSteps are the system calls of enum sl_step.
var confineSteps = map[C.int]string{
	C.STEP_MEMORY: "mmap", C.STEP_LIST: "/proc/self/task", C.STEP_SIGNAL: "rt_tgsigqueueinfo",
	C.STEP_PRIVS: "prctl(PR_SET_NO_NEW_PRIVS)", C.STEP_LANDLOCK: "landlock_restrict_self",
	C.STEP_CAPS: "capset", C.STEP_FILTER: "seccomp",
}

func confineError(f C.struct_sl_failure) error {
	var err error
	switch f.step {
	case C.STEP_WORKER:
		return fmt.Errorf("thread %d works for io_uring, with the rights that this process has now, and can't be confined; close what uses io_uring", f.thread)
	case C.STEP_SILENT:
		return fmt.Errorf("thread %d does not answer: it blocks signal 33, waits in the kernel, or is stopped by a debugger; nothing was changed", f.thread)
	}
	err = fmt.Errorf("%s: %w", confineSteps[f.step], syscall.Errno(f.error))
	if f.thread != 0 {
		err = fmt.Errorf("thread %d: %w", f.thread, err)
	}
	if f.part {
		err = fmt.Errorf("%w; the process is confined in part, which can't be undone: end it", err)
	}
	return err
}

// goConfine is called on the thread of the caller, and so is sl_confine.
//
//export goConfine
func goConfine(p *C.sandlock_sandbox_t) C.int {
	return status(with(unsafe.Pointer(p), func(s *sandbox) error {
		c, err := s.plan.Confinement()
		if err != nil {
			return err
		}
		defer c.Close()
		var f C.struct_sl_failure
		if C.sl_confine(C.int(c.Ruleset), C.uint64_t(c.Capabilities), unsafe.Pointer(unsafe.SliceData(c.Filter)), C.size_t(len(c.Filter)/8), &f) != 0 {
			return confineError(f)
		}
		return nil
	}))
}
