package handler

import (
	"bytes"
	"strconv"

	"github.com/sandlock/sandlock/core/internal/broker"
	"github.com/sandlock/sandlock/core/internal/notify"
	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// maxQuickPath is how long a path may be that quickly reads.
const maxQuickPath = 512

// quickly has an open(2) or openat(2) carried out by one hand-over, to the thread that opens
// the file, and not by two: see [broker.Broker.OpenQuickly]. That thread is confined, and may
// not look into a task of the sandbox. But who may read of a descriptor of /proc/PID/mem is
// asked when that is opened (mem_open of the kernel's fs/proc/base.c), which touches no memory
// that could be slow: so it is opened here; and so is where the path counts from, if a task's
// last path was one that does. False: nothing has been done. A Hold stands.
func (f *Files) quickly(r *notify.Request, name string, call fileCall) bool {
	at, path, flags := int32(r.Data.Args[0]), r.Data.Args[1], int(int32(r.Data.Args[2]))
	if r.Data.Nr != unix.SYS_OPENAT {
		at, path, flags = unix.AT_FDCWD, r.Data.Args[0], int(int32(r.Data.Args[1]))
	}
	if !f.Watched || !f.steady.still() || !broker.IsQuick(flags) {
		return false
	}
	task := "/proc/" + strconv.Itoa(int(r.TID))
	mem, err := unix.Open(task+"/mem", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	sys.Opened(mem)
	dir, relative := -1, &f.relative[r.TID%uint32(len(f.relative))]
	if relative.Load() {
		from := task + "/cwd"
		if at != unix.AT_FDCWD {
			from = task + "/fd/" + strconv.Itoa(int(at))
		}
		if dir, err = unix.Open(from, unix.O_PATH|unix.O_CLOEXEC, 0); err == nil {
			sys.Opened(dir)
		}
	}
	cancel := f.deadline(r)
	taken := f.Broker.Quickly(func() (last func()) {
		text, ok := readQuickly(mem, path)
		sys.Close(mem)
		cancel()
		defer sys.Close(dir)
		relative.Store(text != "" && text[0] != '/')
		fd, err := -1, broker.ErrNotQuick
		switch {
		case !ok:
		case !r.Valid():
			err = unix.EPERM // nobody is there to hear it
		default:
			fd, err = f.openQuickly(dir, text, flags)
		}
		if err == broker.ErrNotQuick {
			f.begin(r, name, call)
			return func() {}
		}
		r.Listener().Release()
		if err != nil {
			return func() { r.Errno(errnoOf(err)) }
		}
		if r.Claim() {
			r.AddFDClaimed(fd, flags&unix.O_CLOEXEC != 0)
		}
		sys.Close(fd)
		return func() {}
	})
	if !taken {
		cancel()
		sys.Close(mem)
		sys.Close(dir)
	}
	return taken
}

// openQuickly makes a panic a denial.
func (f *Files) openQuickly(dir int, path string, flags int) (fd int, err error) {
	defer func() {
		if p := recover(); p != nil {
			f.Log("BUG(sandlock): %v, please report", p)
			fd, err = -1, unix.EPERM
		}
	}()
	if fd, err = f.Broker.OpenQuickly(f.Denials, dir, path, flags); err != nil {
		return -1, err
	}
	return sys.Opened(fd), nil
}

// readQuickly reads a path out of the memory that a descriptor leads to.
func readQuickly(mem int, addr uint64) (string, bool) {
	var buf [maxQuickPath]byte
	part := buf[:min(maxQuickPath, pageSize-int(addr%pageSize))]
	n, err := unix.Pread(mem, part, int64(addr))
	if err != nil {
		return "", false
	}
	text, _, ok := bytes.Cut(part[:n], []byte{0})
	return string(text), ok
}
