package core

import (
	"context"
	"errors"
	"time"
)

// RunContext runs cmd as Run does, until ctx is done: then the sandbox is ended, as at a
// timeout when that was its deadline, else killed; and the result, with the output up to
// then, comes with the cause of ctx.
func (p *Plan) RunContext(ctx context.Context, cmd Command) (*Result, error) {
	if ctx.Err() != nil {
		if cmd.OnClose != nil {
			cmd.OnClose()
		}
		return nil, context.Cause(ctx)
	}
	s, err := p.Spawn(cmd)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, func() {
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			_ = s.Kill()
		} else if again := s.expire(); !again.IsZero() {
			time.AfterFunc(time.Until(again), func() { s.expire() }) // nothing, when it is over
		}
	})
	r, err := s.Wait(0)
	if !stop() && err == nil && r.Reason != Exited {
		err = context.Cause(ctx)
	}
	return r, err
}
