package attacks

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sandlock/sandlock/core"
)

// recorder keeps what reaches a port on every address of loopback, by the address that
// was dialled.
type recorder struct {
	tcp  net.Listener
	port string

	mu    sync.Mutex // guards what follows
	bytes map[string]string
	conns map[string]int
	done  chan bool
}

// stopWord makes a connection the last of what is recorded.
const stopWord = "the last one"

func record(t *testing.T) *recorder {
	t.Helper()
	tcp, err := net.Listen("tcp", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{tcp: tcp, port: strconv.Itoa(tcp.Addr().(*net.TCPAddr).Port), bytes: map[string]string{}, conns: map[string]int{}, done: make(chan bool)}
	go r.serve()
	t.Cleanup(func() { tcp.Close(); <-r.done })
	return r
}

// serve takes every connection before the next: each is closed by its peer soon.
func (r *recorder) serve() {
	defer close(r.done)
	for {
		c, err := r.tcp.Accept()
		if err != nil {
			return
		}
		host, _, _ := net.SplitHostPort(c.LocalAddr().String())
		var text strings.Builder
		buf := make([]byte, 4096)
		for {
			n, err := c.Read(buf)
			text.Write(buf[:n])
			if err != nil {
				break
			}
		}
		c.Close()
		if text.String() == stopWord {
			r.done <- true
			continue
		}
		r.mu.Lock()
		r.conns[host]++
		r.bytes[host] += text.String()
		r.mu.Unlock()
	}
}

// arrived is how many connections came to each address since the last call.
func (r *recorder) arrived(t *testing.T) map[string]int {
	t.Helper()
	c, err := net.Dial("tcp4", "127.0.0.1:"+r.port)
	if err != nil {
		t.Fatal(err)
	}
	c.Write([]byte(stopWord))
	c.Close()
	<-r.done
	r.mu.Lock()
	defer r.mu.Unlock()
	conns := r.conns
	r.conns, r.bytes = map[string]int{}, map[string]string{}
	return conns
}

// full is a port of loopback whose queue of connections is full.
func full(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	at := &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if err := syscall.Bind(fd, at); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at.Port = sa.(*syscall.SockaddrInet4).Port
	for range 3 {
		c, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { syscall.Close(c) })
		if err := syscall.Connect(c, at); err != nil && err != syscall.EINPROGRESS {
			t.Fatal(err)
		}
	}
	return strconv.Itoa(at.Port)
}

// onBehalf are the policies under which the supervisor connects, each so that 127.0.0.1 and
// ::1 may be reached and 127.0.0.2 not.
func onBehalf() map[string]*core.Policy {
	rules := policy()
	rules.NetAllow = []string{"tcp://127.0.0.1", "tcp://[::1]"}
	asked := policy()
	asked.NetAllow = []string{"tcp://*"}
	asked.PolicyEvents = []string{"connect"}
	asked.PolicyFn = func(ev *core.Event, _ *core.Context) core.Verdict {
		if ev.Host == "127.0.0.2" {
			return core.Verdict(syscall.EACCES)
		}
		return core.Allow
	}
	alone := policy() // the kernel denies no connect then
	alone.NetAllow, alone.Disable = rules.NetAllow, []core.Protection{core.NetTCP}
	alone.AllowDegraded = slices.DeleteFunc(slices.Clone(rules.AllowDegraded), func(p core.Protection) bool { return p == core.NetTCP })
	return map[string]*core.Policy{"rules": rules, "policy_fn": asked, "without net-tcp": alone}
}

// A connect that is made on the caller's behalf answers what the kernel answers.
func TestDialSemantics(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		r, full := record(t), full(t)
		want := outside(t, victim("dial"), "semantics", r.port, full)
		if strings.Count(want, "\n") < 45 {
			t.Errorf("control: %s", want)
		}
		for name, p := range onBehalf() {
			if name != "rules" && testing.Short() {
				continue
			}
			got := inside(t, p, victim("dial"), "semantics", r.port, full)
			outsideLines, insideLines := strings.Split(want, "\n"), strings.Split(string(got.Stdout), "\n")
			for i, line := range outsideLines {
				if i >= len(insideLines) || insideLines[i] != line {
					t.Errorf("%s: outside %q, inside %q", name, line, slices.Concat(insideLines, make([]string, len(outsideLines)))[i])
				}
			}
			if len(got.Stderr) > 0 || len(got.Log) > 0 {
				t.Errorf("%s: %s, %q", name, got.Stderr, got.Log)
			}
		}
	})
}

