package main

/*
#include <stdlib.h>
#include "../include/sandlock.h"
#include "fields.h"
*/
import "C"

import (
	"strings"
	"sync"
	"unsafe"

	"github.com/sandlock/sandlock/core"
)

// result is the outcome of a run, with the C copies of what was asked for.
type result struct {
	stages  []*C.sandlock_result_t // of a pipeline
	mu      sync.Mutex             // guards what follows
	r       core.Result
	streams [C.STREAM_DENIALS + 1]struct {
		copied unsafe.Pointer
		n      int
	}
}

func newResult(r *core.Result) *C.sandlock_result_t {
	return (*C.sandlock_result_t)(save(&result{r: *r}))
}

// stream returns C memory with a stream's bytes and a NUL, made when first asked
// for; the Go copy goes then.
func (r *result) stream(which C.int) (unsafe.Pointer, int) {
	s := &r.streams[which]
	if s.copied != nil {
		return s.copied, s.n
	}
	var bytes []byte
	switch which {
	case C.STREAM_STDOUT:
		bytes, r.r.Stdout = r.r.Stdout, nil
	case C.STREAM_STDERR:
		bytes, r.r.Stderr = r.r.Stderr, nil
	case C.STREAM_ERROR:
		bytes = []byte(r.r.Error)
	case C.STREAM_LOG:
		bytes = []byte(strings.Join(r.r.Log, "\n"))
	case C.STREAM_EXECS:
		bytes = []byte(r.r.ExecsJSON())
	case C.STREAM_AUDIT:
		bytes = []byte(r.r.AuditJSON())
	case C.STREAM_DENIALS:
		bytes, r.r.Denials = []byte(r.r.DenialsJSON()), nil
	}
	s.n = len(bytes)
	s.copied = C.malloc(C.size_t(s.n + 1))
	if s.copied == nil {
		panic("out of memory")
	}
	to := unsafe.Slice((*byte)(s.copied), s.n+1)
	copy(to, bytes)
	to[s.n] = 0
	return s.copied, s.n
}

func withResult(p *C.sandlock_result_t, f func(r *result)) {
	with(unsafe.Pointer(p), func(r *result) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		f(r)
		return nil
	})
}

//export goResultExitCode
func goResultExitCode(p *C.sandlock_result_t) C.int {
	code := -1
	withResult(p, func(r *result) { code = r.r.ExitCode })
	return C.int(code)
}

//export goResultReason
func goResultReason(p *C.sandlock_result_t) C.sandlock_exit_reason {
	reason := core.Killed
	withResult(p, func(r *result) { reason = r.r.Reason })
	return C.sandlock_exit_reason(reason)
}

//export goResultSignal
func goResultSignal(p *C.sandlock_result_t) C.int {
	sig := -1
	withResult(p, func(r *result) { sig = r.r.Signal })
	return C.int(sig)
}

//export goResultTruncated
func goResultTruncated(p *C.sandlock_result_t) (flags C.uint32_t) {
	withResult(p, func(r *result) {
		if r.r.StdoutTruncated {
			flags |= C.SANDLOCK_TRUNCATED_STDOUT
		}
		if r.r.StderrTruncated {
			flags |= C.SANDLOCK_TRUNCATED_STDERR
		}
	})
	return flags
}

//export goResultDenialsDropped
func goResultDenialsDropped(p *C.sandlock_result_t) (n C.uint64_t) {
	withResult(p, func(r *result) { n = C.uint64_t(r.r.DenialsDropped) })
	return n
}

//export goResultUsage
func goResultUsage(p *C.sandlock_result_t, usage *C.sandlock_usage_t) C.int {
	ok := false
	withResult(p, func(r *result) {
		*usage = C.sandlock_usage_t{
			user_us:   C.uint64_t(r.r.UserTime.Microseconds()),
			system_us: C.uint64_t(r.r.SystemTime.Microseconds()),
			wall_us:   C.uint64_t(r.r.WallTime.Microseconds()),
			max_rss:   C.uint64_t(r.r.MaxRSS),
			processes: C.uint64_t(r.r.Processes),
			limits:    C.uint32_t(r.r.Limits),
		}
		ok = true
	})
	return status(ok)
}

//export goResultBytes
func goResultBytes(p *C.sandlock_result_t, which C.int, n *C.uintptr_t) (bytes *C.uint8_t) {
	withResult(p, func(r *result) {
		at, size := r.stream(which)
		if n != nil {
			*n = C.uintptr_t(size)
		}
		if size > 0 || which >= C.STREAM_ERROR {
			bytes = (*C.uint8_t)(at)
		}
	})
	return bytes
}

//export goResultText
func goResultText(p *C.sandlock_result_t, which C.int) (text *C.char) {
	withResult(p, func(r *result) {
		at, n := r.stream(which)
		s, _, _ := strings.Cut(unsafe.String((*byte)(at), n), "\x00")
		text = C.CString(strings.ToValidUTF8(s, "\uFFFD"))
	})
	return text
}

//export goResultFree
func goResultFree(p *C.sandlock_result_t) {
	free(unsafe.Pointer(p), func(r *result) {
		r.mu.Lock()
		defer r.mu.Unlock()
		for i := range r.streams {
			C.free(r.streams[i].copied)
		}
		for _, stage := range r.stages {
			goResultFree(stage)
		}
	})
}
