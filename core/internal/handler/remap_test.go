package handler

import (
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTableAddress(t *testing.T) {
	for text, want := range map[string]string{
		"0100007F:1F90": "127.0.0.1:8080", "00000000:0000": "0.0.0.0:0", "0200000A:FFFF": "10.0.0.2:65535",
		"00000000000000000000000001000000:0016": "[::1]:22", "0000000000000000FFFF00000100007F:0050": "127.0.0.1:80",
		"000080FE00000000FF00FC000100FEFF:0001": "[fe80::fc:ff:fffe:1]:1",
	} {
		if got, ok := tableAddress([]byte(text)); !ok || got != netip.MustParseAddrPort(want) {
			t.Errorf("%s: %v, %t, want %s", text, got, ok, want)
		}
	}
	for _, text := range []string{"", ":", "local_address", "0100007F", "0100007F:1F9", "0100007F:1F900", "01007F:1F90", "0100007G:1F90", "0100007F:1F90:1"} {
		if got, ok := tableAddress([]byte(text)); ok {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// The addresses of two sockets that overlap can't both be bound to one port, and one that
// takes an address is there for it.
func TestOverlaps(t *testing.T) {
	socket := func(at string, dual bool) *boundSocket {
		return &boundSocket{at: netip.MustParseAddr(at), dual: dual}
	}
	all := []*boundSocket{
		socket("127.0.0.1", false), socket("127.0.0.2", false), socket("0.0.0.0", false),
		socket("::1", false), socket("::", false), socket("::", true),
	}
	want := []string{"x.x..x", ".xx..x", "xxx..x", "...xxx", "...xxx", "xxxxxx"}
	for i, a := range all {
		for j, b := range all {
			if got := a.overlaps(b); got != (want[i][j] == 'x') {
				t.Errorf("%v, %v: %t", a, b, got)
			}
		}
	}
}

const table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
	"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1\n" + // somebody else's 8080
	"   1: 0100007F:C350 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1\n" + // its own
	"   2: 0100007F:9999 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 3 1\n" +
	"   3: 0100007F:9999 0101010A:C350 01 00000000:00000000 00:00000000 00000000     0        0 3 1\n" +
	"   4: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4 1\n"

const agreeing = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
	"   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1\n" +
	"   2: 0100007F:9999 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 3 1\n" +
	"   3: 0100007F:9999 0101010A:C350 01 00000000:00000000 00:00000000 00000000     0        0 3 1\n" +
	"   4: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4 1\n"

func TestTable(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	r := NewRemap(os.Getpid())
	if got := string(r.Table([]byte(table))); got != table {
		t.Errorf("nothing is bound:\n%s", got)
	}
	r.bound = []*boundSocket{{virtual: 8080, real: 50000, inode: st.Ino, holder: holder{uint32(os.Getpid()), int32(fd)}}}
	r.shown[50000] = 8080
	if got := string(r.Table([]byte(table))); got != agreeing {
		t.Errorf("got\n%s", got)
	}
}
