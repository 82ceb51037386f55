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
// the file, and not by two: see [broker.Broker.OpenQuickly]. False: nothing has been done. A
// Hold stands.
func (f *Files) quickly(r *notify.Request, name string, call fileCall) bool {
	_, _, flags := openArguments(r)
	if !f.Watched || !f.steady.still() || !broker.IsQuick(flags) {
		return false
	}
	return f.handOver(r, f.deadline(r), func(dir int, text string, ok bool) (last func()) {
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
			give(r, fd, flags)
		} else {
			sys.Close(fd)
		}
		return func() {}
	})
}

// openArguments are those of open(2) and openat(2): where the path counts from, its address,
// the flags.
func openArguments(r *notify.Request) (at int32, path uint64, flags int) {
	if r.Data.Nr == unix.SYS_OPENAT {
		return int32(r.Data.Args[0]), r.Data.Args[1], int(int32(r.Data.Args[2]))
	}
	return unix.AT_FDCWD, r.Data.Args[0], int(int32(r.Data.Args[1]))
}

// handOver has the path of an open(2) or openat(2) read on a thread of [broker.Broker.Quickly],
// and use called there with it and where it counts from, -1 for not known. ok is false for
// what can't be read at once. cancel is called when it has been read, or nothing was done,
// which false says.
//
// That thread is confined, and may not look into a task of the sandbox. But who may read of a
// descriptor of /proc/PID/mem is asked when that is opened (mem_open of the kernel's
// fs/proc/base.c), which touches no memory that could be slow: so it is opened here; and so is
// where the path counts from, if a task's last path was one that does.
func (f *Files) handOver(r *notify.Request, cancel func(), use func(dir int, text string, ok bool) (last func())) bool {
	at, path, _ := openArguments(r)
	task := "/proc/" + strconv.Itoa(int(r.TID))
	mem, err := unix.Open(task+"/mem", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		cancel()
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
	taken := f.Broker.Quickly(func() (last func()) {
		text, ok := readQuickly(mem, path)
		sys.Close(mem)
		cancel()
		defer sys.Close(dir)
		relative.Store(text != "" && text[0] != '/')
		return use(dir, text, ok)
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
