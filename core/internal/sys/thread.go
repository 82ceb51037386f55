package sys

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// OwnThread has f run on an OS thread that ends with it, since nothing undoes what f does to
// the thread: it is never unlocked (runtime.LockOSThread). The main thread would stay
// instead, and is the host's, so it is passed over.
func OwnThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		elsewhere := make(chan struct{})
		go func() {
			runtime.LockOSThread() // on another thread, as this one is taken
			close(elsewhere)
			f()
		}()
		<-elsewhere
		runtime.UnlockOSThread()
	}()
}
