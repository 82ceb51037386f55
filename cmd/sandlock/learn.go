package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/sandlock/sandlock/core"
)

// learning collects what a command does.
type learning struct {
	mu       sync.Mutex // guards what follows
	used     map[string]core.Access
	connects map[string]bool // rules of net_allow
	binds    map[string]bool // ports of net_allow_bind
}

func (l *learning) saw(a core.Access) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.used[a.Path]
	before.Dir = before.Dir || a.Dir
	before.Write = before.Write || a.Write
	before.Name = before.Name || a.Name
	before.Exec = before.Exec || a.Exec
	l.used[a.Path] = before
}

func (l *learning) judge(e *core.Event, _ *core.Context) core.Verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case e.Syscall == "bind":
		l.binds[strconv.Itoa(int(e.Port))] = true // 0 is one of the kernel's choice
	case e.Category == core.CategoryNetwork && e.Port != 0:
		scheme := "" // of a connect, TCP and UDP
		if e.Syscall != "connect" {
			scheme = "udp://"
		}
		l.connects[scheme+hostPort(e.Host, e.Port)] = true
	}
	return core.Allow
}

func hostPort(host string, port uint16) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(port))
}

func learnCommand(args []string) int {
	o := runOptions{settings: settings{}, control: true}
	output, merge := "", false
	options := []option{
		{long: "output", short: 'o', arg: "FILE|NAME", help: "where the profile goes; a name is one of yours", set: func(v string) error { output = v; return nil }},
		{long: "merge", help: "add to what learn has written there before", set: set(&merge)},
		{long: "timeout", short: 't', arg: "TIME", help: "end it after that", set: o.setTimeout},
		helpOption(),
	}
	argv, err := parseFlags(args, options)
	if errors.Is(err, errHelp) {
		_, code, _ := parse("learn", "-o FILE|NAME [FLAGS] [--] COMMAND…", []string{"--help"}, options[:3], 0, 0)
		return code
	}
	if err == nil && (len(argv) == 0 || output == "") {
		err = usageError("usage: sandlock learn -o FILE|NAME [FLAGS] [--] COMMAND…")
	}
	if err != nil {
		return fail(err)
	}
	path, err := outputPath(output)
	var before learnedProfile
	if err == nil {
		before, err = readLearned(path, merge)
	}
	var where places
	if err == nil {
		where, err = here()
	}
	if err != nil {
		return fail(err)
	}
	l := &learning{used: map[string]core.Access{}, connects: map[string]bool{}, binds: map[string]bool{}}
	plan, err := l.policy(where.pwd).Compile()
	if err != nil {
		return fail(err)
	}
	info := runInfo{PID: os.Getpid(), Started: time.Now(), Command: argv, Policy: []byte("{}")}
	code := o.execute(plan, core.Command{Argv: argv, Observe: l.saw}, info, "")
	text := l.profile(where, before, argv)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return fail(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		return fail(err)
	}
	return code
}

// policy lets all be done that a sandbox can allow, and has files and connections told.
func (l *learning) policy(pwd string) *core.Policy {
	p := core.NewPolicy()
	p.FSReadable, p.FSWritable = []string{"/"}, []string{"/"}
	p.NetAllow, p.NetAllowBind = []string{"*"}, []string{"*"}
	p.MaxProcesses = nil
	p.Env = map[string]string{"TMPDIR": pwd}
	p.PolicyFn, p.PolicyEvents = l.judge, []string{"openat", "bind", "connect", "sendto", "sendmsg", "sendmmsg"}
	return p
}

func outputPath(output string) (string, error) {
	if strings.Contains(output, "/") || strings.HasSuffix(output, ".toml") {
		return filepath.Abs(output)
	}
	if problem := profileName(output); problem != "" {
		return "", fmt.Errorf("profile %q: %s", output, problem)
	}
	dir, err := profilesDir()
	return filepath.Join(dir, output+".toml"), err
}

const learnedHeader = "# Written by sandlock learn: look it through before you trust it.\n"

// learnedProfile is what learn writes, and reads again to merge.
type learnedProfile struct {
	Filesystem struct{ Read, Write []string }
	Network    struct {
		Allow     []string
		AllowBind []string `toml:"allow_bind"`
	}
}

func readLearned(path string, merge bool) (p learnedProfile, err error) {
	content, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return p, nil
	case err != nil:
		return p, err
	case !merge:
		return p, fmt.Errorf("%s: it is there already; --merge adds to it", path)
	case !strings.HasPrefix(string(content), learnedHeader):
		return p, fmt.Errorf("%s: it was not written by sandlock learn, which would lose what else is in it; extend it by another profile", path)
	}
	return p, toml.Unmarshal(content, &p)
}

// places are the directories that stand for what is different the next time.
type places struct {
	pwd, home          string
	readable, writable []string // what the profile system grants: to read, to write
}

func here() (p places, err error) {
	if p.pwd, err = os.Getwd(); err == nil {
		p.pwd, err = filepath.EvalSymlinks(p.pwd) // paths are told as the kernel has them
	}
	if err != nil {
		return p, err
	}
	if home := os.Getenv("HOME"); filepath.IsAbs(home) {
		if p.home, err = filepath.EvalSymlinks(home); err != nil {
			p.home, err = filepath.Clean(home), nil
		}
	}
	system, _, err := loadProfile("system")
	if err != nil {
		return p, err
	}
	p.readable, p.writable = real(system["fs_readable"]), real(system["fs_writable"])
	if within(p.home, p.pwd) {
		return p, errors.New("the working directory holds your home, all of which the profile would grant; run it in a directory of the command's own")
	}
	return p, nil
}

// real are the paths of values, without symbolic links.
func real(values []value) []string {
	var out []string
	for _, v := range values {
		if path, err := filepath.EvalSymlinks(strings.Trim(v.json, `"`)); err == nil {
			out = append(out, path)
		}
	}
	return out
}

// within reports whether a path is dir or lies beneath it.
func within(path, dir string) bool {
	return path != "" && (path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/"))
}
