package core

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ParsePolicy reads a policy from a JSON object whose keys are the field names of
// policy.md. A field that is missing or null has its documented default. Strings
// are bytes: a lone surrogate \udc80 to \udcff is the byte 0x80 to 0xff, as
// Python's surrogateescape writes it. The error is a *ValidationError with every
// fault, those that [Policy.Validate] finds included.
func ParsePolicy(doc []byte) (*Policy, error) {
	p := NewPolicy()
	var f faults
	p.merge(doc, &f)
	p.validate(&f)
	if err := f.err(); err != nil {
		return nil, err
	}
	return p, nil
}

// Merge sets the fields that the JSON object names, and leaves the others; null
// sets the documented default. Nothing is changed when there is an error, which
// is a *ValidationError with all that could not be read. What was read is not
// validated.
func (p *Policy) Merge(doc []byte) error {
	var f faults
	changed := *p
	changed.merge(doc, &f)
	if err := f.err(); err != nil {
		return err
	}
	*p = changed
	return nil
}

// jsonDocument is the field name of faults that concern the document itself.
const jsonDocument = "JSON"

func (p *Policy) merge(doc []byte, f *faults) {
	v, err := parseJSON(doc)
	if err != nil {
		f.add(jsonDocument, "byte "+strconv.Itoa(err.offset), "%v", err)
		return
	}
	if v.kind != jsonObject {
		f.add(jsonDocument, shown(v.source), "a policy is an object, this is %v", v.kind)
		return
	}
	for _, m := range v.members {
		p.set(m.key, m.value, f)
	}
}

func (p *Policy) set(key string, v jsonValue, f *faults) {
	if set, ok := jsonFields[key]; ok {
		set(p, &jsonField{v, key, f})
		return
	}
	isDefault, ok := unbuiltFields[key]
	switch {
	case !ok:
		f.add(shown(key), shown(v.source), "unknown field%s", didYouMean(key))
	case v.kind != jsonNull && !isDefault(v):
		f.add(key, shown(v.source), "this field is not built yet; leave it out")
	}
}

// jsonFields sets each field that is built.
var jsonFields = map[string]func(p *Policy, f *jsonField){
	"fs_readable":   func(p *Policy, f *jsonField) { f.strings(&p.FSReadable) },
	"fs_writable":   func(p *Policy, f *jsonField) { f.strings(&p.FSWritable) },
	"fs_executable": func(p *Policy, f *jsonField) { f.strings(&p.FSExecutable) },
	"fs_denied":     func(p *Policy, f *jsonField) { f.strings(&p.FSDenied) },
	"unix_allow":    func(p *Policy, f *jsonField) { f.strings(&p.UnixAllow) },
	"cwd":           func(p *Policy, f *jsonField) { f.nonEmpty(&p.Cwd, "a path") },
	"env":           func(p *Policy, f *jsonField) { f.env(&p.Env) },
	"clean_env":     func(p *Policy, f *jsonField) { f.boolean(&p.CleanEnv) },
	"name":          func(p *Policy, f *jsonField) { f.nonEmpty(&p.Name, "a name") },

	"max_processes": func(p *Policy, f *jsonField) { f.maxProcesses(&p.MaxProcesses) },
	"max_memory":    func(p *Policy, f *jsonField) { f.optionalSize(&p.MaxMemory) },
	"max_cpu":       func(p *Policy, f *jsonField) { f.optionalNumber(&p.MaxCPU) },
	"num_cpus":      func(p *Policy, f *jsonField) { f.optionalNumber(&p.NumCPUs) },
	"gpu_devices":   func(p *Policy, f *jsonField) { f.numbers(&p.GPUDevices, maxGPU, "a list of device indices") },
	"term_grace":    func(p *Policy, f *jsonField) { f.seconds(&p.TermGrace, 0, "0 is none") },

	"max_open_files":      func(p *Policy, f *jsonField) { f.optionalNumber(&p.MaxOpenFiles) },
	"no_coredump":         func(p *Policy, f *jsonField) { f.boolean(&p.NoCoredump) },
	"no_huge_pages":       func(p *Policy, f *jsonField) { f.boolean(&p.NoHugePages) },
	"no_randomize_memory": func(p *Policy, f *jsonField) { f.boolean(&p.NoRandomizeMemory) },
	"max_output":          func(p *Policy, f *jsonField) { f.size(&p.MaxOutput, DefaultMaxOutput) },
	"cpu_cores":           func(p *Policy, f *jsonField) { f.numbers(&p.CPUCores, maxCPU, "a list of core numbers") },

	"extra_deny_syscalls":  func(p *Policy, f *jsonField) { f.strings(&p.ExtraDenySyscalls) },
	"extra_allow_syscalls": func(p *Policy, f *jsonField) { f.strings(&p.ExtraAllowSyscalls) },

	"net_allow":               func(p *Policy, f *jsonField) { f.strings(&p.NetAllow) },
	"net_deny":                func(p *Policy, f *jsonField) { f.strings(&p.NetDeny) },
	"net_allow_private_names": func(p *Policy, f *jsonField) { f.boolean(&p.NetAllowPrivateNames) },
	"net_deny_bind":           func(p *Policy, f *jsonField) { f.ports(&p.NetDenyBind) },
	"port_remap":              func(p *Policy, f *jsonField) { f.boolean(&p.PortRemap) },
	"net_allow_bind":          func(p *Policy, f *jsonField) { f.ports(&p.NetAllowBind) },

	"allow_degraded": func(p *Policy, f *jsonField) { f.protections(&p.AllowDegraded) },
	"disable":        func(p *Policy, f *jsonField) { f.protections(&p.Disable) },

	"policy_fn":      func(p *Policy, f *jsonField) { f.function() },
	"policy_events":  func(p *Policy, f *jsonField) { f.strings(&p.PolicyEvents) },
	"policy_timeout": func(p *Policy, f *jsonField) { f.seconds(&p.PolicyTimeout, DefaultPolicyTimeout, "0 waits for ever") },
	"record_execs":   func(p *Policy, f *jsonField) { f.boolean(&p.RecordExecs) },
	"record_denials": func(p *Policy, f *jsonField) { f.boolean(&p.RecordDenials) },
	"argv_safety":    func(p *Policy, f *jsonField) { f.argvSafety(&p.ArgvSafety) },
}

