package main

/*
#include <stdlib.h>
#include "callback.h"
*/
import "C"

import (
	"sync/atomic"
	"unsafe"

	"github.com/sandlock/sandlock/core"
)

// callback is a user's policy function with its user data. A builder, then the built
// policy, and each run hold a reference; the last one drops the user data.
type callback struct {
	refs     atomic.Int32
	fn       C.sandlock_policy_fn_t
	callback C.sandlock_policy_callback_t
	userData unsafe.Pointer
	drop     C.sl_drop_t
}

func newCallback(fn C.sandlock_policy_fn_t, cb C.sandlock_policy_callback_t, userData unsafe.Pointer, drop C.sl_drop_t) *callback {
	c := &callback{fn: fn, callback: cb, userData: userData, drop: drop}
	c.refs.Store(1)
	return c
}

func (c *callback) retain() {
	if c != nil {
		c.refs.Add(1)
	}
}

func (c *callback) release() {
	if c != nil && c.refs.Add(-1) == 0 && c.drop != nil {
		C.sl_drop(c.drop, c.userData)
	}
}

// decide is the [core.PolicyFunc]. The event lies in one block of C memory for the
// time of the call: the struct, the vector, the strings.
func (c *callback) decide(ev *core.Event, ctx *core.Context) core.Verdict {
	const pointerSize = unsafe.Sizeof(uintptr(0))
	vector := uintptr(C.sizeof_sandlock_event_t)
	strs := vector + pointerSize*uintptr(len(ev.Argv)+1)
	size := strs + uintptr(len(ev.Syscall)+len(ev.Host)+2)
	for _, a := range ev.Argv {
		size += uintptr(len(a) + 1)
	}
	block := C.calloc(1, C.size_t(size))
	if block == nil {
		return core.Deny
	}
	defer C.free(block)
	str := func(s string) *C.char {
		at := unsafe.Add(block, strs)
		copy(unsafe.Slice((*byte)(at), len(s)), s) // calloc wrote the NUL
		strs += uintptr(len(s) + 1)
		return (*C.char)(at)
	}
	e := (*C.sandlock_event_t)(block)
	e.syscall = str(ev.Syscall)
	e.category = C.uint8_t(ev.Category)
	e.pid, e.parent_pid = C.uint32_t(ev.PID), C.uint32_t(ev.ParentPID)
	if ev.Host != "" {
		e.host = str(ev.Host)
	}
	e.port, e.denied = C.uint16_t(ev.Port), C.bool(ev.Denied)
	if ev.Argv != nil {
		argv := unsafe.Slice((**C.char)(unsafe.Add(block, vector)), len(ev.Argv)+1)
		for i, a := range ev.Argv {
			argv[i] = str(a)
		}
		e.argv, e.argc = (**C.char)(unsafe.Add(block, vector)), C.uint32_t(len(ev.Argv))
	}
	defer decides(ctx)()
	handle := save(ctx)
	defer quarantine(handle) // still a context, whose callback has returned
	return core.Verdict(C.sl_decide(c.fn, c.callback, e, (*C.sandlock_ctx_t)(handle), c.userData))
}
