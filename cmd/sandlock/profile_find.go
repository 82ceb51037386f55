package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Python's sandlock._profile reads the same files, and has the same rules.

//go:embed profiles/*.toml
var builtIn embed.FS

const maxProfileDepth = 16

// profilesDir is where the user's profiles are: $XDG_CONFIG_HOME/sandlock/profiles, or the
// same below ~/.config. A relative XDG_CONFIG_HOME is none, as its specification has it.
func profilesDir() (string, error) {
	if config := os.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(config) {
		return filepath.Join(config, "sandlock", "profiles"), nil
	}
	home := os.Getenv("HOME")
	if !filepath.IsAbs(home) {
		return "", errors.New("neither XDG_CONFIG_HOME nor HOME is an absolute path, so there is no directory of profiles")
	}
	return filepath.Join(home, ".config", "sandlock", "profiles"), nil
}

// profileName says what is wrong with the name of a profile, "" when it is right.
func profileName(name string) string {
	for _, c := range []byte(name) {
		if !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("._-", c) >= 0) {
			return "a name has letters, digits, . _ and -"
		}
	}
	if name == "" || name[0] == '.' || name[0] == '-' {
		return "a name starts with a letter, a digit or _"
	}
	return ""
}

// source is where a profile was found.
type source struct {
	shown   string // in messages
	path    string // "" for one that is built in
	content []byte
}

// findProfile reads a profile: a path, when there is a slash or .toml, or a name, of the
// user's own first. dir is what a relative path counts from; builtInOnly leaves out the
// user's, so that one of his can extend the built-in of its name.
func findProfile(name, dir string, builtInOnly bool) (source, error) {
	if strings.Contains(name, "/") || strings.HasSuffix(name, ".toml") {
		path := filepath.Clean(name)
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		return readProfile(path)
	}
	if problem := profileName(name); problem != "" {
		return source{}, fmt.Errorf("profile %q: %s", name, problem)
	}
	if own, err := profilesDir(); err == nil && !builtInOnly {
		path := filepath.Join(own, name+".toml")
		src, err := readProfile(path)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return src, err
		}
	}
	content, err := builtIn.ReadFile("profiles/" + name + ".toml")
	if err != nil {
		return source{}, fmt.Errorf("there is no profile %q; sandlock profile list names them", name)
	}
	return source{name, "", content}, nil
}

func readProfile(path string) (source, error) {
	content, err := os.ReadFile(path)
	var failed *fs.PathError
	if errors.As(err, &failed) {
		err = fmt.Errorf("%s: %w", path, failed.Err)
	}
	return source{path, path, content}, err
}

// loadProfile returns what a profile and those that it extends say: the values of the
// fields, and the directories that are to be there.
func loadProfile(name string) (out settings, create []located, err error) {
	r := profileReader{}
	out = settings{}
	src, err := findProfile(name, "", false)
	if err == nil {
		err = r.load(src, name, out)
	}
	return out, r.create, err
}

// profileReader loads a profile and what it extends.
type profileReader struct {
	chain  []string
	create []located
}

func (r *profileReader) load(src source, name string, out settings) error {
	if slices.Contains(r.chain, src.shown) {
		return fmt.Errorf("%s: it extends itself: %s", src.shown, strings.Join(append(r.chain, src.shown), " extends "))
	}
	if len(r.chain) == maxProfileDepth {
		return fmt.Errorf("%s: profiles extend each other deeper than %d", src.shown, maxProfileDepth)
	}
	r.chain = append(r.chain, src.shown)
	defer func() { r.chain = r.chain[:len(r.chain)-1] }()
	p, err := parseProfile(src, false)
	if err != nil {
		return err
	}
	for _, base := range p.extends {
		dir := ""
		if src.path != "" {
			dir = filepath.Dir(src.path)
		}
		same := base.text == name && src.path != ""
		below, err := findProfile(base.text, dir, same)
		if err != nil {
			return fmt.Errorf("%s:%d: extends: %w", src.shown, base.line, err)
		}
		if err := r.load(below, base.text, out); err != nil {
			return err
		}
	}
	out.merge(p.settings)
	r.create = append(r.create, p.create...)
	return nil
}

// createDirectories makes directories of the working directory that are missing. What an
// earlier command has put there, a symbolic link above all, leads nowhere else: os.Root.
func createDirectories(dirs []located) error {
	if len(dirs) == 0 {
		return nil
	}
	root, err := os.OpenRoot(".")
	if err != nil {
		return err
	}
	defer root.Close()
	for _, dir := range dirs {
		if err := root.MkdirAll(dir.text, 0o777); err != nil {
			return fmt.Errorf("%s: filesystem.create: %w", dir.origin, err)
		}
	}
	return nil
}

// workspace is the working directory, unless that holds the home: a profile that grants the
// one would grant the other.
func workspace() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	home, err := filepath.EvalSymlinks(os.Getenv("HOME"))
	if real == "/" || err == nil && within(home, real) {
		return "", errors.New("the working directory holds your home; use a directory of the command's own")
	}
	return dir, nil
}

// variable is what stands for a name; what is granted must not be the home.
func variable(name string, granted bool) (string, error) {
	switch {
	case name == "PWD" && granted:
		return workspace()
	case name == "PWD":
		return os.Getwd()
	case name == "HOME":
		if home := os.Getenv("HOME"); filepath.IsAbs(home) {
			return home, nil
		}
		return "", errors.New("HOME is not set to an absolute path")
	}
	return "", fmt.Errorf("there are ${PWD} and ${HOME}, no ${%s}", name)
}
