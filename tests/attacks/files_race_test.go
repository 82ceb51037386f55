package attacks

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// swapTree is a tree for the victim swap.
func swapTree(t *testing.T) string {
	t.Helper()
	dir := tree(t)
	must(t, os.Remove(filepath.Join(dir, "hard-secret")))
	must(t, os.Remove(filepath.Join(dir, "dangling")))
	must(t, os.Symlink("denied/new", filepath.Join(dir, "dangling")))
	for _, sub := range []string{"open", "opened", "dir"} {
		must(t, os.Mkdir(filepath.Join(dir, sub), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, sub, "secret"), []byte("open to all"), 0o755))
	}
	must(t, os.WriteFile(filepath.Join(dir, "new-file"), nil, 0o755))
	for _, sub := range []string{"open", "denied"} {
		out, err := exec.Command("cp", victim("swap"), filepath.Join(dir, sub, "prog")).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return dir
}

// Sections 2, 5, 6 and 12, by races: what is denied is reached at no moment, by a path that is
// changed in memory, a link that is swapped, or a directory that is.
func TestDeniedRaces(t *testing.T) {
	n := rounds()
	bothUsers(t, func(t *testing.T) {
		for _, mode := range []string{"memory", "plain memory", "links", "absolute links", "exchange", "create", "truncate", "bind", "bind, directory", "exec"} {
			dir := swapTree(t)
			p := deniedTree(dir)
			p.FSDenied = []string{filepath.Join(dir, "denied")}
			before := snapshot(t, filepath.Join(dir, "denied"))
			rounds := n
			if mode == "exec" {
				rounds = max(n/4, 50) // each is a process
			}
			r := inside(t, p, victim("swap"), mode, dir, fmt.Sprint(rounds))
			got := attempts(string(r.Stdout))
			t.Logf("%s: %d done, %d refused", mode, got["done"].result, got["refused"].result)
			if strings.Contains(string(r.Stdout), "SECRET") || r.ExitCode != 0 {
				t.Errorf("%s: %+v %.200s", mode, r, r.Stdout)
			}
			if after := snapshot(t, filepath.Join(dir, "denied")); after != before {
				t.Errorf("%s: before:\n%safter:\n%s", mode, before, after)
			}
			if got["done"].result == 0 {
				t.Errorf("%s: nothing has worked", mode)
			}
		}
	})
	t.Run("control", func(t *testing.T) {
		for _, mode := range []string{"memory", "links", "exchange", "exec"} {
			rounds := 100_000 // each is far shorter outside
			if mode == "exec" {
				rounds = 500
			}
			dir := swapTree(t)
			won(t, mode, func() bool {
				return strings.Contains(outside(t, victim("swap"), mode, dir, fmt.Sprint(rounds)), "SECRET")
			})
		}
		dir := swapTree(t)
		won(t, "create", func() bool {
			outside(t, victim("swap"), "create", dir, fmt.Sprint(100_000))
			_, err := os.Stat(filepath.Join(dir, "denied/new"))
			return err == nil
		})
		for _, mode := range []string{"bind", "bind, directory"} {
			dir := swapTree(t)
			won(t, mode, func() bool {
				outside(t, victim("swap"), mode, dir, fmt.Sprint(1000))
				made, err := filepath.Glob(filepath.Join(dir, "denied/socket-*"))
				return err == nil && len(made) > 0
			})
		}
	})
}
