package attacks

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sandlock/sandlock/core"
)

// daemon has named sockets of each type in a directory, and keeps what comes.
type daemon struct {
	dir    string
	words  chan string
	served sync.RWMutex // held for reading by each connection
}

// startDaemon makes the sockets where nobody but their user looks for them, and reads them all
// the time.
func startDaemon(t *testing.T, dir string) *daemon {
	t.Helper()
	d := &daemon{dir: dir, words: make(chan string, 1<<16)}
	keep := func(read func([]byte) (int, error)) {
		buf := make([]byte, 4096)
		for {
			n, err := read(buf)
			if n > 0 {
				d.words <- string(buf[:n])
			}
			if err != nil || n == 0 {
				return
			}
		}
	}
	for name, kind := range map[string]string{"stream": "unix", "packet": "unixpacket"} {
		l, err := net.Listen(kind, filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				d.served.RLock()
				go func() { defer d.served.RUnlock(); defer c.Close(); d.words <- "connected"; keep(c.Read) }()
			}
		}()
	}
	c, err := net.ListenPacket("unixgram", filepath.Join(dir, "dgram"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go keep(func(b []byte) (int, error) { n, _, err := c.ReadFrom(b); return n, err })
	return d
}

// received is what came since the last call, sorted. Each socket is asked through itself: what
// came before is taken before, and clients have closed their connections.
func (d *daemon) received(t *testing.T) []string {
	t.Helper()
	for name, kind := range map[string]string{"stream": "unix", "packet": "unixpacket", "dgram": "unixgram"} {
		c, err := net.Dial(kind, filepath.Join(d.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte(sentinel)); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	var words []string
	for ends := 0; ends < 3; {
		if word := <-d.words; word == sentinel {
			ends++
		} else {
			words = append(words, word)
		}
	}
	d.served.Lock() // when they are over
	d.served.Unlock()
	for len(d.words) > 0 {
		words = append(words, <-d.words)
	}
	for range 2 { // of this call
		i := slices.Index(words, "connected")
		words = slices.Delete(words, i, i+1)
	}
	slices.Sort(words)
	return words
}

// unixPlaces makes a directory for a victim, and one with a daemon that nothing grants.
func unixPlaces(t *testing.T) (own, outside string, d *daemon) {
	t.Helper()
	root := t.TempDir()
	own, outside = filepath.Join(root, "own"), filepath.Join(root, "daemon")
	for _, dir := range []string{own, outside} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return own, outside, startDaemon(t, outside)
}

func emptied(t *testing.T, dir string) string {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Section 20: a named socket that no rule grants gets nothing, by any spelling, call and type;
// one that a rule grants gets all that it gets outside.
func TestNamedSockets(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		own, target, d := unixPlaces(t)
		control := attempts(outside(t, victim("unix"), "reach", own, target))
		words := d.received(t)
		for name, a := range control {
			if a.result < 0 {
				t.Errorf("control: %s: %+v", name, a)
			}
		}
		if len(control) < 50 || len(words) < len(control)-1 {
			t.Errorf("control: %d ways, %q", len(control), words)
		}
		closed := map[string]*core.Policy{}
		for name, edit := range map[string]func(p *core.Policy){
			"nothing writable": func(p *core.Policy) {},
			"recorded":         func(p *core.Policy) { p.RecordDenials, p.MaxProcesses = true, nil },
			"writable":         func(p *core.Policy) { p.FSWritable = []string{own} },
			"readable": func(p *core.Policy) {
				p.FSReadable, p.FSWritable = append(p.FSReadable, target, "/proc"), []string{own}
			},
			"another": func(p *core.Policy) { p.FSWritable, p.UnixAllow = []string{own}, []string{victims} },
			"denied":  func(p *core.Policy) { p.FSWritable, p.FSDenied = []string{filepath.Dir(own)}, []string{target} },
			"all but denied": func(p *core.Policy) {
				p.FSWritable, p.UnixAllow, p.FSDenied = []string{own}, []string{"/"}, []string{target}
			},
			"the network": func(p *core.Policy) { p.FSWritable, p.NetAllow = []string{own}, []string{"*"} },
			"a port":      func(p *core.Policy) { p.FSWritable, p.NetAllow = []string{own}, []string{"tcp://:1"} },
			"asked": func(p *core.Policy) {
				p.FSWritable, p.NetAllow = []string{own}, []string{"*"}
				p.PolicyFn = func(*core.Event, *core.Context) core.Verdict { return core.Allow }
			},
			"denied meanwhile": func(p *core.Policy) {
				p.FSWritable = []string{filepath.Dir(own)}
				p.PolicyFn = func(_ *core.Event, c *core.Context) core.Verdict {
					if err := c.DenyPath(target); err != nil {
						t.Error(err)
					}
					return core.Allow
				}
			},
		} {
			closed[name] = policy()
			edit(closed[name])
		}
		for name, p := range closed {
			r := inside(t, p, victim("unix"), "reach", emptied(t, own), target)
			os.Remove(filepath.Join(target, "made")) // what bind(2) may have left where unlink(2) is denied
			got := attempts(string(r.Stdout))
			for way := range control {
				if a, tried := got[way]; !tried || a.result >= 0 {
					t.Errorf("%s: %s: %+v, tried %t", name, way, a, tried)
				} else if strings.Contains(name, "writable") && a.errno != syscall.EACCES && a.errno != syscall.EBADF {
					t.Errorf("%s: %s: %v", name, way, a.errno) // EBADF: there is no socket to begin with
				}
			}
			if words := d.received(t); len(words) > 0 {
				t.Errorf("%s: arrived: %q", name, words)
			}
			told := func(d core.Denial) bool {
				return d.Rule == "unix_allow" && d.Value == target+"/dgram" && d.Syscall == "sendmmsg" && d.Errno == int(syscall.EACCES)
			}
			if name == "recorded" {
				told = func(d core.Denial) bool { return d.Rule == "unix_allow" && d.Syscall == "socket" && d.Count > 9 }
			}
			if (name == "writable" || name == "recorded") && !slices.ContainsFunc(r.Denials, told) {
				t.Errorf("%s: %+v", name, r.Denials)
			}
		}
		for name, edit := range map[string]func(p *core.Policy){
			"writable":  func(p *core.Policy) { p.FSWritable = []string{filepath.Dir(own)} },
			"directory": func(p *core.Policy) { p.UnixAllow = []string{target} },
			"sockets": func(p *core.Policy) {
				p.UnixAllow = []string{filepath.Join(target, "stream"), filepath.Join(target, "packet"), filepath.Join(target, "dgram")}
			},
			"all":       func(p *core.Policy) { p.UnixAllow = []string{"/"} },
			"elsewhere": func(p *core.Policy) { p.UnixAllow, p.FSDenied = []string{target}, []string{victims + "/none"} },
		} {
			p := policy()
			p.FSReadable, p.FSWritable = append(p.FSReadable, "/proc"), []string{own}
			edit(p)
			r := inside(t, p, victim("unix"), "reach", emptied(t, own), target)
			os.Remove(filepath.Join(target, "made")) // what bind(2) may have left where unlink(2) is denied
			for way, a := range attempts(string(r.Stdout)) {
				if way == "bind" && name != "writable" { // which the kernel refuses: unix_allow lets nothing be made
					a.result = -1 - a.result
				}
				if a.result < 0 && !strings.HasPrefix(way, "raw-") { // SOCK_RAW, which the filter refuses
					t.Errorf("granted, %s: %s: %+v", name, way, a)
				}
			}
			raw := func(word string) bool { return strings.HasPrefix(word, "raw-") }
			if got := d.received(t); !slices.Equal(got, slices.DeleteFunc(slices.Clone(words), raw)) {
				t.Errorf("granted, %s: arrived: %q, want %q", name, got, words)
			}
		}
	})
}

// Neither the address, nor what it leads through, the working directory or the descriptor can
// be exchanged under a call.
func TestNamedSocketRaces(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		own, target, d := unixPlaces(t)
		p := policy()
		p.FSWritable = []string{own}
		for way, what := range []string{"address of connect", "address of sends", "symlink", "working directory", "descriptor"} {
			n, way := fmt.Sprint(rounds()), fmt.Sprint(way)
			won(t, what, func() bool {
				got := attempts(string(inside(t, p, victim("unix"), "race", emptied(t, own), target, n, way).Stdout))
				if words := d.received(t); len(words) > 0 {
					t.Errorf("%s: %d have arrived", what, len(words))
				}
				return (got["reached"].result == 1 || way == "4") && got["refused"].result == 1
			})
			won(t, "control: "+what, func() bool {
				outside(t, victim("unix"), "race", emptied(t, own), target, n, way)
				return len(d.received(t)) > 0
			})
		}
	})
}

