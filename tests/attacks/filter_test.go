package attacks

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A foreign architecture's calls are numbered otherwise: the caller is killed.
func TestForeignArchitecture(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		got := attempts(string(inside(t, policy(), victim("filter"), "foreign").Stdout))
		if a := got["int80"]; a.result != -int64(syscall.SIGSYS) {
			t.Errorf("int 0x80 inside: %+v", a)
		}
		if a := attempts(outside(t, victim("filter"), "foreign"))["int80"]; a.result <= 0 {
			t.Logf("this kernel runs no i386 calls: %+v", a)
		}
	})
}

func TestX32(t *testing.T) {
	refused(t, attempts(string(inside(t, policy(), victim("filter"), "x32").Stdout)), []string{"x32"}, syscall.ENOSYS)
}

func names(got map[string]attempt, prefix string) []string {
	var list []string
	for name := range got {
		if strings.HasPrefix(name, prefix) {
			list = append(list, name)
		}
	}
	return list
}

func TestNamespaces(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		got := attempts(string(inside(t, policy(), victim("filter"), "namespaces").Stdout))
		refused(t, got, append(names(got, "clone-"), names(got, "unshare-")...), syscall.EPERM)
		refused(t, got, []string{"clone3"}, syscall.ENOSYS)
		if len(got) != 29 {
			t.Errorf("%d attempts", len(got))
		}
		if os.Getuid() == 0 {
			control := attempts(outside(t, victim("filter"), "namespaces"))
			for name, a := range control {
				// unshare(2) takes the whole register: with dirty high words it fails anywhere.
				if a.result < 0 && !(strings.HasPrefix(name, "unshare-") && strings.HasSuffix(name, "-1")) {
					t.Errorf("control %s: %+v", name, a)
				}
			}
		}
	})
}

// refusedEverywhere checks that the attempts of a mode are refused with EPERM, and
// that outside, for root, the kernel's answer is another.
func refusedEverywhere(t *testing.T, mode string, control bool) {
	bothUsers(t, func(t *testing.T) {
		p := policy()
		p.FSReadable = append(p.FSReadable, "/proc")
		got := attempts(string(inside(t, p, victim("filter"), mode).Stdout))
		if len(got) < 7 {
			t.Fatalf("%d attempts", len(got))
		}
		refused(t, got, names(got, ""), syscall.EPERM)
		if control && os.Getuid() == 0 {
			for name, a := range attempts(outside(t, victim("filter"), mode)) {
				if a.result == -1 && a.errno == syscall.EPERM {
					t.Errorf("control %s: EPERM outside too", name)
				}
			}
		}
	})
}

func TestKernelDoors(t *testing.T) { refusedEverywhere(t, "kernel", true) }
func TestPeers(t *testing.T)       { refusedEverywhere(t, "peer", true) }

func TestIoctls(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		p := policy()
		p.FSWritable = []string{"/dev"}
		got := attempts(string(inside(t, p, victim("filter"), "ioctls").Stdout))
		refused(t, got, []string{"TIOCSTI", "TIOCSTI-dirty", "TIOCLINUX", "TIOCLINUX-dirty", "TIOCSETD", "TIOCSETD-dirty",
			"SIOCSIFFLAGS", "SIOCSIFFLAGS-dirty"}, syscall.EPERM)
		if got["SIOCGIFFLAGS"].result != 0 {
			t.Errorf("%+v", got["SIOCGIFFLAGS"])
		}
		if os.Getuid() == 0 {
			control := attempts(outside(t, victim("filter"), "ioctls"))
			for _, name := range []string{"TIOCSETD", "SIOCSIFFLAGS", "SIOCSIFFLAGS-dirty"} {
				if control[name].result != 0 {
					t.Errorf("control %s: %+v", name, control[name])
				}
			}
		}
	})
}

// Mode, owner, times and attributes can't be changed where nothing may be written: not
// of what can't be read, not of what can.
func TestAttributes(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		dir := t.TempDir()
		canary := filepath.Join(dir, "canary")
		if err := os.WriteFile(canary, nil, 0o640); err != nil {
			t.Fatal(err)
		}
		for _, readable := range []bool{false, true} {
			p := policy()
			if readable {
				p.FSReadable = append(p.FSReadable, dir)
			}
			got := attempts(string(inside(t, p, victim("filter"), "attributes", canary).Stdout))
			refused(t, got, names(got, ""), syscall.EPERM)
			if len(got) != 13 {
				t.Errorf("%d attempts", len(got))
			}
		}
		if info, err := os.Stat(canary); err != nil || info.Mode() != 0o640 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
		// The control, and that a policy with a writable path is the other case.
		p := policy()
		p.FSWritable = []string{dir}
		for name, got := range map[string]string{
			"outside":  outside(t, victim("filter"), "attributes", canary),
			"writable": string(inside(t, p, victim("filter"), "attributes", canary).Stdout),
		} {
			for _, call := range []string{"chmod", "fchmod", "fchmodat", "lchown", "utimensat", "futimens"} {
				if a, made := attempts(got)[call]; !made || a.result != 0 {
					t.Errorf("control, %s: %s: %+v", name, call, a)
				}
			}
		}
	})
}

