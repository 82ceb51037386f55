package core

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParsePolicyAllFields(t *testing.T) {
	doc := `{
		"fs_readable": ["/usr", "/caf\u00e9", "/\ud83d\ude00", "/raw\udcff\udc80"],
		"fs_writable": ["/tmp"], "fs_executable": [],
		"cwd": "/tmp", "env": {"A": "1", "B": "\udcfe"}, "clean_env": true, "name": "n",
		"max_open_files": 64, "no_coredump": true, "no_huge_pages": true, "no_randomize_memory": true,
		"max_output": "1.5K", "cpu_cores": [0, 2],
		"extra_deny_syscalls": ["mkdir"], "extra_allow_syscalls": ["syslog"],
		"net_allow": ["tcp://:80"], "net_deny": [], "net_deny_bind": [], "net_allow_private_names": true, "port_remap": true, "net_allow_bind": [80, "8000-8010,9"],
		"allow_degraded": [0, "net-tcp", "SIGNAL_SCOPE"], "disable": ["fs-truncate"],
		"policy_events": ["execve"], "policy_timeout": 0.25,
		"max_processes": 7, "max_memory": "1G", "max_cpu": 50, "num_cpus": 2, "gpu_devices": [], "term_grace": 1.5
	}`
	got, err := ParsePolicy([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	want := &Policy{
		FSReadable: []string{"/usr", "/café", "/😀", "/raw\xff\x80"},
		FSWritable: []string{"/tmp"}, FSExecutable: []string{},
		Cwd: "/tmp", Env: map[string]string{"A": "1", "B": "\xfe"}, CleanEnv: true, Name: "n",
		MaxOpenFiles: ptr(uint32(64)), NoCoredump: true, NoHugePages: true, NoRandomizeMemory: true,
		MaxOutput: 1536, CPUCores: []uint32{0, 2},
		ExtraDenySyscalls: []string{"mkdir"}, ExtraAllowSyscalls: []string{"syslog"},
		NetAllow: []string{"tcp://:80"}, NetDeny: []string{}, NetDenyBind: []string{}, NetAllowPrivateNames: true, PortRemap: true, NetAllowBind: []string{"80", "8000-8010,9"},
		AllowDegraded: []Protection{FSRefer, NetTCP, SignalScope}, Disable: []Protection{FSTruncate},
		PolicyEvents: []string{"execve"}, PolicyTimeout: 250 * time.Millisecond,
		MaxProcesses: ptr(uint32(7)), MaxMemory: ptr(uint64(1 << 30)), MaxCPU: ptr(uint32(50)), NumCPUs: ptr(uint32(2)),
		GPUDevices: []uint32{}, TermGrace: 1500 * time.Millisecond,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// Each field of Policy but PolicyFn has a key, and null is its default.
func TestNullIsTheDefault(t *testing.T) {
	fields := reflect.TypeFor[Policy]().NumField()
	if len(jsonFields) != fields {
		t.Errorf("%d keys for %d fields", len(jsonFields), fields)
	}
	doc := map[string]any{}
	for key := range jsonFields {
		doc[key] = nil
	}
	for key := range unbuiltFields {
		doc[key] = nil
	}
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range []string{"{}", string(text)} {
		got, err := ParsePolicy([]byte(doc))
		if err != nil || !reflect.DeepEqual(got, NewPolicy()) {
			t.Errorf("%s: %+v, %v", doc, got, err)
		}
	}
}

func TestParsePolicyErrors(t *testing.T) {
	for _, tt := range []struct {
		doc, want string // want: the error without "invalid sandbox: "
	}{
		{``, `JSON: byte 0: the document ends too early`},
		{`[]`, `JSON: []: a policy is an object, this is a list`},
		{`null`, `JSON: null: a policy is an object, this is null`},
		{`{} {}`, `JSON: byte 3: something follows the end of the document`},
		{`{"name":"a",}`, `JSON: byte 12: a key in double quotes should stand here`},
		{`{"name":"a","name":"b"}`, `JSON: byte 12: the key "name" stands here for the second time`},
		{`{"env":{"A":"1","\u0041":"2"}}`, `JSON: byte 16: the key "A" stands here for the second time`},
		{`{"name":'a'}`, `JSON: byte 8: a JSON value should start here`},
		{`{"name" "a"}`, `JSON: byte 8: a : should follow the key "name"`},
		{`{"max_open_files": 01}`, `JSON: byte 21: this is not a JSON number`},
		{`{"max_open_files": 1.}`, `JSON: byte 21: digits should follow the decimal point`},
		{`{"max_open_files": 1e}`, `JSON: byte 21: the exponent has no digits`},
		{`{"name":"a`, `JSON: byte 10: a string is not closed`},
		{`{"name":"a\`, `JSON: byte 10: a string is not closed`},
		{"{\"name\":\"a\nb\"}", `JSON: byte 10: a control character in a string is written \u000a`},
		{"{\"name\":\"a\xffb\"}", `JSON: byte 10: the byte 0xff is not UTF-8; bytes in a path are written \udcff`},
		{`{"name":"\x41"}`, `JSON: byte 9: unknown escape; there are \" \\ \/ \b \f \n \r \t and \u with four hexadecimal digits`},
		{`{"name":"\ud800"}`, `JSON: byte 9: the surrogate \ud800 has no partner; the bytes 0x80 to 0xff are written \udc80 to \udcff`},
		{`{"name":"\udc7f"}`, `JSON: byte 9: the surrogate \udc7f has no partner; the bytes 0x80 to 0xff are written \udc80 to \udcff`},
		{`{"name":"\ud83d\u0041"}`, `JSON: byte 9: the surrogate \ud83d has no partner; the bytes 0x80 to 0xff are written \udc80 to \udcff`},
		{strings.Repeat("[", 17) + strings.Repeat("]", 17), `JSON: byte 16: it is nested deeper than 16`},

		{`{"fs_readble":[]}`, `fs_readble: []: unknown field; did you mean fs_readable?`},
		{`{"workdri":null}`, `workdri: null: unknown field; did you mean workdir?`},
		{`{"":1}`, `"": 1: unknown field`},
		{`{"FS_READABLE":1}`, `FS_READABLE: 1: unknown field`},

		{`{"fs_readable":"/usr"}`, `fs_readable: "/usr": this field is a list of strings`},
		{`{"fs_readable":["/usr",1]}`, `fs_readable: 1: each item is a string`},
		{`{"fs_readable":[null]}`, `fs_readable: null: each item is a string`},
		{`{"fs_readable":["\u0000"]}`, `fs_readable: "\x00": a path holds no NUL byte`},
		{`{"cwd":1}`, `cwd: 1: this field is a string`},
		{`{"cwd":""}`, `cwd: "": a path is not empty; leave the field out for the default`},
		{`{"name":""}`, `name: "": a name is not empty; leave the field out for the default`},
		{`{"env":["A=1"]}`, `env: ["A=1"]: this field is an object of strings`},
		{`{"env":{"A":1}}`, `env: A=1: each value is a string`},
		{`{"clean_env":1}`, `clean_env: 1: this field is true or false`},
		{`{"max_open_files":true}`, `max_open_files: true: this field is a whole number`},
		{`{"max_open_files":1.5}`, `max_open_files: 1.5: a whole number belongs here`},
		{`{"max_open_files":-1}`, `max_open_files: -1: the number is out of range; 0 to 4294967295 fit here`},
		{`{"max_open_files":4294967296}`, `max_open_files: 4294967296: the number is out of range; 0 to 4294967295 fit here`},
		{`{"max_open_files":0}`, `max_open_files: 0: no program can run without descriptors; give at least 1`},
		{`{"max_output":"1X"}`, `max_output: "1X" is not a size; write digits[.digits] and perhaps K, M, G or T, such as 512M or 1.5G`},
		{`{"max_output":-1}`, `max_output: -1: the number is out of range; 0 to 18446744073709551615 fit here`},
		{`{"max_output":[]}`, `max_output: []: this field is a number of bytes or a string such as "64M"`},
		{`{"cpu_cores":[]}`, `cpu_cores: []: name at least one core, or leave the field out`},
		{`{"cpu_cores":[9999]}`, `cpu_cores: 9999: the number is out of range; 0 to 8191 fit here`},
		{`{"cpu_cores":3}`, `cpu_cores: 3: this field is a list of core numbers`},
		{`{"net_allow_bind":[80.5]}`, `--net-allow-bind: net_allow_bind: "80.5": "80.5" is not a port number; write N, LO-HI or a comma list of them`},
		{`{"net_allow_bind":[true]}`, `--net-allow-bind: net_allow_bind: true: each item is a port or a string such as "80", "8000-8010" or "*"`},
		{`{"disable":["fs-refer"]}`, `disable: fs-refer: it can't be disabled: without it a file could be moved to where more is granted`},
		{`{"disable":["nope"]}`, `disable: unknown protection "nope"; known are fs-refer, fs-truncate, net-tcp, fs-ioctl-dev, signal-scope, abstract-unix-socket-scope`},
		{`{"allow_degraded":[-1]}`, `allow_degraded: -1: the number is out of range; 0 to 4294967295 fit here`},
		{`{"policy_fn":"print"}`, `policy_fn: "print": a function can't stand in JSON; install it with sandlock_sandbox_builder_policy_fn or Policy.PolicyFn`},
		{`{"policy_timeout":-0.5}`, `policy_timeout: -0.5: give 0 to 31536000 seconds; 0 waits for ever`},
		{`{"policy_timeout":1e400}`, `policy_timeout: 1e400: give 0 to 31536000 seconds; 0 waits for ever`},
		{`{"policy_timeout":"30"}`, `policy_timeout: "30": this field is a number of seconds`},
	} {
		p, err := ParsePolicy([]byte(tt.doc))
		if p != nil || err == nil || err.Error() != "invalid sandbox: "+tt.want {
			t.Errorf("%s:\ngot  %v\nwant invalid sandbox: %s", tt.doc, err, tt.want)
		}
	}
}

func TestParsePolicyAllErrorsAtOnce(t *testing.T) {
	_, err := ParsePolicy([]byte(`{"nope":1, "max_disk":"1G", "clean_env":"yes", "name":"a/b", "net_allow":["x:0"], "fs_readable":[""]}`))
	want := `invalid sandbox: nope: 1: unknown field
invalid sandbox: max_disk: "1G": this field is not built yet; leave it out
invalid sandbox: clean_env: "yes": this field is true or false
invalid sandbox: fs_readable: "": a path is not empty
invalid sandbox: name: "a/b": a name holds no / and no NUL byte
invalid sandbox: net_allow: "x:0": at byte 2: port 0 can't be reached; there are 1 to 65535`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestUnbuiltFields(t *testing.T) {
	defaults := map[string][]string{
		"[]":       {"net_deny", "net_deny_bind", "http_allow", "http_deny", "http_ports", "http_inject_ca", "http_auth"},
		"{}":       {"fs_mount", "fs_mount_ro", "credentials"},
		"false":    {"deterministic_dirs", "no_supervisor"},
		"true":     {"control_socket"},
		"0":        {"max_disk", "on_exit"},
		"1":        {"on_error"},
		`"commit"`: {"on_exit"},
		`"abort"`:  {"on_error"},
		"null": {"workdir", "chroot", "fs_storage", "http_ca", "http_key", "http_ca_out",
			"random_seed", "time_start", "uid", "gid", "init_fn", "work_fn"},
	}
	tested := map[string]bool{}
	for source, keys := range defaults {
		for _, key := range keys {
			tested[key] = true
			if _, err := ParsePolicy(fmt.Appendf(nil, `{%q:%s}`, key, source)); err != nil {
				t.Errorf("%s: %s: %v", key, source, err)
			}
		}
	}
	for key := range unbuiltFields {
		if !tested[key] {
			t.Errorf("%s: its default is not tested", key)
		}
		for _, source := range []string{`"x"`, "7", `["x"]`, `{"a":"b"}`} {
			_, err := ParsePolicy(fmt.Appendf(nil, `{%q:%s}`, key, source))
			if want := "invalid sandbox: " + key + ": " + source + ": this field is not built yet; leave it out"; err == nil || err.Error() != want {
				t.Errorf("%s: %s: %v", key, source, err)
			}
		}
	}
}

func TestMerge(t *testing.T) {
	p := NewPolicy()
	p.FSReadable, p.Name, p.PolicyTimeout = []string{"/usr"}, "old", 5
	if err := p.Merge([]byte(`{"name":"new","policy_timeout":null,"clean_env":true}`)); err != nil {
		t.Fatal(err)
	}
	want := NewPolicy()
	want.FSReadable, want.Name, want.CleanEnv = []string{"/usr"}, "new", true
	if !reflect.DeepEqual(p, want) {
		t.Errorf("got %+v, want %+v", p, want)
	}
	if err := p.Merge([]byte(`{"name":"newer","clean_env":0}`)); err == nil {
		t.Error("no error")
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("a failed Merge changed it to %+v", p)
	}
}

func TestJSONSize(t *testing.T) {
	doc := []byte(`{"name":"a"}` + strings.Repeat(" ", maxJSONSize))
	if _, err := ParsePolicy(doc); err == nil || !strings.Contains(err.Error(), "at most 16777216 are read") {
		t.Errorf("error %v", err)
	}
	if _, err := ParsePolicy(doc[:maxJSONSize]); err != nil {
		t.Error(err)
	}
}

// What encoding/json takes and our parser do the same to, but for duplicate keys,
// lone surrogates and invalid UTF-8.
func FuzzParseJSON(f *testing.F) {
	for _, seed := range []string{
		`{"fs_readable":["\udcff"],"env":{"A":"\ud83d\ude00"}}`, `[1.5e-3,true,null,"\\"]`, `{"a":{"a":[[]]}}`, "\"\xff\"", `"\u00`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		p, err := ParsePolicy(doc)
		if (p == nil) == (err == nil) {
			t.Errorf("policy %v, error %v", p, err)
		}
		v, bad := parseJSON(doc)
		if bad != nil {
			if bad.offset < 0 || bad.offset > len(doc) {
				t.Errorf("offset %d of %d", bad.offset, len(doc))
			}
			return
		}
		var std any
		if err := json.Unmarshal(doc, &std); err != nil && !strings.Contains(err.Error(), "cannot unmarshal number") {
			t.Errorf("encoding/json: %v", err)
		} else if err == nil && !same(v, std) {
			t.Errorf("%q is %+v, encoding/json has %+v", doc, v, std)
		}
	})
}

func same(v jsonValue, std any) bool {
	switch std := std.(type) {
	case nil:
		return v.kind == jsonNull
	case bool:
		return v.kind == jsonBool && v.on == std
	case float64:
		return v.kind == jsonNumber
	case string:
		return v.kind == jsonString && (v.text == std || strings.Contains(std, "\uFFFD"))
	case []any:
		if v.kind != jsonList || len(v.list) != len(std) {
			return false
		}
		for i := range std {
			if !same(v.list[i], std[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		if v.kind != jsonObject {
			return false
		}
		for _, m := range v.members {
			value, ok := std[m.key]
			if ok && !same(m.value, value) {
				return false
			}
		}
		return true
	}
	return false
}
