package core

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func stage(plan *Plan, script string, closed *atomic.Int32) Stage {
	return Stage{Plan: plan, Command: Command{Argv: []string{"sh", "-c", script}, Stdin: -1, OnClose: func() { closed.Add(1) }}}
}

func TestRunPipeline(t *testing.T) {
	plan, closed := mustCompile(t, policy()), new(atomic.Int32)
	if err := Prepare(); err != nil {
		t.Fatal(err)
	}
	before := descriptors(t)
	r, err := RunPipeline([]Stage{stage(plan, "head -c 3000000 /dev/zero; echo errs >&2", closed), stage(plan, "cat; exit 3", closed), stage(plan, "wc -c; cat", closed)}, 0)
	if err != nil || len(r) != 3 || closed.Load() != 3 {
		t.Fatalf("%+v, %v, closed %d times", r, err, closed.Load())
	}
	for i, want := range []struct {
		code      int
		out, errs string
	}{{0, "", "errs\n"}, {3, "", ""}, {0, "3000000\n", ""}} {
		if got := r[i]; got.Err != nil || got.Result.ExitCode != want.code || string(got.Result.Stdout) != want.out || string(got.Result.Stderr) != want.errs {
			t.Errorf("stage %d: %+v, want %+v", i, got, want)
		}
	}
	// A source that ends late holds nobody up who does not wait for it.
	r, err = RunPipeline([]Stage{stage(plan, "exec yes", closed), stage(plan, "head -1", closed)}, 0)
	if err != nil || r[0].Result.Signal != int(unix.SIGPIPE) || string(r[1].Result.Stdout) != "y\n" {
		t.Errorf("%+v, %v", r, err)
	}
	if after := descriptors(t); after != before {
		t.Errorf("descriptors: %v, before %v", after, before)
	}
}

func TestRunPipelineTimeout(t *testing.T) {
	p := policy()
	p.TermGrace = time.Hour
	plan, polite, closed := mustCompile(t, policy()), mustCompile(t, p), new(atomic.Int32)
	for slow := range 3 {
		stages := make([]Stage, 3)
		for i := range stages {
			stages[i] = stage(plan, map[bool]string{true: "setsid sleep 1000 & wait", false: "exec true"}[i == slow], closed)
		}
		r, err := RunPipeline(stages, 300*time.Millisecond)
		if err != nil || r[slow].Result.Reason != TimedOut || closed.Load() != 3*(int32(slow)+1) {
			t.Fatalf("%+v, %v, closed %d times", r, err, closed.Load())
		}
	}
	r, err := RunPipeline([]Stage{stage(plan, "sleep 1000", closed), stage(polite, "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done", closed)}, 300*time.Millisecond)
	if err != nil || r[0].Result.Reason != TimedOut || r[1].Result.Reason != TimedOut {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestRunPipelineErrors(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	noexec := dir + "/noexec"
	if err := os.WriteFile(noexec, []byte("text"), 0o755); err != nil {
		t.Fatal(err)
	}
	p := policy()
	p.FSReadable = append(p.FSReadable, dir)
	plan := mustCompile(t, p)
	before := descriptors(t)
	for bad := range 3 {
		for _, argv0 := range []string{"no-such-command", noexec} {
			stages, closed := make([]Stage, 3), new(atomic.Int32)
			for i := range stages {
				stages[i] = stage(plan, "cat", closed)
			}
			stages[bad].Command.Argv = []string{argv0}
			r, err := RunPipeline(stages, 0)
			if closed.Load() != 3 {
				t.Errorf("%s as stage %d: closed %d times", argv0, bad, closed.Load())
			}
			if argv0 != noexec {
				if err == nil || !strings.HasPrefix(err.Error(), fmt.Sprintf("stage %d: ", bad+1)) {
					t.Errorf("%s as stage %d: %v", argv0, bad, err)
				}
				continue
			}
			for i := range r {
				if err != nil || (r[i].Err != nil) != (i == bad) {
					t.Errorf("%s as stage %d: %+v, %v", argv0, bad, r, err)
				}
			}
		}
	}
	closed := new(atomic.Int32)
	if _, err := RunPipeline([]Stage{stage(plan, ":", closed)}, 0); err == nil || closed.Load() != 1 {
		t.Errorf("one stage: %v, closed %d times", err, closed.Load())
	}
	if _, err := RunGather(nil, stage(plan, ":", closed), 0); err == nil || closed.Load() != 2 {
		t.Errorf("no source: %v, closed %d times", err, closed.Load())
	}
	for _, names := range [][2]string{{"", "b"}, {"a", "a"}, {"a", "b:"}, {"a,", "b"}} {
		closed.Store(0)
		a, b := stage(plan, ":", closed), stage(plan, ":", closed)
		a.Name, b.Name = names[0], names[1]
		if _, err := RunGather([]Stage{a, b}, stage(plan, ":", closed), 0); err == nil || closed.Load() != 3 {
			t.Errorf("%q: %v, closed %d times", names, err, closed.Load())
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("descriptors: %v, before %v", after, before)
	}
}

func TestRunGather(t *testing.T) {
	plan, closed := mustCompile(t, policy()), new(atomic.Int32)
	var sources []Stage
	for _, name := range []string{"one", "two", "three"} {
		s := stage(plan, "head -c 100000 /dev/zero; echo "+name, closed)
		s.Name = name
		sources = append(sources, s)
	}
	r, err := RunGather(sources, stage(plan, "cat; cat <&3; cat <&4; echo $_SANDLOCK_GATHER; test -e /proc/self/fd/5 && echo more", closed), 0)
	if err != nil || closed.Load() != 4 || len(r) != 4 {
		t.Fatalf("%v, closed %d times", err, closed.Load())
	}
	out := bytes.ReplaceAll(r[3].Result.Stdout, []byte{0}, nil)
	if want := "three\none\ntwo\none:3,two:4,three:0\n"; string(out) != want || len(r[3].Result.Stdout) < 300000 {
		t.Errorf("%q, want %q", out, want)
	}
}
