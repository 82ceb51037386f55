package core

import (
	"errors"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// landlockScopeSignal is LANDLOCK_SCOPE_SIGNAL, Linux 6.12, ABI 6.
const landlockScopeSignal = 1 << 1

// fdList closes descriptors that only one step needs.
type fdList []int

func (l *fdList) keep(fd int, err error) (int, error) {
	if err == nil {
		*l = append(*l, fd)
	}
	return fd, err
}

func (l *fdList) close() {
	for _, fd := range *l {
		unix.Close(fd)
	}
}

// blockSignal blocks sig on the calling thread until the returned function is
// called, on the same goroutine.
func blockSignal(sig unix.Signal) (restore func()) {
	runtime.LockOSThread()
	var set, old unix.Sigset_t
	set.Val[(sig-1)/64] |= 1 << ((sig - 1) % 64)
	_ = unix.PthreadSigmask(unix.SIG_BLOCK, &set, &old)
	return func() {
		_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
		runtime.UnlockOSThread()
	}
}

// SetDescriptorHooks is for the C ABI, whose atfork handler closes the library's
// descriptors in a forked child of the host: see core/internal/sys.
func SetDescriptorHooks(opened, closing func(fd int)) { sys.SetDescriptorHooks(opened, closing) }

// signalDescendants signals all descendants of pid but its own helper, the
// killer, for sandboxes that have no Landlock signal scope to do it by. Tasks
// that are born meanwhile may escape a stop.
func signalDescendants(pid int, sig unix.Signal) error {
	found := false
	var visit func(pid int)
	visit = func(pid int) {
		threads, _ := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
		for _, t := range threads {
			list, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + t.Name() + "/children")
			for _, f := range strings.Fields(string(list)) {
				child, err := strconv.Atoi(f)
				if err != nil {
					continue
				}
				if exe, err := os.Readlink("/proc/" + f + "/exe"); err == nil && strings.HasPrefix(exe, "/memfd:sandlock-warden") {
					continue
				}
				found = unix.Kill(child, sig) == nil || found
				visit(child)
			}
		}
	}
	visit(pid)
	if !found {
		return errors.New("the sandbox is not running")
	}
	return nil
}
