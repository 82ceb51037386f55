package attacks

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sandlock/sandlock/core"
	"golang.org/x/sys/unix"
)

// flaws are what a build of the judge can be without: core/internal/flaw.
type flaws []string

var (
	whole    = flaws{}
	writable = flaws{"writable"}                         // process_vm_writev(2) passes the filter
	unproved = flaws{"writable", "unproved"}             // and nothing is compared at the exec stop
	open     = flaws{"writable", "unproved", "unfrozen"} // and no thread is stopped
)

// judgeWithout builds tests/victim/judge without some protections. As another user it
// takes what was built before.
func judgeWithout(t *testing.T, f flaws) string {
	t.Helper()
	program := victim("judge-" + strings.Join(f, "-"))
	if _, err := os.Stat(program); err == nil {
		return program
	}
	tags, link := "landlocktsync", ""
	if len(f) > 0 {
		tags += ",sandlock_flawed"
	}
	for _, name := range f {
		link += " -X github.com/sandlock/sandlock/core/internal/flaw." + name + "=yes"
	}
	cmd := exec.Command("go", "build", "-buildvcs=false", "-tags", tags, "-ldflags", link, "-o", program, "../victim/judge")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// A race is an exec of tests/victim/race.c while a writer changes something.
type race struct {
	writer, change, core string
	dir                  string     // to write in
	executable           []string   // nil: all that is readable
	good                 []string   // the line that is printed when what was judged has run
	allow                [][]string // what the judge allows
}

func (r race) String() string { return fmt.Sprintf("%s %s, %s core", r.writer, r.change, r.core) }

// outcome is how many of the execs went which way.
type outcome struct {
	good, cheats           int // ran
	denied, killed, failed int
	wrote, refused         int64 // by process_vm_writev
	log                    []string
	lines                  map[string]int
}

func (o outcome) String() string {
	return fmt.Sprintf("%d ran as judged, %d cheats ran, %d denied, %d killed at the exec stop, %d failed", o.good, o.cheats, o.denied, o.killed, o.failed)
}

func (r race) argv(n int) []string {
	return []string{victim("race"), r.writer, r.change, r.core, fmt.Sprint(n), r.dir}
}

func (r race) outcome(t *testing.T, n int, out []byte) outcome {
	t.Helper()
	o := outcome{lines: map[string]int{}}
	ran := 0
	for line, k := range lines(string(out)) {
		got, is := attempts(line)[strings.Fields(line)[0]]
		count := int(got.result)
		switch name, _, _ := strings.Cut(line, " "); {
		case !is || len(strings.Fields(line)) != 3:
			o.lines[line] = k
			if slices.Contains(r.good, line) {
				o.good += k
			} else {
				o.cheats += k
			}
		case name == "ran":
			ran = count
		case name == "denied":
			o.denied = count
		case name == "killed":
			o.killed = count
		case name == "wrote":
			o.wrote = got.result
		case name == "refused":
			o.refused = got.result
		default:
			o.failed += count
		}
	}
	if ran != o.good+o.cheats || ran+o.denied+o.killed+o.failed != n {
		t.Errorf("%v: %v of %d execs, %.1000q", r, o, n, out)
	}
	return o
}

// underJudge has the judge do a job; its fields are in tests/victim/judge.
func underJudge(t *testing.T, f flaws, job map[string]any) *core.Result {
	t.Helper()
	in, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(judgeWithout(t, f))
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	r := new(core.Result)
	if err := json.Unmarshal(out, r); err != nil {
		t.Fatal(err)
	}
	return r
}

// inside runs n rounds under the judge.
func (r race) inside(t *testing.T, f flaws, n int) outcome {
	t.Helper()
	job := map[string]any{"Argv": r.argv(n), "Allow": r.allow, "Readable": policy().FSReadable, "Executable": r.executable}
	if r.dir != "" {
		job["Writable"] = []string{r.dir}
	}
	result := underJudge(t, f, job)
	if result.ExitCode != 0 {
		t.Errorf("%v: %+v", r, result)
	}
	o := r.outcome(t, n, result.Stdout)
	o.log = result.Log
	return o
}

// outside shows that the race can be won and lost when nobody looks.
func (r race) outside(t *testing.T) {
	t.Helper()
	var good, cheats int
	won(t, r, func() bool {
		o := r.outcome(t, 20, []byte(outside(t, r.argv(20)...)))
		good, cheats = good+o.good, cheats+o.cheats
		return good > 0 && cheats > 0
	})
}

// onCores divides n rounds between a writer on the same core and one on another, if there
// is another.
func onCores(t *testing.T, n int, f func(core string, n int)) {
	if other := otherCore(t); other != "same" {
		f(other, n/2)
		n -= n / 2
	}
	f("same", n)
}

// otherCore is where a writer can be that is to have a core of its own.
func otherCore(t *testing.T) string {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	if set.Count() < 2 {
		return "same"
	}
	return "other"
}

// raceRounds: the second time, as an ordinary user, a fifth of the rounds will do.
func raceRounds() int {
	if secondUser() {
		return max(rounds()/5, 100)
	}
	return rounds()
}

// Section 1: whoever changes the arguments between verdict and load, no instruction of a
// program runs with what was not approved. In a build without the check, it does.
func TestArgvRaces(t *testing.T) {
	for _, f := range []flaws{whole, writable, unproved, open} {
		judgeWithout(t, f) // which an ordinary user may be unable to
	}
	bothUsers(t, func(t *testing.T) {
		for _, writer := range []string{"thread", "clone", "read", "mapping", "file", "writev"} {
			onCores(t, raceRounds(), func(core string, n int) {
				t.Run(writer+"-"+core, func(t *testing.T) {
					r := race{writer: writer, change: "word", core: core,
						good: []string{"3 say|good"}, allow: [][]string{{victim("race"), "say", "good"}}}
					o := r.inside(t, whole, n)
					t.Logf("%v, of %d: %v", r, n, o)
					if o.cheats != 0 || o.good == 0 || o.failed != 0 {
						t.Errorf("%v, %q", o.lines, o.log)
					}
					if writer == "writev" {
						t.Logf("process_vm_writev: %d refused", o.refused)
						if o.wrote != 0 || o.refused == 0 || o.good != n {
							t.Errorf("%d writes, %d refused", o.wrote, o.refused)
						}
						// What the filter refuses first, the check at the exec stop would find.
						if o = r.inside(t, writable, n); o.cheats != 0 || o.good == 0 || o.wrote == 0 {
							t.Errorf("%v, %d writes, %q", o.lines, o.wrote, o.log)
						}
						t.Logf("%v, a build that is %v, of %d: %v", r, writable, n, o)
					}
					if o.denied+o.killed == 0 {
						t.Errorf("nobody has changed anything: %v", o)
					}
					n = max(n/5, 100)
					if writer == "thread" { // which the freeze alone keeps out
						o := r.inside(t, unproved, n)
						t.Logf("%v, a build that is %v, of %d: %v", r, unproved, n, o)
						if o.cheats != 0 {
							t.Errorf("a thread that was stopped has written: %v", o.lines)
						}
					}
					r.control(t, open, n)
					r.outside(t)
				})
			})
		}
	})
}

// changedFile is a directory with what the changes of files and paths are about.
func changedFile(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile(victim("race"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"inplace/race": string(program),
		"outside/race": "#!" + victim("race") + " evil\n",
		"script":       "#!" + victim("race") + " say \n",
		"chain":        "#!" + filepath.Join(dir, "script") + " x\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("inplace", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Section 2: the name of the file, a link on the way to it, or what it says is changed
// between verdict and load.
func TestChangedFile(t *testing.T) {
	judgeWithout(t, whole)
	judgeWithout(t, open)
	bothUsers(t, func(t *testing.T) {
		dir := changedFile(t)
		self, script, chain := victim("race"), filepath.Join(dir, "script"), filepath.Join(dir, "chain")
		said := []string{self, "say", "good"}
		for _, r := range []race{
			{writer: "mapping", change: "path", good: []string{"3 say|good"}},
			{writer: "files", change: "link", good: []string{"3 say|good"}},
			{writer: "files", change: "script", good: []string{"5 say|" + script + "|say|good"},
				allow: [][]string{{self, "say", script, "say", "good"}}},
			{writer: "files", change: "chain", good: []string{"7 say|" + script + "|x|" + chain + "|say|good"},
				allow: [][]string{{self, "say", script, "x", chain, "say", "good"}}},
		} {
			t.Run(r.change, func(t *testing.T) { r.tryAll(t, dir, said) })
		}
		// Where only the file differs, no command line can tell; fs_executable does.
		t.Run("place", func(t *testing.T) {
			outsider := filepath.Join(dir, "outside/race")
			program, err := os.ReadFile(self)
			if err != nil {
				t.Fatal(err)
			}
			marked := bytes.Replace(program, []byte("MARK: in place"), []byte("MARK: outside "), 1)
			if err := os.WriteFile(outsider, marked, 0o755); err != nil {
				t.Fatal(err)
			}
			for _, r := range []race{{writer: "mapping", change: "path"}, {writer: "files", change: "link"}} {
				r.dir, r.core, r.good, r.allow = dir, otherCore(t), []string{"3 say|good"}, [][]string{said}
				r.executable = []string{"/usr", "/lib", "/lib64", self, filepath.Join(dir, "inplace")}
				n := max(raceRounds()/5, 100)
				o := r.inside(t, whole, n)
				t.Logf("%v, fs_executable, of %d: %v", r, n, o)
				if o.cheats != 0 || o.good == 0 || o.failed == 0 {
					t.Errorf("%v, %q", o.lines, o.log)
				}
				r.executable = nil
				r.control(t, whole, n)
			}
		})
	})
}

// tryAll: nothing but what was judged runs, unless the check is left out, or the sandbox.
func (r race) tryAll(t *testing.T, dir string, said []string) {
	r.dir, r.core, r.allow = dir, otherCore(t), append(r.allow, said)
	n := raceRounds()
	o := r.inside(t, whole, n)
	t.Logf("%v, of %d: %v", r, n, o)
	if o.cheats != 0 || o.good == 0 || o.denied+o.killed == 0 {
		t.Errorf("%v, %q", o.lines, o.log)
	}
	r.control(t, open, max(n/5, 100))
	r.outside(t)
}

// control shows that cheats run in a build with flaws.
func (r race) control(t *testing.T, f flaws, n int) {
	t.Helper()
	won(t, r, func() bool {
		o := r.inside(t, f, n)
		t.Logf("%v, a build that is %v, of %d: %v", r, f, n, o)
		return o.cheats > 0 && o.good > 0
	})
}

// Sections 1, 4: the number of the arguments or where one ends is changed, where the new
// image holds the same bytes all the same: in its environment, behind the last argument.
func TestMatchingTail(t *testing.T) {
	judgeWithout(t, whole)
	judgeWithout(t, open)
	bothUsers(t, func(t *testing.T) {
		self := victim("race")
		for _, r := range []race{
			{change: "boundary", good: []string{"3 say|good"}},
			{change: "more", good: []string{"3 say|good"}},
			{change: "fewer", good: []string{"4 say|good|tail"}, allow: [][]string{{self, "say", "good", "tail"}}},
			{change: "empty", good: []string{"3 say|good"}},
			{change: "none", good: []string{"1"}, allow: [][]string{{""}}},
			{change: "long", good: []string{"3 say|xxxx..good"}, allow: [][]string{{self, "say", strings.Repeat("x", 131067) + "good"}}},
		} {
			t.Run(r.change, func(t *testing.T) {
				r.writer = "mapping"
				if r.allow == nil {
					r.allow = [][]string{{self, "say", "good"}}
				}
				r.tryAll(t, "", r.allow[0])
			})
		}
	})
}
