package core

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
)

var (
	nameCounter atomic.Uint64
	liveMu      sync.Mutex // guards live
	live        = map[string]bool{}
)

// takeName chooses the name of a run and reserves it until dropName. Two live
// runs of one process can't have the same.
func takeName(asked, fallback string) (string, error) {
	name := asked
	if name == "" {
		name = fallback
	}
	if name == "" {
		name = fmt.Sprintf("sandbox-%d-%d", os.Getpid(), nameCounter.Add(1))
	} else if problem := checkName(name); problem != "" {
		return "", fmt.Errorf("name %q: %s", name, problem)
	}
	liveMu.Lock()
	defer liveMu.Unlock()
	if live[name] {
		return "", fmt.Errorf("name %q: a sandbox of that name is running", name)
	}
	live[name] = true
	return name, nil
}

func dropName(name string) {
	liveMu.Lock()
	defer liveMu.Unlock()
	delete(live, name)
}

// anyLive returns the name of a run that is not over, if there is one.
func anyLive() (name string, ok bool) {
	liveMu.Lock()
	defer liveMu.Unlock()
	for name = range live {
		return name, true
	}
	return "", false
}
