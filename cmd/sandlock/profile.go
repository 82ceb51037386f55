package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// profile is one file.
type profile struct {
	description string
	extends     []located
	create      []located
	settings    settings
}

type located struct {
	text   string
	line   int
	origin string // the file and the line
}

// profileFile is a file that is being read.
type profileFile struct {
	source
	// describe: it is only looked at, here, and not what it would grant here.
	describe bool
	parser   unstable.Parser
	out      profile
	faults   []string
}

// parseProfile reads a file; the error has every fault, each with its line.
func parseProfile(src source, describe bool) (profile, error) {
	f := profileFile{source: src, describe: describe, out: profile{settings: settings{}}}
	// That the document is TOML, without a key twice, is the decoder's to say.
	var syntax *toml.DecodeError
	if src.path == "" {
		// A built-in one is tested: asking would be a good part of a short run.
	} else if err := toml.Unmarshal(src.content, &map[string]any{}); errors.As(err, &syntax) {
		line, column := syntax.Position()
		return f.out, fmt.Errorf("%s:%d:%d: %s", src.shown, line, column, strings.TrimPrefix(syntax.Error(), "toml: "))
	} else if err != nil {
		return f.out, fmt.Errorf("%s: %w", src.shown, err)
	}
	f.parser.Reset(src.content)
	section := ""
	for f.parser.NextExpression() {
		node := f.parser.Expression()
		switch node.Kind {
		case unstable.Table:
			section = f.key(node.Key())
			f.checkSection(section, node)
		case unstable.ArrayTable:
			f.fault(f.line(node), "no list of tables belongs in a profile")
			section = "?"
		case unstable.KeyValue:
			f.keyValue(section, node)
		}
	}
	if len(f.faults) > 0 {
		return f.out, errors.New(strings.Join(f.faults, "\n"))
	}
	return f.out, nil
}

func (f *profileFile) fault(line int, format string, args ...any) {
	f.faults = append(f.faults, fmt.Sprintf("%s:%d: ", f.shown, line)+fmt.Sprintf(format, args...))
}

// line of a node that is, or has, a key or a value.
func (f *profileFile) line(n *unstable.Node) int {
	at := n.Raw
	if n.Kind == unstable.KeyValue || n.Kind == unstable.Table || n.Kind == unstable.ArrayTable {
		it := n.Key()
		it.Next()
		at = it.Node().Raw
	}
	return 1 + bytes.Count(f.content[:at.Offset], []byte("\n"))
}

func (f *profileFile) key(it unstable.Iterator) string {
	var parts []string
	for it.Next() {
		parts = append(parts, string(it.Node().Data))
	}
	return strings.Join(parts, ".")
}

// sections of a profile, from the table of the fields.
func sections() []string {
	var out []string
	for i := range fields {
		if section, _, ok := strings.Cut(fields[i].toml, "."); ok && !slices.Contains(out, section) {
			out = append(out, section)
		}
	}
	slices.Sort(out)
	return out
}

func (f *profileFile) checkSection(name string, node *unstable.Node) {
	if known := fieldAt(name); !slices.Contains(sections(), name) && (known == nil || known.kind != table) {
		f.fault(f.line(node), "there is no section [%s]; there are %s", name, strings.Join(sections(), ", "))
	}
}

func (f *profileFile) keyValue(section string, node *unstable.Node) {
	key, line := f.key(node.Key()), f.line(node)
	full := strings.TrimPrefix(section+"."+key, ".")
	val := node.Value()
	switch full {
	case "description":
		if val.Kind != unstable.String {
			f.fault(line, "description: a string belongs here")
		}
		f.out.description = string(val.Data)
		return
	case "extends":
		for _, item := range f.strings(val, full, line) {
			f.out.extends = append(f.out.extends, f.at(item, line))
		}
		return
	case "filesystem.create":
		for _, item := range f.strings(val, full, line) {
			if !filepath.IsLocal(item) {
				f.fault(line, "%s: %q: a relative path without .. belongs here", full, item)
			}
			f.out.create = append(f.out.create, f.at(item, line))
		}
		return
	}
	if field := fieldAt(full); field != nil {
		f.set(field, val, line)
		return
	}
	if before, name, ok := cutLast(full); ok { // [program.env], or env.NAME
		if field := fieldAt(before); field != nil && field.kind == table {
			f.entry(field, name, val, line)
			return
		}
	}
	if slices.Contains(sections(), full) && val.Kind == unstable.InlineTable { // limits = { … }
		for it := val.Children(); it.Next(); {
			f.keyValue(full, it.Node())
		}
		return
	}
	if head, _, _ := strings.Cut(full, "."); section != "" && !slices.Contains(sections(), head) {
		return // the section has its fault already
	}
	f.fault(line, "unknown key %s%s", full, nearKey(full))
}

