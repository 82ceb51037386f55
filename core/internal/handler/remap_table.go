package handler

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
)

// Table makes of /proc/net/tcp, or tcp6, proc_pid_net(5), what agrees with the virtual ports:
// the sandbox's own sockets have theirs, and whoever outside has the number of one is left
// out. Everything else is as it was.
func (t *Remap) Table(own []byte) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	ours, taken := map[uint16]bool{}, map[uint16]bool{}
	for _, s := range t.living(func(*boundSocket) bool { return true }) {
		ours[s.real] = true
		if s.virtual != s.real {
			taken[s.virtual] = true
		}
	}
	var b []byte
	for line := range bytes.Lines(own) {
		fields := bytes.Fields(line) // slices of the line
		if len(fields) < 3 {
			b = append(b, line...)
			continue
		}
		local, ok := tableAddress(fields[1])
		remote, okRemote := tableAddress(fields[2])
		if !ok || !okRemote { // the heading
			b = append(b, line...)
			continue
		}
		virtual, shown := t.shown[local.Port()]
		if !shown && taken[local.Port()] && !ours[local.Port()] {
			continue
		}
		if shown {
			setTablePort(fields[1], virtual)
		}
		if virtual, shown := t.shown[remote.Port()]; shown && remote.Addr().IsLoopback() {
			setTablePort(fields[2], virtual)
		}
		b = append(b, line...)
	}
	return b
}

// tableAddress reads an address of these files: 32-bit words in the order of the machine, in
// hexadecimal, and the port.
func tableAddress(text []byte) (netip.AddrPort, bool) {
	host, port, ok := bytes.Cut(text, []byte(":"))
	b, err := hex.DecodeString(string(host) + string(port))
	if !ok || err != nil || len(port) != 4 || len(b) != 4+2 && len(b) != 16+2 {
		return netip.AddrPort{}, false
	}
	for word := b[:len(b)-2]; len(word) > 0; word = word[4:] {
		binary.NativeEndian.PutUint32(word, binary.BigEndian.Uint32(word))
	}
	addr, _ := netip.AddrFromSlice(b[:len(b)-2])
	return netip.AddrPortFrom(addr.Unmap(), binary.BigEndian.Uint16(b[len(b)-2:])), true
}

func setTablePort(text []byte, port uint16) {
	copy(text[len(text)-4:], fmt.Sprintf("%04X", port))
}
