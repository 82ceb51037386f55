package core

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNotSupported is what errors.Is finds in every error that says that this
// kernel can't do what a policy needs.
var ErrNotSupported = errors.New("not supported by this kernel")

// unsupported is one sentence about what the kernel lacks.
type unsupported string

func (e unsupported) Error() string        { return string(e) }
func (e unsupported) Is(target error) bool { return target == ErrNotSupported }

// FieldError is one fault of a policy.
type FieldError struct {
	Field   string // as policy.md names it
	Value   string // the value, quoted and perhaps shortened; "" when there is none to show
	Problem string // what is wrong, and what would be right
}

func (e FieldError) Error() string {
	text := e.Field + ": " + e.Problem
	if e.Value != "" {
		text = e.Field + ": " + e.Value + ": " + e.Problem
	}
	switch e.Field { // programs look for these
	case "net_allow_bind":
		text = "--net-allow-bind: " + text
	case "net_deny_bind":
		text = "--net-deny-bind: " + text
	}
	return "invalid sandbox: " + text
}

// ValidationError holds every fault of a policy, at least one, in the order of
// the fields.
type ValidationError struct{ Errors []FieldError }

// Error has one line for each fault.
func (e *ValidationError) Error() string {
	lines := make([]string, len(e.Errors))
	for i, f := range e.Errors {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// faults collects what is wrong with a policy.
type faults struct{ list []FieldError }

func (f *faults) add(field, value, format string, args ...any) {
	f.list = append(f.list, FieldError{field, value, fmt.Sprintf(format, args...)})
}

func (f *faults) err() error {
	if f.list == nil {
		return nil
	}
	return &ValidationError{f.list}
}

// quote makes any bytes fit for a message.
func quote(s string) string {
	const most = 100
	if len(s) > most {
		return fmt.Sprintf("%q… (%d bytes)", s[:most], len(s))
	}
	return fmt.Sprintf("%q", s)
}

// StartError is a step of a start that failed; the command has not run.
type StartError struct {
	Step  string // a system call, or what the step is for
	Index int    // of the step in the warden's table, or of the item that failed
	Path  string // what the step was about; may be ""
	Err   error  // wraps the errno where there is one
}

func (e *StartError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("%s: %v", e.Step, e.Err)
	}
	return fmt.Sprintf("%s(%s): %v", e.Step, printable(e.Path), e.Err)
}

func (e *StartError) Unwrap() error { return e.Err }

// printable leaves an ordinary path as it is and quotes one that would break the
// line.
func printable(path string) string {
	for _, r := range path {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return quote(path)
		}
	}
	return path
}
