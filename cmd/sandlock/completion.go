package main

import (
	"fmt"
	"strings"
)

// completionCommand prints what a shell completes the tool's words by. Flags and commands
// are the tool's own tables; names are asked of the tool when they are needed.
func completionCommand(args []string) int {
	words, code, done := parse("completion", "bash | zsh | fish", args, nil, 1, 1)
	if done {
		return code
	}
	script, ok := map[string]func() string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}[words[0]]
	if !ok {
		return fail(usageError("there is completion for bash, zsh and fish"))
	}
	fmt.Print(script())
	return 0
}

// What completes the value of a flag.
const (
	completeNothing = iota
	completeFile
	completeProfile
)

func completes(o *option) int {
	switch o.arg {
	case "PATH", "DIR", "FILE", "FILE|NAME":
		return completeFile
	case "NAME|FILE":
		return completeProfile
	}
	return completeNothing
}

// flagsOf are the flags of run; the other commands have few.
func flagsOf() []option {
	o := runOptions{settings: settings{}}
	return o.options()
}

func spellings(o *option) string {
	if o.short != 0 {
		return "-" + string(rune(o.short)) + "|--" + o.long
	}
	return "--" + o.long
}

func commandNames() string {
	var names []string
	for _, c := range commands() {
		names = append(names, c.name)
	}
	return strings.Join(names, " ")
}

func bashCompletion() string {
	var all, values, files, profiles []string
	options := flagsOf()
	for i := range options {
		o := &options[i]
		all = append(all, "--"+o.long)
		switch {
		case o.arg == "":
		case completes(o) == completeFile:
			files = append(files, spellings(o))
		case completes(o) == completeProfile:
			profiles = append(profiles, spellings(o))
		default:
			values = append(values, spellings(o))
		}
	}
	return fmt.Sprintf(`# bash completion for sandlock
_sandlock() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]} i
	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		COMPREPLY=($(compgen -W '%s' -- "$cur"))
		return
	fi
	case $command in
	run|learn)
		case $prev in
		%s) COMPREPLY=($(compgen -W "$(sandlock profile list 2>/dev/null | cut -d' ' -f1)" -- "$cur") $(compgen -f -- "$cur")); return ;;
		%s) COMPREPLY=($(compgen -f -- "$cur")); return ;;
		%s) return ;;
		esac
		for ((i = 2; i < COMP_CWORD; i++)); do
			[ "${COMP_WORDS[i]}" = -- ] && { COMPREPLY=($(compgen -c -f -- "$cur")); return; }
		done
		case $cur in
		-*) COMPREPLY=($(compgen -W '%s' -- "$cur")) ;;
		*) COMPREPLY=($(compgen -c -f -- "$cur")) ;;
		esac ;;
	kill|inspect) COMPREPLY=($(compgen -W "$(sandlock ps 2>/dev/null | sed 1d | cut -d' ' -f1)" -- "$cur")) ;;
	profile)
		if [ "$COMP_CWORD" -eq 2 ]; then
			COMPREPLY=($(compgen -W 'list show delete' -- "$cur"))
		else
			COMPREPLY=($(compgen -W "$(sandlock profile list 2>/dev/null | cut -d' ' -f1)" -- "$cur"))
		fi ;;
	completion) COMPREPLY=($(compgen -W 'bash zsh fish' -- "$cur")) ;;
	esac
}
complete -o filenames -F _sandlock sandlock
`, commandNames(), strings.Join(profiles, "|"), strings.Join(files, "|"), strings.Join(values, "|"), strings.Join(all, " "))
}

func zshCompletion() string {
	quote := strings.NewReplacer("'", "'\\''", "[", "\\[", "]", "\\]", ":", "\\:").Replace
	var flags, names strings.Builder
	options := flagsOf()
	for i := range options {
		o := &options[i]
		action := ""
		if o.arg != "" {
			action = ":" + quote(o.arg) + ":" + [...]string{"", "_files", "_sandlock_profiles"}[completes(o)]
		}
		if o.short != 0 {
			fmt.Fprintf(&flags, "\t\t'*-%c[%s]%s' \\\n", o.short, quote(o.help), action)
		}
		equals := ""
		if o.arg != "" {
			equals = "="
		}
		fmt.Fprintf(&flags, "\t\t'*--%s%s[%s]%s' \\\n", o.long, equals, quote(o.help), action)
	}
	for _, c := range commands() {
		fmt.Fprintf(&names, "\t\t'%s:%s' \\\n", c.name, quote(c.help))
	}
	return fmt.Sprintf(`#compdef sandlock
_sandlock_profiles() {
	local -a names
	names=(${(f)"$(sandlock profile list 2>/dev/null | cut -d' ' -f1)"})
	_describe profile names
	_files
}
_sandlock_running() {
	local -a names
	names=(${(f)"$(sandlock ps 2>/dev/null | sed 1d | cut -d' ' -f1)"})
	_describe sandbox names
}
_sandlock() {
	local -a commands
	commands=( \
%s	)
	if (( CURRENT == 2 )); then
		_describe command commands
		return
	fi
	case $words[2] in
	run|learn)
		shift words
		(( CURRENT-- ))
		_arguments -s -S \
%s		'*::command:_normal' ;;
	kill|inspect) _sandlock_running ;;
	profile)
		if (( CURRENT == 3 )); then
			compadd list show delete
		else
			_sandlock_profiles
		fi ;;
	completion) compadd bash zsh fish ;;
	esac
}
if [ "$funcstack[1]" = _sandlock ]; then
	_sandlock "$@"
else
	compdef _sandlock sandlock
fi
`, names.String(), flags.String())
}

func fishCompletion() string {
	quote := strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace
	var b strings.Builder
	b.WriteString("# fish completion for sandlock\ncomplete -c sandlock -f\n")
	for _, c := range commands() {
		fmt.Fprintf(&b, "complete -c sandlock -n __fish_use_subcommand -a %s -d '%s'\n", c.name, quote(c.help))
	}
	const inRun = "'__fish_seen_subcommand_from run learn'"
	options := flagsOf()
	for i := range options {
		o := &options[i]
		fmt.Fprintf(&b, "complete -c sandlock -n %s -l %s", inRun, o.long)
		if o.short != 0 {
			fmt.Fprintf(&b, " -s %c", o.short)
		}
		if o.arg != "" {
			b.WriteString(" -r")
		}
		switch completes(o) {
		case completeFile:
			b.WriteString(" -F")
		case completeProfile:
			b.WriteString(" -F -a \"(sandlock profile list 2>/dev/null | cut -d' ' -f1)\"")
		}
		fmt.Fprintf(&b, " -d '%s'\n", quote(o.help))
	}
	b.WriteString("complete -c sandlock -n " + inRun + " -a '(__fish_complete_subcommand)'\n")
	b.WriteString("complete -c sandlock -n '__fish_seen_subcommand_from kill inspect' -a \"(sandlock ps 2>/dev/null | sed 1d | cut -d' ' -f1)\"\n")
	b.WriteString("complete -c sandlock -n '__fish_seen_subcommand_from profile' -a 'list show delete'\n")
	b.WriteString("complete -c sandlock -n '__fish_seen_subcommand_from profile' -a \"(sandlock profile list 2>/dev/null | cut -d' ' -f1)\"\n")
	b.WriteString("complete -c sandlock -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'\n")
	return b.String()
}
