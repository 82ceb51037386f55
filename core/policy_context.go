package core

import (
	"errors"
	"fmt"
	"sync"
)

// Context is what a [PolicyFunc] changes the policy of its running sandbox with, valid
// during the call. A change is in force from the next decision on, of any task, and until
// the run is over.
//
// A method that fails during the call has denied the event that the function decides,
// whatever the function returns, and put the error into the result's log: a function that
// takes something for restricted can't go on allowing. After the call each changes nothing
// and fails with [ErrReturned], which is logged too while the run goes on.
type Context struct {
	live *dynamic
	logf func(string, ...any) // does not keep the run: a binding keeps contexts

	mu     sync.Mutex // guards what follows
	open   bool       // the function has not returned
	failed bool       // … and has to deny
}

// What these three say is asked at each connect and each datagram that names an address.
// Connections that are there go on. They fail where such calls are not trapped, as
// PolicyEvents names none.

// RestrictNetwork leaves the exact IP addresses of the list to reach, of those that the
// policy lets be reached, in place of a list before. No GrantNetwork adds to it. An empty
// list closes the network; so does one that is wrong, until one that is right.
func (c *Context) RestrictNetwork(ips []string) error {
	return c.change("restrict_network", func(d *dynamic) error { return d.restrictNetwork(ips) })
}

// GrantNetwork adds addresses of those that the policy lets be reached. After a
// RestrictNetwork it is ignored.
func (c *Context) GrantNetwork(ips []string) error {
	return c.change("grant_network", func(d *dynamic) error { return d.grantNetwork(ips) })
}

// RestrictPIDNetwork is RestrictNetwork for one process of the sandbox and those that it
// starts from then on. What the sandbox may not reach, it may not either.
func (c *Context) RestrictPIDNetwork(pid uint32, ips []string) error {
	return c.change("restrict_pid_network", func(d *dynamic) error { return d.restrictPIDNetwork(pid, ips) })
}

// RestrictMaxMemory lowers the policy's max_memory; more than it is now changes nothing.
// Without one it is an error. When it returns, who was above the new limit is dead.
func (c *Context) RestrictMaxMemory(bytes uint64) error {
	return c.change("restrict_max_memory", func(d *dynamic) error { return d.restrictMaxMemory(bytes) })
}

// RestrictMaxProcesses does the same to max_processes. 0 is no new process.
func (c *Context) RestrictMaxProcesses(n uint32) error {
	return c.change("restrict_max_processes", func(d *dynamic) error { return d.restrictMaxProcesses(n) })
}

// DenyPath makes what lies at the path and beneath it fail with EACCES. The path is
// absolute, without "..", and bytes.
func (c *Context) DenyPath(path string) error {
	return c.change("deny_path", func(d *dynamic) error { return d.denyPath(path) })
}

// AllowPath undoes a DenyPath of the same path, and nothing else: a path that was not
// denied so stays as it is.
func (c *Context) AllowPath(path string) error {
	return c.change("allow_path", func(d *dynamic) error { return d.allowPath(path) })
}

// Fail denies the event as a method that fails does. It is for bindings, in which a call
// can fail before it is here.
func (c *Context) Fail(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail(why)
}

// fail notes a failure of a call. c.mu is held.
func (c *Context) fail(why error) {
	switch {
	case c.open:
		c.failed = true
		c.logf("%v, which denies the event", why)
	case c.logf != nil: // it had a call
		c.logf("%v", why)
	}
}

// ErrReturned says that a [Context] is of a call that is over.
var ErrReturned = errors.New("the callback of this context has returned")

func (c *Context) change(method string, f func(*dynamic) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := ErrReturned
	if c.open {
		err = f(c.live)
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%s: %w", method, err)
	c.fail(err)
	return err
}

// close ends the use of the context and gives the verdict that counts.
func (c *Context) close(v Verdict) Verdict {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open, c.live = false, nil
	if c.failed && v.errno() == 0 {
		return Deny
	}
	return v
}
