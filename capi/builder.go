package main

/*
#include <stdlib.h>
#include "../include/sandlock.h"
#include "callback.h"
#include "fields.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unsafe"

	"github.com/sandlock/sandlock/core"
)

// builder is a policy in the making, with what its setters found wrong.
type builder struct {
	policy *core.Policy
	errs   []error
	cb     *callback
}

// sandbox is a built policy.
type sandbox struct {
	plan *core.Plan
	cb   *callback // nil without a policy_fn
}

//export goBuilderNew
func goBuilderNew() *C.sandlock_builder_t {
	return (*C.sandlock_builder_t)(save(&builder{policy: core.NewPolicy()}))
}

// set has f change a builder; its error is remembered for the build.
func set(p *C.sandlock_builder_t, f func(b *builder) error) *C.sandlock_builder_t {
	with(unsafe.Pointer(p), func(b *builder) error {
		if err := f(b); err != nil {
			b.errs = append(b.errs, fmt.Errorf("invalid sandbox: %w", err))
		}
		return nil
	})
	return p
}

//export goBuilderJSON
func goBuilderJSON(p *C.sandlock_builder_t, doc *C.char, n C.size_t) *C.sandlock_builder_t {
	with(unsafe.Pointer(p), func(b *builder) error {
		if doc == nil {
			b.errs = append(b.errs, errors.New("invalid sandbox: the JSON document is NULL"))
		} else if err := b.policy.Merge([]byte(unsafe.String((*byte)(unsafe.Pointer(doc)), int(n)))); err != nil {
			b.errs = append(b.errs, err)
		}
		return nil
	})
	return p
}

// names splits a comma list of system call names.
func names(list string) []string {
	out := []string{}
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			out = append(out, name)
		}
	}
	return out
}

//export goBuilderString
func goBuilderString(p *C.sandlock_builder_t, field C.int, value *C.char) *C.sandlock_builder_t {
	return set(p, func(b *builder) error {
		field, v := int(field), C.GoString(value)
		name := map[int]string{
			C.FIELD_FS_READ: "fs_readable", C.FIELD_FS_WRITE: "fs_writable", C.FIELD_FS_EXEC: "fs_executable",
			C.FIELD_FS_DENY: "fs_denied", C.FIELD_UNIX_ALLOW: "unix_allow",
			C.FIELD_CWD: "cwd", C.FIELD_NET_ALLOW: "net_allow", C.FIELD_NET_DENY: "net_deny", C.FIELD_NET_ALLOW_BIND: "net_allow_bind", C.FIELD_NET_DENY_BIND: "net_deny_bind",
			C.FIELD_EXTRA_DENY: "extra_deny_syscalls", C.FIELD_EXTRA_ALLOW: "extra_allow_syscalls",
			C.FIELD_POLICY_EVENTS: "policy_events",
		}[field]
		if value == nil {
			return fmt.Errorf("%s: NULL: a string is needed", name)
		}
		policy := b.policy
		switch field {
		case C.FIELD_FS_READ:
			policy.FSReadable = append(policy.FSReadable, v)
		case C.FIELD_FS_WRITE:
			policy.FSWritable = append(policy.FSWritable, v)
		case C.FIELD_FS_EXEC:
			policy.FSExecutable = append(policy.FSExecutable, v)
		case C.FIELD_FS_DENY:
			policy.FSDenied = append(policy.FSDenied, v)
		case C.FIELD_UNIX_ALLOW:
			policy.UnixAllow = append(policy.UnixAllow, v)
		case C.FIELD_CWD:
			if v == "" {
				return errors.New(`cwd: "": a path is not empty`)
			}
			policy.Cwd = v
		case C.FIELD_NET_ALLOW:
			policy.NetAllow = append(policy.NetAllow, v)
		case C.FIELD_NET_DENY:
			policy.NetDeny = append(policy.NetDeny, v)
		case C.FIELD_NET_DENY_BIND:
			policy.NetDenyBind = append(policy.NetDenyBind, v)
		case C.FIELD_NET_ALLOW_BIND:
			policy.NetAllowBind = append(policy.NetAllowBind, v)
		case C.FIELD_EXTRA_DENY:
			policy.ExtraDenySyscalls = append(policy.ExtraDenySyscalls, names(v)...)
		case C.FIELD_EXTRA_ALLOW:
			policy.ExtraAllowSyscalls = append(policy.ExtraAllowSyscalls, names(v)...)
		case C.FIELD_POLICY_EVENTS:
			policy.PolicyEvents = names(v)
		}
		return nil
	})
}

// maxTimeout is what time.Duration holds.
const maxTimeout = uint64(1<<63-1) / uint64(time.Millisecond)

//export goBuilderNumber
func goBuilderNumber(p *C.sandlock_builder_t, field C.int, value C.uint64_t) *C.sandlock_builder_t {
	return set(p, func(b *builder) error {
		policy, v := b.policy, uint64(value)
		switch field {
		case C.FIELD_NET_ALLOW_PRIVATE_NAMES:
			policy.NetAllowPrivateNames = v != 0
		case C.FIELD_PORT_REMAP:
			policy.PortRemap = v != 0
		case C.FIELD_CLEAN_ENV:
			policy.CleanEnv = v != 0
		case C.FIELD_MAX_OPEN_FILES:
			n := uint32(v)
			policy.MaxOpenFiles = &n
		case C.FIELD_MAX_PROCESSES:
			n := uint32(v)
			policy.MaxProcesses = &n
			if v == C.SANDLOCK_UNLIMITED {
				policy.MaxProcesses = nil
			}
		case C.FIELD_MAX_MEMORY:
			policy.MaxMemory = &v
			if v == math.MaxUint64 {
				policy.MaxMemory = nil
			}
		case C.FIELD_MAX_CPU:
			n := uint32(v)
			policy.MaxCPU = &n
		case C.FIELD_NUM_CPUS:
			n := uint32(v)
			policy.NumCPUs = &n
		case C.FIELD_MAX_OUTPUT:
			policy.MaxOutput = v
		case C.FIELD_NO_COREDUMP:
			policy.NoCoredump = v != 0
		case C.FIELD_NO_HUGE_PAGES:
			policy.NoHugePages = v != 0
		case C.FIELD_NO_RANDOMIZE_MEMORY:
			policy.NoRandomizeMemory = v != 0
		case C.FIELD_ALLOW_DEGRADED:
			policy.AllowDegraded = append(policy.AllowDegraded, core.Protection(v))
		case C.FIELD_DISABLE:
			policy.Disable = append(policy.Disable, core.Protection(v))
		case C.FIELD_RECORD_EXECS:
			policy.RecordExecs = v != 0
		case C.FIELD_RECORD_DENIALS:
			policy.RecordDenials = v != 0
		case C.FIELD_ARGV_SAFETY:
			policy.ArgvSafety = core.ArgvSafety(int32(v))
		case C.FIELD_POLICY_TIMEOUT:
			if v > maxTimeout {
				return fmt.Errorf("policy_timeout: %d ms: too long; 0 waits for ever", v)
			}
			policy.PolicyTimeout = time.Duration(v) * time.Millisecond
		case C.FIELD_TERM_GRACE:
			if v > maxTimeout {
				return fmt.Errorf("term_grace: %d ms: too long; 0 is none", v)
			}
			policy.TermGrace = time.Duration(v) * time.Millisecond
		}
		return nil
	})
}

//export goBuilderEnv
func goBuilderEnv(p *C.sandlock_builder_t, key, value *C.char) *C.sandlock_builder_t {
	return set(p, func(b *builder) error {
		if key == nil || value == nil {
			return errors.New("env: NULL: a name and a value are needed")
		}
		if b.policy.Env == nil {
			b.policy.Env = map[string]string{}
		}
		b.policy.Env[C.GoString(key)] = C.GoString(value)
		return nil
	})
}

//export goBuilderNumbers
func goBuilderNumbers(p *C.sandlock_builder_t, field C.int, numbers *C.uint32_t, n C.uint32_t) *C.sandlock_builder_t {
	return set(p, func(b *builder) error {
		name, to := "cpu_cores", &b.policy.CPUCores
		if field == C.FIELD_GPU_DEVICES {
			name, to = "gpu_devices", &b.policy.GPUDevices
		}
		if numbers == nil && n > 0 {
			return errors.New(name + ": NULL: a list of numbers is needed")
		}
		*to = []uint32{}
		for _, c := range unsafe.Slice(numbers, int(n)) {
			*to = append(*to, uint32(c))
		}
		return nil
	})
}

//export goBuilderCallback
func goBuilderCallback(p *C.sandlock_builder_t, fn C.sandlock_policy_fn_t, callback C.sandlock_policy_callback_t,
	userData unsafe.Pointer, drop C.sl_drop_t) *C.sandlock_builder_t {
	cb := newCallback(fn, callback, userData, drop)
	taken := false
	set(p, func(b *builder) error {
		taken = true
		b.cb.release()
		b.cb = cb
		if fn == nil && callback == nil {
			return errors.New("policy_fn: NULL: a function is needed")
		}
		return nil
	})
	if !taken {
		cb.release() // consumed, even on error
	}
	return p
}

//export goBuild
func goBuild(p *C.sandlock_builder_t, code *C.int, message **C.char) (built *C.sandlock_sandbox_t) {
	free(unsafe.Pointer(p), func(b *builder) {
		if b.cb != nil {
			b.policy.PolicyFn = b.cb.decide
		}
		plan, err := b.policy.Compile()
		if all := errors.Join(append(b.errs, err)...); all != nil {
			b.cb.release()
			setError(all)
			if message != nil {
				*message = C.CString(all.Error())
			}
			return
		}
		built = (*C.sandlock_sandbox_t)(save(&sandbox{plan, b.cb}))
	})
	if p == nil {
		setError(errors.New("the builder is NULL"))
	}
	if built != nil && code != nil {
		*code = 0
	}
	return built
}

//export goSandboxFree
func goSandboxFree(p *C.sandlock_sandbox_t) {
	free(unsafe.Pointer(p), func(s *sandbox) { s.cb.release() })
}

//export goExplain
func goExplain(p *C.sandlock_sandbox_t) (text *C.char) {
	with(unsafe.Pointer(p), func(s *sandbox) error {
		text = C.CString(s.plan.String())
		return nil
	})
	return text
}
