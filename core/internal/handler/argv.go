package handler

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/sandlock/sandlock/core/internal/warden"
	"golang.org/x/sys/unix"
)

// The kernel's own bounds on a command line, execve(2): one argument of
// MAX_ARG_STRLEN with its NUL, three quarters of the 8 MiB default stack in all,
// pointers included.
const (
	maxArgStrlen = 131072
	maxArgTotal  = 6 << 20
	pageSize     = 4096 // the least of all page sizes: a read never crosses into a page that is not there
)

// memory reads a task's memory; a Request is one.
type memory interface {
	ReadMemory(addr uint64, buf []byte) (int, error)
}

// pages reads memory a page at a time and keeps the pages, since the strings of
// a command line mostly lie together.
type pages struct {
	m    memory
	kept map[uint64][]byte
}

func (p *pages) at(addr uint64) ([]byte, error) {
	base := addr &^ (pageSize - 1)
	page, ok := p.kept[base]
	if !ok {
		page = make([]byte, pageSize)
		n, err := p.m.ReadMemory(base, page)
		if err != nil {
			return nil, err
		}
		page = page[:n]
		if len(p.kept)*pageSize < maxArgTotal {
			p.kept[base] = page
		}
	}
	if off := addr - base; off < uint64(len(page)) {
		return page[off:], nil
	}
	return nil, unix.EFAULT
}

// readArgv reads the argument vector at addr as execve would. Errors are those
// of execve: EFAULT, E2BIG; anything else says that the memory may not be read.
// A NULL vector or an empty one is what the kernel makes of it: one empty string
// (Linux 5.18; before it, an empty vector could be had, and is taken for this).
func readArgv(m memory, addr uint64) ([]string, error) {
	p := &pages{m: m, kept: map[uint64][]byte{}}
	total := 0
	var argv []string
	for ; addr != 0; addr += 8 {
		ptr, err := p.word(addr)
		if err != nil {
			return nil, err
		}
		if ptr == 0 {
			break
		}
		s, err := p.str(ptr, maxArgTotal-total)
		if err != nil {
			return nil, err
		}
		argv = append(argv, s)
		if total += len(s) + 1 + 8; total > maxArgTotal {
			return nil, unix.E2BIG
		}
	}
	if argv == nil {
		argv = []string{""}
	}
	return argv, nil
}

func (p *pages) word(addr uint64) (uint64, error) {
	var b [8]byte
	for n := 0; n < 8; {
		page, err := p.at(addr + uint64(n))
		if err != nil {
			return 0, err
		}
		n += copy(b[n:], page)
	}
	// Both architectures are little-endian.
	var v uint64
	for i := 7; i >= 0; i-- {
		v = v<<8 | uint64(b[i])
	}
	return v, nil
}

func (p *pages) str(addr uint64, room int) (string, error) {
	var s []byte
	for {
		page, err := p.at(addr + uint64(len(s)))
		if err != nil {
			return "", err
		}
		if i := bytes.IndexByte(page, 0); i >= 0 {
			page = page[:i]
			if len(s)+i >= maxArgStrlen || len(s)+i >= room {
				return "", unix.E2BIG
			}
			return string(append(s, page...)), nil
		}
		if s = append(s, page...); len(s) >= maxArgStrlen || len(s) >= room {
			return "", unix.E2BIG
		}
	}
}

// commandLine is what is kept of an argument vector: enough to know it again and to
// speak of it. The vectors themselves, of as many tasks as the sandbox has, would be
// the host's memory.
type commandLine struct {
	sum   [sha256.Size]byte
	brief string // for the log
	short []byte // as /proc/PID/cmdline has it, when the warden can compare that
}

func remember(argv []string) commandLine {
	c := commandLine{sum: digest(argv), brief: Brief(argv)}
	size := len(argv)
	for _, a := range argv {
		size += len(a)
	}
	if size <= warden.CmdlineMax {
		c.short = append([]byte(strings.Join(argv, "\x00")), 0)
	}
	return c
}

func (c *commandLine) is(argv []string) bool { return digest(argv) == c.sum }

// digest is that of the strings with their lengths, so that no two vectors share it.
func digest(argv []string) (sum [sha256.Size]byte) {
	h := sha256.New()
	var length [8]byte
	for _, a := range argv {
		binary.LittleEndian.PutUint64(length[:], uint64(len(a)))
		h.Write(length[:])
		h.Write([]byte(a))
	}
	h.Sum(sum[:0])
	return sum
}

const (
	briefArgs  = 32
	briefBytes = 512
)

// Brief is argv as people read it, cut where it is long.
func Brief(argv []string) string {
	var b strings.Builder
	b.WriteByte('[')
	for i, a := range argv {
		if i > 0 {
			b.WriteByte(' ')
		}
		if i == briefArgs || b.Len() > briefBytes {
			b.WriteString("…")
			break
		}
		cut := a[:min(len(a), briefBytes)]
		b.WriteString(strconv.Quote(cut))
		if len(cut) < len(a) {
			b.WriteString("…")
		}
	}
	b.WriteByte(']')
	return b.String()
}
