package attacks

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sandlock/sandlock/core"
)

// mailbox is a port for datagrams on several addresses of loopback, which keeps what comes
// to each.
type mailbox struct {
	port  string
	boxes map[string]*mailslot
}

// mailslot is one address of a mailbox. It is read all the time, so that nothing is lost for
// want of room.
type mailslot struct {
	net.PacketConn
	words chan []string
	asked int // how often, which tells one sentinel from the next
}

func (m *mailslot) serve() {
	words, last := []string{}, ""
	buf := make([]byte, 1<<16)
	for {
		n, _, err := m.ReadFrom(buf)
		if err != nil {
			close(m.words)
			return
		}
		switch word := string(buf[:n]); {
		case !strings.HasPrefix(word, sentinel):
			words = append(words, word)
		case word != last: // no second copy of it
			last = word
			m.words <- words
			words = []string{}
		}
	}
}

func collectDatagrams(t *testing.T) *mailbox {
	t.Helper()
	m := &mailbox{boxes: map[string]*mailslot{}}
	port := 0
	for _, host := range []string{"127.0.0.1", "127.0.0.2", "::1"} {
		c, err := net.ListenPacket("udp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			t.Fatal(err)
		}
		slot := &mailslot{PacketConn: c, words: make(chan []string)}
		go slot.serve()
		t.Cleanup(func() { c.Close(); <-slot.words })
		port = c.LocalAddr().(*net.UDPAddr).Port
		m.boxes[host] = slot
	}
	m.port = strconv.Itoa(port)
	return m
}

// received is what came to the address since the last call.
func (m *mailbox) received(t *testing.T, host string) []string {
	t.Helper()
	u, err := net.Dial("udp", net.JoinHostPort(host, m.port))
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	slot := m.boxes[host]
	slot.asked++
	// Again, where a busy machine had no room for it behind all that was sent.
	for again := time.NewTicker(100 * time.Millisecond); ; {
		if _, err := fmt.Fprint(u, sentinel, slot.asked); err != nil {
			t.Fatal(err)
		}
		select {
		case words := <-slot.words:
			again.Stop()
			return words
		case <-again.C:
		}
	}
}

// datagramWords are what the victim sends to an address, in order.
var datagramWords = map[string][]string{
	"127.0.0.1": {"sendto", "sendmsg", "mmsg-1", "mmsg-2", "mmsg-3", "more", "connected-send", "connected-write", "connected-sendmsg", "connected-sendto",
		"unspec", "mapped", "four-on-six", "four-on-six-send", "any", "nonblocking", "dontwait"},
	"::1": {"sendto", "sendmsg", "mmsg-1", "mmsg-2", "mmsg-3", "more", "connected-send", "connected-write", "connected-sendmsg", "connected-sendto", "nonblocking", "dontwait"},
}

// datagramPolicies are those under which 127.0.0.1 and ::1 get datagrams and 127.0.0.2 not.
func datagramPolicies() map[string]*core.Policy {
	rules := policy()
	rules.NetAllow = []string{"udp://127.0.0.1", "udp://[::1]", "tcp://127.0.0.1"}
	denied := policy()
	denied.NetDeny = []string{"127.0.0.2"}
	asked := policy()
	asked.NetAllow = []string{"*"}
	asked.PolicyEvents = []string{"connect", "sendto", "sendmsg", "sendmmsg"}
	asked.PolicyFn = func(ev *core.Event, _ *core.Context) core.Verdict {
		if ev.Host == "127.0.0.2" {
			return core.Verdict(syscall.EACCES)
		}
		return core.Allow
	}
	return map[string]*core.Policy{"rules": rules, "net_deny": denied, "policy_fn": asked}
}

// Section 19: datagrams arrive where a rule lets them, by every way, and nowhere else.
func TestDatagramWays(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		m := collectDatagrams(t)
		for _, host := range []string{"127.0.0.1", "::1"} {
			want := outside(t, victim("datagram"), "ways", host, m.port)
			if words := m.received(t, host); !slices.Equal(words, datagramWords[host]) {
				t.Errorf("control: %q", words)
			}
			for name, p := range datagramPolicies() {
				got := string(inside(t, p, victim("datagram"), "ways", host, m.port).Stdout)
				if got != want {
					t.Errorf("%s: outside\n%s\ninside\n%s", name, want, got)
				}
				if words := m.received(t, host); !slices.Equal(words, datagramWords[host]) {
					t.Errorf("%s: %q", name, words)
				}
			}
		}
		policies := datagramPolicies()
		for name, rules := range map[string][]string{
			"another address": {"udp://127.0.0.9", "udp://[::2]"}, "another port": {"udp://127.0.0.2:1"}, "TCP": {"tcp://127.0.0.2"},
			"names of nowhere": {"udp://0.0.0.0", "udp://[::]"}, "ICMP": {"icmp://127.0.0.2"}, "none": nil,
		} {
			p := policy()
			p.NetAllow = rules
			policies[name] = p
		}
		for name, p := range policies {
			got := attempts(string(inside(t, p, victim("datagram"), "ways", "127.0.0.2", m.port).Stdout))
			var tried []string
			for name := range got {
				if !strings.HasPrefix(name, "connected-") && !strings.HasPrefix(name, "disconnect") && !strings.HasSuffix(name, "-lengths") && name != "four-on-six-send" {
					tried = append(tried, name)
				}
			}
			refused(t, got, tried, syscall.EACCES, syscall.EBADF, syscall.ECONNREFUSED) // EBADF: no socket to begin with
			if words := m.received(t, "127.0.0.2"); len(words) != 0 || len(tried) < 10 {
				t.Errorf("%s: arrived: %q", name, words)
			}
		}
		outside(t, victim("datagram"), "ways", "127.0.0.2", m.port)
		if words := m.received(t, "127.0.0.2"); len(words) < 15 {
			t.Errorf("control: %q", words)
		}
	})
}

