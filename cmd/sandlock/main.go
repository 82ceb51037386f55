// Sandlock is the command-line tool: it runs a command that nobody trusts, and says what
// this kernel offers for that.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// version is set by the Makefile.
var version = "unknown"

// Exit codes of the tool's own, those of env(1) and timeout(1).
const (
	exitTimeout       = 124
	exitFailure       = 125
	exitNotExecutable = 126
	exitNotFound      = 127
	exitSignal        = 128 // and the signal's number
)

// command is one of the tool's.
type command struct {
	name, args, help string
	run              func(args []string) int
}

// commands is a function, as their own help names them all.
func commands() []command {
	return []command{
		{"run", "[FLAGS] [--] COMMAND…", "run a command in a sandbox", runCommand},
		{"learn", "-o FILE|NAME [FLAGS] [--] COMMAND…", "run a command without a sandbox's rules, write a profile of what it does", learnCommand},
		{"why", "[FILE]", "what the last run was refused, and what would allow it", whyCommand},
		{"check", "[--json]", "what this kernel offers, and what it lacks", checkCommand},
		{"profile", "list | show NAME | delete NAME", "the profiles that there are", profileCommand},
		{"ps", "[--json]", "the running sandboxes", psCommand},
		{"inspect", "NAME", "one of them, with its policy and processes, as JSON", inspectCommand},
		{"kill", "NAME… | --all", "end them", killCommand},
		{"top", "[--once]", "what they use, again and again", topCommand},
		{"completion", "bash | zsh | fish", "a script for the shell", completionCommand},
		{"version", "", "print the version", func([]string) int { fmt.Println("sandlock " + version); return 0 }},
	}
}

func main() { os.Exit(tool(os.Args[1:])) }

func tool(args []string) int {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage())
		return exitFailure
	}
	switch args[0] {
	case "-h", "--help", "help":
		fmt.Print(usage())
		return 0
	case "--version":
		args[0] = "version"
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.run(args[1:])
		}
	}
	return fail(usageError(fmt.Sprintf("there is no command %q; sandlock help names them", args[0])))
}

func usage() string {
	var b strings.Builder
	b.WriteString("usage: sandlock COMMAND …\n\n")
	for _, c := range commands() {
		fmt.Fprintf(&b, "  %-34s %s\n", strings.TrimSpace(c.name+" "+c.args), c.help)
	}
	b.WriteString("\nEach command has --help. Everything is denied unless granted.\n")
	return b.String()
}

// fail says what is wrong, each line with the tool's name.
func fail(err error) int {
	say(err.Error())
	return exitFailure
}

func say(text string) {
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		fmt.Fprintln(os.Stderr, "sandlock: "+line)
	}
}

// errHelp is the answer to --help.
var errHelp = errors.New("help")

func helpOption() option {
	return option{long: "help", short: 'h', help: "this", set: func(string) error { return errHelp }}
}

// parse reads the flags of a command that has no more than those, and a few words.
// done: the command is over, with that exit code.
func parse(name, words string, args []string, options []option, least, most int) (rest []string, code int, done bool) {
	options = append(options, helpOption())
	// Their flags may come anywhere among the words.
	for len(args) > 0 {
		more, err := parseFlags(args, options)
		if errors.Is(err, errHelp) {
			var b strings.Builder
			fmt.Fprintf(&b, "usage: %s\n\n", strings.TrimSpace("sandlock "+name+" "+words))
			help(&b, options)
			fmt.Print(b.String())
			return nil, 0, true
		}
		if err != nil {
			return nil, fail(err), true
		}
		if len(more) == 0 {
			break
		}
		rest, args = append(rest, more[0]), more[1:]
	}
	if len(rest) < least || len(rest) > most {
		return nil, fail(usageError("usage: " + strings.TrimSpace("sandlock "+name+" "+words))), true
	}
	return rest, 0, false
}
