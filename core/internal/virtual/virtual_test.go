package virtual

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestHosts(t *testing.T) {
	addrs := func(texts ...string) (list []netip.Addr) {
		for _, text := range texts {
			list = append(list, netip.MustParseAddr(text))
		}
		return list
	}
	a := Pin{"a.example", addrs("192.0.2.1", "2001:db8::1", "::ffff:192.0.2.2", "fe80::1%eth0")}
	pinned := "192.0.2.1\ta.example\n2001:db8::1\ta.example\n192.0.2.2\ta.example\nfe80::1\ta.example\n"
	local := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	for _, tt := range []struct {
		pins      []Pin
		own, want string
	}{
		{[]Pin{a}, "", pinned},
		{[]Pin{a}, "127.0.0.1 localhost", pinned + "127.0.0.1 localhost"},
		{[]Pin{a}, "# a.example\n\n10.0.0.1 b.example # a.example\n", pinned + "# a.example\n\n10.0.0.1 b.example # a.example\n"},
		{[]Pin{a}, "10.0.0.1 a.example\n10.0.0.2\tA.Example. b.example #x\n", pinned + "10.0.0.2\tb.example #x\n"},
		{[]Pin{a}, "10.0.0.2 b.example a.example", pinned + "10.0.0.2\tb.example\n"},
		{[]Pin{a}, "10.0.0.2 a.example.org xa.example", pinned + "10.0.0.2 a.example.org xa.example"},
		{[]Pin{{"localhost", addrs("127.0.0.1", "::1")}}, local, "127.0.0.1\tlocalhost\n::1\tlocalhost\n::1\tip6-localhost\tip6-loopback\n"},
		{nil, "broken\n", "broken\n"},
	} {
		if got := string(Hosts(tt.pins, []byte(tt.own))); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.own, got, tt.want)
		}
	}
	if got := string(Hosts([]Pin{a}, nil)); got != pinned+local {
		t.Errorf("without one: %q", got)
	}
}

func TestCPUs(t *testing.T) {
	for want, cpus := range map[string][]uint32{"\n": nil, "0\n": {0}, "0-1\n": {0, 1}, "0,2\n": {0, 2}, "1-3,5,7-8\n": {1, 2, 3, 5, 7, 8}} {
		if got := string(CPUList(cpus)); got != want {
			t.Errorf("%v: %q", cpus, got)
		}
	}
	info := "processor\t: 0\nmodel name\t: A\n\nprocessor\t: 1\nmodel name\t: B\n\nprocessor\t: 12\nmodel name\t: C\n\nHardware\t: D\n"
	if got, want := string(CPUInfo([]byte(info), []uint32{1, 2})), "processor\t: 1\nmodel name\t: B\n\nHardware\t: D\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	stat := "cpu  111 222 333\ncpu0 1 2 3\ncpu1 10 20 30\ncpu12 100 200 300\nintr 5 6\nbtime 7\n"
	if got, want := string(Stat([]byte(stat), []uint32{0, 12})), "cpu  101 202 303\ncpu0 1 2 3\ncpu12 100 200 300\nintr 5 6\nbtime 7\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, text := range []string{"", "cpu", "cpu0\n", "cpu0 x\n", "\n\n\n", "cpu99999999999 1\n"} {
		Stat([]byte(text), []uint32{0})
		CPUInfo([]byte(text), []uint32{0})
	}
}

func TestMeminfo(t *testing.T) {
	own := "MemTotal:        1000000 kB\nMemFree:          500000 kB\nMemAvailable:     700000 kB\nCached:            10000 kB\nSwapTotal:           100 kB\n" +
		"AnonPages:         50000 kB\nVmallocTotal:   34359738367 kB\nHugePages_Total:       3\nHugepagesize:       2048 kB\n"
	rest := "VmallocTotal:   34359738367 kB\nHugePages_Total:       3\nHugepagesize:       2048 kB\n"
	for _, tt := range []struct {
		m    Memory
		want string
	}{
		{Memory{1 << 20, 512 << 10}, "MemTotal:           1024 kB\nMemFree:             512 kB\nMemAvailable:        512 kB\nCached:                0 kB\nSwapTotal:             0 kB\nAnonPages:           512 kB\n"},
		{Memory{1 << 20, 2 << 20}, "MemTotal:           1024 kB\nMemFree:               0 kB\nMemAvailable:          0 kB\nCached:                0 kB\nSwapTotal:             0 kB\nAnonPages:          1024 kB\n"},
		{Memory{1 << 40, 0}, "MemTotal:        1000000 kB\nMemFree:          700000 kB\nMemAvailable:     700000 kB\nCached:                0 kB\nSwapTotal:             0 kB\nAnonPages:             0 kB\n"},
	} {
		if got := string(Meminfo([]byte(own), tt.m)); got != tt.want+rest {
			t.Errorf("%+v: %s", tt.m, got)
		}
	}
	if got := Meminfo([]byte(strings.Repeat("x", 100)), Memory{}); len(got) != 100 {
		t.Errorf("%q", got)
	}
}

// FuzzHosts: whatever the machine's file says, a pinned name has its own lines alone, and no
// other name is lost.
func FuzzHosts(f *testing.F) {
	for _, own := range []string{"", "127.0.0.1 localhost\n", "::1 A.Example. b # c\n\n#x\n10.0.0.1\n", "1 a.example\x00 \xff\r\n1\ta.example#", "#a.example\n a.example b"} {
		f.Add([]byte(own))
	}
	pins := []Pin{{"a.example", []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}
	f.Fuzz(func(t *testing.T, own []byte) {
		names := func(text string) (list []string) {
			for line := range strings.Lines(text) {
				line, _, _ = strings.Cut(line, "#")
				for _, name := range strings.Fields(line)[min(1, len(strings.Fields(line))):] {
					list = append(list, strings.TrimSuffix(strings.ToLower(name), "."))
				}
			}
			return list
		}
		pinned := func(name string) bool { return name == "a.example" }
		rest, ok := strings.CutPrefix(string(Hosts(pins, own)), "192.0.2.1\ta.example\n")
		if got, want := names(rest), slices.DeleteFunc(names(string(own)), pinned); own != nil && (!ok || !slices.Equal(got, want)) {
			t.Errorf("%q: %q, want %q", own, got, want)
		}
		for _, text := range [][]byte{CPUInfo(own, []uint32{0}), Stat(own, []uint32{0})} {
			if len(text) > 2*len(own)+64 {
				t.Errorf("%d bytes of %d", len(text), len(own))
			}
		}
		Meminfo(own, Memory{1 << 30, 1})
	})
}
