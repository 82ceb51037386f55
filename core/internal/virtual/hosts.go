// Package virtual makes the contents of files that a sandbox sees in the place of the
// machine's: text from text.
package virtual

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
)

// Pin is a host name and what it means for the length of a run.
type Pin struct {
	Name      string // in small letters, without a dot at the end
	Addresses []netip.Addr
}

// ownHosts is what a hosts(5) says of the machine itself at least.
var ownHosts = []byte("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")

// Hosts is a hosts(5) with the pins, and then what own says of other names; a nil own is one
// that knows localhost alone.
func Hosts(pins []Pin, own []byte) []byte {
	if own == nil {
		own = ownHosts
	}
	var b bytes.Buffer
	pinned := map[string]bool{}
	for _, p := range pins {
		pinned[p.Name] = true
		for _, a := range p.Addresses {
			fmt.Fprintf(&b, "%v\t%s\n", a.Unmap().WithZone(""), p.Name)
		}
	}
	for line := range bytes.Lines(own) {
		b.Write(without(line, pinned))
	}
	return b.Bytes()
}

// without takes names out of a line, which is gone when it has no other: resolvers put
// together what all lines say of a name.
func without(line []byte, names map[string]bool) []byte {
	text, comment, _ := strings.Cut(string(line), "#")
	fields := strings.Fields(text)
	var rest []string
	for i, field := range fields {
		if i == 0 || !names[strings.TrimSuffix(strings.ToLower(field), ".")] {
			rest = append(rest, field)
		}
	}
	switch {
	case len(rest) == len(fields):
		return line
	case len(rest) == 1:
		return nil
	case comment != "":
		return []byte(strings.Join(rest, "\t") + " #" + strings.TrimSuffix(comment, "\n") + "\n")
	}
	return []byte(strings.Join(rest, "\t") + "\n")
}