// Calls that the library makes answer what the kernel does, in programs with and without
// threads.
func TestUnixSemantics(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "own")
		want := strings.Split(outside(t, victim("unix"), "semantics", emptied(t, dir)), "\n")
		if len(want) < 60 {
			t.Errorf("control: %q", want)
		}
		for _, way := range brief([]string{"alone", "threads", "threads, a rule", "alone, a rule", "alone, a denial", "threads, a denial"}) {
			p := policy()
			p.FSWritable = []string{filepath.Dir(dir)}
			if strings.HasSuffix(way, "rule") {
				p.NetAllow = []string{"*"}
			}
			if strings.HasSuffix(way, "denial") {
				p.FSDenied = []string{victims + "/none"}
			}
			argv := []string{victim("unix"), "semantics", emptied(t, dir)}
			if strings.HasPrefix(way, "threads") {
				argv = append(argv, "threads")
			}
			got := strings.Split(string(inside(t, p, argv...).Stdout), "\n")
			for i, line := range want {
				if i >= len(got) || got[i] != line {
					t.Errorf("%s: outside %q, inside %q", way, line, slices.Concat(got, make([]string, 100))[i])
				}
			}
		}
	})
}

// bind(2), where the library makes the sockets: what it answers and what the socket is then are
// as outside, and none is made in what is denied.
func TestBindOfNames(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		place := func() string {
			dir := emptied(t, filepath.Join(t.TempDir(), "own"))
			must(t, os.Mkdir(filepath.Join(dir, "denied"), 0o755))
			return dir
		}
		dir := place()
		want := outside(t, victim("bind"), dir)
		if control := attempts(outside(t, victim("bind"), place(), "denied")); len(control) < 25 || control["stream"].result != 0 || control["by-a-descriptor"].result != 0 {
			t.Errorf("control: %+v", control)
		}
		later := func(_ *core.Event, c *core.Context) core.Verdict {
			if err := c.DenyPath(filepath.Join(dir, "denied")); err != nil {
				t.Error(err)
			}
			return core.Allow
		}
		for name, edit := range map[string]func(p *core.Policy){
			"alone":  func(p *core.Policy) { p.FSDenied = []string{filepath.Join(dir, "denied")} },
			"a rule": func(p *core.Policy) { p.FSDenied, p.NetAllow = []string{filepath.Join(dir, "denied")}, []string{"*"} },
			"ports": func(p *core.Policy) {
				p.FSDenied, p.NetDenyBind = []string{filepath.Join(dir, "denied")}, []string{"22"}
			},
			"later": func(p *core.Policy) { p.PolicyFn = later },
			"recorded": func(p *core.Policy) {
				p.FSDenied, p.RecordDenials, p.MaxProcesses = []string{filepath.Join(dir, "denied")}, true, nil
			},
		} {
			p := policy()
			p.FSReadable, p.FSWritable = append(p.FSReadable, "/proc"), []string{filepath.Dir(dir)}
			edit(p)
			emptied(t, dir)
			must(t, os.Mkdir(filepath.Join(dir, "denied"), 0o755))
			got := strings.Split(string(inside(t, p, victim("bind"), dir).Stdout), "\n")
			for i, line := range strings.Split(want, "\n") {
				if i >= len(got) || got[i] != line {
					t.Errorf("%s: outside %q, inside %q", name, line, slices.Concat(got, make([]string, 100))[i])
				}
			}
			r := inside(t, p, victim("bind"), dir, "denied")
			for way, a := range attempts(string(r.Stdout)) {
				if a.result >= 0 {
					t.Errorf("%s, denied: %s: %+v", name, way, a)
				}
			}
			if made, err := os.ReadDir(filepath.Join(dir, "denied")); err != nil || len(made) > 0 {
				t.Errorf("%s: made: %v, %v", name, made, err)
			}
		}
	})
}
