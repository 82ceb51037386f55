package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sandlock/sandlock/core"
)

// runOptions are the flags of run that are not fields of the policy.
type runOptions struct {
	settings    settings
	profiles    []string
	timeout     time.Duration
	interactive bool
	pty         bool
	explain     bool
	control     bool
	status      statusSink
	audit       auditSink
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
		{long: "pty", help: "give it a terminal of its own, and put this one in front", set: set(&o.pty)},
		{long: "timeout", short: 't', arg: "TIME", help: "end it after that: seconds, or 5m, 2h; code 124", set: o.setTimeout},
		{long: "explain", help: "show the policy as it is enforced, run nothing; with --json its fields", set: set(&o.explain)},
		{long: "control-socket", help: "be found by ps, inspect, kill and top; =false is not", set: set(&o.control)},
		{long: "json", help: "the result as JSON, on stderr or --status-fd", set: set(&o.status.wanted)},
		{long: "status-fd", arg: "FD", help: "… on that descriptor", set: o.status.open},
		{long: "audit", arg: "FILE", help: "write there what it is refused, by the kernel too, a line of JSON each", set: o.audit.open},
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
	// What takes longest of the start needs nothing of what is said here. Its error is the
	// start's, too.
	go func() { _ = core.Prepare() }()
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
	if err == nil && o.pty && o.interactive {
		err = usageError("--pty and --interactive: the command has this terminal, or one of its own")
	}
	if err == nil && len(argv) == 0 && !o.explain {
		err = usageError("no command: sandlock run [FLAGS] [--] COMMAND…")
	}
	if err != nil {
		return o.status.failed(err).Code
	}
	all := settings{}
	var create []located
	for _, name := range o.profiles {
		profile, dirs, err := loadProfile(name)
		if err != nil {
			return o.status.failed(err).Code
		}
		all.merge(profile)
		create = append(create, dirs...)
	}
	all.merge(o.settings)
	policy, err := all.policy()
	o.audit.keep = o.control
	if err != nil {
		return o.status.failed(err).Code
	}
	policy.RecordDenials = o.audit.wanted
	plan, err := policy.Compile()
	if err != nil {
		return o.status.failed(err).Code
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
		return o.status.failed(err).Code
	}
	info := runInfo{PID: os.Getpid(), Started: time.Now(), Command: argv, Policy: []byte(all.withoutSecrets().document())}
	return o.execute(plan, core.Command{Argv: argv}, info, policy.Name)
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
