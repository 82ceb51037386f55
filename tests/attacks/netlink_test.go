package attacks

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sandlock/sandlock/core"
)

// listInterfaces has this program print what Go's library knows of the interfaces.
const listInterfaces = "interfaces"

func printInterfaces() int {
	interfaces, err := net.Interfaces()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for _, i := range interfaces {
		fmt.Println(i.Name, i.Flags&net.FlagLoopback != 0)
	}
	fmt.Println(addresses)
	return 0
}

func networked(rule string) *core.Policy {
	p := policy()
	p.NetAllow, p.NetAllowBind = []string{rule}, []string{"0"}
	p.FSReadable = append(p.FSReadable, "/etc")
	return p
}

// Programs that ask for the interfaces find loopback.
func TestInterfaces(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		for _, rule := range []string{"tcp://127.0.0.1", "tcp://:443", "udp://*", "icmp://*", "udp://127.0.0.1"} {
			p := networked(rule)
			p.FSReadable = append(p.FSReadable, filepath.Dir(self))
			got := attempts(string(inside(t, p, victim("netlink"), "list").Stdout))
			for what, want := range map[string]int64{"getifaddrs": 0, "loopback": 7, "other": 0, "names": 1, "names-other": 0, "getaddrinfo": 0} {
				if a, ok := got[what]; !ok || a.result != want {
					t.Errorf("%s: %s: %+v, want %d", rule, what, a, want)
				}
			}
			r := inside(t, p, self, listInterfaces)
			if out := string(r.Stdout); out != "lo true\n[127.0.0.1/8 ::1/128]\n" {
				t.Errorf("%s: Go: %s%s", rule, out, r.Stderr)
			}
			if testing.Short() {
				break
			}
		}
		if node, err := exec.LookPath("node"); err == nil && !testing.Short() {
			p := untraced(networked("tcp://127.0.0.1"))
			r := inside(t, p, node, "-e", "for (const [k, v] of Object.entries(require('os').networkInterfaces())) console.log(k, v.map(a => a.address).join())")
			if string(r.Stdout) != "lo 127.0.0.1,::1\n" {
				t.Errorf("node: %s%s", r.Stdout, r.Stderr)
			}
		}
		none := attempts(string(inside(t, policy(), victim("netlink"), "list").Stdout))
		refused(t, none, []string{"getifaddrs"}, syscall.EAFNOSUPPORT)
		control := attempts(outside(t, victim("netlink"), "list"))
		if control["getifaddrs"].result != 0 || control["loopback"].result&5 != 5 {
			t.Errorf("control: %+v", control)
		}
	})
}

// Section 18: a netlink socket tells of loopback alone, changes nothing, reaches nobody, and
// whatever is asked of it the library goes on.
func TestNetlink(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for _, rule := range []string{"tcp://127.0.0.1", "udp://127.0.0.1"} {
			p := networked(rule)
			p.NetAllow = append(p.NetAllow, "tcp://127.0.0.1")
			r := inside(t, p, victim("netlink"), "attack")
			got := attempts(string(r.Stdout))
			for what, want := range map[string]int64{
				"links": 0, "addresses": 0, "routes": 0, "neighbours": 0, "read-after": 1, "in-the-place": 1, "in-the-place-bind": 0,
				"in-the-place-name": 0, "in-the-place-family": 1, "at-a-time": 32, "each-answers": 1, "again": 500, "inherited": 1,
			} {
				if a, ok := got[what]; !ok || a.result != want {
					t.Errorf("%s: %s: %+v, want %d", rule, what, a, want)
				}
			}
			refused(t, got, []string{"add-address", "remove-link", "to-a-task", "to-all"}, syscall.EPERM)
			refused(t, got, append(names(got, "protocol-"), "pair", "stream"), syscall.EAFNOSUPPORT)
			refused(t, got, []string{"copy", "many-at-once", "write", "in-the-place-send", "in-the-place-ask"}, syscall.EPIPE)
			refused(t, got, []string{"nothing", "not-asked"}, syscall.EAGAIN)
			refused(t, got, []string{"unreadable"}, syscall.EFAULT)
			refused(t, got, []string{"too-long"}, syscall.EMSGSIZE)
			refused(t, got, []string{"flood"}, syscall.ENOBUFS)
			if len(r.Log) > 0 || len(r.Stderr) > 0 {
				t.Errorf("%s: %q %s", rule, r.Log, r.Stderr)
			}
		}
		control := outside(t, victim("netlink"), "attack")
		got := attempts(control)
		if got["protocol-16"].result < 0 || got["copy"].result < 0 || os.Getuid() == 0 && got["add-address"].errno != syscall.ENODEV ||
			!strings.Contains(control, "inherited 1 0") {
			t.Errorf("control: %s", control)
		}
	})
}
