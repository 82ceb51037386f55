package main

/*
#include <stdlib.h>
#include "../include/sandlock.h"
extern char **environ;
*/
import "C"

import (
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"time"
	"unsafe"

	"github.com/sandlock/sandlock/core"
)

// run is a sandbox between its creation and its end.
type run struct{ *core.Sandbox }

// environ is the host's environment now; Go's view of it is as old as the load.
func environ() []string {
	env := []string{}
	if C.environ == nil {
		return env
	}
	for p := C.environ; *p != nil; p = (**C.char)(unsafe.Add(unsafe.Pointer(p), unsafe.Sizeof(*p))) {
		env = append(env, C.GoString(*p))
	}
	return env
}

// maxFiles bounds the descriptors for a command: more than it can have.
const maxFiles = 1 << 16

// maxArgc bounds argc: more strings than execve(2) takes.
const maxArgc = 1 << 22

func command(name *C.char, argv **C.char, argc C.uint, stdin C.int) (core.Command, error) {
	c := core.Command{Environ: environ(), Stdin: max(int(stdin), -1)}
	if name != nil {
		if c.Name = C.GoString(name); c.Name == "" {
			return c, errors.New("name: \"\": a name is not empty; NULL makes one")
		}
	}
	if argv == nil || argc == 0 {
		return c, errors.New("argv is NULL or empty: there is no command to run")
	}
	if argc > maxArgc {
		return c, fmt.Errorf("argc is %d, at most %d", argc, maxArgc)
	}
	for i, a := range unsafe.Slice(argv, int(argc)) {
		if a == nil {
			return c, fmt.Errorf("argv[%d] is NULL", i)
		}
		c.Argv = append(c.Argv, C.GoString(a))
	}
	return c, nil
}

// launch has f start the command under the policy behind p, which it holds.
func launch(p *C.sandlock_sandbox_t, name *C.char, argv **C.char, argc C.uint, stdin C.int, f func(*core.Plan, core.Command) error) bool {
	return with(unsafe.Pointer(p), func(s *sandbox) error {
		c, err := command(name, argv, argc, stdin)
		if err != nil {
			return err
		}
		s.cb.retain()
		c.OnClose = s.cb.release
		return f(s.plan, c)
	})
}

//export goRun
func goRun(p *C.sandlock_sandbox_t, name *C.char, argv **C.char, argc C.uint) (r *C.sandlock_result_t) {
	launch(p, name, argv, argc, -1, func(plan *core.Plan, c core.Command) error {
		got, err := plan.Run(c, 0)
		if err == nil {
			r = newResult(got)
		}
		return err
	})
	return r
}

//export goRunInteractive
func goRunInteractive(p *C.sandlock_sandbox_t, name *C.char, argv **C.char, argc C.uint) C.int {
	code := -1
	launch(p, name, argv, argc, -1, func(plan *core.Plan, c core.Command) (err error) {
		code, err = plan.RunInteractive(c)
		return err
	})
	return C.int(code)
}

//export goSpawn
func goSpawn(p *C.sandlock_sandbox_t, name, executable *C.char, argv **C.char, argc C.uint, stdin C.int, files *C.sandlock_file_t, count, flags C.uint32_t) (h *C.sandlock_handle_t) {
	launch(p, name, argv, argc, stdin, func(plan *core.Plan, c core.Command) error {
		if unknown := flags &^ (C.SANDLOCK_SPAWN_PARKED | C.SANDLOCK_SPAWN_INTERACTIVE | C.SANDLOCK_SPAWN_WATCHED | C.SANDLOCK_SPAWN_TERMINAL); unknown != 0 {
			c.OnClose()
			return fmt.Errorf("flags: %#x is not known", unknown)
		}
		c.Interactive = flags&C.SANDLOCK_SPAWN_INTERACTIVE != 0
		c.Executable = C.GoString(executable)
		c.Terminal = flags&C.SANDLOCK_SPAWN_TERMINAL != 0
		c.WatchExec = flags&C.SANDLOCK_SPAWN_WATCHED != 0
		if count > maxFiles || files == nil && count > 0 {
			c.OnClose()
			return fmt.Errorf("files: %d at %p", count, files)
		}
		for _, f := range unsafe.Slice(files, int(count)) {
			c.Files = append(c.Files, core.File{FD: int(f.fd), As: int(f.as)})
		}
		by := plan.Spawn
		if flags&C.SANDLOCK_SPAWN_PARKED != 0 {
			by = plan.Create
		}
		s, err := by(c)
		if err == nil {
			h = (*C.sandlock_handle_t)(save(&run{s}))
		}
		return err
	})
	return h
}