// unbuiltFields are the fields of policy.md that are not built yet, with the test
// for their documented default; null is always that.
var unbuiltFields = map[string]func(v jsonValue) bool{
	"workdir": never, "chroot": never,
	"fs_mount": emptyObject, "fs_mount_ro": emptyObject, "fs_storage": never,
	"max_disk": is("0", `"0"`), "on_exit": is("0", `"commit"`), "on_error": is("1", `"abort"`),

	"http_allow": emptyList, "http_deny": emptyList, "http_ports": emptyList,
	"http_ca": never, "http_key": never, "http_inject_ca": emptyList, "http_ca_out": never,
	"credentials": emptyObject, "http_auth": emptyList,

	"random_seed": never, "time_start": never, "deterministic_dirs": is("false"),

	"uid": never, "gid": never,

	"init_fn": never, "work_fn": never, "no_supervisor": is("false"), "control_socket": is("true"),
}

func never(jsonValue) bool         { return false }
func emptyList(v jsonValue) bool   { return v.kind == jsonList && len(v.list) == 0 }
func emptyObject(v jsonValue) bool { return v.kind == jsonObject && len(v.members) == 0 }

func is(sources ...string) func(jsonValue) bool {
	return func(v jsonValue) bool { return slices.Contains(sources, v.source) }
}

// shown is what a message shows of the document: as it stands there, when it is
// short and keeps to one line.
func shown(source string) string {
	if source == "" || len(source) > 100 {
		return quote(source)
	}
	return printable(source)
}

// didYouMean names the known field that is one edit away.
func didYouMean(key string) string {
	known := slices.Sorted(maps.Keys(jsonFields))
	for _, name := range append(known, slices.Sorted(maps.Keys(unbuiltFields))...) {
		if oneEdit(key, name) {
			return "; did you mean " + name + "?"
		}
	}
	return ""
}

// oneEdit: one byte inserted, deleted, replaced, or two neighbours swapped.
func oneEdit(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) < len(b) {
		return a[i:] == b[i+1:]
	}
	if i == len(a) {
		return true
	}
	return a[i+1:] == b[i+1:] ||
		i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
}

// jsonField is one member of the document on its way into a Policy.
type jsonField struct {
	jsonValue
	name   string
	faults *faults
}

func (f *jsonField) bad(v jsonValue, format string, args ...any) {
	f.faults.add(f.name, shown(v.source), format, args...)
}

// want reports whether the value has the kind. null sets the default instead.
func (f *jsonField) want(kind jsonKind, what string, setDefault func()) bool {
	switch f.kind {
	case kind:
		return true
	case jsonNull:
		setDefault()
	default:
		f.bad(f.jsonValue, "this field is %s", what)
	}
	return false
}

func (f *jsonField) boolean(to *bool) {
	if f.want(jsonBool, "true or false", func() { *to = false }) {
		*to = f.on
	}
}

// nonEmpty is for strings whose absence is not the same as "".
func (f *jsonField) nonEmpty(to *string, what string) {
	if !f.want(jsonString, "a string", func() { *to = "" }) {
		return
	}
	if f.text == "" {
		f.bad(f.jsonValue, "%s is not empty; leave the field out for the default", what)
	}
	*to = f.text
}

func (f *jsonField) strings(to *[]string) {
	if !f.want(jsonList, "a list of strings", func() { *to = nil }) {
		return
	}
	list := make([]string, 0, len(f.list))
	for _, v := range f.list {
		if v.kind != jsonString {
			f.bad(v, "each item is a string")
			continue
		}
		list = append(list, v.text)
	}
	*to = list
}