// Sections 5 and 6: an address that changes while it is judged leads to nothing that may
// not be reached, and neither does a descriptor.
func TestDialRaces(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		r, n := record(t), fmt.Sprint(rounds())
		for name, p := range onBehalf() {
			if p.UnixAllow = []string{"/"}; name == "rules" { // whose unix sockets are judged, too
				p.UnixAllow = []string{victims}
			}
			got := attempts(string(inside(t, p, victim("dial"), "address", "127.0.0.1", "127.0.0.2", r.port, n).Stdout))
			conns := r.arrived(t)
			if got["connected"].result != 1 || got["refused"].result != 1 || conns["127.0.0.1"] == 0 || len(conns) != 1 {
				t.Errorf("%s, address: %+v, %v", name, got, conns)
			}
			got = attempts(string(inside(t, p, victim("dial"), "descriptor", "127.0.0.2", r.port, n).Stdout))
			if conns := r.arrived(t); got["connected"].result != 0 || got["refused"].result != 1 || len(conns) != 0 {
				t.Errorf("%s, descriptor: %+v, %v", name, got, conns)
			}
		}
		won(t, "control, address", func() bool {
			outside(t, victim("dial"), "address", "127.0.0.1", "127.0.0.2", r.port, n)
			return len(r.arrived(t)) == 2
		})
		won(t, "control, descriptor", func() bool {
			got := attempts(outside(t, victim("dial"), "descriptor", "127.0.0.2", r.port, n))
			r.arrived(t)
			return got["connected"].result == 1
		})
	})
}

// Under rules for addresses nothing arrives anywhere else, by any door.
func TestAddressDoors(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		s := serve(t)
		tcp, udp := s.ports()
		for name, rules := range map[string][]string{
			"another address":           {"tcp://127.0.0.9:" + tcp, "tcp://[2001:db8::1]"},
			"another port of each":      {"tcp://127.0.0.1:1", "tcp://[::1]:1"},
			"a network beside":          {"tcp://126.0.0.0/8", "tcp://128.0.0.0/8", "tcp://[::2]/127"},
			"unspecified, not loopback": {"tcp://0.0.0.0", "tcp://[::]"},
		} {
			p := policy()
			p.NetAllow = rules
			got := attempts(string(inside(t, p, victim("network"), "reach", tcp, udp).Stdout))
			errnos := []syscall.Errno{syscall.EACCES, syscall.EPERM, syscall.EAFNOSUPPORT, syscall.EPROTONOSUPPORT, syscall.ENOENT}
			refused(t, got, names(got, ""), errnos...)
			if words := s.received(t); len(words) != 0 {
				t.Errorf("%s: arrived: %q", name, words)
			}
		}
		p := policy()
		p.NetAllow = []string{"tcp://127.0.0.1:" + tcp}
		inside(t, p, victim("network"), "reach", tcp, udp)
		words := s.received(t)
		for _, w := range []string{"connect-4", "connect-mapped", "connect-any"} {
			if !slices.Contains(words, w) {
				t.Errorf("%s did not arrive: %q", w, words)
			}
		}
		for _, w := range words {
			if !strings.HasPrefix(w, "connect-") && !strings.HasPrefix(w, "fastopen-connect-") || strings.HasSuffix(w, "-6") {
				t.Errorf("arrived by another door: %q", w)
			}
		}
	})
}