func (f *profileFile) at(text string, line int) located {
	return located{text, line, fmt.Sprintf("%s:%d", f.shown, line)}
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

// nearKey names the keys of the section, or where a known key belongs.
func nearKey(full string) string {
	section, key, _ := cutLast(full)
	if key == "" {
		key = full
	}
	var here []string
	for i := range fields {
		if fields[i].toml == "" {
			continue
		}
		s, k, _ := strings.Cut(fields[i].toml, ".")
		if k == key || fields[i].name == key {
			return "; it is " + k + " in [" + s + "]"
		}
		if s == section {
			here = append(here, k)
		}
	}
	if here == nil {
		return ""
	}
	if section == "filesystem" {
		here = append(here, "create")
	}
	return "; [" + section + "] has " + strings.Join(here, ", ")
}

// strings reads a string, or a list of them.
func (f *profileFile) strings(val *unstable.Node, name string, line int) []string {
	if val.Kind == unstable.String {
		return []string{string(val.Data)}
	}
	var out []string
	if val.Kind != unstable.Array {
		f.fault(line, "%s: a list of strings belongs here", name)
		return nil
	}
	for it := val.Children(); it.Next(); {
		if it.Node().Kind != unstable.String {
			f.fault(f.itemLine(it.Node(), line), "%s: each item is a string", name)
			continue
		}
		out = append(out, string(it.Node().Data))
	}
	return out
}

// itemLine is the line of an item of a list, which may be another than its key's.
func (f *profileFile) itemLine(n *unstable.Node, otherwise int) int {
	if n.Raw.Length == 0 {
		return otherwise
	}
	return f.line(n)
}

func (f *profileFile) set(field *field, val *unstable.Node, line int) {
	origin := func(line int) string { return fmt.Sprintf("%s:%d: %s", f.shown, line, field.toml) }
	put := func(json string, line int) { f.out.settings.add(field, value{json: json, origin: origin(line)}) }
	wants := func(what string) { f.fault(line, "%s: %s belongs here", field.toml, what) }
	switch field.kind {
	case boolean:
		if val.Kind != unstable.Bool {
			wants("true or false")
			return
		}
		put(string(val.Data), line)
	case text:
		if val.Kind != unstable.String {
			wants("a string")
			return
		}
		if s, keep := f.expand(field, string(val.Data), line); keep {
			put(quoteJSON(s), line)
		}
	case size, integer, seconds:
		if json, ok := scalar(val, field.kind); ok {
			put(json, line)
		} else {
			wants(map[kind]string{size: `a size such as "512M", or a number of bytes,`, integer: "a whole number", seconds: "a number of seconds"}[field.kind])
		}
	case table:
		if val.Kind != unstable.InlineTable {
			wants("a table of strings")
			return
		}
		for it := val.Children(); it.Next(); {
			f.entry(field, f.key(it.Node().Key()), it.Node().Value(), line)
		}
	default:
		if val.Kind != unstable.Array {
			wants("a list")
			return
		}
		f.out.settings[field.name] = []value{} // given, though perhaps empty
		for it := val.Children(); it.Next(); {
			f.item(field, it.Node(), f.itemLine(it.Node(), line), origin, put)
		}
	}
}

func (f *profileFile) item(field *field, n *unstable.Node, line int, origin func(int) string, put func(string, int)) {
	switch {
	case field.kind == mounts && n.Kind == unstable.String:
		spec, _ := f.expand(field, string(n.Data), line)
		if err := f.out.settings.addMount(spec, origin(line)); err != nil {
			f.faults = append(f.faults, err.Error())
		}
	case n.Kind == unstable.String && field.kind != numbers:
		if s, keep := f.expand(field, string(n.Data), line); keep {
			put(quoteJSON(s), line)
		}
	case n.Kind == unstable.Integer && (field.kind == numbers || field.kind == ports):
		json, ok := scalar(n, integer)
		if !ok {
			f.fault(line, "%s: %s is out of range", field.toml, n.Data)
			return
		}
		put(json, line)
	case field.kind == numbers:
		f.fault(line, "%s: each item is a whole number", field.toml)
	default:
		f.fault(line, "%s: each item is a string", field.toml)
	}
}

func (f *profileFile) entry(field *field, key string, val *unstable.Node, line int) {
	if val.Kind != unstable.String {
		f.fault(line, "%s.%s: a string belongs here", field.toml, key)
		return
	}
	s, _ := f.expand(field, string(val.Data), line)
	f.out.settings.add(field, value{key, quoteJSON(s), fmt.Sprintf("%s:%d: %s.%s", f.shown, line, field.toml, key)})
}

// scalar writes a number, or a string in a number's place, as JSON.
func scalar(n *unstable.Node, k kind) (json string, ok bool) {
	switch {
	case n.Kind == unstable.String && k != seconds:
		return quoteJSON(string(n.Data)), true
	case n.Kind == unstable.Integer:
		i, err := strconv.ParseInt(string(n.Data), 0, 64)
		return strconv.FormatInt(i, 10), err == nil
	case n.Kind == unstable.Float && k == seconds:
		x, err := strconv.ParseFloat(strings.ReplaceAll(string(n.Data), "_", ""), 64)
		return strconv.FormatFloat(x, 'f', -1, 64), err == nil && x >= 0 && x < 1e9
	}
	return "", false
}

// expand puts in ${PWD} and ${HOME}, in paths and in the values of env; $$ is a $. A path
// of a list that starts with - is left out where it does not exist, as systemd.exec(5)
// has it.
func (f *profileFile) expand(field *field, s string, line int) (out string, keep bool) {
	if f.describe || !field.path && field.name != "env" && field.kind != mounts {
		return s, true
	}
	optional := field.path && field.kind == list && strings.HasPrefix(s, "-")
	if optional {
		s = s[1:]
	}
	var b strings.Builder
	for rest := s; rest != ""; {
		before, after, found := strings.Cut(rest, "$")
		b.WriteString(before)
		if !found {
			break
		}
		name, tail, closed := strings.Cut(strings.TrimPrefix(after, "{"), "}")
		switch {
		case strings.HasPrefix(after, "$"):
			b.WriteByte('$')
			rest = after[1:]
		case !strings.HasPrefix(after, "{") || !closed:
			f.fault(line, "%s: %q: there are ${PWD} and ${HOME}; a $ itself is written $$", field.toml, s)
			return s, true
		default:
			dir, err := variable(name, field.name != "env")
			if err != nil {
				f.fault(line, "%s: %q: %v", field.toml, s, err)
				return s, true
			}
			b.WriteString(dir)
			rest = tail
		}
	}
	out = b.String()
	if optional {
		_, err := os.Stat(out)
		return out, err == nil
	}
	return out, true
}
