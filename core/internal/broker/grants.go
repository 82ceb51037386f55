package broker

import (
	"errors"
	"fmt"

	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// Grants are the objects beneath which a sandbox may do something: what Landlock compares
// too, for the calls that it does not see.
type Grants struct {
	objects map[object]bool
	slots   map[slot]bool // names of sockets, see AddSockets
	fds     []int         // which keep the numbers from being another object's
}

// OpenGrants opens the paths, as this process sees them. What is not there is passed over:
// it grants nothing.
func OpenGrants(paths []string) (*Grants, error) {
	g := &Grants{objects: map[object]bool{}}
	for _, path := range paths {
		fd, err := openAt(unix.AT_FDCWD, path, unix.O_PATH|unix.O_CLOEXEC)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		var st unix.Statx_t
		if err == nil {
			g.fds = append(g.fds, sys.Opened(fd))
			err = statFD(fd, &st)
		}
		if err != nil {
			g.Close()
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		g.objects[idOf(&st)] = true
	}
	return g, nil
}

// AddSockets adds paths of sockets, and of directories that hold some. A socket's name is
// granted too: a daemon that is started again makes another socket there. What is not there
// is an error.
func (g *Grants) AddSockets(paths []string) error {
	g.slots = map[slot]bool{}
	for _, path := range paths {
		if err := g.addSocket(path); err != nil {
			return &GrantError{path, err}
		}
	}
	return nil
}

// GrantError is a path that can't be granted.
type GrantError struct {
	Path string
	Err  error
}

func (e *GrantError) Error() string { return e.Path + ": " + e.Err.Error() }
func (e *GrantError) Unwrap() error { return e.Err }

func (g *Grants) addSocket(path string) error {
	w := walker{caller: hostCaller{}, denied: &denied{}, follow: true}
	p, err := w.walk(unix.AT_FDCWD, path)
	if err != nil {
		return err
	}
	defer p.close()
	if p.obj < 0 {
		return unix.ENOENT
	}
	keepOpen := func(fd int) error {
		kept, err := keep(fd)
		if err == nil {
			g.fds = append(g.fds, kept)
		}
		return err
	}
	if err := keepOpen(p.obj); err != nil {
		return err
	}
	g.objects[p.id()] = true
	if p.kind() == unix.S_IFDIR || p.dir < 0 {
		return nil
	}
	if err := keepOpen(p.dir); err != nil {
		return err
	}
	g.slots[slot{p.dirID, p.name}] = true
	return nil
}

// Close forgets what the grants are.
func (g *Grants) Close() {
	for _, fd := range g.fds {
		sys.Close(fd)
	}
	g.fds, g.objects = nil, nil
}

// hold reports whether the attributes of what a path led to may be changed: EACCES when it
// does not lie beneath a grant. What lies nowhere, such as a pipe or a file without a name,
// is the sandbox's own. A device that is granted by itself is the machine's all the same.
func (g *Grants) hold(p *place) error {
	kind := p.kind()
	device := kind == unix.S_IFCHR || kind == unix.S_IFBLK
	if p.st.Nlink == 0 || g.objects[p.id()] && !device {
		return nil
	}
	if g.above(p) {
		return nil
	}
	return unix.EACCES
}

// reach reports whether a socket that a path led to is granted. One that has lost its name
// lies nowhere.
func (g *Grants) reach(p *place) bool {
	return p.st.Nlink > 0 && (g.objects[p.id()] || g.above(p))
}

// above reports whether what a path led to lies beneath a grant, or has a granted name.
// What never lay anywhere, such as a pipe, is the sandbox's own.
func (g *Grants) above(p *place) bool {
	dir, at := p.dir, slot{p.dirID, p.name}
	switch {
	case dir >= 0: // of a directory too, which may be closed to its owner
	case p.kind() == unix.S_IFDIR:
		dir = p.obj
	default:
		name, err := readlink(self(p.obj))
		if err != nil {
			return false
		}
		if name[0] != '/' {
			return true
		}
		w := walker{caller: hostCaller{}, denied: &denied{}}
		q, err := w.walk(unix.AT_FDCWD, name)
		defer q.close()
		if err != nil || q.obj < 0 || q.id() != p.id() || q.dir < 0 {
			return false
		}
		dir, at = q.dir, slot{q.dirID, q.name}
	}
	return g.slots[at] || g.hasAbove(dir)
}

// hasAbove reports whether a directory is a grant, or lies beneath one.
func (g *Grants) hasAbove(dir int) bool {
	w := walker{caller: hostCaller{}, denied: &denied{objects: g.objects}}
	return w.descends(dir) == unix.EACCES // found among them, for once
}
