package handler

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"github.com/sandlock/sandlock/core/internal/broker"
	"golang.org/x/sys/unix"
)

// attributeCalls change mode, owner, times and extended attributes, none of which Landlock
// sees: by path, and of a descriptor.
var attributeCalls = map[string]fileCall{
	"chmod":     chmod(-1, 0, 1, -1),
	"fchmodat":  chmod(0, 1, 2, -1),
	"fchmodat2": chmod(0, 1, 2, 3),
	"fchmod":    chmod(0, -1, 1, -1),

	"chown":    chown(-1, 0, 1, -1, true),
	"lchown":   chown(-1, 0, 1, -1, false),
	"fchownat": chown(0, 1, 2, 4, true),
	"fchown":   chown(0, -1, 1, -1, true),

	"utime":     utimes(-1, 0, 1, -1, seconds),
	"utimes":    utimes(-1, 0, 1, -1, micros),
	"futimesat": utimes(0, 1, 2, -1, micros),
	"utimensat": utimes(0, 1, 2, 3, nanos),

	"setxattr":     setxattr(object(-1, 0, true)),
	"lsetxattr":    setxattr(object(-1, 0, false)),
	"fsetxattr":    setxattr(object(0, -1, true)),
	"removexattr":  removexattr(object(-1, 0, true)),
	"lremovexattr": removexattr(object(-1, 0, false)),
	"fremovexattr": removexattr(object(0, -1, true)),
}

// AttributeCalls are their names.
func AttributeCalls() []string { return slices.Sorted(maps.Keys(attributeCalls)) }

func init() { maps.Copy(fileCalls, attributeCalls) }

// object reads the object that a call is about: by the path in an argument, from the
// descriptor in another; without a path, that descriptor's.
func object(dir, path int, follow bool) func(r *fileRequest) (broker.Object, error) {
	return func(r *fileRequest) (broker.Object, error) {
		o := broker.Object{Follow: follow}
		if path < 0 {
			o.Dir, o.Empty = r.int(dir), true
			if o.Dir < 0 {
				return o, unix.EBADF
			}
			return o, nil
		}
		var err error
		o.Name, err = r.name(dir, path)
		return o, err
	}
}

// flagged is object for a call with AT_* flags in an argument, if it has one.
func flagged(dir, path, flags int, follow bool) func(r *fileRequest) (broker.Object, error) {
	read := object(dir, path, follow)
	return func(r *fileRequest) (broker.Object, error) {
		o, err := read(r)
		if flags < 0 || err != nil {
			return o, err
		}
		given := r.int(flags)
		if given&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
			return o, unix.EINVAL
		}
		o.Follow = given&unix.AT_SYMLINK_NOFOLLOW == 0
		o.Empty = given&unix.AT_EMPTY_PATH != 0
		return o, nil
	}
}

func chmod(dir, path, mode, flags int) fileCall {
	read := flagged(dir, path, flags, true)
	return func(f *Files, r *fileRequest) (func() (bool, error), error) {
		o, err := read(r)
		return done(func() error { return f.Broker.Chmod(&r.caller, f.Denials, o, r.mode(mode)) }), err
	}
}

// chown: the group's argument stands behind the owner's.
func chown(dir, path, owner, flags int, follow bool) fileCall {
	read := flagged(dir, path, flags, follow)
	return func(f *Files, r *fileRequest) (func() (bool, error), error) {
		o, err := read(r)
		return done(func() error {
			return f.Broker.Chown(&r.caller, f.Denials, o, r.int(owner), r.int(owner+1))
		}), err
	}
}

// The forms of times in memory: struct utimbuf, struct timeval and struct timespec, two of
// each, of whole words on both architectures.
const (
	seconds = iota
	micros
	nanos
)

func utimes(dir, path, times, flags, form int) fileCall {
	read := flagged(dir, path, flags, true)
	return func(f *Files, r *fileRequest) (func() (bool, error), error) {
		// utimensat(2) of no path is about the descriptor, futimesat(2) too.
		at := read
		if dir >= 0 && r.Data.Args[path] == 0 {
			at = object(dir, -1, true)
		}
		o, err := at(r)
		if err != nil {
			return nil, err
		}
		now := unix.Timespec{Nsec: unix.UTIME_NOW}
		ts := [2]unix.Timespec{now, now}
		if r.Data.Args[times] != 0 {
			if ts, err = r.times(times, form); err != nil {
				return nil, err
			}
		}
		return done(func() error { return f.Broker.Utimes(&r.caller, f.Denials, o, ts) }), nil
	}
}

func (r *fileRequest) times(i, form int) (ts [2]unix.Timespec, err error) {
	var word [4]int64
	n := len(word)
	if form == seconds {
		n = 2
	}
	buf, err := r.bytes(r.Data.Args[i], 8*n)
	if err != nil {
		return ts, err
	}
	for j := range n {
		word[j] = int64(binary.LittleEndian.Uint64(buf[8*j:]))
	}
	switch form {
	case seconds:
		return [2]unix.Timespec{{Sec: word[0]}, {Sec: word[1]}}, nil
	case micros:
		if word[1] < 0 || word[1] >= 1e6 || word[3] < 0 || word[3] >= 1e6 {
			return ts, unix.EINVAL
		}
		word[1] *= 1000
		word[3] *= 1000
	}
	return [2]unix.Timespec{{Sec: word[0], Nsec: word[1]}, {Sec: word[2], Nsec: word[3]}}, nil
}

// bytes reads exactly so many.
func (r *fileRequest) bytes(addr uint64, n int) ([]byte, error) {
	buf := make([]byte, n)
	for got := 0; got < n; {
		m, err := r.ReadMemory(addr+uint64(got), buf[got:])
		switch {
		case errors.Is(err, unix.EFAULT) || err == nil && m == 0:
			return nil, unix.EFAULT
		case err != nil:
			return nil, unix.EPERM
		}
		got += m
	}
	return buf, nil
}

// XATTR_NAME_MAX and XATTR_SIZE_MAX of xattr(7).
const (
	maxAttributeName  = 255
	maxAttributeValue = 65536
)

func setxattr(read func(r *fileRequest) (broker.Object, error)) fileCall {
	return func(f *Files, r *fileRequest) (func() (bool, error), error) {
		o, err := read(r)
		if err != nil {
			return nil, err
		}
		name, err := r.text(1, maxAttributeName+1, unix.ERANGE)
		if err != nil {
			return nil, err
		}
		size := r.Data.Args[3]
		if size > maxAttributeValue {
			return nil, unix.E2BIG
		}
		value, err := r.bytes(r.Data.Args[2], int(size))
		return done(func() error { return f.Broker.Setxattr(&r.caller, f.Denials, o, name, value, r.int(4)) }), err
	}
}

func removexattr(read func(r *fileRequest) (broker.Object, error)) fileCall {
	return func(f *Files, r *fileRequest) (func() (bool, error), error) {
		o, err := read(r)
		if err != nil {
			return nil, err
		}
		name, err := r.text(1, maxAttributeName+1, unix.ERANGE)
		return done(func() error { return f.Broker.Removexattr(&r.caller, f.Denials, o, name) }), err
	}
}
