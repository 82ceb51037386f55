// Command judge runs one command under a policy_fn that allows exact command lines and
// nothing else: the host of tests/attacks' races, in one build as it is shipped, in
// others without what stops them. It reads a job and writes the result, both as JSON.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"github.com/sandlock/sandlock/core"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	var job struct {
		Argv                           []string
		Readable, Writable, Executable []string
		Allow                          [][]string // besides Argv itself
	}
	if err := json.NewDecoder(os.Stdin).Decode(&job); err != nil {
		return err
	}
	p := core.NewPolicy()
	// As policy of tests/attacks.
	p.AllowDegraded = []core.Protection{core.FSRefer, core.FSTruncate, core.NetTCP, core.FSIoctlDev, core.SignalScope, core.AbstractUnixSocketScope}
	if os.Getuid() != 0 {
		p.MaxProcesses = nil
	}
	p.FSReadable, p.FSWritable, p.FSExecutable = job.Readable, job.Writable, job.Executable
	allow := append(job.Allow, job.Argv)
	p.PolicyFn = func(e *core.Event, _ *core.Context) core.Verdict {
		if slices.ContainsFunc(allow, func(argv []string) bool { return slices.Equal(e.Argv, argv) }) {
			return core.Allow
		}
		return core.Deny
	}
	plan, err := p.Compile()
	if err != nil {
		return err
	}
	result, err := plan.Run(core.Command{Argv: job.Argv, Stdin: -1}, 0)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}