func (f *jsonField) env(to *map[string]string) {
	if !f.want(jsonObject, "an object of strings", func() { *to = nil }) {
		return
	}
	env := make(map[string]string, len(f.members))
	for _, m := range f.members {
		if m.value.kind != jsonString {
			f.faults.add(f.name, shown(m.key)+"="+shown(m.value.source), "each value is a string")
			continue
		}
		env[m.key] = m.value.text
	}
	*to = env
}

// integer reads a whole number from 0 to most.
func (f *jsonField) integer(v jsonValue, most uint64) (uint64, bool) {
	if v.kind != jsonNumber || strings.ContainsAny(v.text, ".eE") {
		f.bad(v, "a whole number belongs here")
		return 0, false
	}
	n, err := strconv.ParseUint(v.text, 10, 64)
	if err != nil || n > most {
		f.bad(v, "the number is out of range; 0 to %d fit here", most)
		return 0, false
	}
	return n, true
}

func (f *jsonField) maxProcesses(to **uint32) {
	if f.kind == jsonString && f.text == "unlimited" { // the word of ulimit(1p)
		*to = nil
		return
	}
	standard := uint32(DefaultMaxProcesses)
	if f.want(jsonNumber, `a whole number or "unlimited"`, func() { *to = &standard }) {
		f.optionalNumber(to)
	}
}

func (f *jsonField) optionalSize(to **uint64) {
	if f.kind == jsonNull {
		*to = nil
		return
	}
	var size uint64
	before := len(f.faults.list)
	if f.size(&size, 0); len(f.faults.list) == before {
		*to = &size
	}
}

func (f *jsonField) optionalNumber(to **uint32) {
	if !f.want(jsonNumber, "a whole number", func() { *to = nil }) {
		return
	}
	if n, ok := f.integer(f.jsonValue, math.MaxUint32); ok {
		limit := uint32(n)
		*to = &limit
	}
}

func (f *jsonField) size(to *uint64, def uint64) {
	if f.kind != jsonString {
		if f.want(jsonNumber, `a number of bytes or a string such as "64M"`, func() { *to = def }) {
			if n, ok := f.integer(f.jsonValue, math.MaxUint64); ok {
				*to = n
			}
		}
		return
	}
	n, err := ParseSize(f.text)
	if err != nil {
		f.faults.add(f.name, "", "%v", err)
		return
	}
	*to = n
}

func (f *jsonField) numbers(to *[]uint32, most uint64, what string) {
	if !f.want(jsonList, what, func() { *to = nil }) {
		return
	}
	numbers := make([]uint32, 0, len(f.list))
	for _, v := range f.list {
		if n, ok := f.integer(v, most); ok {
			numbers = append(numbers, uint32(n))
		}
	}
	if len(numbers) == 0 && len(f.list) > 0 {
		return // each has been refused; that none is left is no fault of its own
	}
	*to = numbers
}

func (f *jsonField) ports(to *[]string) {
	if !f.want(jsonList, "a list of ports", func() { *to = nil }) {
		return
	}
	ports := make([]string, 0, len(f.list))
	for _, v := range f.list {
		if v.kind != jsonString && v.kind != jsonNumber {
			f.bad(v, `each item is a port or a string such as "80", "8000-8010" or "*"`)
			continue
		}
		ports = append(ports, v.text)
	}
	*to = ports
}

func (f *jsonField) protections(to *[]Protection) {
	if !f.want(jsonList, "a list of protections", func() { *to = nil }) {
		return
	}
	list := make([]Protection, 0, len(f.list))
	for _, v := range f.list {
		if v.kind == jsonString {
			protection, err := ParseProtection(v.text)
			if err != nil {
				f.faults.add(f.name, "", "%v", err)
				continue
			}
			list = append(list, protection)
		} else if n, ok := f.integer(v, math.MaxUint32); ok {
			list = append(list, Protection(n))
		}
	}
	*to = list
}

func (f *jsonField) argvSafety(to *ArgvSafety) {
	switch {
	case f.kind == jsonNull:
		*to = ArgvStrict
	case f.kind == jsonString && f.text == "strict":
		*to = ArgvStrict
	case f.kind == jsonString && f.text == "landlock":
		*to = ArgvLandlock
	default:
		f.bad(f.jsonValue, `"strict" or "landlock"`)
	}
}

func (f *jsonField) function() {
	if f.kind != jsonNull {
		f.bad(f.jsonValue, "a function can't stand in JSON; install it with sandlock_sandbox_builder_policy_fn or Policy.PolicyFn")
	}
}

func (f *jsonField) seconds(to *time.Duration, def time.Duration, zero string) {
	if !f.want(jsonNumber, "a number of seconds", func() { *to = def }) {
		return
	}
	seconds, err := strconv.ParseFloat(f.text, 64)
	// Beyond the largest timeout a Duration would overflow.
	if limit := maxPolicyTimeout.Seconds(); err != nil || seconds < 0 || seconds > limit {
		f.bad(f.jsonValue, "give 0 to %.0f seconds; %s", limit, zero)
		return
	}
	timeout := time.Duration(math.Round(seconds * float64(time.Second)))
	if timeout == 0 && seconds > 0 {
		timeout = 1 // which 0 is not
	}
	*to = timeout
}
