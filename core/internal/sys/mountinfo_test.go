package sys

import "testing"

func TestUnescape(t *testing.T) {
	for text, want := range map[string]string{
		`/a\040b\011\012\134`: "/a b\t\n\\", `/plain`: "/plain", `\04`: `\04`, `\999`: `\999`, ``: "",
	} {
		if got := unescape(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
