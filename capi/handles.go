package main

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/mattn/go-pointer"
)

// handle is what a pointer that C holds stands for. The pointer is go-pointer's: one
// byte of C memory, never read.
type handle struct {
	obj atomic.Value // holds a slot
}

// slot is the object of a handle, or nothing once it was freed.
type slot struct{ obj any }

var errPoisoned = errors.New("an earlier call on this object failed with a bug of the library")

func save(obj any) unsafe.Pointer {
	h := &handle{}
	h.obj.Store(slot{obj})
	return pointer.Save(h)
}

// lookup returns the object behind p, which must be a T. p may be anything: it is
// compared with the handles that are there, not read.
func lookup[T any](p unsafe.Pointer) (obj T, err error) {
	if p == nil {
		return obj, errors.New("the handle is NULL")
	}
	h, ok := pointer.Restore(p).(*handle)
	if !ok {
		return obj, errors.New("the handle is not one of this library, or was freed long ago")
	}
	switch o := h.obj.Load().(slot).obj.(type) {
	case nil:
		return obj, errors.New("the handle was freed")
	case T:
		return o, nil
	case error:
		return obj, o
	default:
		return obj, fmt.Errorf("the handle is of another kind: a %s", kind(o))
	}
}

func kind(obj any) string {
	switch obj.(type) {
	case *builder:
		return "builder"
	case *sandbox:
		return "built policy"
	case *run:
		return "run"
	case *result:
		return "result"
	case *together:
		return "pipeline or gather"
	}
	return "callback context"
}

// stale keeps the addresses of freed handles from being used again at once:
// malloc would give a stale handle's address to the next object, and a use of the
// stale one would reach that.
var stale struct {
	sync.Mutex // guards what follows
	freed      [4096]unsafe.Pointer
	next       int
}

// take frees the handle p and returns its object, once.
func take[T any](p unsafe.Pointer) (obj T, err error) {
	if obj, err = lookup[T](p); err != nil {
		return obj, err
	}
	h := pointer.Restore(p).(*handle)
	if was := h.obj.Swap(slot{}).(slot); was.obj == nil {
		return obj, errors.New("the handle was freed")
	}
	quarantine(p)
	return obj, nil
}

// quarantine forgets the handle p after some thousand others.
func quarantine(p unsafe.Pointer) {
	stale.Lock()
	defer stale.Unlock()
	pointer.Unref(stale.freed[stale.next])
	stale.freed[stale.next] = p
	stale.next = (stale.next + 1) % len(stale.freed)
}

// with calls f with the object behind p and reports whether it succeeded; why not
// is the last error. A panic is a bug of ours: it ends the use of the object, not
// the host.
func with[T any](p unsafe.Pointer, f func(T) error) (ok bool) {
	defer func() {
		if r := recover(); r != nil {
			if h, live := pointer.Restore(p).(*handle); live {
				h.obj.Store(slot{errPoisoned})
			}
			setError(fmt.Errorf("BUG(sandlock): %v, please report", r))
			ok = false
		}
	}()
	obj, err := lookup[T](p)
	if err == nil {
		err = f(obj)
	}
	if err != nil {
		setError(err)
	}
	return err == nil
}

// free gives the object behind p to f, for the last time. NULL is nothing.
func free[T any](p unsafe.Pointer, f func(T)) {
	if p == nil {
		return
	}
	defer func() {
		if r := recover(); r != nil {
			setError(fmt.Errorf("BUG(sandlock): %v, please report", r))
		}
	}()
	obj, err := take[T](p)
	if err != nil {
		setError(err)
		return
	}
	f(obj)
}
