package core

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// Stage is a command that runs beside others, and the policy that it runs under.
type Stage struct {
	Name    string // of a source of RunGather
	Plan    *Plan
	Command Command
}

// StageResult is what came of a stage: Err says why its command was not executed.
type StageResult struct {
	Result *Result
	Err    error
}

// RunPipeline runs at least two stages at once, each one's standard output the next one's
// standard input, and waits until all are over. When the timeout is over, 0 is none, all of
// them are ended. An error, which names the stage, is one that was known before any of them
// ran; the OnClose of each has been called then too.
func RunPipeline(stages []Stage, timeout time.Duration) ([]StageResult, error) {
	t := newTogether(stages, timeout)
	defer t.close()
	if len(stages) < 2 {
		return nil, t.fail(fmt.Errorf("a pipeline has two stages at the least, not %d", len(stages)))
	}
	for i := range stages[1:] {
		if err := t.connect(i, i+1, 0); err != nil {
			return nil, t.fail(err)
		}
	}
	return t.run()
}

// GatherVariable is in the environment of a consumer: name:descriptor,… of its sources.
const GatherVariable = "_SANDLOCK_GATHER"

// RunGather runs sources, each with a Name, and a consumer that reads the standard output
// of each of them: of the last as descriptor 0, of the others from 3 on. All else is as
// RunPipeline has it; the consumer's result is the last.
func RunGather(sources []Stage, consumer Stage, timeout time.Duration) ([]StageResult, error) {
	t := newTogether(append(slices.Clone(sources), consumer), timeout)
	defer t.close()
	if len(sources) == 0 {
		return nil, t.fail(fmt.Errorf("there is no source to gather from"))
	}
	var named []string
	seen := map[string]bool{}
	for i, s := range sources {
		if s.Name == "" || strings.ContainsAny(s.Name, ":,\x00") || seen[s.Name] {
			return nil, t.fail(fmt.Errorf("source %d: name %s: a name of its own is needed, without : and ,", i+1, quote(s.Name)))
		}
		seen[s.Name] = true
		as := 3 + i
		if i == len(sources)-1 {
			as = 0
		}
		named = append(named, fmt.Sprintf("%s:%d", s.Name, as))
		if err := t.connect(i, len(sources), as); err != nil {
			return nil, t.fail(err)
		}
	}
	last := &t.stages[len(sources)].Command
	last.Env = append(slices.Clone(last.Env), GatherVariable+"="+strings.Join(named, ","))
	return t.run()
}

// together is some commands that run at once.
type together struct {
	stages   []Stage
	deadline time.Time
	runs     []*Sandbox
	pipes    fdList
}

func newTogether(stages []Stage, timeout time.Duration) *together {
	t := &together{stages: slices.Clone(stages)}
	if timeout > 0 {
		t.deadline = time.Now().Add(timeout)
	}
	return t
}

// connect makes a pipe from one's standard output to another's descriptor as.
func (t *together) connect(from, to, as int) error {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return &StartError{Step: "pipe", Err: err}
	}
	t.pipes = append(t.pipes, sys.Opened(p[0]), sys.Opened(p[1]))
	for _, end := range []struct{ stage, fd, as int }{{to, p[0], as}, {from, p[1], 1}} {
		files := &t.stages[end.stage].Command.Files
		*files = append(slices.Clone(*files), File{end.fd, end.as})
	}
	return nil
}

// fail is for an error before the first run: a run calls its own OnClose.
func (t *together) fail(err error) error {
	for _, s := range t.stages[len(t.runs):] {
		if s.Command.OnClose != nil {
			s.Command.OnClose()
		}
	}
	return err
}

func (t *together) close() {
	t.pipes.close()
	for _, s := range t.runs { // all of them, before any is waited for
		_ = s.Kill()
	}
	for _, s := range t.runs {
		s.Close()
	}
}

func (t *together) run() ([]StageResult, error) {
	for i, stage := range t.stages {
		s, err := stage.Plan.Create(stage.Command)
		if err != nil {
			t.stages[i].Command.OnClose = nil // was called
			return nil, t.fail(fmt.Errorf("stage %d: %w", i+1, err))
		}
		t.runs = append(t.runs, s)
	}
	t.pipes.close()
	t.pipes = nil
	for _, s := range t.runs {
		_ = s.Start() // one that is over says why
	}
	t.await()
	results := make([]StageResult, len(t.runs))
	for i, s := range t.runs {
		results[i].Result, results[i].Err = s.Wait(0)
	}
	return results, nil
}

// await waits until all are over, and ends those that are not at the deadline.
func (t *together) await() {
	due := make([]time.Time, len(t.runs))
	for i := range due {
		due[i] = t.deadline
	}
	for {
		var left []unix.PollFd
		var soonest time.Time
		now := time.Now()
		for i, s := range t.runs {
			fd, err := s.PollFD()
			if err != nil || s.isOver() {
				continue
			}
			if !due[i].IsZero() && !now.Before(due[i]) {
				due[i] = s.expire()
			}
			if !due[i].IsZero() && (soonest.IsZero() || due[i].Before(soonest)) {
				soonest = due[i]
			}
			left = append(left, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
		if len(left) == 0 {
			return
		}
		pollUntil(left, soonest)
	}
}
