package core

import "errors"

// Plan is a compiled policy: immutable, deterministic, printable. Its methods
// may be called from any goroutine.
type Plan struct{}

// Compile validates the policy and compiles it. A bad policy is a
// *ValidationError that holds every fault at once.
func (p *Policy) Compile() (*Plan, error) { return nil, errors.New("stub") }
