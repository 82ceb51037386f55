package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sandlock/sandlock/core"
)

// value is one value of a field, or one item of it, as JSON, and where it was given.
type value struct {
	key    string // of a table
	json   string
	origin string // "--fs-read", "agent.toml:3"
}

// settings are the values of the fields that were given, in the order in which they were.
type settings map[string][]value

// add appends to a field that holds several values and replaces the value of one that
// holds one: what comes later is nearer to the user.
func (s settings) add(f *field, v value) { s.put(f.name, f.kind.many(), v) }

func (s settings) put(name string, many bool, v value) {
	if !many {
		s[name] = nil
	}
	s[name] = append(s[name], v)
}

// merge puts another's values over these.
func (s settings) merge(over settings) {
	for name, values := range over {
		for _, v := range values {
			s.put(name, many(name), v)
		}
		if len(values) == 0 { // an empty list that was given
			s[name] = append([]value{}, s[name]...)
		}
	}
}

func many(name string) bool {
	if name == "fs_mount_ro" {
		return true
	}
	f := fieldNamed(name)
	return f != nil && f.kind.many()
}

func (k kind) many() bool { return k >= list }

// policy builds the policy. Faults are told by where the value was given.
func (s settings) policy() (*core.Policy, error) {
	policy, err := core.ParsePolicy([]byte(s.document()))
	var invalid *core.ValidationError
	if !errors.As(err, &invalid) {
		return policy, err
	}
	lines := make([]string, len(invalid.Errors))
	for i, fault := range invalid.Errors {
		lines[i] = s.explain(fault)
	}
	return nil, errors.New(strings.Join(lines, "\n"))
}

// document is the JSON that core reads.
func (s settings) document() string {
	var b strings.Builder
	b.WriteByte('{')
	for name, values := range s {
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.WriteString(quoteJSON(name) + ":")
		f := fieldNamed(name)
		switch {
		case f == nil || f.kind == table || f.kind == mounts: // fs_mount_ro is no field here
			b.WriteString(object(values))
		case f.kind.many():
			items := make([]string, len(values))
			for i, v := range values {
				items[i] = v.json
			}
			b.WriteString("[" + strings.Join(items, ",") + "]")
		default:
			b.WriteString(values[len(values)-1].json)
		}
	}
	b.WriteByte('}')
	return b.String()
}

func object(values []value) string {
	last := map[string]int{}
	for i, v := range values {
		last[v.key] = i
	}
	var members []string
	for i, v := range values {
		if last[v.key] == i {
			members = append(members, quoteJSON(v.key)+":"+v.json)
		}
	}
	return "{" + strings.Join(members, ",") + "}"
}

// withoutSecrets leaves out the values of variables.
func (s settings) withoutSecrets() settings {
	out := settings{}
	out.merge(s)
	for i, v := range out["env"] {
		v.json = `"…"`
		out["env"][i] = v
	}
	return out
}

// explain says where the faulty value was given, instead of core's name of the field.
func (s settings) explain(fault core.FieldError) string {
	values := s[fault.Field]
	if len(values) == 0 {
		return fault.Error()
	}
	origin := values[len(values)-1].origin
	for _, v := range values {
		if v.json == fault.Value {
			origin = v.origin
			break
		}
	}
	if fault.Value == "" || fault.Value == `""` {
		return origin + ": " + fault.Problem
	}
	return origin + ": " + fault.Value + ": " + fault.Problem
}

// origins says for each field, in the order of the table, where its values come from.
func (s settings) origins() string {
	var b strings.Builder
	show := func(name string) {
		for _, v := range s[name] {
			shown := v.json
			if name == "env" || name == "credentials" {
				shown = v.key + " (a secret, perhaps)"
			} else if v.key != "" {
				shown = v.key + " " + v.json
			}
			fmt.Fprintf(&b, "  %s: %s (%s)\n", name, shown, v.origin)
		}
	}
	for i := range fields {
		show(fields[i].name)
		if fields[i].name == "fs_mount" {
			show("fs_mount_ro")
		}
	}
	return b.String()
}

