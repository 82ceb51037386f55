package broker

import (
	"errors"
	"fmt"

	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// Grants are the objects beneath which a sandbox may write: what Landlock compares too, for
// the calls that it does not see.
type Grants struct {
	objects map[object]bool
	fds     []int // which keep the numbers from being another object's
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
	dir := p.dir
	switch {
	case dir >= 0: // of a directory too, which may be closed to its owner
	case kind == unix.S_IFDIR:
		dir = p.obj
	default:
		name, err := readlink(self(p.obj))
		if err != nil {
			return unix.EACCES
		}
		if name[0] != '/' {
			return nil
		}
		w := walker{caller: hostCaller{}, denied: &denied{}}
		q, err := w.walk(unix.AT_FDCWD, name)
		defer q.close()
		if err != nil || q.obj < 0 || q.id() != p.id() || q.dir < 0 {
			return unix.EACCES
		}
		dir = q.dir
	}
	w := walker{caller: hostCaller{}, denied: &denied{objects: g.objects}}
	if w.descends(dir) == unix.EACCES { // found among them, for once
		return nil
	}
	return unix.EACCES
}
