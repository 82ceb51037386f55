package warden

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// program is the warden's, in a sealed memfd that is made once.
var program programFile

type programFile struct {
	mu       sync.Mutex
	made     bool
	fd       int
	dev, ino uint64
}

// Prepare makes what every start needs, so that it need not be made in the middle of
// the host's life. What fails here is tried again by Start.
func Prepare() error {
	program.mu.Lock()
	defer program.mu.Unlock()
	return program.ready()
}

// open returns a descriptor of the program, the caller's to close, whose number the
// spawn of a child with files leaves alone: /proc/self/fd/N is resolved in the child,
// when syscall.ForkExec has moved its own pipe and each of files, at the worst, to
// numbers from the largest of files on.
func (p *programFile) open(files []uintptr) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.ready(); err != nil {
		return -1, err
	}
	highest := len(files)
	for _, fd := range files {
		highest = max(highest, int(fd)) // unused ones are negative
	}
	fd, err := unix.FcntlInt(uintptr(p.fd), unix.F_DUPFD_CLOEXEC, highest+len(files)+2)
	if errors.Is(err, unix.EINVAL) {
		err = unix.EMFILE // which it is, though fcntl(2) calls a number beyond RLIMIT_NOFILE so
	}
	return fd, os.NewSyscallError("fcntl(F_DUPFD_CLOEXEC)", err)
}

// ready makes the memfd, unless there is one. A host may close descriptors that are not
// its own, as daemons do: what the number stands for is checked.
func (p *programFile) ready() error {
	var st unix.Stat_t
	if p.made {
		err := unix.Fstat(p.fd, &st)
		switch {
		case err == nil && st.Dev == p.dev && st.Ino == p.ino:
			return nil
		case err != nil && !errors.Is(err, unix.EBADF):
			return os.NewSyscallError("fstat", err)
		}
		sys.Closing(p.fd) // the number is somebody else's
		p.made = false
	}
	fd, err := memfd()
	if err != nil {
		return err
	}
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return os.NewSyscallError("fstat", err)
	}
	p.made, p.fd, p.dev, p.ino = true, sys.Opened(fd), st.Dev, st.Ino
	return nil
}

// memfdExec is MFD_EXEC of memfd_create(2), Linux 6.3: without it a host with
// vm.memfd_noexec=1 makes memfds that can't be executed.
const memfdExec = 0x10

func memfd() (fd int, err error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err = unix.MemfdCreate("sandlock-warden", flags|memfdExec)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate("sandlock-warden", flags)
	}
	if err != nil {
		return -1, os.NewSyscallError("memfd_create", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if n, err := unix.Write(fd, image); err != nil || n != len(image) {
		return -1, fmt.Errorf("write to memfd: %d of %d bytes: %w", n, len(image), err)
	}
	_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	return fd, os.NewSyscallError("fcntl(F_ADD_SEALS)", err)
}
