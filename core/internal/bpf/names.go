package bpf

import (
	"fmt"
	"slices"
)

type group struct {
	name    string
	members []string
}

// groups are the names that stand for several syscalls. A group may allow what
// its members may not be allowed as one by one.
var groups = []group{
	{"sysv_ipc", []string{"shmget", "shmat", "shmctl", "shmdt", "semget", "semop",
		"semctl", "semtimedop", "msgget", "msgsnd", "msgrcv", "msgctl"}},
	// What a debugger does to its inferior. Landlock keeps all of it inside the
	// domain (hook ptrace_access_check).
	{"debug", []string{"ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp"}},
}

// expand returns the syscalls that an entry of a list stands for, nil for an
// unknown one.
func expand(entry string) []string {
	for _, g := range groups {
		if g.name == entry {
			return g.members
		}
	}
	if byName()[entry] != nil {
		return []string{entry}
	}
	return nil
}

// Groups are those that a syscall is in.
func Groups(name string) (list []string) {
	for _, g := range groups {
		if slices.Contains(g.members, name) {
			list = append(list, g.name)
		}
	}
	return list
}

func expandAll(entries []string) map[string]bool {
	set := make(map[string]bool)
	for _, entry := range entries {
		for _, name := range expand(entry) {
			set[name] = true
		}
	}
	return set
}

// needed is what the start of a command calls after the filter is on, and its end.
var needed = []string{"execve", "exit", "exit_group", "futex", "prlimit64"}

// CheckNames returns an error for each entry of the two lists that can't be: an
// unknown name, a name on both sides, a deny of what the start itself needs, an
// allow that would undo the sandbox. A name that only the other architecture has
// is good and does nothing.
func CheckNames(_ Arch, deny, allow []string) []error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	deny, allow = unique(deny), unique(allow)
	for _, entry := range slices.Concat(deny, allow) {
		if expand(entry) == nil {
			add("unknown syscall or group name(s): %q", entry)
		}
	}
	allowed := expandAll(allow)
	for _, entry := range deny {
		names := expand(entry)
		if both := slices.IndexFunc(names, func(name string) bool { return allowed[name] }); both >= 0 {
			add("%q is denied and allowed: %s", entry, names[both])
		}
		if slices.Contains(needed, entry) {
			add("%q can't be denied: no command starts or ends without it", entry)
		}
	}
	for _, entry := range allow {
		if reason := undoes(entry); reason != "" {
			add("%q can't be allowed: %s", entry, reason)
		}
	}
	return errs
}

// undoes says why a policy may not allow a syscall, "" when it may. Groups may be
// allowed.
func undoes(name string) string {
	r := byName()[name]
	switch {
	case r == nil:
		return ""
	case slices.Contains(groupNamed("debug"), name) && r.class == forbidden:
		return fmt.Sprintf("it %s; the group \"debug\" allows it inside the sandbox", r.why)
	case r.class == forbidden:
		return fmt.Sprintf("it would undo the sandbox (%s)", r.why)
	case r.class == missing:
		return fmt.Sprintf("it is not there (%s)", r.why)
	case r.class == ruled && !rules[name].lift:
		return fmt.Sprintf("only its rule keeps the sandbox whole (%s)", r.why)
	}
	return ""
}

func groupNamed(name string) []string {
	i := slices.IndexFunc(groups, func(g group) bool { return g.name == name })
	return groups[i].members
}

func unique(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
