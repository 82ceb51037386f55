package abi

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var dialects = []struct{ compiler, language, standard string }{
	{"gcc", "c", "c99"},
	{"gcc", "c", "c11"},
	{"g++", "c++", "c++11"},
	{"g++", "c++", "c++20"},
}

// TestHeaderAlone includes the header before anything else, and twice.
func TestHeaderAlone(t *testing.T) {
	for _, d := range dialects {
		t.Run(d.standard, func(t *testing.T) {
			argv := append([]string{d.compiler, "-x", d.language, "-std=" + d.standard, "-pedantic", "-fsyntax-only",
				"-I", filepath.Join(root, "include"), "-"}, warnings...)
			silentWith(t, "#include <sandlock.h>\n#include <sandlock.h>\n", argv...)
		})
	}
}

func silentWith(t *testing.T, stdin string, argv ...string) {
	t.Helper()
	if out := output(t, stdin, argv...); out != "" {
		t.Errorf("%q printed %q", argv, out)
	}
}

// TestContract compiles the layouts, values and signatures that programs rely on
// against the header: a declaration that differs is an error of the compiler.
func TestContract(t *testing.T) {
	argv := append([]string{"gcc", "-std=c99", "-pedantic", "-fsyntax-only", "-I", filepath.Join(root, "include"),
		"testdata/contract.c"}, warnings...)
	silentWith(t, "", argv...)
}

// TestHeaderExample compiles the program in the header's manual as C and as C++,
// which also needs extern "C", and runs it.
func TestHeaderExample(t *testing.T) {
	header, err := os.ReadFile(filepath.Join(root, "include", "sandlock.h"))
	if err != nil {
		t.Fatal(err)
	}
	// The indented lines of the first comment.
	comment, _, _ := strings.Cut(string(header), "*/")
	var example strings.Builder
	for _, m := range regexp.MustCompile(`(?m)^ \*     (.*)$|^ \*$`).FindAllStringSubmatch(comment, -1) {
		example.WriteString(m[1] + "\n")
	}
	if !strings.Contains(example.String(), "int main(void)") {
		t.Fatalf("no example in the header:\n%s", &example)
	}
	for _, d := range dialects {
		t.Run(d.standard, func(t *testing.T) {
			bin := filepath.Join(bins, "example-"+d.standard)
			argv := append([]string{d.compiler, "-x", d.language, "-std=" + d.standard, "-pedantic",
				"-I", filepath.Join(root, "include"), "-", "-o", bin}, warnings...)
			output(t, example.String(), append(argv, "-x", "none", library, "-Wl,-rpath,"+filepath.Dir(library))...)
			if out := output(t, "", bin); out != "hello\n" {
				t.Errorf("printed %q", out)
			}
		})
	}
}

// TestManualPage: sandlock(3) names the functions of the header, and no others.
func TestManualPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs", "man", "sandlock.3"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), ".SH FUNCTIONS")
	section, _, _ = strings.Cut(section, "\n.SH ")
	var named []string
	for _, m := range regexp.MustCompile(`\.BR (sandlock_\w+) \(\)`).FindAllStringSubmatch(section, -1) {
		named = append(named, m[1])
	}
	there := declared(t)
	for _, name := range there {
		if !slices.Contains(named, name) {
			t.Errorf("%s: not in sandlock(3)", name)
		}
	}
	for _, name := range named {
		if !slices.Contains(there, name) {
			t.Errorf("%s: in sandlock(3), and not in the header", name)
		}
	}
}
