package core

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

func TestParseSize(t *testing.T) {
	for _, tt := range []struct {
		text string
		want uint64
	}{
		{"0", 0}, {"1", 1}, {"007", 7}, {"64M", 64 << 20}, {"64m", 64 << 20},
		{"1K", 1024}, {"1G", 1 << 30}, {"1t", 1 << 40}, {" 1.5 G ", 3 << 29}, {"1\tK", 1024},
		{"0.5K", 512}, {"1.9", 1}, {"0.0001K", 0}, {"0.3K", 307},
		{"18446744073709551615", math.MaxUint64}, {"16777215T", 16777215 << 40},
		{"18446744073709551615.9", math.MaxUint64},
	} {
		if got, err := ParseSize(tt.text); err != nil || got != tt.want {
			t.Errorf("%q: %d, %v; want %d", tt.text, got, err, tt.want)
		}
	}
	for _, text := range []string{
		"", " ", "K", "M1", "1X", "1KB", "1KiB", "1 0", ".5", "5.", "1..2", "-1", "+1", "0x10",
		"1e3", "1_000", "NaN", "inf", "1,5G", "1K\n", "١", "1 K K", "1KK", "1\x00",
		"18446744073709551616", "16777216T", strings.Repeat("9", 64), strings.Repeat("9", 1000),
	} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%q: %d, want an error", text, got)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, seed := range []string{"1.5G", "18446744073709551616", "\xffK", " 0.0 t"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := ParseSize(text)
		if err != nil {
			return
		}
		if again, err := ParseSize(fmt.Sprint(n)); err != nil || again != n {
			t.Errorf("%q is %d, and that is %d, %v", text, n, again, err)
		}
	})
}

func TestBindPorts(t *testing.T) {
	for _, tt := range []struct {
		items []string
		want  string
	}{
		{nil, "none"}, {[]string{"80"}, "80"}, {[]string{"0"}, "0"}, {[]string{"65535"}, "65535"},
		{[]string{"443,80"}, "80,443"}, {[]string{"8000-8010"}, "8000-8010"},
		{[]string{"80", "81", "79,85-90", "88-95"}, "79-81,85-95"},
		{[]string{"0-65535", "65535"}, "0-65535"},
		{[]string{"*"}, "any"}, {[]string{"*", "*"}, "any"}, {[]string{"*,*"}, "any"},
		{[]string{"80", "80"}, "80"}, {[]string{"7-7"}, "7"}, {[]string{"0080"}, "80"},
	} {
		var f faults
		got := parseBindPorts(tt.items, &f)
		if got.String() != tt.want || f.err() != nil {
			t.Errorf("%q: %v, %v; want %s", tt.items, got, f.err(), tt.want)
		}
	}
	for _, tt := range []struct {
		items []string
		want  string // part of the error
	}{
		{[]string{"90-80"}, "reversed; write 80-90"},
		{[]string{""}, "part is empty"}, {[]string{"80,"}, "part is empty"}, {[]string{",80"}, "part is empty"},
		{[]string{"80,,81"}, "part is empty"}, {[]string{","}, "part is empty"},
		{[]string{"65536"}, "out of range"}, {[]string{"1-65536"}, "out of range"},
		{[]string{"99999999999999999999"}, "out of range"},
		{[]string{"-1"}, "not a port number"}, {[]string{"1-"}, "not a port number"}, {[]string{"-"}, "not a port number"},
		{[]string{"1-2-3"}, "not a port number"}, {[]string{"http"}, "not a port number"},
		{[]string{" 80"}, "not a port number"}, {[]string{"+80"}, "not a port number"}, {[]string{"80.5"}, "not a port number"},
		{[]string{"*", "80"}, "can't be mixed"}, {[]string{"80", "*"}, "can't be mixed"}, {[]string{"80,*"}, "can't be mixed"},
		{[]string{"*,"}, "write * alone"}, {[]string{"**"}, "write * alone"}, {[]string{"*-80"}, "not a port number"},
	} {
		var f faults
		parseBindPorts(tt.items, &f)
		err := f.err()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: error %v, want %q in it", tt.items, err, tt.want)
			continue
		}
		if !strings.HasPrefix(err.Error(), "invalid sandbox: --net-allow-bind: ") {
			t.Errorf("%q: error %v", tt.items, err)
		}
	}
}

func TestPortSetContains(t *testing.T) {
	var f faults
	s := parseBindPorts([]string{"0", "80-90", "100", "200-300", "65535"}, &f)
	want := func(port int) bool {
		return port == 0 || 80 <= port && port <= 90 || port == 100 || 200 <= port && port <= 300 || port == 65535
	}
	for port := 0; port <= 65535; port++ {
		if s.contains(uint16(port)) != want(port) {
			t.Errorf("port %d: %t", port, !want(port))
		}
	}
	if (portSet{}).contains(0) || !(portSet{any: true}).contains(1) {
		t.Error("the empty set contains 0, or the full one lacks 1")
	}
}

// The complement of the complement is the set, and each port is in one of them.
func TestDeniedPorts(t *testing.T) {
	for _, items := range [][]string{{"0"}, {"65535"}, {"22"}, {"0-65535"}, {"1-65534"}, {"22", "6000-6063", "80,443"}, {"0,65535"}} {
		var f faults
		left, denied := parseDeniedPorts(items, &f), parseBindPorts(items, &f)
		if f.err() != nil || !left.empty() && left.complement().String() != denied.String() {
			t.Errorf("%q: %v, %v, %v", items, left, denied, f.err())
		}
		for port := 0; port <= 65535; port++ {
			if left.contains(uint16(port)) == denied.contains(uint16(port)) {
				t.Fatalf("%q: port %d is in both or none", items, port)
			}
		}
	}
}

func FuzzBindPorts(f *testing.F) {
	for _, seed := range []string{"80", "*", "1-2,3", "65535-0", ",*"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, item string) {
		var bad, again faults
		s := parseBindPorts([]string{item}, &bad)
		if bad.err() != nil {
			return
		}
		text := strings.ReplaceAll(s.String(), "any", "*")
		if same := parseBindPorts([]string{text}, &again); same.String() != s.String() || again.err() != nil {
			t.Errorf("%q is %v, and that is %v, %v", item, s, same, again.err())
		}
	})
}
