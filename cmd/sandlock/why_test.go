package main

import (
	"os/exec"
	"testing"
)

// What is said to allow something is one word when it is pasted, although the sandbox has
// chosen it, and a terminal takes it for nothing else.
func TestShellWord(t *testing.T) {
	for _, word := range []string{
		"/plain", "/with space", "/it's", "/$(id)`id`$HOME", `/back\slash`, "/new\nline $(id)", "/\x1b]0;$(id)`id`'\\\a", "/\u202eé 'x'", "/é$(id)",
	} {
		shown := shellWord(word)
		if printable(shown) != shown {
			t.Errorf("%q: a terminal may not print %q", word, shown)
		}
		out, err := exec.Command("bash", "-c", "printf %s "+shown).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q: bash reads %s as %q, %v", word, shown, out, err)
		}
	}
}
