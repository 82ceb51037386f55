// Package sys holds the typed system calls that golang.org/x/sys/unix lacks, and
// what the library keeps track of in its host. It is the only package that uses
// unsafe, in files named *_unsafe.go.
package sys

// A child that the host forks without exec holds copies of every descriptor of
// the library, and close-on-exec does not help there: the C ABI's atfork handler
// closes them. It learns of them through these hooks, set before first use.
var openedHook, closingHook func(fd int)

// SetDescriptorHooks sets the functions that are told of each descriptor that
// the library keeps for longer than a call. To be called once, before any other
// use of the library.
func SetDescriptorHooks(opened, closing func(fd int)) {
	openedHook, closingHook = opened, closing
}

// Opened tells the hook of fd and returns it.
func Opened(fd int) int {
	if openedHook != nil {
		openedHook(fd)
	}
	return fd
}

// Closing tells the hook that fd is about to be closed. It comes before the
// close, since the number may be somebody else's right after.
func Closing(fd int) {
	if closingHook != nil {
		closingHook(fd)
	}
}