// A send on the caller's behalf answers what the kernel answers.
func TestDatagramSemantics(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		m := collectDatagrams(t)
		want := outside(t, victim("datagram"), "semantics", m.port)
		before := m.received(t, "127.0.0.1")
		if strings.Count(want, "\n") < 38 || len(before) < 10 {
			t.Errorf("control: %s, %d datagrams", want, len(before))
		}
		for name, p := range datagramPolicies() {
			p.NetAllow = append(p.NetAllow, "*") // the victim tries other addresses, too
			if name == "net_deny" {
				p.NetAllow = nil
			}
			got := inside(t, p, victim("datagram"), "semantics", m.port)
			for i, line := range strings.Split(want, "\n") {
				if lines := strings.Split(string(got.Stdout), "\n"); i >= len(lines) || lines[i] != line {
					t.Errorf("%s: outside %q, inside %q", name, line, slices.Concat(lines, make([]string, 100))[i])
				}
			}
			if after := m.received(t, "127.0.0.1"); !slices.Equal(after, before) {
				t.Errorf("%s: %d datagrams, want %d", name, len(after), len(before))
			}
		}
	})
}

// What would lead a datagram, or the first packet of a connection, by another address.
func TestDetours(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		m := collectDatagrams(t)
		got := attempts(string(inside(t, datagramPolicies()["rules"], victim("datagram"), "detours", "127.0.0.1", "127.0.0.2", m.port).Stdout))
		refused(t, got, []string{"ip-options", "ip-options-tcp", "retopts", "rthdr", "multicast", "clone-files", "mark"}, syscall.EPERM)
		refused(t, got, []string{"encap"}, syscall.ENOPROTOOPT)
		refused(t, got, []string{"zerocopy"}, syscall.ENOBUFS)
		for _, host := range []string{"127.0.0.1", "127.0.0.2"} {
			if words := m.received(t, host); len(words) != 0 {
				t.Errorf("%s: %q", host, words)
			}
		}
		control := attempts(outside(t, victim("datagram"), "detours", "127.0.0.1", "127.0.0.2", m.port))
		for _, name := range []string{"ip-options", "ip-options-tcp", "clone-files", "zerocopy"} {
			if strings.HasPrefix(name, "ip-") && os.Getuid() != 0 {
				continue // where the sandbox of root has no CAP_NET_RAW either
			}
			if control[name].result < 0 {
				t.Errorf("control %s: %+v", name, control[name])
			}
		}
	})
}

// Section 5: neither the address nor the descriptor can be exchanged under a send.
func TestDatagramRaces(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		m, n := collectDatagrams(t), fmt.Sprint(rounds())
		for name, p := range datagramPolicies() {
			if name == "net_deny" && os.Getenv("SANDLOCK_SOAK") == "" {
				continue // judged as rules are
			}
			for _, with := range []string{"0", "1"} {
				got := attempts(string(inside(t, p, victim("datagram"), "race", "127.0.0.1", "127.0.0.2", m.port, n, with).Stdout))
				if got["sent"].result != 1 && with == "0" || got["refused"].result != 1 {
					t.Errorf("%s, descriptor %s: %+v", name, with, got)
				}
				if words := m.received(t, "127.0.0.2"); len(words) != 0 {
					t.Errorf("%s, descriptor %s: %d datagrams", name, with, len(words))
				}
				m.received(t, "127.0.0.1")
			}
			got := attempts(string(inside(t, p, victim("datagram"), "exit", "127.0.0.2", m.port, n).Stdout))
			if words := m.received(t, "127.0.0.2"); len(words) != 0 || got["refused"].result != 1 {
				t.Errorf("%s, a sibling that ends: %+v, %d datagrams", name, got, len(words))
			}
		}
		won(t, "control", func() bool {
			outside(t, victim("datagram"), "race", "127.0.0.1", "127.0.0.2", m.port, "1000", "1")
			return len(m.received(t, "127.0.0.2")) > 0
		})
		won(t, "control, a sibling that ends", func() bool {
			outside(t, victim("datagram"), "exit", "127.0.0.2", m.port, "3000")
			return len(m.received(t, "127.0.0.2")) > 0
		})
	})
}

// Unix sockets work as they do without rules for datagrams, in programs with threads too.
func TestUnixBesideDatagrams(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		dir := t.TempDir()
		for _, mode := range []string{"unix", "unix-threads"} {
			want := outside(t, victim("datagram"), mode, filepath.Join(dir, mode+"-out"))
			if strings.Count(want, "\n") < 17 {
				t.Errorf("control: %s", want)
			}
			for name, p := range datagramPolicies() {
				p.FSWritable = []string{dir}
				got := inside(t, p, victim("datagram"), mode, filepath.Join(dir, mode+"-"+name))
				if string(got.Stdout) != want || len(got.Log) > 0 {
					t.Errorf("%s, %s: outside\n%s\ninside\n%s%s\n%q", mode, name, want, got.Stdout, got.Stderr, got.Log)
				}
			}
		}
	})
}
