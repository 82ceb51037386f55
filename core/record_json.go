package core

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ExecsJSON is Execs as a JSON list of objects with the keys syscall, pid, argv (null when
// there is none) and outcome; AuditJSON is Audit with the keys syscall, category, pid,
// parent_pid and argv. Bytes that are not UTF-8 are written \udc80 to \udcff, as
// [Policy] documents read them.
func (r *Result) ExecsJSON() string {
	var b strings.Builder
	for i, e := range r.Execs {
		fmt.Fprintf(&b, `%s{"syscall":%q,"pid":%d,"argv":%s,"outcome":%q}`, separator(i), e.Syscall, e.PID, jsonStrings(e.Argv), e.Outcome)
	}
	return "[" + b.String() + "]"
}

// AuditJSON: see ExecsJSON.
func (r *Result) AuditJSON() string {
	var b strings.Builder
	for i, e := range r.Audit {
		fmt.Fprintf(&b, `%s{"syscall":%q,"category":%d,"pid":%d,"parent_pid":%d,"argv":%s}`,
			separator(i), e.Syscall, e.Category, e.PID, e.ParentPID, jsonStrings(e.Argv))
	}
	return "[" + b.String() + "]"
}

func separator(i int) string {
	if i == 0 {
		return ""
	}
	return ","
}

func jsonStrings(list []string) string {
	if list == nil {
		return "null"
	}
	var b strings.Builder
	for i, s := range list {
		b.WriteString(separator(i))
		writeJSONString(&b, s)
	}
	return "[" + b.String() + "]"
}

func writeJSONString(b *strings.Builder, s string) {
	b.WriteByte('"')
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			b.WriteString(`\udc` + strconv.FormatUint(uint64(s[0]), 16))
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(b, `\u%04x`, r)
		default:
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	b.WriteByte('"')
}
