package audit

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// fields are those of a record, NAME=VALUE.
type fields map[string]string

// parseFields reads them. A value that the sandbox could choose is in quotes, or in
// hexadecimal where it holds a quote, a space or what is not printable: audit_log_untrustedstring()
// of the kernel's kernel/audit.c.
func parseFields(text string) fields {
	f := fields{}
	for text != "" {
		text = strings.TrimLeft(text, " ")
		name, rest, ok := strings.Cut(text, "=")
		if !ok {
			break
		}
		var value string
		if quoted, is := strings.CutPrefix(rest, `"`); is {
			value, text, _ = strings.Cut(quoted, `"`)
		} else {
			value, text, _ = strings.Cut(rest, " ")
			if b, err := hex.DecodeString(value); err == nil && untrusted[name] {
				value = string(b)
			}
		}
		if _, there := f[name]; !there {
			f[name] = value
		}
	}
	return f
}

var untrusted = map[string]bool{"path": true, "exe": true, "comm": true, "name": true}

func (f fields) number(name string) int64 {
	n, err := strconv.ParseInt(f[name], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// found says what a record of Landlock means.
func (e *kernelEvent) found() Found {
	a, s := e.access, e.syscall
	d := Found{Call: -1, Who: Who{PID: uint32(s.number("pid")), Command: s["comm"], Exe: s["exe"]}}
	if s != nil {
		d.Call = int(s.number("syscall"))
	}
	x := Refusal{Errno: unix.EACCES, Path: a["path"]}
	if exit := s.number("exit"); exit < 0 && exit >= -4095 {
		x.Errno = unix.Errno(-exit)
	}
	blocker, _, _ := strings.Cut(a["blockers"], ",")
	x.Syscall = blocker // which the caller replaces, if it knows the call
	switch {
	case blocker == "fs.execute":
		x.By = ByExec
	case blocker == "fs.read_file", blocker == "fs.read_dir":
		x.By = ByRead
		if strings.Contains(a["blockers"], "fs.write_file") {
			x.By = ByWrite
		}
	case strings.HasPrefix(blocker, "net."):
		x.By, x.Protocol = ByAddress, "tcp"
		addr, port := "daddr", "dest"
		if blocker == "net.bind_tcp" {
			x.By, addr, port = ByPort, "saddr", "src"
		}
		at, err := netip.ParseAddr(a[addr])
		if err != nil { // an unspecified one is left out
			at = netip.IPv4Unspecified()
		}
		x.To = netip.AddrPortFrom(at.Unmap(), uint16(a.number(port)))
	case strings.HasPrefix(blocker, "fs."):
		x.By = ByWrite
	default: // scope.signal, scope.abstract_unix_socket, ptrace
		x.By, x.Path = ByScope, ""
	}
	d.Refusal = x
	return d
}
