package core

import (
	"fmt"
	"sync"

	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// crowd collects all background runs of the process on one thread, which is there while
// there are any: a thread for each would be most of what a sandbox takes of its host.
var crowd collectors

type collectors struct {
	mu    sync.Mutex // guards what follows
	epoll int
	runs  map[int32]*Sandbox // by each of their sources; empty, and there is no thread
}

// add has s collected until it is over.
func (c *collectors) add(s *Sandbox) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := len(c.runs) == 0
	if first {
		fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		if err != nil {
			return err
		}
		c.epoll, c.runs = sys.Opened(fd), map[int32]*Sandbox{}
	}
	if err := s.addSources(c.epoll); err != nil {
		c.forget(s)
		return err
	}
	for _, source := range s.sources() {
		c.runs[int32(source)] = s
	}
	delete(c.runs, -1)
	if first {
		go c.collect(c.epoll)
	}
	return nil
}

// forget takes s out, while its descriptors are open, and reports whether nobody is left.
// c.mu is held.
func (c *collectors) forget(s *Sandbox) (last bool) {
	for _, source := range s.sources() {
		if source >= 0 {
			_ = unix.EpollCtl(c.epoll, unix.EPOLL_CTL_DEL, source, nil)
			delete(c.runs, int32(source))
		}
	}
	if len(c.runs) > 0 {
		return false
	}
	sys.Close(c.epoll)
	return true
}

func (c *collectors) collect(epoll int) {
	var events [64]unix.EpollEvent
	for {
		n, err := unix.EpollWait(epoll, events[:], -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			c.lost(err)
			return
		}
		for _, ev := range events[:n] {
			// One whose number was somebody else's when it came makes a look for nothing.
			c.mu.Lock()
			s := c.runs[ev.Fd]
			c.mu.Unlock()
			if s == nil {
				continue
			}
			end := s.look()
			if end == nil {
				continue
			}
			c.mu.Lock()
			last := c.forget(s)
			c.mu.Unlock()
			go end() // it may take time: others are not to wait for it
			if last {
				return
			}
		}
	}
}

// lost ends all runs, of which nothing tells any more: the descriptor is not ours, so the
// host has closed it, and its number may be somebody else's.
func (c *collectors) lost(why error) {
	lost := map[*Sandbox]bool{}
	c.mu.Lock()
	for _, s := range c.runs {
		lost[s] = true
	}
	sys.Closing(c.epoll)
	c.runs = nil
	c.mu.Unlock()
	for s := range lost {
		go func() {
			defer s.guard()
			s.warden.Kill()
			s.finish(nil, fmt.Errorf("a descriptor of the library was closed by others (epoll_wait: %w), so the sandbox was ended", why))
		}()
	}
}

// look takes what is ready without blocking. What it returns ends the run, unless it is nil.
func (s *Sandbox) look() (end func()) {
	defer func() {
		if p := recover(); p != nil {
			end = func() { s.broken(p) }
		}
	}()
	fds, ok := s.ready(longAgo)
	if !ok {
		return nil
	}
	last := s.take(fds)
	if last == nil {
		return nil
	}
	return func() {
		defer s.guard()
		last()
	}
}

// broken ends a run with a bug of the library.
func (s *Sandbox) broken(p any) {
	s.warden.Kill()
	s.finish(nil, fmt.Errorf("BUG(sandlock): %v, please report", p))
}
