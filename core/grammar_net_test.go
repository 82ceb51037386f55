package core

import (
	"slices"
	"strings"
	"testing"
)

// The rows are rules and how they are spelled out: protocols, target, ports.
func TestNetRules(t *testing.T) {
	rows := map[side][][2]string{
		inAllow: {
			// protocols
			{"tcp://1.2.3.4:80", "tcp 1.2.3.4 80"}, {"udp://1.2.3.4:53", "udp 1.2.3.4 53"},
			{"icmp://1.2.3.4", "icmp 1.2.3.4 any"}, {"1.2.3.4:80", "tcp+udp 1.2.3.4 80"},
			{"TCP://1.2.3.4:80", "tcp 1.2.3.4 80"}, {"Udp://:1", "udp * 1"}, {"iCMP://*", "icmp * any"},
			// any
			{"*", "tcp+udp * any"}, {"*:*", "tcp+udp * any"}, {":*", "tcp+udp * any"}, {":80", "tcp+udp * 80"},
			{"*:80", "tcp+udp * 80"}, {"tcp://*", "tcp * any"}, {"tcp://*:*", "tcp * any"}, {"tcp://:*", "tcp * any"},
			{"tcp://:443", "tcp * 443"}, {"tcp://*:443", "tcp * 443"}, {"udp://*", "udp * any"}, {"udp://:*", "udp * any"},
			{"icmp://*", "icmp * any"},
			// ports
			{":1", "tcp+udp * 1"}, {":65535", "tcp+udp * 65535"}, {":80,443", "tcp+udp * 80,443"}, {":443,80", "tcp+udp * 80,443"},
			{":80,80", "tcp+udp * 80"}, {":80,81,82", "tcp+udp * 80-82"}, {":0080", "tcp+udp * 80"}, {":1,65535", "tcp+udp * 1,65535"},
			{"1.2.3.4:*", "tcp+udp 1.2.3.4 any"}, {"a.example:1,3,5", "tcp+udp a.example 1,3,5"},
			// IPv4
			{"1.2.3.4", "tcp+udp 1.2.3.4 any"}, {"0.0.0.0", "tcp+udp 0.0.0.0 any"}, {"255.255.255.255", "tcp+udp 255.255.255.255 any"},
			{"127.0.0.1:8080", "tcp+udp 127.0.0.1 8080"}, {"tcp://169.254.169.254:80", "tcp 169.254.169.254 80"},
			// IPv4 networks
			{"10.0.0.0/8", "tcp+udp 10.0.0.0/8 any"}, {"10.0.0.0/8:22", "tcp+udp 10.0.0.0/8 22"}, {"10.1.2.3/8", "tcp+udp 10.0.0.0/8 any"},
			{"0.0.0.0/0", "tcp+udp 0.0.0.0/0 any"}, {"1.2.3.4/32:1", "tcp+udp 1.2.3.4 1"}, {"udp://192.168.0.0/16:53,5353", "udp 192.168.0.0/16 53,5353"},
			{"icmp://10.0.0.0/8", "icmp 10.0.0.0/8 any"},
			// IPv6
			{"::1", "tcp+udp ::1 any"}, {"[::1]", "tcp+udp ::1 any"}, {"[::1]:80", "tcp+udp ::1 80"}, {"tcp://[::1]:80,81", "tcp ::1 80-81"},
			{"::", "tcp+udp :: any"}, {"[::]:1", "tcp+udp :: 1"}, {"2001:db8::1", "tcp+udp 2001:db8::1 any"},
			{"[2001:DB8:0:0::1]:443", "tcp+udp 2001:db8::1 443"}, {"[::1]:*", "tcp+udp ::1 any"}, {"1:2:3:4:5:6:7:8", "tcp+udp 1:2:3:4:5:6:7:8 any"},
			{"icmp://::1", "icmp ::1 any"}, {"icmp://[::1]", "icmp ::1 any"}, {"udp://[fe80::1]:546", "udp fe80::1 546"},
			// IPv6 networks
			{"2001:db8::/32", "tcp+udp 2001:db8::/32 any"}, {"[2001:db8::/32]:80", "tcp+udp 2001:db8::/32 80"}, {"[2001:db8::]/32:80", "tcp+udp 2001:db8::/32 80"},
			{"[2001:db8::]/32", "tcp+udp 2001:db8::/32 any"}, {"2001:db8::9/32", "tcp+udp 2001:db8::/32 any"}, {"::/0", "tcp+udp ::/0 any"},
			{"[::1]/128:5", "tcp+udp ::1 5"}, {"tcp://[fe80::]/10:1", "tcp fe80::/10 1"},
			// IPv4 in IPv6 is IPv4
			{"::ffff:1.2.3.4", "tcp+udp 1.2.3.4 any"}, {"[::ffff:1.2.3.4]:80", "tcp+udp 1.2.3.4 80"}, {"[::ffff:102:304]:80", "tcp+udp 1.2.3.4 80"},
			{"::ffff:10.0.0.0/104", "tcp+udp 10.0.0.0/8 any"}, {"[::ffff:0:0]/96:1", "tcp+udp 0.0.0.0/0 1"}, {"[::ffff:1.2.3.4]/128", "tcp+udp 1.2.3.4 any"},
			// names
			{"example.com", "tcp+udp example.com any"}, {"Example.COM:443", "tcp+udp example.com 443"}, {"example.com.:443", "tcp+udp example.com 443"},
			{"localhost:1", "tcp+udp localhost 1"}, {"a", "tcp+udp a any"}, {"a_b.x-y.io:1", "tcp+udp a_b.x-y.io 1"}, {"xn--bcher-kva.example", "tcp+udp xn--bcher-kva.example any"},
			{"1.2.3.4.example", "tcp+udp 1.2.3.4.example any"}, {"3com.example", "tcp+udp 3com.example any"}, {"0x7f.b", "tcp+udp 0x7f.b any"},
			{strings.Repeat("a", 63) + ".b", "tcp+udp " + strings.Repeat("a", 63) + ".b any"}, {"private.:80", "tcp+udp private 80"},
			{"private.example", "tcp+udp private.example any"}, {"udp://dns.example:53", "udp dns.example 53"}, {"icmp://a.example", "icmp a.example any"},
		},
		inDeny: {
			{"private", "tcp+udp private any"}, {"PRIVATE:80", "tcp+udp private 80"}, {"tcp://private:22,80", "tcp private 22,80"},
			{"icmp://private", "icmp private any"}, {"udp://private", "udp private any"},
			{"169.254.169.254", "tcp+udp 169.254.169.254 any"}, {"10.0.0.0/8:25", "tcp+udp 10.0.0.0/8 25"}, {":25", "tcp+udp * 25"},
			{"*", "tcp+udp * any"}, {"tcp://*", "tcp * any"}, {"fe80::/10", "tcp+udp fe80::/10 any"}, {"[::1]:80", "tcp+udp ::1 80"},
			{"::ffff:127.0.0.1", "tcp+udp 127.0.0.1 any"},
		},
	}
	wrong := map[side][][2]string{
		inAllow: {
			{"", "0: there is no target"}, {"tcp://", "6: there is no target"}, {"icmp://", "7: there is no target"},
			{"http://x", "0: unknown scheme"}, {"://x", "0: unknown scheme"}, {"tcp ://x", "0: unknown scheme"}, {"tcp://udp://x", `10: "//x" is not a port`},
			{"tcp+udp://x", "0: unknown scheme"}, {"tcp6://x", "0: unknown scheme"}, {"https://example.com/", "0: unknown scheme"},
			{"tcp:/x", `4: "/x" is not a port`}, {"tcp:", "4: a port is missing"},
			{"tcp://:", "7: a port is missing"}, {":", "1: a port is missing"}, {"*:", "2: a port is missing"}, {"[::1]:", "6: a port is missing"},
			{"tcp://:0", "7: port 0"}, {"tcp://:80,0", "10: port 0"}, {":00", "1: port 0"},
			{"tcp://:80,", "10: a port is missing"}, {"tcp://:,80", "7: a port is missing"}, {":80,,81", "4: a port is missing"},
			{"tcp://:80,*", "10: * can't be mixed"}, {"tcp://:*,80", "7: * can't be mixed"}, {":*,*", "1: * can't be mixed"}, {":**", `1: "**" is not a port`},
			{"tcp://:65536", `7: "65536" is not a port`}, {":99999999999999999999", `1: "99999999999999999999" is not a port`},
			{"tcp://:http", `7: "http" is not a port`}, {"tcp://: 80", `7: " 80" is not a port`}, {":80 ", `1: "80 " is not a port`}, {":+80", `1: "+80" is not a port`},
			{":-1", `1: "-1" is not a port`}, {"tcp://:80-90", `7: "80-90" is not a port`}, {":80\n", `1: "80\n" is not a port`}, {":８０", `1: "８０" is not a port`},
			{"icmp://1.1.1.1:80", "15: icmp has no ports"}, {"icmp://:80", "8: icmp has no ports"}, {"icmp://*:*", "9: icmp has no ports"}, {"icmp://[::1]:1", "13: icmp has no ports"},
			{"[::1", "0: the [ is not closed"}, {"tcp://[", "6: the [ is not closed"}, {"[]", "1: only an IPv6"}, {"[]:80", "1: only an IPv6"},
			{"tcp://[1.2.3.4]:80", "7: only an IPv6 address"}, {"[a.example]:80", "1: only an IPv6"}, {"[::1]x", "5: a : and ports"}, {"[::1]]", "5: a : and ports"},
			{"[::1] :80", "5: a : and ports"}, {"::1]", `0: "::1]" is not an IPv6`}, {"[::1/33]/44", "8: a : and ports"},
			{"1.2.3.4/33", `0: "1.2.3.4/33" is not a network`}, {"1.2.3.4/", `0: "1.2.3.4/" is not a network`}, {"1.2.3.4/-1", "0: "}, {"1.2.3.4/08", "0: "},
			{"/8", `0: "/8" is not a network`}, {"a/8", `0: "a/8" is not a network`}, {"10/8", `0: "10/8" is not a network`}, {"1.2.3.4/8/8", "0: "},
			{"::/129", "0: "}, {"[::/129]:1", "0: "}, {"::1/", "0: "}, {"[::1]/:80", "0: "}, {"*/8", "0: "},
			{"::ffff:0:0/95", `0: "::ffff:0:0/95" is wider than IPv4`}, {"::ffff:1.2.3.4/0", "0: "},
			{"1.2.3", `0: "1.2.3" is not an address`}, {"256.1.1.1:80", `0: "256.1.1.1" is not an address`}, {"1", `0: "1" is not an address`},
			{"2130706433", "0: "}, {"1.2.3.4.5", "0: "}, {"01.2.3.4", "0: "}, {"1.2.3.4.", `0: "1.2.3.4." is not an address`}, {"0177.0.0.1", "0: "},
			{"1:2:3", `0: "1:2:3" is not an IPv6 address`}, {"::1:80:", "0: "}, {":::", "0: "}, {"1::2::3", "0: "}, {"::g", "0: "}, {"1.2.3.4:80:90", "0: "},
			{"2001:db8::1:99999", "0: "}, {"fe80::1%eth0", `0: "fe80::1%eth0": an address has no zone`}, {"[fe80::1%1]:80", "0: "}, {"fe80::%eth0/10", "0: "}, {"a%00.b", "0: "},
			{"tcp://exa mple", `6: "exa mple" is neither`}, {"*.example.com", `0: "*.example.com" is neither`}, {"exämple.de", "0: "}, {"a@b", "0: "}, {"user:pw@host:1", "0: "},
			{"a..b", `0: "a..b": each label`}, {".a", "0: "}, {"a..", "0: "}, {".", "0: "}, {"-a", `0: "-a": a label`}, {"a-.b", "0: "}, {"x\x00", `0: "x\x00" is neither`},
			{"x\x00.example:80", "0: "}, {"example.com\n", "0: "}, {" example.com", "0: "}, {"\xff", "0: "}, {"**", "0: "},
			{strings.Repeat("a", 64), `0: "aaaa`}, {strings.Repeat("a.", 127) + "a", "0: a host name has"}, {"a.1", "0: "}, {"private", `0: "private" stands for`},
			{"private:80", `0: "private" stands for`},
		},
		inDeny: {
			{"example.com", `0: "example.com" is a host name`}, {"tcp://localhost:80", `6: "localhost" is a host name`}, {"private.example", "0: "},
			{"icmp://private:1", "15: icmp has no ports"}, {"private/8", "0: "}, {"", "0: there is no target"}, {":0", "1: port 0"}, {"privat", "0: "},
		},
	}
	n := 0
	for on, list := range rows {
		for _, row := range list {
			n++
			r, err := parseNetRule(row[0], on)
			got := ""
			for _, p := range r.protocols {
				got += "+" + p.String()
			}
			got = strings.TrimPrefix(got+" "+r.target.String()+" "+r.ports.String(), "+")
			if err != nil || got != row[1] {
				t.Errorf("%s %q: %s, %v; want %s", on.field(), row[0], got, err, row[1])
			}
		}
	}
	for on, list := range wrong {
		for _, row := range list {
			n++
			r, err := parseNetRule(row[0], on)
			if err == nil || !strings.HasPrefix(err.Error(), "at byte "+row[1]) {
				t.Errorf("%s %q: %v, %v; want the error at byte %s", on.field(), row[0], r, err, row[1])
			}
		}
	}
	if n < 150 {
		t.Errorf("%d rows", n)
	}
}