// The old calls beside the *at ones reach nothing that is not granted.
func TestLegacyCalls(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		canary := filepath.Join(t.TempDir(), "canary")
		write := func() {
			if err := os.WriteFile(canary, []byte("canary"), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		write()
		got := attempts(string(inside(t, policy(), victim("filter"), "legacy", canary).Stdout))
		refused(t, got, names(got, ""), syscall.EACCES, syscall.EXDEV)
		if b, err := os.ReadFile(canary); string(b) != "canary" {
			t.Errorf("canary %q, %v", b, err)
		}
		if entries, err := os.ReadDir(filepath.Dir(canary)); err != nil || len(entries) != 1 {
			t.Errorf("%v, %v", entries, err)
		}
		if a := attempts(outside(t, victim("filter"), "legacy", canary)); a["open"].result < 0 {
			t.Errorf("control %+v", a)
		}
		if b, err := os.ReadFile(canary); string(b) == "canary" {
			t.Errorf("control left the canary: %q, %v", b, err)
		}
	})
}

// A device node would be the raw disk, beneath a path that root may write.
func TestDeviceNodes(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: mknod of a device")
	}
	dir := t.TempDir()
	p := policy()
	p.FSWritable = []string{dir}
	got := attempts(string(inside(t, p, victim("filter"), "devices", dir).Stdout))
	refused(t, got, []string{"mknod-block", "mknod-char"}, syscall.EACCES, syscall.EPERM)
	refused(t, got, []string{"open-block", "open-char"}, syscall.ENOENT)
	if got["mknod-fifo"].result != 0 {
		t.Errorf("%+v", got["mknod-fifo"])
	}
	if a := attempts(outside(t, victim("filter"), "devices", t.TempDir())); a["mknod-block"].result != 0 {
		t.Errorf("control %+v", a)
	}
}

// unknown are the numbers that no table row has, on both architectures: gaps, and
// what lies beyond the last call. They are ENOSYS, as for a kernel without them.
func TestEveryNumber(t *testing.T) {
	got := attempts(string(inside(t, policy(), victim("filter"), "numbers", "471", "600").Stdout))
	if len(got) != 130 {
		t.Errorf("%d attempts", len(got))
	}
	for nr := 480; nr <= 600; nr++ {
		refused(t, got, []string{fmt.Sprintf("nr-%d", nr)}, syscall.ENOSYS)
	}
	if testing.Short() {
		return
	}
	// With arguments that are good for nothing no call may succeed that opens a door;
	// a refused one never gets as far as its arguments.
	got = attempts(string(inside(t, policy(), victim("filter"), "numbers", "100", "470").Stdout))
	refused(t, got, []string{"nr-425", "nr-426", "nr-427", "nr-428", "nr-429", "nr-430", "nr-431", "nr-432", "nr-433", "nr-442", "nr-440", "nr-448"}, syscall.EPERM)
	refused(t, got, []string{"nr-435"}, syscall.ENOSYS)
}

// Only the reviewed families, types and protocols can be made.
func TestSocketFamilies(t *testing.T) {
	const (
		unix, inet, inet6, netlink  = 1, 2, 10, 16
		stream, dgram, raw, seqpack = 1, 2, 3, 5
	)
	check := func(t *testing.T, tcp bool, sockets ...string) {
		p := policy()
		p.UnixAllow = sockets
		if tcp {
			p.NetAllow = []string{"tcp://:1"}
		}
		got := attempts(string(inside(t, p, victim("sockets")).Stdout))
		if len(got) != 2*48*6*12+3 {
			t.Fatalf("%d attempts", len(got))
		}
		for name, a := range got {
			var call string
			var family, typ, protocol int
			call, rest, ok := strings.Cut(name, "-")
			if n, _ := fmt.Sscanf(rest, "%d-%d-%d", &family, &typ, &protocol); !ok || n != 3 || call == "dirty" {
				continue
			}
			local := family == unix && (typ == stream || typ == dgram || typ == seqpack)
			if sockets == nil { // connected pairs are left
				local = local && call == "socketpair" && typ != dgram
			}
			network := tcp && (family == inet || family == inet6) && typ == stream && (protocol == 0 || protocol == 6)
			if tcp && call == "socket" && family == netlink && (typ == dgram || typ == raw) && protocol == 0 {
				network = true // the library's, see TestNetlink
			}
			switch {
			case a.result >= 0 && !local && !network:
				t.Errorf("%s was made", name)
			case a.result < 0 && call == "socket" && (local && protocol <= 1 || network):
				t.Errorf("%s: %v", name, a.errno)
			}
		}
		refused(t, got, []string{"dirty-family", "dirty-type"}, syscall.EACCES)
		if (got["dirty-unix"].result < 0) != (sockets == nil) {
			t.Errorf("%+v", got["dirty-unix"])
		}
	}
	bothUsers(t, func(t *testing.T) {
		t.Run("no rule", func(t *testing.T) { check(t, false) })
		t.Run("a rule", func(t *testing.T) { check(t, true) })
		t.Run("named sockets", func(t *testing.T) { check(t, false, "/") })
		t.Run("a rule and named sockets", func(t *testing.T) { check(t, true, victims) })
		made := 0
		for _, a := range attempts(outside(t, victim("sockets"))) {
			if a.result >= 0 {
				made++
			}
		}
		if made < 10 {
			t.Errorf("control: only %d sockets could be made", made)
		}
	})
}
