package broker

import (
	"bytes"
	"encoding/binary"

	"github.com/sandlock/sandlock/core/internal/audit"
	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// maxInterpreters bounds what is looked at for one exec: the kernel follows five scripts, and
// a program has one loader.
const maxInterpreters = 6

// blameExec tells what of an exec the ruleset is going to refuse: the file itself, a script's
// interpreter, or a program's loader. The kernel looks again, at what is there then.
func (b *Broker) blameExec(c *Caller, d *Denials, p *place) {
	if c.Log == nil {
		return
	}
	if id, broken := b.identity(c); broken == nil {
		id.blameLoad(c, d, p, maxInterpreters)
	}
}

func (id *identity) blameLoad(c *Caller, d *Denials, p *place, left int) {
	if p.kind() != unix.S_IFREG {
		return
	}
	var err error
	var next string
	if broken := id.quick.do(func() {
		if err = sys.MayExec(p.obj); err == nil {
			next = interpreter(p.obj)
		}
	}); broken != nil {
		return
	}
	id.blame(c, audit.ByExec, err, p.obj, "", unix.X_OK)
	if next == "" || left == 0 {
		return
	}
	w := walker{caller: c, id: id, denied: d.now.Load(), follow: true}
	q, err := w.walk(unix.AT_FDCWD, next)
	defer q.close()
	if err == nil && q.obj >= 0 {
		id.blameLoad(c, d, &q, left-1)
	}
}

// interpreter is the path that a file names, as execve(2) and elf(5) have it: behind "#!", or
// in the segment PT_INTERP. "" is none, and what can't be read.
func interpreter(obj int) string {
	fd, err := retryFD(func() (int, error) { return unix.Open(self(obj), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0) })
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	read := func(n int, at int64) []byte {
		b := make([]byte, n)
		err := sys.Retry(func() (err error) { n, err = unix.Pread(fd, b, at); return err })
		if err != nil {
			return nil
		}
		return b[:n]
	}
	head := read(256, 0) // BINPRM_BUF_SIZE
	if line, ok := bytes.CutPrefix(head, []byte("#!")); ok {
		line = bytes.TrimLeft(line, " \t")
		if end := bytes.IndexAny(line, " \t\n\x00"); end >= 0 {
			line = line[:end]
		}
		return string(line)
	}
	const elf64LittleEndian = "\x7fELF\x02\x01"
	if len(head) < 64 || !bytes.HasPrefix(head, []byte(elf64LittleEndian)) {
		return ""
	}
	at, size, count := int64(binary.LittleEndian.Uint64(head[32:])), int64(binary.LittleEndian.Uint16(head[54:])), int64(binary.LittleEndian.Uint16(head[56:]))
	for i := range min(count, 64) {
		segment := read(56, at+i*size)
		const interp = 3 // PT_INTERP
		if len(segment) < 56 || binary.LittleEndian.Uint32(segment) != interp {
			continue
		}
		path := read(int(min(binary.LittleEndian.Uint64(segment[32:]), unix.PathMax)), int64(binary.LittleEndian.Uint64(segment[8:])))
		text, _, _ := bytes.Cut(path, []byte{0})
		return string(text)
	}
	return ""
}