// All that is wrong is told at once, each with its field.
func TestNetRulesTellAll(t *testing.T) {
	var f faults
	parseNetRules([]string{":0", "tcp://:80", "a..b"}, inAllow, &f)
	parseNetRules([]string{"example.com"}, inDeny, &f)
	if len(f.list) != 3 || f.list[0].Field != "net_allow" || f.list[2].Field != "net_deny" {
		t.Errorf("%v", f.err())
	}
}

func FuzzNetRule(f *testing.F) {
	for _, seed := range []string{"tcp://:80,443", "[::1]/8:*", "udp://a.b", "icmp://[", ":,", "tcp://\xff:1", "private:1", "::ffff:1.2.3.4/100"} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, text string, allow bool) {
		r, err := parseNetRule(text, side(allow))
		if err != nil {
			if syntax := err.(*syntaxError); syntax.offset < 0 || syntax.offset > len(text) || syntax.reason == "" {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		again, err := parseNetRule(r.String(), side(allow))
		if allow && r.target.host == privateToken {
			return // its dot is gone
		}
		if err != nil || again.String() != r.String() || !slices.Equal(again.protocols, r.protocols) || again.target != r.target {
			t.Errorf("%q is %v, and that is %v, %v", text, r, again, err)
		}
		if r.ports.empty() || !r.ports.any && r.ports.contains(0) {
			t.Errorf("%q grants no port, or port 0", text)
		}
		if !allow && r.target.host != "" || allow && r.target.private {
			t.Errorf("%q is on the wrong side", text)
		}
		if n := r.target.network; n.IsValid() && (n.Addr().Is4In6() || n != n.Masked()) {
			t.Errorf("%q: %v", text, n)
		}
	})
}
