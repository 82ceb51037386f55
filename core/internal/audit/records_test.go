package audit

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Records of Linux 6.17: those of the sandbox are told by the domain that the warden, which
// was its command's process then, has made; the order is the kernel's.
func TestRecords(t *testing.T) {
	warden := "2F6D656D66643A73616E646C6F636B2D77617264656E202864656C6574656429" // /memfd:sandlock-warden (deleted)
	k := &Kernel{fd: -1, events: map[string]*kernelEvent{}}
	var got []Found
	for _, r := range []struct {
		kind uint16
		text string
	}{
		// The killer's look at the host, in a domain of its own.
		{landlockAccess, `audit(1.1:3): domain=a4 blockers=scope.signal opid=122 ocomm="core.test"`},
		{landlockDomain, `audit(1.1:3): domain=a4 status=allocated mode=enforcing pid=137 uid=0 exe=` + warden + ` comm="29"`},
		{auditEndOfEvent, `audit(1.1:3): `},
		{landlockAccess, `audit(1.1:4): domain=a5 blockers=fs.execute,fs.read_file path=2F612062 dev="tmpfs" ino=5`},
		{landlockDomain, `audit(1.1:4): domain=a5 status=allocated mode=enforcing pid=138 uid=0 exe=` + warden + ` comm="29"`},
		{auditSyscall, `audit(1.1:4): arch=c000003e syscall=59 success=no exit=-13 a0=0 ppid=138 pid=139 comm=73682064 exe="/usr/bin/sh" key=(null)`},
		{1327, `audit(1.1:4): proctitle=7368`},
		{auditEndOfEvent, `audit(1.1:4): `},
		// A domain of a process that has the command's number elsewhere, and says so.
		{landlockAccess, `audit(1.1:5): domain=a6 blockers=fs.write_file path="/etc/x" dev="vda" ino=6`},
		{landlockDomain, `audit(1.1:5): domain=a6 status=allocated mode=enforcing pid=138 uid=0 exe="/usr/bin/other" comm="x"`},
		{auditEndOfEvent, `audit(1.1:5): `},
		{landlockAccess, `audit(1.1:6): domain=a5 blockers=net.bind_tcp src=8080`},
		{auditEndOfEvent, `audit(1.1:6): `},
		{landlockAccess, `audit(1.1:7): domain=a5 blockers=net.connect_tcp daddr=::ffff:192.0.2.7 dest=443`},
		{auditEndOfEvent, `audit(1.1:7): `},
		{landlockAccess, `audit(1.1:8): domain=a5 blockers=fs.make_reg path="/b" dev="tmpfs" ino=7`},
		{auditEndOfEvent, `audit(1.1:8): `},
		{auditEndOfEvent, `nonsense`},
		{landlockAccess, `nonsense`},
		{landlockAccess, `audit(1.1:9): `},
		{auditSyscall, `audit(1.1:10): exit=`},
	} {
		if serial := k.take(r.kind, r.text, 138); serial != "" {
			got = append(got, k.finish(serial)...)
		}
	}
	if len(got) != 4 {
		t.Fatalf("%+v", got)
	}
	if d := got[0]; d.Call != 59 || d.Who != (Who{139, "sh d", "/usr/bin/sh"}) || d.Refusal.Path != "/a b" || d.Refusal.By != ByExec || d.Refusal.Errno != unix.EACCES {
		t.Errorf("%+v", d)
	}
	if d := got[1]; d.Call != -1 || d.Refusal.By != ByPort || d.Refusal.To.String() != "0.0.0.0:8080" || d.Who.PID != 0 {
		t.Errorf("%+v", d)
	}
	if d := got[2]; d.Refusal.By != ByAddress || d.Refusal.To.String() != "192.0.2.7:443" {
		t.Errorf("%+v", d)
	}
	if d := got[3]; d.Refusal.By != ByWrite || d.Refusal.Path != "/b" || d.Refusal.Syscall != "fs.make_reg" {
		t.Errorf("%+v", d)
	}
	// What is never told of a domain is bounded.
	k = &Kernel{fd: -1, events: map[string]*kernelEvent{}}
	for i := range 10_000 {
		k.take(landlockAccess, "audit(1.1:"+string(rune('a'+i%26))+string(rune('0'+i/26))+"): domain=b blockers=fs.refer", 1)
	}
	if len(k.events) > maxKernelEvents || len(k.order) > maxKernelEvents || !k.lost {
		t.Errorf("%d events, lost %t", len(k.events), k.lost)
	}
}

func FuzzParseFields(f *testing.F) {
	f.Add(`path="/a" exe=2F61 comm="x`)
	f.Fuzz(func(_ *testing.T, text string) { parseFields(text) })
}
