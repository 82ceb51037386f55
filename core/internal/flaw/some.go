//go:build sandlock_flawed

package flaw

// Set by the linker, its option -X, for the test that builds this.
var unproved, unfrozen, writable string

var (
	Unproved = unproved != ""
	Unfrozen = unfrozen != ""
	Writable = writable != ""
)
