package abi

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"os"
	"slices"
	"strings"
	"testing"
)

const version = "@@SANDLOCK_0"

// TestSymbols compares what is exported with the golden list and with the header.
func TestSymbols(t *testing.T) {
	var exported []string
	for line := range strings.Lines(output(t, "", "nm", "-D", "--defined-only", library)) {
		f := strings.Fields(line) // value, type, name
		if len(f) != 3 {
			t.Fatalf("nm: %q", line)
		}
		if f[1] == "A" && "@@"+f[2] == version {
			continue // the version itself
		}
		name, versioned := strings.CutSuffix(f[2], version)
		if !versioned || f[1] != "T" || !strings.HasPrefix(name, "sandlock_") {
			t.Errorf("exported: %q, want functions sandlock_*%s", line, version)
		}
		exported = append(exported, name)
	}
	slices.Sort(exported)
	golden, err := os.ReadFile("testdata/symbols.txt")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "testdata/symbols.txt", strings.Fields(string(golden)), "the library", exported)
	same(t, "the header", declared(t), "the library", exported)
}

func same(t *testing.T, aName string, a []string, bName string, b []string) {
	t.Helper()
	for _, name := range a {
		if !slices.Contains(b, name) {
			t.Errorf("%s: in %s, not in %s", name, aName, bName)
		}
	}
	for _, name := range b {
		if !slices.Contains(a, name) {
			t.Errorf("%s: in %s, not in %s", name, bName, aName)
		}
	}
	if len(a) != len(b) {
		t.Errorf("%s has %d names, %s has %d", aName, len(a), bName, len(b))
	}
}

func open(t *testing.T) *elf.File {
	t.Helper()
	f, err := elf.Open(library)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestBuild checks that no test hook is in the library: core/internal/flaw.
func TestBuild(t *testing.T) {
	info, err := buildinfo.ReadFile(library)
	if err != nil {
		t.Fatal(err)
	}
	tags := ""
	for _, s := range info.Settings {
		if s.Key == "-tags" {
			tags = s.Value
		}
	}
	if tags != "landlocktsync,sandlock_capi" {
		t.Errorf("built with the tags %q", tags)
	}
}

// TestDynamicSection checks the library's name and needs, and that its tables are
// read-only once it is loaded.
func TestDynamicSection(t *testing.T) {
	f := open(t)
	flags := func(tag elf.DynTag) (all uint64) {
		values, err := f.DynValue(tag)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			all |= v
		}
		return all
	}
	strs := func(tag elf.DynTag) []string {
		values, err := f.DynString(tag)
		if err != nil {
			t.Fatal(err)
		}
		return values
	}
	if got := strs(elf.DT_SONAME); !slices.Equal(got, []string{"libsandlock.so.0"}) {
		t.Errorf("SONAME %q", got)
	}
	// Before glibc 2.34 threads were in a library of their own.
	for _, name := range strs(elf.DT_NEEDED) {
		if name != "libc.so.6" && name != "libpthread.so.0" {
			t.Errorf("needs %s", name)
		}
	}
	if got := slices.Concat(strs(elf.DT_RPATH), strs(elf.DT_RUNPATH)); len(got) > 0 {
		t.Errorf("looks for libraries in %q", got)
	}
	if elf.DynFlag(flags(elf.DT_FLAGS))&elf.DF_BIND_NOW == 0 && elf.DynFlag1(flags(elf.DT_FLAGS_1))&elf.DF_1_NOW == 0 {
		t.Error("not bound when it is loaded: BIND_NOW")
	}
	// Go can't be unloaded.
	if elf.DynFlag1(flags(elf.DT_FLAGS_1))&elf.DF_1_NODELETE == 0 {
		t.Error("can be unloaded: NODELETE")
	}
	textrel, err := f.DynValue(elf.DT_TEXTREL)
	if err != nil || len(textrel) > 0 || elf.DynFlag(flags(elf.DT_FLAGS))&elf.DF_TEXTREL != 0 {
		t.Errorf("TEXTREL: %v, %v", textrel, err)
	}
}

// TestSegments checks that nothing is both written and executed.
func TestSegments(t *testing.T) {
	var relro, stack bool
	for _, p := range open(t).Progs {
		switch p.Type {
		case elf.PT_GNU_RELRO:
			relro = true
		case elf.PT_GNU_STACK:
			stack = true
		case elf.PT_TLS:
			// The Go runtime's one word. It is in the static block, whose reserve is
			// small when the library is loaded late, so no more may join it.
			if p.Memsz > 8 {
				t.Errorf("%d bytes of thread-local storage", p.Memsz)
			}
		}
		if p.Type != elf.PT_GNU_RELRO && p.Flags&elf.PF_X != 0 && (p.Flags&elf.PF_W != 0 || p.Type == elf.PT_GNU_STACK) {
			t.Errorf("executable: %v %v", p.Type, p.Flags)
		}
	}
	if !relro || !stack {
		t.Errorf("GNU_RELRO %v, GNU_STACK %v", relro, stack)
	}
}

// TestThreadLocalRelocations allows the Go runtime's own, and no other variable.
func TestThreadLocalRelocations(t *testing.T) {
	f := open(t)
	count := 0
	for _, s := range f.Sections {
		if s.Type != elf.SHT_RELA {
			continue
		}
		data, err := s.Data()
		if err != nil {
			t.Fatal(err)
		}
		for ; len(data) >= 24; data = data[24:] {
			kind := f.ByteOrder.Uint64(data[8:]) & 0xffffffff
			switch {
			case f.Machine == elf.EM_X86_64 && strings.Contains(elf.R_X86_64(kind).String(), "TPOFF"),
				f.Machine == elf.EM_AARCH64 && strings.Contains(elf.R_AARCH64(kind).String(), "TPREL"):
				count++
			}
		}
	}
	if count > 1 {
		t.Errorf("%d relocations of the initial-exec kind", count)
	}
}

// TestNoPsx: libpsx would replace the host's system calls.
func TestNoPsx(t *testing.T) {
	data, err := os.ReadFile(library)
	if err != nil {
		t.Fatal(err)
	}
	for _, trace := range []string{"libcap/psx", "libpsx", "psx_", "psx."} {
		if at := bytes.Index(data, []byte(trace)); at >= 0 {
			t.Errorf("%q at %#x", trace, at)
		}
	}
	// The search is of what would be there: the names of Go's packages.
	if !bytes.Contains(data, []byte("github.com/sandlock/sandlock/core")) {
		t.Error("the library names no Go package")
	}
}