//export goPopen
func goPopen(p *C.sandlock_sandbox_t, name *C.char, argv **C.char, argc C.uint, modes *C.uint32_t, ends *C.int) (h *C.sandlock_handle_t) {
	launch(p, name, argv, argc, -1, func(plan *core.Plan, c core.Command) error {
		var m [3]core.StreamMode
		for i, mode := range unsafe.Slice(modes, 3) {
			m[i] = core.StreamMode(mode)
		}
		s, fds, err := plan.Popen(c, m)
		if err != nil {
			return err
		}
		for i, fd := range fds {
			unsafe.Slice(ends, 3)[i] = C.int(fd)
		}
		h = (*C.sandlock_handle_t)(save(&run{s}))
		return nil
	})
	return h
}

// status is 0 or -1.
func status(ok bool) C.int {
	if ok {
		return 0
	}
	return -1
}

//export goStart
func goStart(h *C.sandlock_handle_t) C.int {
	return status(with(unsafe.Pointer(h), func(r *run) error { return r.Start() }))
}

//export goKill
func goKill(h *C.sandlock_handle_t) C.int {
	return status(with(unsafe.Pointer(h), func(r *run) error { return r.Kill() }))
}

//export goExpire
func goExpire(h *C.sandlock_handle_t) C.int {
	warned := C.int(-1)
	with(unsafe.Pointer(h), func(r *run) error {
		warned = 0
		if r.Expire() > 0 {
			warned = 1
		}
		return nil
	})
	return warned
}

//export goPause
func goPause(h *C.sandlock_handle_t) C.int {
	return status(with(unsafe.Pointer(h), func(r *run) error { return r.Pause() }))
}

//export goResume
func goResume(h *C.sandlock_handle_t) C.int {
	return status(with(unsafe.Pointer(h), func(r *run) error { return r.Resume() }))
}

//export goPid
func goPid(h *C.sandlock_handle_t) (pid C.int32_t) {
	with(unsafe.Pointer(h), func(r *run) error {
		pid = C.int32_t(r.PID())
		return nil
	})
	return pid
}

//export goPortMappings
func goPortMappings(h *C.sandlock_handle_t) (text *C.char) {
	with(unsafe.Pointer(h), func(r *run) error {
		ports := r.Ports()
		if len(ports) == 0 {
			return nil
		}
		doc, err := json.Marshal(ports)
		if err == nil {
			text = C.CString(string(doc))
		}
		return err
	})
	return text
}

//export goPollFD
func goPollFD(h *C.sandlock_handle_t) C.int { return descriptor(h, (*core.Sandbox).PollFD) }

//export goStepFD
func goStepFD(h *C.sandlock_handle_t) C.int { return descriptor(h, (*core.Sandbox).StepFD) }

func descriptor(h *C.sandlock_handle_t, which func(*core.Sandbox) (int, error)) C.int {
	fd := -1
	with(unsafe.Pointer(h), func(r *run) (err error) {
		fd, err = which(r.Sandbox)
		return err
	})
	return C.int(fd)
}

//export goExecFD
func goExecFD(h *C.sandlock_handle_t) C.int { return descriptor(h, (*core.Sandbox).ExecFD) }

//export goExecuted
func goExecuted(h *C.sandlock_handle_t) C.int {
	executed := C.int(-1)
	with(unsafe.Pointer(h), func(r *run) error {
		executed = 0
		if r.Executed() {
			executed = 1
		}
		return nil
	})
	return executed
}

//export goSignal
func goSignal(h *C.sandlock_handle_t, sig C.int) C.int {
	return status(with(unsafe.Pointer(h), func(r *run) error { return r.Signal(syscall.Signal(sig)) }))
}

//export goStep
func goStep(h *C.sandlock_handle_t) C.int {
	over := C.int(-1)
	with(unsafe.Pointer(h), func(r *run) error {
		if _, err := r.StepFD(); err != nil {
			return err // another thread collects
		}
		over = 0
		if r.Step() {
			over = 1
		}
		return nil
	})
	return over
}

//export goWait
func goWait(h *C.sandlock_handle_t, ms C.uint64_t) (res *C.sandlock_result_t) {
	with(unsafe.Pointer(h), func(r *run) error {
		got, err := r.Wait(time.Duration(min(uint64(ms), maxTimeout)) * time.Millisecond)
		if err == nil {
			res = newResult(got)
		}
		return err
	})
	return res
}

//export goHandleFree
func goHandleFree(h *C.sandlock_handle_t) {
	free(unsafe.Pointer(h), func(r *run) { r.Close() })
}
