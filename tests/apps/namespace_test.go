package apps

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// apart is whether the servers are in a network namespace beside that of the sandboxes.
func apart() bool { return os.Getenv("SANDLOCK_TEST_NETNS") != "" }

// serversNamespace is a descriptor of it.
var serversNamespace = -1

// amongServers calls f where the servers are. What f listens on and starts stays there.
func amongServers(t *testing.T, f func()) {
	t.Helper()
	if !apart() {
		f()
		return
	}
	runtime.LockOSThread() // setns(2) is about the thread
	back, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(back)
	if err := unix.Setns(serversNamespace, unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	f()
	if err := unix.Setns(back, unix.CLONE_NEWNET); err != nil {
		t.Fatal(err) // which ends the thread, too
	}
	runtime.UnlockOSThread()
}

// command runs a setup command where the calling thread is.
func command(t *testing.T, argv ...string) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", argv, err, out)
	}
}

// layCable makes the namespace of the servers, and a pair of interfaces between the two.
func layCable(t *testing.T) {
	t.Helper()
	made := make(chan error)
	go func() { // on a thread that ends with it, ns and all
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			serversNamespace, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		made <- err
	}()
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(serversNamespace) })
	command(t, "ip", "link", "set", "lo", "up")
	command(t, "ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), serversNamespace))
	command(t, "ip", "address", "add", "203.0.113.9/24", "dev", "near")
	command(t, "ip", "link", "set", "near", "up")
	amongServers(t, func() {
		command(t, "ip", "link", "set", "lo", "up")
		command(t, "ip", "address", "add", "203.0.113.1/24", "dev", "far")
		command(t, "ip", "address", "add", "203.0.113.2/24", "dev", "far")
		command(t, "ip", "link", "set", "far", "up")
	})
	if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 2147483647"), 0); err != nil {
		t.Fatal(err) // of this namespace
	}
}

// TestServersApart is those tests of clients in the namespaces of TestNetworkNamespace.
func TestServersApart(t *testing.T) {
	if !apart() {
		t.Skip("run by TestNetworkNamespace")
	}
	layCable(t)
	if c, err := net.Dial("udp", "203.0.113.1:9"); err != nil || !strings.HasPrefix(c.LocalAddr().String(), "203.0.113.9:") {
		t.Fatalf("the way to the servers does not lead over the cable: %v", err)
	}
	t.Run("programs", TestNetworkPrograms)
	if os.Getenv("SANDLOCK_TEST_SERVERS") != "" {
		t.Run("databases", TestDatabaseClients)
	}
	t.Run("ping", TestPing)
}

// What TestNetworkPrograms has on loopback, between two network namespaces.
func TestNetworkNamespace(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("makes network namespaces")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "--net", self, "-test.run=^TestServersApart$", "-test.v")
	cmd.Env = append(os.Environ(), "SANDLOCK_TEST_NETNS=1", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestServersApart/ping") || strings.Contains(string(out), "--- SKIP") {
		t.Errorf("%v\n%s", err, out)
	}
}

// Ping sockets, where the host lets its users have them, under a rule for ICMP.
func TestPing(t *testing.T) {
	may, mayNot := addresses()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		t.Skipf("net.ipv4.ping_group_range lets this user have no ping sockets: %v", err)
	}
	unix.Close(fd)
	if _, err := exec.LookPath("ping"); err != nil {
		t.Skip("ping is not installed")
	}
	a := newApp(t)
	a.policy.NetAllow = []string{"icmp://" + may, "udp://*"} // it looks for its own address by a UDP socket
	const ping = `ping -n -c 3 -i 0.2 -W 20 "$1" | sed -n 's/^\([0-9]*\) packets transmitted, \([0-9]*\) received.*/\1 \2/p'`
	a.expect("3 3\n", "sh", "-c", ping, "sh", may)
	const refused = `ping -n -c 1 -W 1 "$1" 2>&1; echo "status $?"`
	if out := a.run("sh", "-c", refused, "sh", mayNot); !strings.Contains(out, " 0 received") || !strings.Contains(out, "status 1") {
		t.Errorf("ping %s: %s", mayNot, out)
	}
	a.policy.NetAllow = []string{"udp://*"}
	if out := a.run("sh", "-c", refused, "sh", may); !strings.Contains(out, "ermission") || strings.Contains(out, "status 0") {
		t.Errorf("no rule for ICMP: %s", out)
	}
	outside(t, "ping", "-n", "-c", "1", "-W", "20", mayNot)
}
