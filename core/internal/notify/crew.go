package notify

import (
	"sync"

	"github.com/sandlock/sandlock/core/internal/sys"
)

// crew are threads that wait for work, of all listeners. A goroutine that is started comes
// to its thread by way of one that looks for work; a [sys.Bell] wakes the thread itself.
type crew struct {
	mu        sync.Mutex // guards what follows
	listeners int        // while there are none, nobody waits
	idle      []*hand    // who has come last goes first
}

type hand struct {
	bell sys.Bell
	work func() func() // nil sends it home
}

var hands crew

// maxIdle is how many wait: as many as there can be work for at a time, mostly.
const maxIdle = 4

// Go calls f elsewhere, on a thread that may block, and then what f returns: the answer, after
// which the thread has nothing left to do and can take the next call, which may come at once.
func (l *Listener) Go(f func() (last func())) { hands.do(f) }

func (c *crew) do(f func() func()) {
	c.mu.Lock()
	last := len(c.idle) - 1
	if last < 0 {
		c.mu.Unlock()
		go c.run(f)
		return
	}
	h := c.idle[last]
	c.idle = c.idle[:last]
	c.mu.Unlock()
	h.work = f
	h.bell.Ring()
}

func (c *crew) run(f func() func()) {
	h := &hand{}
	for ; f != nil; f = h.work {
		last := f()
		h.work = nil
		stays := c.rest(h)
		last()
		if !stays {
			return
		}
		h.bell.Wait()
	}
}

// rest has a hand wait for work, unless there are enough.
func (c *crew) rest(h *hand) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.listeners == 0 || len(c.idle) >= maxIdle {
		return false
	}
	c.idle = append(c.idle, h)
	return true
}

// join and leave count the listeners.
func (c *crew) join() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listeners++
}

func (c *crew) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.listeners--; c.listeners > 0 {
		return
	}
	for _, h := range c.idle {
		h.bell.Ring()
	}
	c.idle = nil
}
