package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func profileCommand(args []string) int {
	if len(args) > 0 && args[0] == "list" {
		return listProfiles(args[1:])
	}
	words, code, done := parse("profile", "list | show NAME | delete NAME", args, nil, 1, 2)
	switch {
	case done:
		return code
	case len(words) == 2 && words[0] == "show":
		src, err := findProfile(words[1], "", false)
		if err != nil {
			return fail(err)
		}
		_, err = os.Stdout.Write(src.content)
		return failed(err)
	case len(words) == 2 && words[0] == "delete":
		return failed(deleteProfile(words[1]))
	}
	return fail(usageError("usage: sandlock profile list | show NAME | delete NAME"))
}

// failed is the exit code of a command that is done.
func failed(err error) int {
	if err != nil {
		return fail(err)
	}
	return 0
}

func listProfiles(args []string) int {
	if _, code, done := parse("profile list", "", args, nil, 0, 0); done {
		return code
	}
	names, err := profileNames()
	if err != nil {
		return fail(err)
	}
	code := 0
	for _, name := range names {
		src, err := findProfile(name, "", false)
		var p profile
		if err == nil {
			p, err = parseProfile(src, true)
		}
		if err != nil {
			code = fail(err)
			continue
		}
		where := "built in"
		if src.path != "" {
			where = src.path
		}
		line := fmt.Sprintf("%-12s %s", name, p.description)
		fmt.Printf("%s (%s)\n", strings.TrimRight(line, " "), where)
	}
	return code
}

// profileNames are those of the user's and the built-in ones, sorted, each once.
func profileNames() ([]string, error) {
	entries, err := builtIn.ReadDir("profiles")
	if err != nil {
		return nil, err
	}
	if dir, err := profilesDir(); err == nil {
		own, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		entries = append(entries, own...)
	}
	var names []string
	for _, entry := range entries {
		name, isProfile := strings.CutSuffix(entry.Name(), ".toml")
		if isProfile && profileName(name) == "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func deleteProfile(name string) error {
	if problem := profileName(name); problem != "" {
		return fmt.Errorf("profile %q: %s", name, problem)
	}
	dir, err := profilesDir()
	if err != nil {
		return err
	}
	err = os.Remove(filepath.Join(dir, name+".toml"))
	if errors.Is(err, os.ErrNotExist) {
		if _, builtInErr := builtIn.ReadFile("profiles/" + name + ".toml"); builtInErr == nil {
			return fmt.Errorf("profile %q is built in; one of yours with its name takes its place", name)
		}
		return fmt.Errorf("there is no profile %q of yours in %s", name, dir)
	}
	return err
}
