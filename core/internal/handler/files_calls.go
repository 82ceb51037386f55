package handler

import (
	"maps"
	"slices"

	"github.com/sandlock/sandlock/core/internal/broker"
	"github.com/sandlock/sandlock/core/internal/notify"
	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// openCalls are those that a policy_fn can be asked about, by the name of openat.
var openCalls = map[string]bool{"open": true, "openat": true, "creat": true}

// fileCalls are the calls by path. An argument of -1 is none.
var fileCalls = map[string]fileCall{
	"open":   open(-1, 0, 1, 2),
	"openat": open(0, 1, 2, 3),
	"creat":  open(-1, 0, -1, 1),

	"truncate": func(f *Files, r *fileRequest) (func() (bool, error), error) {
		path, err := r.path(0)
		return done(func() error { return f.Broker.Truncate(&r.caller, f.Denials, path, int64(r.Data.Args[1])) }), err
	},

	"mkdir":   mkdir(-1, 0, 1),
	"mkdirat": mkdir(0, 1, 2),
	"mknod":   mknod(-1, 0, 1, 2),
	"mknodat": mknod(0, 1, 2, 3),

	"unlink":   unlink(-1, 0, -1, 0),
	"unlinkat": unlink(0, 1, 2, 0),
	"rmdir":    unlink(-1, 0, -1, unix.AT_REMOVEDIR),

	"symlink":   symlink(0, -1, 1),
	"symlinkat": symlink(0, 1, 2),

	"rename":    two(rename, -1, 0, -1, 1, -1),
	"renameat":  two(rename, 0, 1, 2, 3, -1),
	"renameat2": two(rename, 0, 1, 2, 3, 4),
	"link":      two(link, -1, 0, -1, 1, -1),
	"linkat":    two(link, 0, 1, 2, 3, 4),
}

// FileCalls are the names of the calls that Files carries out.
func FileCalls() []string { return slices.Sorted(maps.Keys(fileCalls)) }

// done is what carries out a call that returns 0.
func done(act func() error) func() (bool, error) {
	return func() (bool, error) { return false, act() }
}

func open(dir, path, flags, mode int) fileCall {
	return func(f *Files, r *fileRequest) (func() (bool, error), error) {
		if flags >= 0 && r.int(flags)&unix.O_PATH != 0 {
			return nil, errKernel
		}
		o, err := r.open(dir, path, flags, mode)
		return func() (given bool, err error) {
			err = f.Broker.Open(&r.caller, f.Denials, o, func(fd int) {
				given = true
				give(r.Request, fd, o.Flags)
			})
			return given, err
		}, err
	}
}

// give has an open that is claimed return a copy of fd, and closes that. Whether anybody has an
// end of a pipe open, a file for writing (ETXTBSY of execve(2)) or a lock by way of it, others
// can tell, so that is closed before the caller goes on; which takes waking it twice, and so is
// not done for what is only to be read.
func give(r *notify.Request, fd, flags int) {
	var st unix.Stat_t
	closeOnExec := flags&unix.O_CLOEXEC != 0
	if flags&(unix.O_ACCMODE|unix.O_CREAT) != 0 || unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT == unix.S_IFIFO {
		r.MoveFDClaimed(fd, closeOnExec)
	} else {
		r.AddFDClaimed(fd, closeOnExec)
		sys.Close(fd)
	}
}

func (r *fileRequest) open(dir, path, flags, mode int) (broker.Open, error) {
	n, err := r.name(dir, path)
	o := broker.Open{Dir: n.Dir, Path: n.Path, Flags: unix.O_CREAT | unix.O_WRONLY | unix.O_TRUNC, Mode: r.mode(mode)}
	if flags >= 0 {
		o.Flags = r.int(flags)
	}
	return o, err
}

func mkdir(dir, path, mode int) fileCall {
	return func(f *Files, r *fileRequest) (func() (bool, error), error) {
		n, err := r.name(dir, path)
		return done(func() error { return f.Broker.Mkdir(&r.caller, f.Denials, n, r.mode(mode)) }), err
	}
}

func mknod(dir, path, mode, dev int) fileCall {
	return func(f *Files, r *fileRequest) (func() (bool, error), error) {
		n, err := r.name(dir, path)
		return done(func() error {
			return f.Broker.Mknod(&r.caller, f.Denials, n, r.mode(mode), int(uint32(r.Data.Args[dev])))
		}), err
	}
}

func unlink(dir, path, flags, always int) fileCall {
	return func(f *Files, r *fileRequest) (func() (bool, error), error) {
		n, err := r.name(dir, path)
		given := always
		if flags >= 0 {
			given = r.int(flags)
		}
		return done(func() error { return f.Broker.Unlink(&r.caller, f.Denials, n, given) }), err
	}
}

func symlink(target, dir, path int) fileCall {
	return func(f *Files, r *fileRequest) (func() (bool, error), error) {
		text, err := r.path(target)
		if err != nil {
			return nil, err
		}
		n, err := r.name(dir, path)
		return done(func() error { return f.Broker.Symlink(&r.caller, f.Denials, text, n) }), err
	}
}

// two is a call with two paths.
func two(act func(f *Files, r *fileRequest, from, to broker.Name, flags int) error, fromDir, from, toDir, to, flags int) fileCall {
	return func(f *Files, r *fileRequest) (func() (bool, error), error) {
		old, err := r.name(fromDir, from)
		if err != nil {
			return nil, err
		}
		other, err := r.name(toDir, to)
		given := 0
		if flags >= 0 {
			given = r.int(flags)
		}
		return done(func() error { return act(f, r, old, other, given) }), err
	}
}

func rename(f *Files, r *fileRequest, from, to broker.Name, flags int) error {
	return f.Broker.Rename(&r.caller, f.Denials, from, to, uint(uint32(flags)))
}

func link(f *Files, r *fileRequest, from, to broker.Name, flags int) error {
	return f.Broker.Link(&r.caller, f.Denials, from, to, flags)
}
