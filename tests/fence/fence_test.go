// Package fence parses every Go file of the module and checks that what is
// dangerous stays in the files listed here, and that packages know only what
// stands before them in the way of the data: policy, plan, warden, notification,
// event, verdict, answer.
package fence

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/sandlock/sandlock"

// imports is what each package of the library may know of the others. A new
// package needs a line, and with it a thought.
var imports = map[string][]string{
	"core/internal/sys":      {},
	"core/internal/bpf":      {},
	"core/internal/virtual":  {},
	"core/internal/flaw":     {},
	"core/internal/cgroup":   {"core/internal/sys"},
	"core/internal/landlock": {"core/internal/sys"},
	"core/internal/warden":   {"core/internal/sys"},
	"core/internal/notify":   {"core/internal/sys"},
	"core/internal/audit":    {"core/internal/sys"},
	"core/internal/broker":   {"core/internal/sys", "core/internal/audit"},
	"core/internal/handler":  {"core/internal/broker", "core/internal/audit", "core/internal/sys", "core/internal/warden", "core/internal/notify", "core/internal/flaw"},
	"core": {"core/internal/broker", "core/internal/sys", "core/internal/bpf", "core/internal/cgroup", "core/internal/flaw", "core/internal/landlock", "core/internal/virtual", "core/internal/warden",
		"core/internal/notify", "core/internal/handler", "core/internal/audit"},
	"capi":         {"core"},
	"cmd/sandlock": {"core"},
}

// memory says whether a file may use unsafe, raw system calls and ptrace.
func memory(name string) bool {
	ok, err := path.Match("core/internal/sys/*_unsafe.go", name)
	if err != nil {
		panic(err)
	}
	return ok
}

// rawCalls are the doors into the kernel that have no types, and ptrace, whose
// thread rules only the warden keeps.
var rawCalls = []string{"Syscall", "RawSyscall", "Ptrace", "AllThreadsSyscall"}

// spawns start a process. The library starts one program only, the warden.
var spawns = []string{"ForkExec", "StartProcess"}

// check returns what the file holds that it may not. name is its path in the module.
func check(name string, src []byte) ([]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	var faults []string
	fault := func(format string, args ...any) {
		faults = append(faults, name+": "+fmt.Sprintf(format, args...))
	}
	dir := path.Dir(name)
	test := strings.HasSuffix(name, "_test.go")
	may, listed := imports[dir]
	inLibrary := (dir == "core" || strings.HasPrefix(dir, "core/") || strings.HasPrefix(dir, "cmd/") || dir == "capi") && !test
	if inLibrary && !listed {
		fault("the package %s has no line in tests/fence", dir)
	}

	kernel := map[string]string{} // local name → import path of the packages with raw calls
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		switch {
		case imported == "unsafe":
			if !memory(name) && (dir != "capi" || test) {
				fault("imports unsafe")
			}
		case imported == "C" || imported == "runtime/cgo":
			if dir != "capi" || test {
				fault("uses cgo")
			}
		case imported == "os/exec":
			if inLibrary {
				fault("starts processes")
			}
		case strings.HasSuffix(imported, "/psx"):
			fault("imports libpsx, which replaces the host's system calls")
		case imported == "syscall" || imported == "golang.org/x/sys/unix" || imported == "os":
			local := path.Base(imported)
			if spec.Name != nil {
				local = spec.Name.Name
			}
			if local == "." {
				fault("imports %s by a dot, so its calls can't be told", imported)
			}
			kernel[local] = imported
		case strings.HasPrefix(imported, module+"/"):
			other := strings.TrimPrefix(imported, module+"/")
			if inLibrary && !slices.Contains(may, other) {
				fault("imports %s; it may import %v", other, may)
			}
			if other == "capi" {
				fault("imports capi, the outermost layer")
			}
		}
	}
	for _, group := range file.Comments {
		for _, c := range group.List {
			if strings.HasPrefix(c.Text, "//go:linkname") {
				fault("uses go:linkname")
			}
			if strings.HasPrefix(c.Text, "//go:build") && strings.Contains(c.Text, "sandlock_flawed") && dir != "core/internal/flaw" {
				fault("is another file in a build with flaws")
			}
		}
	}
	if memory(name) {
		return faults, nil
	}
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		pkg, ok := sel.X.(*ast.Ident)
		if !ok || kernel[pkg.Name] == "" {
			return true
		}
		for _, raw := range rawCalls {
			if strings.HasPrefix(sel.Sel.Name, raw) {
				fault("uses %s.%s", kernel[pkg.Name], sel.Sel.Name)
			}
		}
		if inLibrary && dir != "core/internal/warden" && slices.Contains(spawns, sel.Sel.Name) {
			fault("uses %s.%s", kernel[pkg.Name], sel.Sel.Name)
		}
		return true
	})
	return faults, nil
}

