package main

/*
#include "../include/sandlock.h"
#include "host.h"
*/
import "C"

import (
	"errors"
	"sync"
	"unsafe"

	"github.com/sandlock/sandlock/core"
	"golang.org/x/sys/unix"
)

// deciding has the context of the callback that runs on a thread: thread id → *core.Context.
var deciding sync.Map

// decides notes ctx for the calling thread, which is locked, until the function that it
// returns is called.
func decides(ctx *core.Context) (done func()) {
	tid := unix.Gettid()
	deciding.Store(tid, ctx)
	return func() { deciding.Delete(tid) }
}

// change has f change the policy of a running sandbox. The functions behind it return
// nothing, so the last error is "" after a success. What f returns has denied the event of
// its context; where that can't be, since the handle is none or of a callback that has
// returned, it denies that of the callback that runs here.
func change(p *C.sandlock_ctx_t, f func(*core.Context) error) {
	C.sl_set_error(nil, 0)
	told := false
	if with(unsafe.Pointer(p), func(c *core.Context) error {
		err := f(c)
		told = !errors.Is(err, core.ErrReturned)
		return err
	}) || told {
		return
	}
	if ctx, ok := deciding.Load(unix.Gettid()); ok {
		ctx.(*core.Context).Fail(errors.New("callback context: " + C.GoString(C.sl_last_error())))
	}
}

// addresses are the strings of a list. NULL in it is "", which is no address, and so is a
// list that is NULL but not empty; of one that is too long there is just one too many.
func addresses(ips **C.char, count C.uint32_t) []string {
	list := make([]string, min(int(count), core.MaxAddresses+1))
	if ips == nil || len(list) > core.MaxAddresses {
		return list // refused for its length
	}
	for i, ip := range unsafe.Slice(ips, len(list)) {
		list[i] = C.GoString(ip) // NULL is ""
	}
	return list
}

//export goCtxRestrictNetwork
func goCtxRestrictNetwork(p *C.sandlock_ctx_t, ips **C.char, count C.uint32_t) {
	change(p, func(c *core.Context) error { return c.RestrictNetwork(addresses(ips, count)) })
}

//export goCtxGrantNetwork
func goCtxGrantNetwork(p *C.sandlock_ctx_t, ips **C.char, count C.uint32_t) {
	change(p, func(c *core.Context) error { return c.GrantNetwork(addresses(ips, count)) })
}

//export goCtxRestrictPIDNetwork
func goCtxRestrictPIDNetwork(p *C.sandlock_ctx_t, pid C.uint32_t, ips **C.char, count C.uint32_t) {
	change(p, func(c *core.Context) error { return c.RestrictPIDNetwork(uint32(pid), addresses(ips, count)) })
}

//export goCtxRestrictMaxMemory
func goCtxRestrictMaxMemory(p *C.sandlock_ctx_t, bytes C.uint64_t) {
	change(p, func(c *core.Context) error { return c.RestrictMaxMemory(uint64(bytes)) })
}

//export goCtxRestrictMaxProcesses
func goCtxRestrictMaxProcesses(p *C.sandlock_ctx_t, n C.uint32_t) {
	change(p, func(c *core.Context) error { return c.RestrictMaxProcesses(uint32(n)) })
}

//export goCtxDenyPath
func goCtxDenyPath(p *C.sandlock_ctx_t, path *C.char) {
	change(p, func(c *core.Context) error { return c.DenyPath(C.GoString(path)) })
}

//export goCtxAllowPath
func goCtxAllowPath(p *C.sandlock_ctx_t, path *C.char) {
	change(p, func(c *core.Context) error { return c.AllowPath(C.GoString(path)) })
}
