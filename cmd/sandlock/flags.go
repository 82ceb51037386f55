package main

import (
	"fmt"
	"strings"
)

// Flags are read by a parser of our own: the tool's start is measured against /bin/true,
// and what package flag and its kin cost before main, by what they import, is a third of
// that.

// option is a flag of a command.
type option struct {
	long  string
	short byte
	arg   string // what the help calls the value; "" for a flag without one
	help  string
	set   func(value string) error
}

// usageError is a command line that can't be read.
type usageError string

func (e usageError) Error() string { return string(e) }

// parseFlags reads flags as getopt_long(3) does with a leading +: up to "--", or to the
// first word that is no flag. find returns the flag of a name, nil for an unknown one.
func parseFlags(args []string, options []option) (rest []string, err error) {
	for len(args) > 0 {
		word := args[0]
		switch {
		case word == "--":
			return args[1:], nil
		case word == "-" || !strings.HasPrefix(word, "-"):
			return args, nil
		case strings.HasPrefix(word, "--"):
			args, err = longFlag(args, options)
		default:
			args, err = shortFlags(args, options)
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func longFlag(args []string, options []option) (rest []string, err error) {
	name, val, given := strings.Cut(args[0][2:], "=")
	args = args[1:]
	i := 0
	for i < len(options) && (options[i].long != name || name == "") {
		i++
	}
	if i == len(options) {
		return nil, usageError(fmt.Sprintf("unknown flag --%s%s", name, similar(name, options)))
	}
	o := &options[i]
	switch {
	case given:
	case o.arg == "":
		val = "true"
	case len(args) == 0:
		return nil, usageError(fmt.Sprintf("--%s: %s is missing", name, o.arg))
	default:
		val, args = args[0], args[1:]
	}
	return args, o.set(val)
}

func shortFlags(args []string, options []option) (rest []string, err error) {
	letters := args[0][1:]
	args = args[1:]
	for letters != "" {
		i := 0
		for i < len(options) && options[i].short != letters[0] {
			i++
		}
		if i == len(options) {
			return nil, usageError(fmt.Sprintf("unknown flag -%c", letters[0]))
		}
		o := &options[i]
		letters = letters[1:]
		val := "true"
		if o.arg != "" {
			switch {
			case letters != "":
				val, letters = letters, ""
			case len(args) == 0:
				return nil, usageError(fmt.Sprintf("-%c: %s is missing", o.short, o.arg))
			default:
				val, args = args[0], args[1:]
			}
		}
		if err := o.set(val); err != nil {
			return nil, err
		}
	}
	return args, nil
}

// similar names the flag that begins or ends as the unknown one does.
func similar(name string, options []option) string {
	for _, o := range options {
		if name != "" && o.long != "" && (strings.Contains(o.long, name) || strings.Contains(name, o.long)) {
			return "; is --" + o.long + " meant?"
		}
	}
	return ""
}

// help writes the flags of a command.
func help(b *strings.Builder, options []option) {
	for _, o := range options {
		if o.long == "" {
			continue
		}
		left := "    "
		if o.short != 0 {
			left = "-" + string(rune(o.short)) + ", "
		}
		left += "--" + o.long
		if o.arg != "" {
			left += " " + o.arg
		}
		fmt.Fprintf(b, "  %-34s %s\n", left, o.help)
	}
}