func TestFences(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	err = filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if file != root && (strings.HasPrefix(entry.Name(), ".") || file == filepath.Join(root, "build")) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") {
			return nil
		}
		name, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		src, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		seen[path.Dir(name)] = true
		faults, err := check(filepath.ToSlash(name), src)
		for _, f := range faults {
			t.Error(f)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range slices.Sorted(maps.Keys(imports)) {
		if !seen[dir] {
			t.Errorf("%s is listed, but holds no Go file", dir)
		}
	}
}

// Each fence holds: one file over it is found, the same file in its place is not.
func TestCheckFinds(t *testing.T) {
	for _, c := range []struct{ name, src, want string }{
		{"core/a.go", `import "unsafe"; var _ unsafe.Pointer`, "imports unsafe"},
		{"core/a_test.go", `import "unsafe"; var _ unsafe.Pointer`, "imports unsafe"},
		{"core/internal/sys/fds.go", `import "unsafe"; var _ unsafe.Pointer`, "imports unsafe"},
		{"core/internal/sys/fds_unsafe.go", `import "unsafe"; var _ unsafe.Pointer`, ""},
		{"core/internal/bpf/x_unsafe.go", `import "unsafe"; var _ unsafe.Pointer`, "imports unsafe"},
		{"capi/a.go", `import ("C"; "unsafe"); var _ unsafe.Pointer`, ""},
		{"capi/a_test.go", `import "C"`, "uses cgo"},
		{"core/a.go", `import "C"`, "uses cgo"},
		{"tests/apps/a_test.go", `import "C"`, "uses cgo"},
		{"core/a.go", `import "golang.org/x/sys/unix"; var _ = unix.RawSyscall`, "uses golang.org/x/sys/unix.RawSyscall"},
		{"core/a.go", `import u "golang.org/x/sys/unix"; var _ = u.PtraceSeize`, "uses golang.org/x/sys/unix.PtraceSeize"},
		{"capi/a.go", `import "syscall"; var _ = syscall.Syscall6`, "uses syscall.Syscall6"},
		{"core/a.go", `import "syscall"; var _ = syscall.ForkExec`, "uses syscall.ForkExec"},
		{"core/a.go", `import "os"; var _ = os.StartProcess`, "uses os.StartProcess"},
		{"core/a.go", `import _ "os/exec"`, "starts processes"},
		{"core/a_test.go", `import _ "os/exec"`, ""},
		{"core/internal/warden/a.go", `import "syscall"; var _ = syscall.ForkExec`, ""},
		{"core/a.go", `import . "syscall"; var _ = Syscall6`, "imports syscall by a dot, so its calls can't be told"},
		{"core/a.go", `import "golang.org/x/sys/unix"; var _ = unix.Poll`, ""},
		{"core/internal/sys/a_unsafe.go", `import "golang.org/x/sys/unix"; var _ = unix.RawSyscall`, ""},
		{"core/a.go", `import _ "kernel.org/pub/linux/libs/security/libcap/psx"`, "imports libpsx, which replaces the host's system calls"},
		{"core/a.go", "import _ \"embed\"\n//go:linkname x runtime.x\nfunc x()", "uses go:linkname"},
		{"core/a.go", "import _ \"embed\"\n//go:build !sandlock_flawed", "is another file in a build with flaws"},
		{"core/internal/flaw/none.go", "import _ \"embed\"\n//go:build !sandlock_flawed", ""},
		{"core/internal/bpf/a.go", `import _ "` + module + `/core/internal/flaw"`, "imports core/internal/flaw; it may import []"},
		{"core/internal/notify/a.go", `import _ "` + module + `/core/internal/handler"`, "imports core/internal/handler; it may import [core/internal/sys]"},
		{"core/internal/bpf/a.go", `import _ "` + module + `/core/internal/warden"`, "imports core/internal/warden; it may import []"},
		{"core/internal/handler/a.go", `import _ "` + module + `/core/internal/notify"`, ""},
		{"core/internal/new/a.go", ``, "the package core/internal/new has no line in tests/fence"},
		{"cmd/sandlock/a.go", `import _ "os/exec"`, "starts processes"},
		{"cmd/new/a.go", ``, "the package cmd/new has no line in tests/fence"},
		{"tests/apps/a_test.go", `import _ "` + module + `/capi"`, "imports capi, the outermost layer"},
	} {
		faults, err := check(c.name, []byte("package p\n"+c.src+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		if c.want != "" {
			want = []string{c.name + ": " + c.want}
		}
		if !slices.Equal(faults, want) {
			t.Errorf("%s: %s: %q, want %q", c.name, c.src, faults, want)
		}
	}
}
