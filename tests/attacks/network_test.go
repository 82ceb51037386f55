package attacks

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sandlock/sandlock/core"
)

// server listens for TCP and UDP on every address of loopback and keeps what arrives.
type server struct {
	tcp    net.Listener
	udp    net.PacketConn
	writer net.Conn
}

// sentinel ends what a server has received: the queues are first in, first out.
const sentinel = "sentinel"

func serve(t *testing.T) *server {
	t.Helper()
	// TCP on :: takes IPv4 too; not MPTCP, so that a plain port is what is reached.
	tcp, err := net.Listen("tcp", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tcp.Close(); udp.Close() })
	return &server{tcp: tcp, udp: udp}
}

func (s *server) ports() (tcp, udp string) {
	return strconv.Itoa(s.tcp.Addr().(*net.TCPAddr).Port), strconv.Itoa(s.udp.LocalAddr().(*net.UDPAddr).Port)
}

// received is all that came since the last call, one word a connection or datagram;
// a connection without a word is "(connection)".
func (s *server) received(t *testing.T) []string {
	t.Helper()
	tcp, udp := s.ports()
	var words []string
	c, err := net.Dial("tcp4", "127.0.0.1:"+tcp)
	if err != nil {
		t.Fatal(err)
	}
	c.Write([]byte(sentinel))
	c.Close()
	for {
		conn, err := s.tcp.Accept()
		if err != nil {
			t.Fatal(err)
		}
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		buf := make([]byte, 256)
		n, _ := conn.Read(buf)
		conn.Close()
		if string(buf[:n]) == sentinel {
			break
		}
		word := "(connection)"
		if n > 0 {
			word = string(buf[:n])
		}
		words = append(words, word)
	}
	u, err := net.Dial("udp4", "127.0.0.1:"+udp)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	u.Write([]byte(sentinel))
	for {
		buf := make([]byte, 256)
		n, _, err := s.udp.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		if string(buf[:n]) == sentinel {
			return words
		}
		words = append(words, string(buf[:n]))
	}
}

// Section 17: nothing arrives where no rule allows it, by any door; where one does,
// by connect(2) only.
func TestNetworkDoors(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		closed, open := serve(t), serve(t)
		tcp, udp := closed.ports()
		openTCP, openUDP := open.ports()

		for name, rules := range map[string][]string{"no rule": nil, "a rule for another port": {"tcp://:" + openTCP}} {
			t.Run(name, func(t *testing.T) {
				p := policy()
				p.NetAllow = rules
				got := attempts(string(inside(t, p, victim("network"), "reach", tcp, udp).Stdout))
				if len(got) != 4*16 {
					t.Errorf("%d attempts", len(got))
				}
				errnos := []syscall.Errno{syscall.EACCES, syscall.EPERM, syscall.EAFNOSUPPORT, syscall.EPROTONOSUPPORT}
				refused(t, got, names(got, ""), append(errnos, syscall.ENOENT)...) // ENOENT: TCP_ULP
				if words := closed.received(t); len(words) != 0 {
					t.Errorf("arrived: %q", words)
				}
			})
		}
		t.Run("a rule for the port", func(t *testing.T) {
			p := policy()
			p.NetAllow = []string{"tcp://:" + openTCP}
			got := attempts(string(inside(t, p, victim("network"), "reach", openTCP, openUDP).Stdout))
			want := []string{"connect-4", "connect-6", "connect-mapped", "connect-any"}
			words := open.received(t)
			slices.Sort(words)
			for _, w := range want {
				if got[w].result != int64(len(w)) || !slices.Contains(words, w) {
					t.Errorf("%s: %+v", w, got[w])
				}
			}
			for _, w := range words {
				// TCP_FASTOPEN_CONNECT is a connect(2), which Landlock judges.
				if !strings.HasPrefix(w, "connect-") && !strings.HasPrefix(w, "fastopen-connect-") {
					t.Errorf("arrived by another door: %q", w)
				}
			}
		})
		// The control: outside, most doors lead to the listener.
		outside(t, victim("network"), "reach", tcp, udp)
		words := closed.received(t)
		for _, w := range []string{"connect-4", "connect-6", "connect-mapped", "connect-any", "sendto-4", "sendmsg-4", "sendmmsg-4", "sendto-dirty-4",
			"fastopen-connect-4", "mptcp-4", "udp-connect-4", "udp-sendto-4", "udp-sendto-6", "udp-sendmmsg-4"} {
			if !slices.ContainsFunc(words, func(got string) bool { return strings.Contains(got, w) }) {
				t.Errorf("control: %s did not arrive", w)
			}
		}
	})
}

