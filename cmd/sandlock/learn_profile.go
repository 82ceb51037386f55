package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// secrets of a user, beneath the home: a profile never grants them, whatever was read.
var secrets = []string{".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".netrc", ".git-credentials", ".password-store",
	".config/gcloud", ".config/gh", ".local/share/keyrings", ".mozilla", ".config/google-chrome", ".config/chromium", ".bash_history"}

// crowded is how many names of one directory stand for the directory.
const crowded = 8

// profile writes what was learnt as TOML: the rules beyond those of the profile system.
func (l *learning) profile(where places, before learnedProfile, argv []string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	read, write, notes := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for path, a := range l.used {
		l.need(where, path, a.Write, a.Name, a.Dir, read, write, notes)
	}
	where.gather(read)
	where.gather(write)
	for path := range read {
		if write[path] || coveredBy(path, write) {
			delete(read, path)
		}
	}
	var b strings.Builder
	b.WriteString(learnedHeader)
	fmt.Fprintf(&b, "description = %s\nextends = \"system\"\n", quoteTOML("learnt from "+brief(argv)))
	b.WriteString("\n[filesystem]\n")
	writeList(&b, "read", merged(before.Filesystem.Read, where.spell(read)))
	writeList(&b, "write", merged(before.Filesystem.Write, where.spell(write)))
	allow, bind := merged(before.Network.Allow, slices.Sorted(maps.Keys(l.connects))), merged(before.Network.AllowBind, slices.Sorted(maps.Keys(l.binds)))
	if len(allow)+len(bind) > 0 {
		b.WriteString("\n[network]\n")
		writeList(&b, "allow", allow)
		writeList(&b, "allow_bind", bind)
	}
	b.WriteString("\n[program.env]\nTMPDIR = \"${PWD}\"\n\n[limits]\nprocesses = 512\n")
	if len(notes) > 0 {
		b.WriteString("\n# Left out:\n")
		for _, note := range slices.Sorted(maps.Keys(notes)) {
			b.WriteString("#   " + note + "\n")
		}
	}
	return b.String()
}

// need adds what one use of a path needs.
func (l *learning) need(where places, path string, write, name, dir bool, read, writes, notes map[string]bool) {
	if name { // a file that is made or removed changes its directory
		path, write = filepath.Dir(path), true
	}
	shown := where.spellOne(path)
	switch {
	case !utf8.ValidString(path) || strings.ContainsAny(path, "\n\r"):
		notes[fmt.Sprintf("%q: no profile can name it", path)] = true
	case strings.HasSuffix(path, " (deleted)"), strings.HasPrefix(path, "/memfd:"), strings.HasPrefix(path, "/dev/pts/"):
	case within(path, where.pwd):
		if write {
			writes[where.pwd] = true
		} else {
			read[where.pwd] = true
		}
	case where.secret(path):
		notes[shown+": it holds secrets"] = true
	case strings.HasPrefix(path, "/proc/") && path[6] >= '0' && path[6] <= '9':
		notes["/proc/PID: of a process, which has another number the next time"] = true
	case (dir || name) && where.wide(path):
		notes[shown+": all beneath it would be granted"] = true
	case write:
		if !anyHolds(where.writable, path) {
			writes[path] = true
		}
	case !anyHolds(where.readable, path):
		read[path] = true
	}
}

// secret reports whether a path lies beneath one of those, or holds one.
func (p places) secret(path string) bool {
	return p.home != "" && slices.ContainsFunc(secrets, func(name string) bool { return within(path, filepath.Join(p.home, name)) })
}

// wide reports whether a directory holds the home, or what belongs to everybody.
func (p places) wide(dir string) bool {
	return within(p.home, dir) || within(p.pwd, dir) || slices.Contains([]string{"/", "/tmp", "/var/tmp", "/dev", "/dev/shm", "/proc", "/sys", "/run", "/var"}, dir) ||
		p.home != "" && slices.ContainsFunc(secrets, func(name string) bool { return within(filepath.Join(p.home, name), dir) })
}

// anyHolds reports whether a path lies beneath one of the list.
func anyHolds(dirs []string, path string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return within(path, dir) })
}

// gather puts a directory in the place of many names in it, and of those beneath it.
func (p places) gather(paths map[string]bool) {
	for {
		names := map[string]int{}
		for path := range paths {
			names[filepath.Dir(path)]++
		}
		changed := false
		for dir, n := range names {
			if n > crowded && !p.wide(dir) {
				paths[dir], changed = true, true
			}
		}
		for path := range paths {
			if coveredBy(path, paths) {
				delete(paths, path)
			}
		}
		if !changed {
			return
		}
	}
}

// coveredBy reports whether a directory above the path is in the set.
func coveredBy(path string, set map[string]bool) bool {
	for dir := filepath.Dir(path); dir != path; path, dir = dir, filepath.Dir(dir) {
		if set[dir] {
			return true
		}
	}
	return false
}

// spell writes paths as a profile has them. Those that need not be there the next time may
// be missing.
func (p places) spell(paths map[string]bool) []string {
	var out []string
	for path := range paths {
		s := p.spellOne(path)
		if s != "${PWD}" {
			s = "-" + s
		}
		out = append(out, s)
	}
	return out
}

func (p places) spellOne(path string) string {
	for _, known := range []struct{ dir, name string }{{p.pwd, "${PWD}"}, {p.home, "${HOME}"}} {
		if known.dir != "" && known.dir != "/" && within(path, known.dir) {
			return known.name + strings.ReplaceAll(path[len(known.dir):], "$", "$$")
		}
	}
	return strings.ReplaceAll(path, "$", "$$")
}

func merged(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

func writeList(b *strings.Builder, key string, items []string) {
	if len(items) == 0 {
		return
	}
	b.WriteString(key + " = [\n")
	for _, item := range items {
		b.WriteString("  " + quoteTOML(item) + ",\n")
	}
	b.WriteString("]\n")
}

// quoteTOML writes a basic string, whose escapes are JSON's.
func quoteTOML(s string) string { return strings.ReplaceAll(quoteJSON(s), "\x7f", `\u007f`) }

func brief(argv []string) string {
	text := strings.ToValidUTF8(strings.Join(argv, " "), "?")
	if len(text) > 100 {
		text = strings.ToValidUTF8(text[:100], "") + "…"
	}
	return text
}
