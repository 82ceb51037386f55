package attacks

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sandlock/sandlock/core"
	"golang.org/x/sys/unix"
)

// take binds a port of every address, 0 for any that is free, and does not listen.
func take(t *testing.T, port int) (fd, taken int, err error) {
	t.Helper()
	fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err := unix.Bind(fd, &unix.SockaddrInet6{Port: port}); err != nil {
		unix.Close(fd)
		return -1, 0, err
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fd, sa.(*unix.SockaddrInet6).Port, nil
}

// takenPort is one that somebody outside has.
func takenPort(t *testing.T) int {
	t.Helper()
	fd, port, err := take(t, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return port
}

// remapped may bind and reach these ports of loopback, as ports of its own.
func remapped(ports ...int) *core.Policy {
	p := policy()
	p.PortRemap = true
	p.FSReadable = append(p.FSReadable, "/")
	for _, port := range ports {
		p.NetAllowBind = append(p.NetAllowBind, strconv.Itoa(port))
		p.NetAllow = append(p.NetAllow, fmt.Sprintf("tcp://127.0.0.0/8:%d", port), fmt.Sprintf("tcp://[::1]:%d", port))
	}
	return p
}

// A port that is taken outside answers as one that is free does without a sandbox.
func TestPortSemantics(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		fd, free, err := take(t, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		control := outside(t, victim("ports"), "semantics", fmt.Sprint(free), "1")
		if strings.Count(control, "\n") < 74 || !strings.Contains(control, "closing-meets 1 0") || !strings.Contains(control, "share-meets 1 0") || !strings.Contains(control, "zero-meets 1 0") {
			t.Errorf("control: %s", control)
		}
		for _, way := range []string{"any port", "judged", "listen judged"} {
			taken := takenPort(t)
			p, zero := remapped(taken), "0"
			if way != "listen judged" {
				p.NetAllow, p.NetAllowBind, zero = []string{"tcp://127.0.0.0/8", "tcp://[::1]"}, []string{"*"}, "1"
			}
			if way == "judged" {
				p.PolicyEvents = []string{"bind", "connect"}
				p.PolicyFn = func(ev *core.Event, _ *core.Context) core.Verdict {
					if port := int(ev.Port); ev.Syscall == "bind" && port != taken && port != 0 && ev.Host == "127.0.0.3" {
						t.Errorf("event %+v", ev)
					}
					return core.Allow
				}
			}
			r := inside(t, p, victim("ports"), "semantics", fmt.Sprint(taken), zero)
			want, got := strings.Split(control, "\n"), strings.Split(string(r.Stdout), "\n")
			if zero == "0" {
				want = append(want[:slices.Index(want, "zero 1 0")], "")
			}
			for i := range max(len(want), len(got)) {
				line := func(list []string) string { return append(slices.Clone(list), make([]string, i+1)...)[i] }
				if line(want) != line(got) {
					t.Errorf("%s: outside %q, inside %q", way, line(want), line(got))
				}
			}
			if len(r.Stderr) > 0 || len(r.Log) > 0 {
				t.Errorf("%s: %s %q", way, r.Stderr, r.Log)
			}
		}
	})
}

// told is a sandbox that tells, and is told, when it goes on.
type told struct {
	*core.Sandbox
	end *os.File
}

func (s *told) awaits(t *testing.T) {
	t.Helper()
	if _, err := s.end.Read(make([]byte, 1)); err != nil {
		r, _ := s.Wait(0)
		t.Fatalf("%v: %+v", err, r)
	}
}

func (s *told) goOn() { s.end.Write([]byte("x")) }

func tell(t *testing.T, p *core.Policy, argv ...string) *told {
	t.Helper()
	plan, err := p.Compile()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &told{end: os.NewFile(uintptr(pair[0]), "end")}
	t.Cleanup(func() { s.end.Close() })
	s.Sandbox, err = plan.Create(core.Command{Argv: argv, Stdin: pair[1]})
	unix.Close(pair[1])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *told) result(t *testing.T) map[string]attempt {
	t.Helper()
	s.end.Close()
	r, err := s.Wait(0)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Stderr) > 0 || len(r.Log) > 0 {
		t.Errorf("%s %q", r.Stderr, r.Log)
	}
	return attempts(string(r.Stdout))
}

