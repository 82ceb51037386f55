package attacks

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/sandlock/sandlock/core"
)

// What is refused without end costs a counter, and no memory.
func TestFloodOfDenials(t *testing.T) {
	const n = 20_000
	bothUsers(t, func(t *testing.T) {
		if got := attempts(outside(t, victim("refused"), "flood", "1000"))["reached"]; got.result != 1000 {
			t.Fatalf("without a sandbox %d of 1000 came through", got.result)
		}
		p := policy()
		p.NetAllow = []string{"udp://192.0.2.7"}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		r := inside(t, p, victim("refused"), "flood", strconv.Itoa(n))
		runtime.GC()
		runtime.ReadMemStats(&after)
		if got, ok := attempts(string(r.Stdout))["reached"]; !ok || got.result != 0 {
			t.Fatalf("%d came through: %s%s", got.result, r.Stdout, r.Stderr)
		}
		all := r.DenialsDropped
		for _, d := range r.Denials {
			all += d.Count
		}
		if all != n || len(r.Denials) != 1000 {
			t.Errorf("%d kept, %d dropped: %d refused, of %d", len(r.Denials), r.DenialsDropped, all, n)
		}
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
			t.Errorf("the heap has grown by %d bytes", grown)
		}
		runtime.KeepAlive(r)
	})
}

// What the sandbox chooses to be called is told as it is, and never as something else.
func TestNamesOfDenials(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "\x1b]0;owned\x07\n\"\\\xff")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		secret := filepath.Join(dir, "secret\x1b[2J\r\n{}")
		if err := os.WriteFile(secret, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		program := filepath.Join(dir, "refused\n\x1b[8m")
		content, err := os.ReadFile(victim("refused"))
		if err == nil {
			err = os.WriteFile(program, content, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := attempts(outside(t, program, "name", "3", secret))["reached"]; got.result != 6 {
			t.Fatalf("without a sandbox %d of 6 came through", got.result)
		}
		p := policy()
		p.FSReadable = append(p.FSReadable, dir, "/etc/ld.so.cache")
		p.FSDenied = []string{secret}
		p.NetAllow = []string{"udp://192.0.2.7"}
		r := inside(t, p, program, "name", "3", secret)
		if got, ok := attempts(string(r.Stdout))["reached"]; !ok || got.result != 0 {
			t.Fatalf("%d came through: %s%s", got.result, r.Stdout, r.Stderr)
		}
		if len(r.Denials) != 2 {
			t.Fatalf("%s", r.DenialsJSON())
		}
		for _, d := range r.Denials {
			if d.Exe != program || !strings.HasPrefix(d.Command, "\x1b[2J\"\\n\\\\\xff\a") || d.Count != 3 {
				t.Errorf("%+v", d)
			}
		}
		if r.Denials[0].Path != secret {
			t.Errorf("%+v", r.Denials[0])
		}
		for _, c := range r.DenialsJSON() {
			if unicode.IsControl(c) || c == unicode.ReplacementChar {
				t.Errorf("%q in %q", c, r.DenialsJSON())
			}
		}
	})
}

// A task that is killed while it is told what it was refused is taken for nobody else.
func TestDyingWhileDenied(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		dir := t.TempDir()
		secret := filepath.Join(dir, "secret")
		if err := os.WriteFile(secret, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if got := attempts(outside(t, victim("refused"), "name", "1", secret))["reached"]; got.result != 2 {
			t.Fatalf("without a sandbox %d of 2 came through", got.result)
		}
		p := policy()
		p.FSReadable = append(p.FSReadable, dir, "/etc/ld.so.cache")
		p.FSDenied = []string{secret}
		n := 100
		if os.Getenv("SANDLOCK_SOAK") != "" {
			n = 10_000
		}
		r := inside(t, p, victim("refused"), "die", strconv.Itoa(n), secret)
		if got, ok := attempts(string(r.Stdout))["reached"]; !ok || got.result != 0 || r.Reason != core.Exited {
			t.Fatalf("%d came through: %s%s %v", got.result, r.Stdout, r.Stderr, r.Log)
		}
		if len(r.Denials) != 1 {
			t.Fatalf("%s", r.DenialsJSON())
		}
		if d := r.Denials[0]; d.PID != 0 && (d.Exe != victim("refused") || d.Command != "refused") {
			t.Errorf("%+v", d)
		}
	})
}

// Where denials are recorded, everything is refused that is refused elsewhere, with the same
// errno.
func TestRecordedAlike(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		canary := filepath.Join(t.TempDir(), "canary")
		if err := os.WriteFile(canary, nil, 0o666); err != nil {
			t.Fatal(err)
		}
		for _, argv := range [][]string{
			{"filter", "namespaces"}, {"filter", "kernel"}, {"filter", "peer"}, {"filter", "ioctls"},
			{"filter", "legacy", canary}, {"filter", "attributes", canary}, {"sockets"},
		} {
			attempt := func(record bool) (map[string]attempt, *core.Result) {
				p := policy()
				p.FSReadable = append(p.FSReadable, "/etc/ld.so.cache")
				p.RecordDenials = record
				r := inside(t, p, append([]string{victim(argv[0])}, argv[1:]...)...)
				return attempts(string(r.Stdout)), r
			}
			want, _ := attempt(false)
			got, r := attempt(true)
			if len(want) < 7 || len(got) != len(want) {
				t.Errorf("%q: %d attempts, and %d", argv, len(want), len(got))
			}
			refused := 0
			for name, w := range want {
				if g := got[name]; g.errno != w.errno || (g.result < 0) != (w.result < 0) {
					t.Errorf("%q: %s: %+v, and recorded %+v", argv, name, w, g)
				}
				if w.errno != 0 {
					refused++
				}
			}
			if refused == 0 || len(r.Denials) == 0 {
				t.Errorf("%q: %d of %d refused, %d recorded", argv, refused, len(want), len(r.Denials))
			}
		}
	})
}
