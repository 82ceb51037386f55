package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/sandlock/sandlock/core"
	"golang.org/x/sys/unix"
)

// runOptions are the flags of run that are not fields of the policy.
type runOptions struct {
	settings    settings
	profiles    []string
	timeout     time.Duration
	interactive bool
	explain     bool
	control     bool
	status      statusSink
}

func set(to *bool) func(string) error {
	return func(value string) error {
		if value != "true" && value != "false" {
			return usageError(value + ": true or false belongs here")
		}
		*to = value == "true"
		return nil
	}
}

func (o *runOptions) options() []option {
	options := []option{
		{long: "profile", short: 'p', arg: "NAME|FILE", help: "start from a profile; several add up", set: func(v string) error {
			o.profiles = append(o.profiles, v)
			return nil
		}},
		{long: "interactive", short: 'i', help: "give the command the terminal", set: set(&o.interactive)},
		{long: "timeout", short: 't', arg: "TIME", help: "end it after that: seconds, or 5m, 2h; code 124", set: o.setTimeout},
		{long: "explain", help: "show the policy as it is enforced, run nothing; with --json its fields", set: set(&o.explain)},
		{long: "control-socket", help: "be found by ps, inspect, kill and top; =false is not", set: set(&o.control)},
		{long: "json", help: "the result as JSON, on stderr or --status-fd", set: set(&o.status.wanted)},
		{long: "status-fd", arg: "FD", help: "… on that descriptor", set: o.status.open},
		{long: "user", arg: "UID:GID", help: "the ids that it sees itself under", set: o.settings.addUser},
		helpOption(),
	}
	for i := range fields {
		f := &fields[i]
		if f.long == "" {
			continue
		}
		options = append(options, option{f.long, f.short, f.arg, f.help, func(v string) error { return o.settings.fromFlag(f, v) }})
	}
	return options
}

func (o *runOptions) setTimeout(v string) error {
	n, err := parseSeconds(v)
	o.timeout = time.Duration(n * float64(time.Second))
	return err
}

func runCommand(args []string) int {
	o := runOptions{settings: settings{}, control: true}
	options := o.options()
	argv, err := parseFlags(args, options)
	if errors.Is(err, errHelp) {
		var b strings.Builder
		b.WriteString("usage: sandlock run [FLAGS] [--] COMMAND…\n\n")
		help(&b, options)
		fmt.Print(b.String())
		return 0
	}
	if err == nil && len(argv) == 0 && !o.explain {
		err = usageError("no command: sandlock run [FLAGS] [--] COMMAND…")
	}
	if err != nil {
		return o.status.failed(err)
	}
	all := settings{}
	var create []located
	for _, name := range o.profiles {
		profile, dirs, err := loadProfile(name)
		if err != nil {
			return o.status.failed(err)
		}
		all.merge(profile)
		create = append(create, dirs...)
	}
	all.merge(o.settings)
	policy, err := all.policy()
	if err != nil {
		return o.status.failed(err)
	}
	plan, err := policy.Compile()
	if err != nil {
		return o.status.failed(err)
	}
	if o.explain {
		if o.status.wanted {
			fmt.Println(all.document())
		} else {
			fmt.Print(explain(all, policy, plan))
		}
		return 0
	}
	if err := createDirectories(create); err != nil {
		return o.status.failed(err)
	}
	info := runInfo{PID: os.Getpid(), Started: time.Now(), Command: argv, Policy: []byte(all.withoutSecrets().document())}
	return o.execute(plan, core.Command{Argv: argv}, info, policy.Name)
}

// execute runs a command. A signal that would end the tool ends the sandbox first, so that
// nothing runs and the terminal is as it was when the tool is gone. Signals of the terminal
// itself reach a command that has it.
func (o *runOptions) execute(plan *core.Plan, cmd core.Command, info runInfo, name string) int {
	if cmd.Interactive = o.interactive; !o.interactive {
		cmd.Files = []core.File{{FD: 0, As: 0}, {FD: 1, As: 1}, {FD: 2, As: 2}}
	}
	signals := make(chan os.Signal, 1)
	for _, sig := range []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT} {
		if !signal.Ignored(sig) { // as nohup(1) and a shell's & have it
			signal.Notify(signals, sig)
		}
	}
	var listed *control
	register := func(name string, named bool) (err error) {
		if info.Name = name; o.control {
			listed, err = register(info, named)
		}
		return err
	}
	// A name that was asked for is taken before the start; else the command needn't wait.
	var taken errNameTaken
	unlisted := error(nil)
	if name != "" {
		if unlisted = register(name, true); errors.As(unlisted, &taken) {
			return o.status.failed(unlisted)
		}
	}
	defer func() { listed.close() }()
	sandbox, err := plan.Spawn(cmd)
	if err != nil {
		return o.status.failed(err)
	}
	if name == "" {
		unlisted = register(sandbox.Name(), false)
	}
	listed.started(sandbox)
	if unlisted != nil {
		o.status.note("ps does not show it: " + unlisted.Error())
	}
	over, ended := make(chan struct{}), make(chan os.Signal)
	go func() {
		var got os.Signal
		select {
		case got = <-signals:
			_ = sandbox.Kill()
		case <-over:
		}
		ended <- got
	}()
	result, err := sandbox.Wait(o.timeout)
	sandbox.Close()
	close(over)
	code := 0
	if err != nil {
		code = o.status.failed(err)
	} else {
		code = o.status.over(result)
	}
	switch got := <-ended; got {
	case nil:
		return code
	case unix.SIGQUIT: // Go's own end by it is a dump
		return exitSignal + int(unix.SIGQUIT)
	default:
		signal.Reset(got)
		_ = unix.Kill(os.Getpid(), got.(unix.Signal))
		select {} // the runtime's handler ends us
	}
}

// explain shows a policy, where it comes from, and what it is on this kernel.
func explain(s settings, policy *core.Policy, plan *core.Plan) string {
	out := "given:\n" + s.origins()
	abi := max(core.LandlockABIVersion(), 0)
	for _, p := range policy.AllowDegraded {
		if need := core.MinABI(p); need > abi && !slices.Contains(policy.Disable, p) {
			out += fmt.Sprintf("DEGRADED: %v: %s (Landlock ABI %d here, %d has it)\n", p, meaning[p], abi, need)
		}
	}
	for _, p := range policy.Disable {
		out += fmt.Sprintf("DISABLED: %v: %s\n", p, meaning[p])
	}
	return out + plan.String()
}
