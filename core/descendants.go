package core

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// landlockScopeSignal is LANDLOCK_SCOPE_SIGNAL, Linux 6.12, ABI 6.
const landlockScopeSignal = 1 << 1

// signalDescendants signals all descendants of pid, the warden, but its child, the killer,
// whose children they are, for sandboxes that have no Landlock signal scope to do it by.
// Tasks that are born meanwhile may escape a stop.
func signalDescendants(pid int, sig unix.Signal) error {
	found := false
	var visit func(pid int, spare bool)
	visit = func(pid int, spare bool) {
		threads, _ := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
		for _, t := range threads {
			list, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + t.Name() + "/children")
			for _, f := range strings.Fields(string(list)) {
				child, err := strconv.Atoi(f)
				if err != nil {
					continue
				}
				if !spare {
					found = unix.Kill(child, sig) == nil || found
				}
				visit(child, false)
			}
		}
	}
	visit(pid, true)
	if !found {
		return errOver
	}
	return nil
}
