package core

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/sandlock/sandlock/core/internal/bpf"
	"github.com/sandlock/sandlock/core/internal/handler"
	"github.com/sandlock/sandlock/core/internal/landlock"
	"github.com/sandlock/sandlock/core/internal/sys"
)

// Confinement is what a process that is there already confines itself with. Whoever
// applies it does so to every thread: no_new_privs, the ruleset, the capabilities, the
// filter.
type Confinement struct {
	Ruleset      int    // of Landlock; see Close
	Capabilities uint64 // a set, of which a thread keeps those that it has
	Filter       []byte // struct sock_filter, linux/filter.h
}

// Close closes the ruleset. It changes nothing for who is confined.
func (c *Confinement) Close() { sys.Close(c.Ruleset) }

// confinable are the fields that the kernel keeps by itself, without a supervisor and
// without a command to be started.
var confinable = []string{
	"fs_readable", "fs_writable", "fs_executable",
	"extra_deny_syscalls", "extra_allow_syscalls", "allow_degraded", "disable",
}

const (
	forSupervisor = "this needs a supervisor, and a process that confines itself has none; leave it out"
	forCommand    = "this is set when a command is started; a process that confines itself leaves it out, and sets it by itself"
)

// ofCommand are the fields that are no rules, or are those of setrlimit(2) and its like.
var ofCommand = []string{
	"name", "cwd", "env", "clean_env", "max_output", "term_grace", "gpu_devices", "cpu_cores", "num_cpus",
	"max_open_files", "no_coredump", "no_huge_pages", "no_randomize_memory",
}

// unconfinable has, of a snapshot, a fault for each field that is not the documented default
// and that Confinement can't have.
func (p *Policy) unconfinable() error {
	var f faults
	if p.PolicyFn != nil {
		f.add("policy_fn", "", forSupervisor)
	}
	policy := *p
	policy.PolicyFn = nil // functions can't be compared
	if policy.MaxProcesses == nil {
		policy.MaxProcesses = NewPolicy().MaxProcesses // what no limit is here, too
	}
	for _, name := range slices.Sorted(maps.Keys(jsonFields)) {
		if name == "policy_fn" || slices.Contains(confinable, name) {
			continue
		}
		without := policy
		without.set(name, jsonValue{kind: jsonNull}, &f)
		switch {
		case reflect.DeepEqual(without, policy):
		case slices.Contains(ofCommand, name):
			f.add(name, "", forCommand)
		default:
			f.add(name, "", forSupervisor)
		}
	}
	return f.err()
}

// snapshot is the same policy with no list or map that is empty, which is what a missing one
// is, but of GPUDevices. Of what p is changed into later it has nothing but what lists hold.
func (p Policy) snapshot() Policy {
	p.Env = maps.Clone(p.Env)
	fields := reflect.ValueOf(&p).Elem()
	for i := range fields.NumField() {
		field := fields.Field(i)
		switch kind := field.Kind(); {
		case kind == reflect.Pointer && !field.IsNil():
			own := reflect.New(field.Type().Elem())
			own.Elem().Set(field.Elem())
			field.Set(own)
		case (kind == reflect.Slice || kind == reflect.Map) && field.Len() == 0 && fields.Type().Field(i).Name != "GPUDevices":
			field.SetZero()
		}
	}
	return p
}

// Confinement opens the paths of the policy for the calling process to confine itself. It
// restricts nobody yet. A field that only a run can have is an error that names it, a
// *ValidationError; what this kernel lacks is one in which errors.Is finds ErrNotSupported.
// max_processes has to be the default, or no limit, and is none here.
func (p *Plan) Confinement() (*Confinement, error) {
	if err := p.fields.unconfinable(); err != nil {
		return nil, err
	}
	if name, running := anyLive(); running {
		return nil, errors.New("the sandbox " + quote(name) + " is running: what supervises it would be confined with this process; wait for it, and free it")
	}
	missing := p.lacking(hostKernel())
	if p.scopeSignal && !landlock.LetsThreadsSignal() {
		missing = append(missing, `required protection signal-scope: on this kernel it keeps the threads of one process from signalling each other (Linux 6.15 and its stable kernels mend that); disable=["signal-scope"] does without`)
	}
	if len(missing) > 0 {
		return nil, &StartError{Step: "kernel", Err: unsupported(strings.Join(missing, "\n"))}
	}
	filter, err := bpf.Compile(p.confine)
	if err != nil {
		return nil, fmt.Errorf("BUG(sandlock): a valid policy does not compile, please report: %w", err)
	}
	ruleset, err := p.openRuleset()
	if err != nil {
		return nil, err
	}
	return &Confinement{sys.Opened(ruleset), keepCapabilities, filter.Bytes()}, nil
}

// confineSpec is the filter of Confinement. What changes modes, owners, times and extended
// attributes, and of a run is carried out beneath the writable paths, is refused, unless it is
// allowed; and named unix sockets, which nobody judges, can't be reached by a new socket.
func (p *Policy) confineSpec() bpf.Spec {
	deny := slices.Clone(p.ExtraDenySyscalls)
	for _, name := range slices.Concat(handler.AttributeCalls(), missingAttributes) {
		if !slices.Contains(p.ExtraAllowSyscalls, name) {
			deny = append(deny, name)
		}
	}
	return bpf.Spec{
		Arch: bpf.NativeArch(), Deny: deny, Allow: slices.Clone(p.ExtraAllowSyscalls), SealMemfd: p.FSExecutable != nil, UnixPairs: true,
	}
}
