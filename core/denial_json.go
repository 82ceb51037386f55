package core

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// JSON of the denial, an object on one line: time in seconds since 1970, syscall, pid,
// command, exe, path, protocol, host, port, argv, errno and its name as errno_name, rule,
// value, why, count; what is not known is null. Bytes that are not UTF-8 are written \udc80
// to \udcff.
func (d *Denial) JSON() string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"time":%d.%06d`, d.Time.Unix(), d.Time.Nanosecond()/1000)
	text := func(key, value string) {
		b.WriteString(`,"` + key + `":`)
		if value == "" {
			b.WriteString("null")
		} else {
			writeJSONString(&b, value)
		}
	}
	number := func(key string, value uint64, known bool) {
		b.WriteString(`,"` + key + `":`)
		if known {
			fmt.Fprint(&b, value)
		} else {
			b.WriteString("null")
		}
	}
	text("syscall", d.Syscall)
	number("pid", uint64(d.PID), d.PID != 0)
	text("command", d.Command)
	text("exe", d.Exe)
	text("path", d.Path)
	text("protocol", d.Protocol)
	text("host", d.Host)
	number("port", uint64(d.Port), d.Host != "")
	text("argv", d.Argv)
	number("errno", uint64(d.Errno), true)
	text("errno_name", unix.ErrnoName(unix.Errno(d.Errno)))
	text("rule", d.Rule)
	text("value", d.Value)
	text("why", d.Why)
	number("count", d.Count, true)
	b.WriteByte('}')
	return b.String()
}

// DenialsJSON is Denials as a JSON list of what [Denial.JSON] writes.
func (r *Result) DenialsJSON() string {
	var b strings.Builder
	for i := range r.Denials {
		b.WriteString(separator(i) + r.Denials[i].JSON())
	}
	return "[" + b.String() + "]"
}