// quoteJSON writes any bytes as a JSON string that core reads back: a byte that is not
// UTF-8 is a lone surrogate, as Python's surrogateescape has it.
func quoteJSON(s string) string {
	b := []byte{'"'}
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b = fmt.Appendf(b, `\udc%02x`, s[i])
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ':
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = append(b, s[i:i+n]...)
		}
		i += n
	}
	return string(append(b, '"'))
}

// fromFlag reads a flag's value into the settings.
func (s settings) fromFlag(f *field, arg string) error {
	origin := "--" + f.long
	put := func(json string) { s.add(f, value{json: json, origin: origin}) }
	switch f.kind {
	case boolean:
		if arg != "true" && arg != "false" {
			return fmt.Errorf("%s=%s: true or false belongs here", origin, arg)
		}
		put(arg)
	case text, size, list, ports:
		put(quoteJSON(arg))
	case integer:
		put(numberOrString(arg))
	case seconds:
		n, err := parseSeconds(arg)
		if err != nil {
			return fmt.Errorf("%s: %w", origin, err)
		}
		put(strconv.FormatFloat(n, 'f', -1, 64))
	case rules:
		for _, rule := range splitRules(arg) {
			put(quoteJSON(rule))
		}
	case numbers:
		if arg == "all" && f.name == "gpu_devices" {
			s[f.name] = append([]value{}, s[f.name]...)
			return nil
		}
		for part := range strings.SplitSeq(arg, ",") {
			put(numberOrString(part))
		}
	case table:
		key, val, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("%s %s: write %s", origin, arg, f.arg)
		}
		s.add(f, value{key, quoteJSON(val), origin})
	case mounts:
		return s.addMount(arg, origin)
	}
	return nil
}

// addMount reads VIRTUAL:HOST[:ro|:rw].
func (s settings) addMount(spec, origin string) error {
	virtual, host, ok := strings.Cut(spec, ":")
	name := "fs_mount"
	if plain, isRO := strings.CutSuffix(host, ":ro"); isRO {
		name, host = "fs_mount_ro", plain
	} else {
		host = strings.TrimSuffix(host, ":rw")
	}
	if !ok || virtual == "" || host == "" {
		return fmt.Errorf("%s: %q: write VIRTUAL:HOST, perhaps with :ro", origin, spec)
	}
	s.put(name, true, value{virtual, quoteJSON(host), origin})
	return nil
}

// addUser reads UID:GID.
func (s settings) addUser(arg string) error {
	uid, gid, ok := strings.Cut(arg, ":")
	if !ok || uid == "" || gid == "" {
		return fmt.Errorf("--user: %q: write UID:GID", arg)
	}
	s.put("uid", false, value{json: numberOrString(uid), origin: "--user"})
	s.put("gid", false, value{json: numberOrString(gid), origin: "--user"})
	return nil
}

// numberOrString leaves to core what is wrong with what is no number.
func numberOrString(arg string) string {
	if _, err := strconv.ParseUint(arg, 10, 64); err == nil && (arg[0] != '0' || arg == "0") {
		return arg
	}
	return quoteJSON(arg)
}

// splitRules splits a comma list of network rules. A part that is a port only goes on with
// the ports of the rule before it: tcp://:80,443,example.org is two rules.
func splitRules(arg string) []string {
	var out []string
	for part := range strings.SplitSeq(arg, ",") {
		if len(out) > 0 && part != "" && strings.Trim(part, "0123456789") == "" {
			out[len(out)-1] += "," + part
		} else {
			out = append(out, part)
		}
	}
	return out
}

// parseSeconds reads seconds as timeout(1) does: a number, perhaps with s, m, h or d.
func parseSeconds(arg string) (float64, error) {
	number, unit := arg, 1.0
	if arg != "" {
		if i := strings.IndexByte("smhd", arg[len(arg)-1]); i >= 0 {
			number, unit = arg[:len(arg)-1], [...]float64{1, 60, 3600, 86400}[i]
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !(n >= 0 && n*unit < 1e9) || strings.Trim(number, "0123456789.") != "" {
		return 0, fmt.Errorf("%q is no time: write seconds, or a number with s, m, h or d", arg)
	}
	return n * unit, nil
}
