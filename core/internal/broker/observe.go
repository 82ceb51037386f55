package broker

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// Access is one use of a file that was carried out.
type Access struct {
	Path  string // of the object that was used, as the host sees it
	Dir   bool   // it is a directory, which was opened and so can be listed
	Write bool   // it was opened for writing, or changed
	Name  bool   // its name was made, removed or given to something else, which changes its directory
	Exec  bool   // it was executed
}

// observe tells of a call that has succeeded.
func (b *Broker) observe(a Access, fd int, name string) {
	if b.Observe == nil {
		return
	}
	var ok bool
	if a.Path, ok = pathOf(fd, name); ok { // not so of a pipe, of a socket
		b.Observe(a)
	}
}

// observeNames tells of names that were changed.
func (b *Broker) observeNames(places []place) {
	for _, p := range places {
		if p.dir >= 0 {
			b.observe(Access{Name: true}, p.dir, p.name)
		}
	}
}

// observeOpen tells of an open: of an object, or of a name that was made.
func (b *Broker) observeOpen(p *place, flags int) {
	write := flags&unix.O_ACCMODE != unix.O_RDONLY || flags&unix.O_TRUNC != 0
	switch {
	case p.obj < 0 && p.dir >= 0:
		b.observe(Access{Write: write, Name: true}, p.dir, p.name)
	case flags&tmpfile != 0 && p.obj >= 0: // a file without a name, in that directory
		b.observe(Access{Write: true, Name: true}, p.obj, "#")
	case p.obj >= 0:
		b.observe(Access{Write: write, Dir: p.kind() == unix.S_IFDIR}, p.obj, "")
	}
}

// ObserveExec tells of the program of a process that is stopped after its exec, and of what
// it was loaded with.
func (b *Broker) ObserveExec(pid int32) {
	if b.Observe == nil {
		return
	}
	if exe, err := readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil {
		b.Observe(Access{Path: exe, Exec: true})
	}
	maps, _ := sys.ReadFile(fmt.Sprintf("/proc/%d/maps", pid), maxMaps)
	seen := map[string]bool{}
	for line := range bytes.Lines(maps) {
		_, mapped, ok := strings.Cut(strings.TrimSuffix(string(line), "\n"), " /")
		if ok && !seen[mapped] {
			seen[mapped] = true
			b.Observe(Access{Path: "/" + strings.ReplaceAll(mapped, "\\012", "\n"), Exec: true})
		}
	}
}
