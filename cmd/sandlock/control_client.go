package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// running is a run that has answered.
type running struct {
	runInfo
	entry string
}

// ask sends one word to an entry and reads the answer into v. gone: nobody is there. The
// connection is the caller's to close.
func ask(dir int, entry, word string, v any) (conn int, gone bool, err error) {
	conn, err = connect(dir, entry)
	if err != nil || conn < 0 {
		return -1, conn < 0, err
	}
	_ = unix.SetsockoptTimeval(conn, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &peerPatience)
	_, err = unix.SendmsgN(conn, []byte(word), nil, nil, unix.MSG_NOSIGNAL)
	var line []byte
	if err == nil || errors.Is(err, unix.EPIPE) { // it may have refused already
		line, err = readLine(conn)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) {
		unix.Close(conn)
		return -1, true, nil // it has ended meanwhile
	}
	var no refusal
	if err == nil {
		err = json.Unmarshal(line, &no)
	}
	if err == nil && no.Error != "" {
		err = errors.New(no.Error)
	}
	if err == nil {
		err = json.Unmarshal(line, v)
	}
	if err != nil {
		unix.Close(conn)
		return -1, false, err
	}
	return conn, false, nil
}

const maxAnswer = 64 << 20

func readLine(conn int) ([]byte, error) {
	var line []byte
	buf := make([]byte, 32<<10)
	for len(line) < maxAnswer {
		n, err := unix.Read(conn, buf)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, err
		case n == 0:
			return nil, io.EOF
		}
		line = append(line, buf[:n]...)
		if line[len(line)-1] == '\n' {
			return line, nil
		}
	}
	return nil, errors.New("the answer is too long")
}

// runs asks all that run. One that does not answer is told of, when asked to.
func runs(dir int, tell bool) ([]running, error) {
	names, err := entries(dir)
	if err != nil {
		return nil, err
	}
	var out []running
	for _, entry := range names {
		r := running{entry: entry}
		conn, gone, err := ask(dir, entry, "info", &r.runInfo)
		switch {
		case err != nil && tell:
			say(entry + ": " + err.Error())
		case err == nil && !gone:
			unix.Close(conn)
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b running) int { return a.Started.Compare(b.Started) })
	return out, nil
}

// allRuns opens the directory, too. Without one nothing runs.
func allRuns() (dir int, list []running, err error) {
	dir, _, err = controlDir(false)
	if errors.Is(err, os.ErrNotExist) {
		return -1, nil, nil
	}
	if err != nil {
		return -1, nil, err
	}
	list, err = runs(dir, true)
	return dir, list, err
}

func psCommand(args []string) int {
	asJSON := false
	if _, code, done := parse("ps", "", args, []option{{long: "json", help: "all of it, as a list", set: set(&asJSON)}}, 0, 0); done {
		return code
	}
	_, list, err := allRuns()
	if err != nil {
		return fail(err)
	}
	if asJSON {
		infos := []runInfo{}
		for _, r := range list {
			infos = append(infos, r.runInfo)
		}
		return failed(json.NewEncoder(os.Stdout).Encode(infos))
	}
	fmt.Printf("%-24s %8s %6s %10s  %s\n", "NAME", "PID", "PROCS", "TIME", "COMMAND")
	for _, r := range list {
		fmt.Printf("%-24s %8d %6d %10s  %s\n", plain(r.Name), r.PID, len(r.Processes),
			time.Since(r.Started).Truncate(time.Second), plain(strings.Join(r.Command, " ")))
	}
	return 0
}

// plain keeps what a sandbox calls itself from acting on the terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || 0x7f <= r && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

func inspectCommand(args []string) int {
	words, code, done := parse("inspect", "NAME", args, nil, 1, 1)
	if done {
		return code
	}
	_, list, err := allRuns()
	if err != nil {
		return fail(err)
	}
	for _, r := range list {
		if r.Name == words[0] {
			out := json.NewEncoder(os.Stdout)
			out.SetIndent("", "  ")
			return failed(out.Encode(r.runInfo))
		}
	}
	return fail(fmt.Errorf("no sandbox %q is running", words[0]))
}

func killCommand(args []string) int {
	all := false
	words, code, done := parse("kill", "NAME… | --all", args, []option{{long: "all", help: "all of this user's", set: set(&all)}}, 0, 1<<20)
	if done {
		return code
	}
	if all == (len(words) > 0) {
		return fail(usageError("usage: sandlock kill NAME… | --all"))
	}
	dir, list, err := allRuns()
	if err != nil {
		return fail(err)
	}
	found := map[string]bool{}
	var ending []int
	for _, r := range list {
		if !all && !slices.Contains(words, r.Name) {
			continue
		}
		found[r.Name] = true
		var done refusal
		conn, gone, err := ask(dir, r.entry, "kill", &done)
		switch {
		case err != nil:
			code = fail(fmt.Errorf("%s: %w", r.Name, err))
		case !gone:
			ending = append(ending, conn)
		}
	}
	for _, conn := range ending {
		awaitEnd(conn)
	}
	for _, name := range words {
		if !found[name] {
			code = fail(fmt.Errorf("no sandbox %q is running", name))
		}
	}
	return code
}

// awaitEnd waits until the other side is gone, which it is when its sandbox is.
func awaitEnd(conn int) {
	_ = unix.SetsockoptTimeval(conn, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{})
	var b [1]byte
	for {
		if _, err := unix.Read(conn, b[:]); err != unix.EINTR {
			unix.Close(conn)
			return
		}
	}
}

const topEvery = 2 * time.Second

func topCommand(args []string) int {
	once := false
	if _, code, done := parse("top", "", args, []option{{long: "once", short: '1', help: "print it once", set: set(&once)}}, 0, 0); done {
		return code
	}
	_, err := unix.IoctlGetTermios(1, unix.TCGETS)
	terminal := err == nil
	used := map[string]float64{} // CPU seconds, by entry
	last := time.Now()
	for first := true; ; first = false {
		_, list, err := allRuns()
		if err != nil {
			return fail(err)
		}
		now := time.Now()
		var b strings.Builder
		if terminal && !once {
			b.WriteString("\x1b[H\x1b[J") // home, clear: ECMA-48
		}
		fmt.Fprintf(&b, "%-24s %6s %6s %9s %10s  %s\n", "NAME", "PROCS", "%CPU", "MEMORY", "CPU TIME", "COMMAND")
		for _, r := range list {
			var cpu float64
			var memory int64
			for _, p := range r.Processes {
				cpu += p.CPU
				memory += p.Memory
			}
			// What has ended since is gone from the sum, so it can shrink.
			share := "-"
			if before, known := used[r.entry]; known && !first {
				share = fmt.Sprintf("%.0f", max(0, 100*(cpu-before)/now.Sub(last).Seconds()))
			}
			used[r.entry] = cpu
			fmt.Fprintf(&b, "%-24s %6d %6s %8.1fM %10s  %s\n", plain(r.Name), len(r.Processes), share, float64(memory)/(1<<20),
				time.Duration(cpu*float64(time.Second)).Truncate(10*time.Millisecond), plain(strings.Join(r.Command, " ")))
		}
		if _, err := os.Stdout.WriteString(b.String()); err != nil || once || !terminal {
			return failed(err)
		}
		last = now
		time.Sleep(topEvery)
	}
}