// Tasks that wait for a connection hold up no other, and the end of the run not at all.
func TestDialCrowd(t *testing.T) {
	tasks := 1000 // more than may wait at a time
	if os.Getenv("SANDLOCK_SOAK") != "" {
		tasks = 10_000
	}
	r, full := record(t), full(t)
	p := onBehalf()["rules"]
	start := time.Now()
	got := attempts(string(inside(t, untraced(p), victim("dial"), "crowd", r.port, full, fmt.Sprint(tasks)).Stdout))
	if got["waiting"].result != int64(tasks) || got["open"].result != 0 {
		t.Errorf("%+v", got)
	}
	t.Logf("%d tasks in %v", tasks, time.Since(start))
	if n := r.arrived(t)["127.0.0.1"]; n != 1 {
		t.Errorf("%d connections", n)
	}
}

// What a callback has taken from a process stays taken from it and all that it starts.
func TestRestrictedProcess(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		r := record(t)
		for _, restricted := range []bool{true, false} {
			p := policy()
			p.NetAllow = []string{"tcp://*"}
			p.PolicyFn = func(ev *core.Event, ctx *core.Context) core.Verdict {
				if restricted && ev.Category == core.CategoryProcess {
					if err := ctx.RestrictPIDNetwork(ev.PID, []string{"127.0.0.1"}); err != nil {
						t.Error(err)
					}
				}
				return core.Allow
			}
			p.PolicyEvents = []string{"execve", "connect"}
			res := inside(t, p, victim("dial"), "shed", "127.0.0.1", "127.0.0.2", r.port)
			got := attempts(string(res.Stdout))
			if got["good"].result != 0 || got["orphan-good"].result != 0 || got["mark-read"].result != 0 || got["another-limit"].result != 0 || got["over"].result != 1 {
				t.Errorf("restricted %t: %+v", restricted, got)
			}
			refused(t, got, []string{"mark-raise", "mark-lower", "mark-prlimit", "mark-dirty"}, syscall.EPERM)
			conns := r.arrived(t)
			if restricted {
				refused(t, got, []string{"bad", "orphan-bad"}, syscall.EACCES)
			}
			if (conns["127.0.0.2"] == 0) != restricted || conns["127.0.0.1"] != 2 {
				t.Errorf("restricted %t: %v", restricted, conns)
			}
		}
	})
}

// What a callback says of the network holds from the next decision on, that about the
// event which it decides included.
func TestRestrictedNetwork(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		r := record(t)
		for i, list := range [][]string{{}, {"127.0.0.1"}, {"127.0.0.2", "::ffff:127.0.0.1"}} {
			p := policy()
			p.NetAllow = []string{"tcp://*"}
			p.PolicyEvents = []string{"connect"}
			p.PolicyFn = func(ev *core.Event, ctx *core.Context) core.Verdict {
				if err := ctx.RestrictNetwork(list); err != nil {
					t.Error(err)
				}
				return core.Allow
			}
			inside(t, p, victim("dial"), "shed", "127.0.0.1", "127.0.0.2", r.port)
			conns := r.arrived(t)
			if want := []map[string]int{{}, {"127.0.0.1": 2}, {"127.0.0.1": 2, "127.0.0.2": 2}}[i]; fmt.Sprint(conns) != fmt.Sprint(want) {
				t.Errorf("%q: %v", list, conns)
			}
		}
	})
}

// A port that changes while it is judged is bound only if it may be.
func TestBindRace(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		good, bad, n := freePort(t), freePort(t), fmt.Sprint(rounds())
		denied, asked := policy(), policy()
		denied.NetDenyBind = []string{bad}
		asked.NetAllowBind, asked.PolicyEvents = []string{"*"}, []string{"bind"}
		asked.PolicyFn = func(ev *core.Event, _ *core.Context) core.Verdict {
			if strconv.Itoa(int(ev.Port)) == bad {
				return core.Verdict(syscall.EACCES)
			}
			return core.Allow
		}
		for name, p := range map[string]*core.Policy{"net_deny_bind": denied, "policy_fn": asked} {
			if got := attempts(string(inside(t, p, victim("dial"), "bind", good, bad, n).Stdout)); got["bound"].result != 1 || got["refused"].result != 1 || got["cheated"].result != 0 {
				t.Errorf("%s: %+v", name, got)
			}
		}
		won(t, "control", func() bool {
			return attempts(outside(t, victim("dial"), "bind", good, bad, n))["cheated"].result > 0
		})
	})
}
