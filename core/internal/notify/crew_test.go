package notify

import (
	"sync"
	"testing"
)

// All work is done, however few hands wait and when there is no listener left; and then nobody
// waits any more.
func TestCrew(t *testing.T) {
	var c crew
	c.join()
	for range 50 {
		var done sync.WaitGroup
		for range 2 * maxIdle {
			done.Add(1)
			c.do(func() func() {
				return done.Done
			})
		}
		done.Wait()
	}
	c.leave()
	var done sync.WaitGroup
	done.Add(1)
	c.do(func() func() { return done.Done })
	done.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) > 0 {
		t.Errorf("%d wait", len(c.idle))
	}
}
