// Package sys holds the typed system calls that golang.org/x/sys/unix lacks, and
// what the library keeps track of in its host. It is the only package that uses
// unsafe, in files named *_unsafe.go.
package sys

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// A child that the host forks without exec holds copies of every descriptor of
// the library, and close-on-exec does not help there: the C ABI's atfork handlers
// close them. They learn of them through these hooks, set before first use; and they
// hold a fork back while there are some that nobody has told of.
var (
	openedHook, closingHook func(fd int)
	holdForks, letForks     func()
)

// SetForkHooks sets the functions that are told of each descriptor that the library
// keeps, and those that hold the host's forks back and let them go on. To be called
// once, before any other use of the library.
func SetForkHooks(opened, closing func(fd int), hold, let func()) {
	openedHook, closingHook, holdForks, letForks = opened, closing, hold, let
}

// HoldForks keeps the host from forking until the function that it returns is called,
// on the same goroutine.
func HoldForks() (let func()) {
	if holdForks == nil {
		return func() {}
	}
	runtime.LockOSThread() // a mutex of C belongs to its thread
	holdForks()
	return func() {
		letForks()
		runtime.UnlockOSThread()
	}
}

// Opened tells the hook of fd and returns it.
func Opened(fd int) int {
	if openedHook != nil {
		openedHook(fd)
	}
	return fd
}

// Close closes what Opened was told of; a negative number is none.
func Close(fd int) {
	if fd >= 0 {
		Closing(fd)
		unix.Close(fd)
	}
}

// Closing tells the hook that fd is about to be closed. It comes before the
// close, since the number may be somebody else's right after.
func Closing(fd int) {
	if closingHook != nil {
		closingHook(fd)
	}
}
