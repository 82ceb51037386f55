package broker

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxScanned bounds the entries that are looked at beneath one denied directory. Where there
// are more, every file with several names on its file systems is taken for one of them.
const maxScanned = 1 << 20

// beneath are the files under a denied directory that have other names besides, which may
// lie elsewhere.
type beneath struct {
	files map[object]bool
	devs  map[uint64]bool // file systems of the directories
	many  bool
}

// named reports whether a file with several names has one beneath what is denied. The
// directories are read at the first such file, and not again: a name that somebody outside
// makes later is theirs to answer for. What this process may not list the sandbox may not
// either, and is passed over. confined: the thread may list less than this process, so what was
// not read yet may have any name.
func (d *Denials) named(o object, confined bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for n := range d.all() {
		if n.fd < 0 || !n.isDir {
			continue
		}
		if n.beneath == nil && confined {
			return true
		}
		if n.beneath == nil {
			n.beneath = &beneath{files: map[object]bool{}, devs: map[uint64]bool{}}
			n.beneath.scan(n.fd)
		}
		if n.beneath.files[o] || n.beneath.many && n.beneath.devs[o.dev] {
			return true
		}
	}
	return false
}

func (b *beneath) scan(top int) {
	// Paths from the top, as descriptors of all of them would be too many.
	pending, seen := []string{"."}, 0
	var st unix.Statx_t
	if statFD(top, &st) == nil {
		b.devs[idOf(&st).dev] = true
	}
	buf := make([]byte, 64<<10)
	for len(pending) > 0 {
		dir := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		fd, err := openDeep(top, dir)
		switch err {
		case nil:
		case unix.EACCES, unix.ENOENT, unix.ENOTDIR, unix.ELOOP:
			continue
		default: // as when this process has no descriptor left: it can't be told what is there
			b.many = true
			return
		}
		for {
			n, err := unix.ReadDirent(fd, buf)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				b.many = true
			}
			if err != nil || n <= 0 {
				break
			}
			var names []string
			_, _, names = unix.ParseDirent(buf[:n], -1, names)
			for _, name := range names {
				if seen++; seen > maxScanned {
					b.many = true
				}
				var st unix.Statx_t
				if unix.Statx(fd, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_STATX_DONT_SYNC, wantStatx, &st) != nil {
					continue
				}
				switch {
				case st.Mode&unix.S_IFMT == unix.S_IFDIR:
					pending = append(pending, dir+"/"+name)
					b.devs[idOf(&st).dev] = true
				case st.Nlink > 1:
					b.files[idOf(&st)] = true
				}
			}
		}
		unix.Close(fd)
		if b.many {
			return
		}
	}
}

// openDeep opens a directory to be read, whose path may be longer than the kernel takes at a
// time.
func openDeep(top int, path string) (int, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	if len(path) < unix.PathMax {
		return openAt(top, path, flags)
	}
	cut := strings.LastIndexByte(path[:unix.PathMax], '/')
	between, err := openAt(top, path[:cut], openDir)
	if err != nil {
		return -1, err
	}
	defer unix.Close(between)
	return openDeep(between, path[cut+1:])
}

func self(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
