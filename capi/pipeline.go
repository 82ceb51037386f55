package main

/*
#include "../include/sandlock.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"slices"
	"time"
	"unsafe"

	"github.com/sandlock/sandlock/core"
)

// together is a pipeline or a gather in the making. What a caller did wrong is kept for the run.
type together struct {
	gather   bool
	stages   []core.Stage
	drops    []func() // of the callbacks of stages
	consumer *core.Stage
	dropLast func()
	err      error
}

func (t *together) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

// drop lets go of what the stages hold, for when they are not run.
func (t *together) drop() {
	for _, drop := range t.drops {
		drop()
	}
	if t.consumer != nil {
		t.dropLast()
	}
}

//export goTogetherNew
func goTogetherNew(gather C.bool) unsafe.Pointer { return save(&together{gather: bool(gather)}) }

// hold returns a stage of the command, and a reference to its policy's callback.
func hold(p *C.sandlock_sandbox_t, argv **C.char, argc C.uint) (s core.Stage, drop func(), err error) {
	box, err := lookup[*sandbox](unsafe.Pointer(p))
	if err != nil {
		return s, nil, fmt.Errorf("policy: %w", err)
	}
	c, err := command(nil, argv, argc, -1)
	if err != nil {
		return s, nil, err
	}
	box.cb.retain()
	return core.Stage{Plan: box.plan, Command: c}, box.cb.release, nil
}

//export goTogetherAdd
func goTogetherAdd(p unsafe.Pointer, gather C.bool, name *C.char, policy *C.sandlock_sandbox_t, argv **C.char, argc C.uint) {
	with(p, func(t *together) error {
		if t.gather != bool(gather) {
			return errors.New("the handle is of another kind")
		}
		s, drop, err := hold(policy, argv, argc)
		if err == nil && t.gather && name == nil {
			drop()
			err = errors.New("name is NULL")
		}
		if err != nil {
			err = fmt.Errorf("stage %d: %w", len(t.stages)+1, err)
			t.fail(err)
			return err
		}
		s.Name = C.GoString(name)
		t.stages, t.drops = append(t.stages, s), append(t.drops, drop)
		return nil
	})
}

//export goTogetherConsumer
func goTogetherConsumer(p unsafe.Pointer, policy *C.sandlock_sandbox_t, argv **C.char, argc C.uint) {
	with(p, func(t *together) error {
		if !t.gather {
			return errors.New("the handle is of another kind")
		}
		s, drop, err := hold(policy, argv, argc)
		if err != nil {
			err = fmt.Errorf("consumer: %w", err)
			t.fail(err)
			return err
		}
		if t.consumer != nil {
			t.dropLast()
		}
		t.consumer, t.dropLast = &s, drop
		return nil
	})
}

//export goTogetherRun
func goTogetherRun(p unsafe.Pointer, gather C.bool, ms C.uint64_t) (r *C.sandlock_result_t) {
	var failed error
	if isOf(p, gather) {
		free(p, func(t *together) { r, failed = t.run(time.Duration(min(uint64(ms), maxTimeout)) * time.Millisecond) })
	}
	if failed != nil {
		setError(failed)
	}
	return r
}

func isOf(p unsafe.Pointer, gather C.bool) bool {
	return with(p, func(t *together) error {
		if t.gather != bool(gather) {
			return errors.New("the handle is of another kind")
		}
		return nil
	})
}

func (t *together) run(timeout time.Duration) (*C.sandlock_result_t, error) {
	if t.err == nil && t.gather && t.consumer == nil {
		t.err = errors.New("the gather has no consumer")
	}
	if t.err != nil {
		t.drop()
		return nil, t.err
	}
	env := environ()
	for i := range t.stages {
		t.stages[i].Command.OnClose = t.drops[i]
		t.stages[i].Command.Environ = env
	}
	var results []core.StageResult
	var err error
	what := "Pipeline"
	if t.gather {
		what = "Gather"
		t.consumer.Command.OnClose, t.consumer.Command.Environ = t.dropLast, env
		results, err = core.RunGather(t.stages, *t.consumer, timeout)
	} else {
		results, err = core.RunPipeline(t.stages, timeout)
	}
	if err != nil {
		return nil, err
	}
	last := results[len(results)-1]
	if last.Err != nil {
		return nil, fmt.Errorf("stage %d: %w", len(results), last.Err)
	}
	whole := &result{r: *last.Result}
	whole.r.Stdout = slices.Clone(last.Result.Stdout)
	for i, one := range results {
		if one.Err != nil {
			one.Result = &core.Result{Reason: core.Killed, ExitCode: -1, Signal: -1, Error: one.Err.Error()}
		}
		if one.Result.Reason == core.TimedOut {
			whole.r.Reason, whole.r.ExitCode, whole.r.Signal = core.TimedOut, -1, -1
			whole.r.Error = what + " timed out"
		} else if whole.r.Error == "" && one.Result.Error != "" {
			whole.r.Error = fmt.Sprintf("stage %d: %s", i+1, one.Result.Error)
		}
		whole.stages = append(whole.stages, newResult(one.Result))
	}
	return (*C.sandlock_result_t)(save(whole)), nil
}

//export goTogetherFree
func goTogetherFree(p unsafe.Pointer, gather C.bool) {
	if p != nil && isOf(p, gather) {
		free(p, (*together).drop)
	}
}

//export goResultStages
func goResultStages(p *C.sandlock_result_t) (n C.uint32_t) {
	withResult(p, func(r *result) { n = C.uint32_t(len(r.stages)) })
	return n
}

//export goResultStage
func goResultStage(p *C.sandlock_result_t, i C.uint32_t) (stage *C.sandlock_result_t) {
	with(unsafe.Pointer(p), func(r *result) error {
		if int(i) >= len(r.stages) {
			return fmt.Errorf("stage %d of a result of %d", i, len(r.stages))
		}
		stage = r.stages[i]
		return nil
	})
	return stage
}
