package core

import (
	"fmt"
	"strings"

	"github.com/sandlock/sandlock/core/internal/warden"
	"golang.org/x/sys/unix"
)

// stepError makes an error of a start that has failed, with all that is known of why.
func (s *Sandbox) stepError(m warden.Message) error {
	e := &StartError{Step: m.Step.String(), Err: unix.Errno(m.Errno)}
	switch m.Step {
	case warden.StepExec:
		e.Path = s.path
	case warden.StepCwd:
		e.Path = s.plan.cwd
	case warden.StepTrace:
		e.Err = fmt.Errorf(`%w: max_processes takes tracing, which something here forbids, such as a sandbox around this one; max_processes="unlimited" does without`, e.Err)
	}
	if m.Step != warden.StepExec {
		return e
	}
	var why []string
	if s.firstDenied.Load() {
		why = append(why, "policy_fn denied it")
	}
	why = append(why, s.refused.execs()...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if why = append(why, s.log...); len(why) == 0 {
		return e
	}
	return fmt.Errorf("%w (%s)", e, strings.Join(why, "; "))
}
