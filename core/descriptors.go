package core

import (
	"github.com/sandlock/sandlock/core/internal/sys"
	"github.com/sandlock/sandlock/core/internal/warden"
)

// fdList closes descriptors that only one step needs.
type fdList []int

func (l *fdList) keep(fd int, err error) (int, error) {
	if err == nil {
		*l = append(*l, sys.Opened(fd))
	}
	return fd, err
}

func (l *fdList) close() {
	for _, fd := range *l {
		sys.Close(fd)
	}
}

// SetForkHooks is for the C ABI, whose atfork handlers close the library's descriptors
// in a forked child of the host: see core/internal/sys.
func SetForkHooks(opened, closing func(fd int), hold, let func()) {
	sys.SetForkHooks(opened, closing, hold, let)
}

// Prepare makes what all runs share and keep. Without it, or where it failed, the first
// run does.
func Prepare() error { return warden.Prepare() }