// freePort is a port that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func TestListenDoors(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		s := serve(t)
		reachable, _ := s.ports()
		granted := freePort(t)
		check := func(t *testing.T, bind bool, judge core.PolicyFunc) {
			p := policy()
			p.PolicyFn, p.PolicyEvents = judge, []string{"bind"}
			p.NetAllow = []string{"tcp://:" + reachable}
			if bind {
				p.NetAllowBind = []string{granted}
			}
			got := attempts(string(inside(t, p, victim("network"), "serve", granted, reachable).Stdout))
			refused(t, got, []string{"unbound-4", "unbound-6", "bind-zero-4", "bind-zero-6", "bind-other", "listen-disconnected"}, syscall.EACCES)
			for name, a := range got {
				if strings.HasPrefix(name, "accepting-") && (a.result == 1) != (bind && name == "accepting-granted") {
					t.Errorf("%s: %+v", name, a)
				}
			}
			if got["connect-reachable"].result != 0 || got["disconnect"].result != 0 {
				t.Errorf("%+v", got)
			}
		}
		t.Run("no bind", func(t *testing.T) { check(t, false, nil) })
		t.Run("a bind", func(t *testing.T) { check(t, true, nil) })
		t.Run("a bind that is judged", func(t *testing.T) {
			check(t, true, func(*core.Event, *core.Context) core.Verdict { return core.Allow })
		})
		control := attempts(outside(t, victim("network"), "serve", granted, reachable))
		for _, name := range []string{"accepting-unbound-4", "accepting-zero-6", "accepting-disconnected", "accepting-granted"} {
			if control[name].result != 1 {
				t.Errorf("control %s: %+v", name, control[name])
			}
		}
	})
}

// The descriptor swapped under listen(2) changes nothing: what is judged is what listens.
func TestListenRace(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		granted, n := freePort(t), fmt.Sprint(rounds())
		p := policy()
		p.NetAllowBind = []string{granted}
		got := attempts(string(inside(t, p, victim("network"), "race", granted, n).Stdout))
		if got["bind-granted"].result != 0 || got["listened"].result < 1 || got["hits"].result != 0 {
			t.Errorf("%+v", got)
		}
		won(t, "control", func() bool {
			return attempts(outside(t, victim("network"), "race", granted, n+"0"))["hits"].result > 0
		})
	})
}

// An abstract socket outside is out of reach, from the first run on.
func TestAbstractSockets(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		name := fmt.Sprintf("xsandlock-attack-%d-%d", syscall.Getpid(), syscall.Getuid())
		l, err := net.Listen("unix", "@"+name)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		d, err := net.ListenPacket("unixgram", "@d"+name[1:])
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		for sockets, errno := range map[string]syscall.Errno{
			"":      syscall.EBADF,        // no such socket can be made
			victims: syscall.ECONNREFUSED, // the library finds none of the sandbox's
			"/":     syscall.EPERM,        // the kernel's answer, Landlock
		} {
			p := policy()
			if sockets != "" {
				p.UnixAllow = []string{sockets}
			}
			got := attempts(string(inside(t, p, victim("network"), "abstract", name).Stdout))
			refused(t, got, []string{"abstract-connect", "abstract-sendto"}, errno)
			d.SetReadDeadline(time.Now())
			if n, _, err := d.ReadFrom(make([]byte, 256)); err == nil {
				t.Errorf("%q: %d bytes arrived", sockets, n)
			}
		}
		control := attempts(outside(t, victim("network"), "abstract", name))
		if control["abstract-connect"].result != 0 || control["abstract-sendto"].result < 1 {
			t.Errorf("control %+v", control)
		}
	})
}
