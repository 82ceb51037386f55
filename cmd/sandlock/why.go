package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// maxAudit bounds what is read of a file of --audit: a thousand lines, of which the names
// are 1 MiB, each byte of them six at most in JSON.
const maxAudit = 16 << 20

// denial is a line of such a file.
type denial struct {
	Syscall  string  `json:"syscall"`
	PID      *uint32 `json:"pid"`
	Command  string  `json:"command"`
	Exe      string  `json:"exe"`
	Path     string  `json:"path"`
	Protocol string  `json:"protocol"`
	Host     string  `json:"host"`
	Port     uint16  `json:"port"`
	Argv     string  `json:"argv"`
	Errno    int     `json:"errno"`
	Name     string  `json:"errno_name"`
	Rule     string  `json:"rule"`
	Value    string  `json:"value"`
	Why      string  `json:"why"`
	Count    uint64  `json:"count"`
}

func whyCommand(args []string) int {
	raw := false
	words, code, done := parse("why", "[FILE]", args, []option{{long: "json", help: "the lines of the file as they are", set: set(&raw)}}, 0, 1)
	if done {
		return code
	}
	file, err := openAudit(words)
	if err != nil {
		return fail(err)
	}
	defer file.Close()
	from := io.LimitReader(file, maxAudit)
	explained := explainAudit
	if raw {
		explained = checkAudit
	}
	text, err := explained(from)
	fmt.Print(text)
	if err != nil {
		return fail(fmt.Errorf("%s: %w", file.Name(), err))
	}
	return 0
}

func openAudit(words []string) (*os.File, error) {
	if len(words) == 1 {
		return os.Open(words[0])
	}
	dir, path, err := controlDir(false)
	if err == nil {
		defer unix.Close(dir)
		var fd int
		// A FIFO in its place is not waited for.
		if fd, err = unix.Openat(dir, lastAudit, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
			return os.NewFile(uintptr(fd), path+"/"+lastAudit), nil
		}
	}
	if errors.Is(err, unix.ENOENT) {
		err = errors.New("no run has failed, or was refused anything, that is known of")
	}
	return nil, err
}

// checkAudit returns the lines as they are, up to one that Sandlock does not write, with what
// a terminal could take for something else.
func checkAudit(from io.Reader) (string, error) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	var out strings.Builder
	for lines.Scan() {
		if !json.Valid(lines.Bytes()) || printable(lines.Text()) != lines.Text() {
			return out.String(), errors.New("it was not written by sandlock run --audit")
		}
		out.WriteString(lines.Text() + "\n")
	}
	return out.String(), lines.Err()
}

// explainAudit tells what a file of --audit holds. What comes from the sandbox, and the
// file might, is shown so that it can't be taken for anything else.
func explainAudit(from io.Reader) (string, error) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	var out strings.Builder
	var run *auditRun
	count := 0
	for lines.Scan() {
		if run == nil {
			var head struct {
				Run *auditRun `json:"run"`
			}
			if err := json.Unmarshal(lines.Bytes(), &head); err != nil || head.Run == nil {
				return "", errors.New("it was not written by sandlock run --audit")
			}
			run = head.Run
			out.WriteString(run.explain())
			continue
		}
		var d denial
		if err := json.Unmarshal(lines.Bytes(), &d); err != nil {
			return out.String(), err
		}
		count++
		out.WriteString("\n" + d.explain())
	}
	switch {
	case lines.Err() != nil:
		return out.String(), lines.Err()
	case run == nil:
		return "", errors.New("there is nothing in it")
	case run.DenialsDropped > 0:
		fmt.Fprintf(&out, "\nand %d other calls that were refused, when the list was full\n", run.DenialsDropped)
	case count == 0:
		out.WriteString("\nnothing that the library has seen was refused\n")
	}
	if !run.Recorded {
		out.WriteString("\nThe kernel refuses by itself what lies outside the grants, most ports and system calls;\nwith --audit FILE a run records that, too.\n")
	}
	return out.String(), nil
}

func (r *auditRun) explain() string {
	text := fmt.Sprintf("%s\n    at %s: ", printable(r.Command), shownTime(r.Started))
	if r.Reason == "exited" {
		text += fmt.Sprintf("it exited with code %d\n", r.Code)
	} else {
		text += fmt.Sprintf("%s, code %d\n", printable(r.Reason), r.Code)
	}
	for line := range strings.Lines(r.Error) {
		text += "    " + printable(strings.TrimSuffix(line, "\n")) + "\n"
	}
	for _, limit := range r.Limits {
		text += "    it has met the limit " + printable(limit) + "\n"
	}
	return text
}

func (d *denial) explain() string {
	text := printable(d.Syscall)
	if d.Path != "" {
		text += " " + printable(d.Path)
	}
	switch {
	case d.Protocol != "" && d.Host != "" && d.Protocol != "icmp":
		text += " " + printable(d.Protocol) + "://" + printable(hostPort(d.Host, d.Port))
	case d.Protocol != "" || d.Host != "":
		text += " " + printable(strings.TrimSuffix(d.Protocol+"://"+d.Host, "://"))
	}
	if d.Argv != "" {
		text += " " + printable(d.Argv)
	}
	how := "killed"
	if d.Errno != 0 {
		how = printable(d.Name)
		if how == "" {
			how = strconv.Itoa(d.Errno)
		}
	}
	text += ": " + how
	if d.Count > 1 {
		text += fmt.Sprintf(", %d times", d.Count)
	}
	text += "\n"
	if d.PID != nil {
		text += fmt.Sprintf("    by %s, process %d", printable(d.Command), *d.PID)
		if d.Exe != "" {
			text += " (" + printable(d.Exe) + ")"
		}
		text += "\n"
	}
	text += "    " + printable(d.Why)
	if d.Rule != "" {
		text += " (" + printable(d.Rule) + ")"
	}
	text += "\n"
	// Of a path that is not UTF-8 the bytes are lost by here.
	if f := fieldNamed(d.Rule); d.Value != "" && !strings.ContainsRune(d.Value, utf8.RuneError) && f != nil && f.long != "" {
		text += "    --" + f.long + " " + shellWord(d.Value) + " would allow it\n"
	}
	return text
}

// printable is text that a terminal takes for nothing else: as it is, or quoted.
func printable(s string) string {
	for _, r := range s {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return strconv.Quote(s)
		}
	}
	return s
}

// shellWord is printable text that a shell reads back as s, whatever is in it: who is told what
// would allow something pastes it. Of what is not printable, bash(1) and zsh read each byte.
func shellWord(s string) string {
	if printable(s) != s {
		var b strings.Builder
		for _, c := range []byte(s) {
			if c < ' ' || c >= 0x7f || c == '\'' || c == '\\' {
				fmt.Fprintf(&b, `\x%02x`, c)
			} else {
				b.WriteByte(c)
			}
		}
		return "$'" + b.String() + "'"
	}
	plain := func(r rune) bool {
		return r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("/._-:,@+=%", r))
	}
	if strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