// Twenty sandboxes have one port at the same time, on two addresses each, and meet
// themselves there. Without port_remap one of them has it.
func TestPortCrowd(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for name, option := range map[string]int{"alone": 0, "SO_REUSEADDR": unix.SO_REUSEADDR, "SO_REUSEPORT": unix.SO_REUSEPORT} {
			fd, port, err := take(t, 0)
			if err != nil {
				t.Fatal(err)
			}
			unix.Close(fd)
			var all []*told
			for range 20 {
				all = append(all, tell(t, remapped(port), victim("ports"), "crowd", fmt.Sprint(port), fmt.Sprint(option)))
			}
			for range 2 {
				for _, s := range all {
					s.awaits(t)
				}
				for _, s := range all {
					s.goOn()
				}
			}
			reals := map[uint16]int{}
			for _, s := range all {
				s.awaits(t)
				ports := s.Ports()
				for virtual, real := range ports {
					if int(virtual) != port {
						t.Errorf("%s: %v", name, ports)
					}
					reals[real]++
				}
			}
			if len(reals) < 19 {
				t.Errorf("%s: %v", name, reals)
			}
			for _, s := range all {
				s.goOn()
				got := s.result(t)
				for _, what := range []string{"listen-4", "listen-6"} {
					if got[what].result != 0 {
						t.Errorf("%s: %s %v", name, what, got[what])
					}
				}
				for _, what := range []string{"own-4", "own-6"} {
					if got[what].result != 1 {
						t.Errorf("%s: %s %v", name, what, got[what])
					}
				}
				if ports := s.Ports(); len(ports) != 0 {
					t.Errorf("%s: %v after the end", name, ports)
				}
			}
		}
	})
}

// counter is a listener that counts who comes.
type counter struct {
	net.Listener
	came chan int
}

func count(t *testing.T, port int) (*counter, error) {
	t.Helper()
	fd, _, err := take(t, port)
	if err != nil {
		return nil, err
	}
	if err := unix.Listen(fd, 128); err != nil {
		unix.Close(fd)
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "listener")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	c := &counter{l, make(chan int, 1)}
	go func() {
		n := 0
		for {
			conn, err := l.Accept()
			if err != nil {
				break
			}
			n++
			conn.Close()
		}
		c.came <- n
	}()
	return c, nil
}

func (c *counter) close() int {
	c.Close()
	return <-c.came
}

// Section 19: when a listener of the sandbox is gone, whoever gets its real port is reached
// neither by the virtual port, nor by a connect that was not over, nor by its number.
func TestPortGone(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		port := takenPort(t)
		s := tell(t, remapped(port), victim("ports"), "gone", fmt.Sprint(port))
		s.awaits(t)
		real := int(s.Ports()[uint16(port)])
		if real == 0 || real == port {
			t.Fatalf("%v", s.Ports())
		}
		s.goOn()
		s.awaits(t)
		if ports := s.Ports(); len(ports) != 0 {
			t.Errorf("closed: %v", ports)
		}
		other, err := count(t, real)
		if err != nil {
			t.Fatal(err)
		}
		s.goOn()
		s.awaits(t)
		s.goOn()
		got := s.result(t)
		if got["own"].result != 1 {
			t.Errorf("%v", got)
		}
		refused(t, got, []string{"queue-full", "shut", "gone"}, syscall.ECONNREFUSED)
		refused(t, attempts(string(inside(t, remapped(port), victim("ports"), "dial", fmt.Sprint(real)).Stdout)), []string{"dial"}, syscall.EACCES)
		if got := attempts(outside(t, victim("ports"), "dial", fmt.Sprint(real))); got["dial"].result < 0 {
			t.Errorf("control: %v", got)
		}
		if n := other.close(); n != 1 { // the control's
			t.Errorf("%d connections arrived", n)
		}
	})
}

// The same while a sandbox opens and closes the listener and dials, and somebody outside
// takes its real port whenever it can.
func TestPortStorm(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		port := takenPort(t)
		s := tell(t, remapped(port), victim("ports"), "storm", fmt.Sprint(port), fmt.Sprint(rounds()/2))
		over := make(chan bool)
		go func() {
			defer close(over)
			s.Wait(0)
		}()
		took, came, control := 0, 0, 0
		for running := true; running; {
			select {
			case <-over:
				running = false
			default:
			}
			real := int(s.Ports()[uint16(port)])
			if real == 0 {
				continue
			}
			for range 20 {
				c, err := count(t, real)
				if err != nil {
					continue
				}
				took++
				if took == 1 {
					if d, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", real)); err == nil {
						control++
						d.Close()
					}
				}
				s.Ports()
				came += c.close()
			}
		}
		if got := s.result(t); got["connected"].result != 1 {
			t.Errorf("%v", got)
		}
		if took == 0 || control != 1 || came != control {
			t.Errorf("the real port was taken %d times: %d connections, %d of the control", took, came, control)
		}
		t.Logf("the real port was taken %d times", took)
	})
}

// Of threads that bind a port at the same time one has it.
func TestPortContenders(t *testing.T) {
	n := rounds() / 10
	argv := func(port int) []string {
		return []string{victim("ports"), "contend", fmt.Sprint(port), fmt.Sprint(n)}
	}
	fd, free, err := take(t, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	if got := attempts(outside(t, argv(free)...)); got["once"].result != int64(n) {
		t.Errorf("control: %v", got)
	}
	taken := takenPort(t)
	if got := attempts(string(inside(t, remapped(taken), argv(taken)...).Stdout)); got["once"].result != int64(n) {
		t.Errorf("inside: %v, want %d", got, n)
	}
}
