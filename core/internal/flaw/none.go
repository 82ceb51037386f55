//go:build !sandlock_flawed

// Package flaw names protections that an attack test leaves out of a build of its own,
// to show that the attack succeeds where they are missing. Here, in every other build,
// they are constants: the compiler drops the branches, so a library holds nothing that
// could be switched at run time. tests/abi checks the tags that the library was built
// with, tests/fence who imports this.
package flaw

const (
	Unproved = false // the arguments are not looked at again at the exec stop
	Unfrozen = false // a caller's siblings are not stopped
	Writable = false // the filter passes what the group "debug" holds, process_vm_writev(2) for one
)
