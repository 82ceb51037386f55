package handler

import (
	"encoding/binary"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// request is a packet of one message.
func request(kind, flags uint16, body ...byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(sizeofNlmsg+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, flags|unix.NLM_F_REQUEST)
	return append(append(b, 7, 0, 0, 0, 0, 0, 0, 0), body...)
}

// Every answer is one that a reader of netlink takes apart, to the sequence number and port
// of whoever has asked, and says nothing of what is no loopback.
func FuzzNetlink(f *testing.F) {
	for kind := uint16(0); kind < 128; kind++ {
		f.Add(request(kind, unix.NLM_F_DUMP, 0))
		f.Add(request(kind, 0, append([]byte{0, 0, 0, 0, 1}, make([]byte, 11)...)...))
	}
	f.Add(append(request(unix.RTM_GETLINK, unix.NLM_F_DUMP, 0, 0, 0, 0), request(unix.RTM_GETADDR, unix.NLM_F_DUMP, 0, 0, 0, 0)...))
	f.Add(request(unix.RTM_GETLINK, 0, append(make([]byte, 16), 7, 0, 3, 0, 'l', 'o', 0, 0)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &netlinkSocket{port: 42}
		packets, errno := s.answer(b)
		if errno != 0 && errno != unix.EPERM {
			t.Fatal(errno)
		}
		for _, p := range packets {
			list, err := syscall.ParseNetlinkMessage(p)
			if err != nil || len(list) == 0 {
				t.Fatalf("%x: %v", p, err)
			}
			for _, m := range list {
				if m.Header.Pid != 42 {
					t.Errorf("%+v", m)
				}
				switch m.Header.Type {
				case unix.RTM_NEWLINK, unix.RTM_NEWADDR:
					attributes, err := syscall.ParseNetlinkRouteAttr(&m)
					if err != nil || len(attributes) < 3 || binary.NativeEndian.Uint32(m.Data[4:]) != loopbackIndex {
						t.Errorf("%+v, %v", m, err)
					}
				case unix.NLMSG_DONE, unix.NLMSG_ERROR:
				default:
					t.Errorf("%+v", m)
				}
			}
		}
	})
}

func TestNetlinkAnswers(t *testing.T) {
	lo := append(make([]byte, 4), 1, 0, 0, 0)
	lo = append(lo, make([]byte, 8)...)
	other := append([]byte(nil), lo...)
	other[4] = 2
	kinds := func(b []byte) (kinds []uint16, errno int32) {
		s := &netlinkSocket{}
		packets, refused := s.answer(b)
		if refused != 0 {
			return nil, int32(refused)
		}
		for _, p := range packets {
			list, err := syscall.ParseNetlinkMessage(p)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range list {
				if kinds = append(kinds, m.Header.Type); m.Header.Type == unix.NLMSG_ERROR {
					errno = -int32(binary.NativeEndian.Uint32(m.Data))
				}
			}
		}
		return kinds, errno
	}
	for _, tt := range []struct {
		name    string
		request []byte
		kinds   []uint16
		errno   unix.Errno
	}{
		{"links", request(unix.RTM_GETLINK, unix.NLM_F_DUMP, 0), []uint16{unix.RTM_NEWLINK, unix.NLMSG_DONE}, 0},
		{"Go's addresses", request(unix.RTM_GETADDR, unix.NLM_F_DUMP, 0), []uint16{unix.RTM_NEWADDR, unix.RTM_NEWADDR, unix.NLMSG_DONE}, 0},
		{"of IPv6", request(unix.RTM_GETADDR, unix.NLM_F_DUMP, unix.AF_INET6), []uint16{unix.RTM_NEWADDR, unix.NLMSG_DONE}, 0},
		{"of none", request(unix.RTM_GETADDR, unix.NLM_F_DUMP, 77), []uint16{unix.NLMSG_DONE}, 0},
		{"glibc's families", request(unix.RTM_GETADDR, unix.NLM_F_DUMP, 0, 0, 0, 0), nil, unix.EPERM},
		{"routes", request(unix.RTM_GETROUTE, unix.NLM_F_DUMP, 0), []uint16{unix.NLMSG_DONE}, 0},
		{"one route", request(unix.RTM_GETROUTE, 0, 0), []uint16{unix.NLMSG_ERROR}, unix.EOPNOTSUPP},
		{"lo", request(unix.RTM_GETLINK, 0, lo...), []uint16{unix.RTM_NEWLINK}, 0},
		{"lo, acknowledged", request(unix.RTM_GETLINK, unix.NLM_F_ACK, lo...), []uint16{unix.RTM_NEWLINK, unix.NLMSG_ERROR}, 0},
		{"another", request(unix.RTM_GETLINK, 0, other...), []uint16{unix.NLMSG_ERROR}, unix.ENODEV},
		{"short", request(unix.RTM_GETLINK, 0, 1), []uint16{unix.NLMSG_ERROR}, unix.ENODEV},
		{"a change", request(unix.RTM_NEWADDR, unix.NLM_F_CREATE, lo...), []uint16{unix.NLMSG_ERROR}, unix.EPERM},
		{"a removal", request(unix.RTM_DELLINK, unix.NLM_F_DUMP, lo...), []uint16{unix.NLMSG_ERROR}, unix.EPERM},
		{"nothing", nil, nil, 0},
	} {
		kinds, errno := kinds(tt.request)
		if !slices.Equal(kinds, tt.kinds) || unix.Errno(errno) != tt.errno {
			t.Errorf("%s: %v, errno %d", tt.name, kinds, errno)
		}
	}
}
