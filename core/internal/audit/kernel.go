package audit

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// Kernel reads what Landlock tells the kernel's audit of one sandbox: the records
// AUDIT_LANDLOCK_ACCESS and AUDIT_LANDLOCK_DOMAIN of Linux 6.15, from the multicast group
// that any process with CAP_AUDIT_READ may listen to, beside an auditd. It is used by one
// goroutine at a time, but for FD.
type Kernel struct {
	fd     int
	domain string // of the sandbox, as the records have it; "": nobody has told yet
	events map[string]*kernelEvent
	order  []string // of them, oldest first
	lost   bool
}

// kernelEvent is the records of one serial number.
type kernelEvent struct {
	access  fields
	syscall fields
}

// Of linux/audit.h and linux/netlink.h.
const (
	auditGet         = 1000
	auditUser        = 1005
	auditSyscall     = 1300
	auditEndOfEvent  = 1320
	landlockAccess   = 1423
	landlockDomain   = 1424
	readLogGroup     = 1
	sizeofHeader     = 16 // struct nlmsghdr
	maxKernelEvents  = 256
	maxKernelRecords = 64 // that one Read takes
)

// OpenKernel starts to listen, nil where there is nothing to hear: audit is off, or this
// process may not, as all but root.
func OpenKernel() *Kernel {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_AUDIT)
	if err != nil {
		return nil
	}
	k := &Kernel{fd: sys.Opened(fd), events: map[string]*kernelEvent{}}
	if unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (readLogGroup - 1)}) != nil || !k.enabled() {
		k.Close()
		return nil
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<20)
	return k
}

// FD is readable when Read has something to do.
func (k *Kernel) FD() int { return k.fd }

// Close ends the listening.
func (k *Kernel) Close() { sys.Close(k.fd) }

func (k *Kernel) send(kind uint16, flags uint16, payload string) error {
	b := binary.NativeEndian.AppendUint32(nil, uint32(sizeofHeader+len(payload)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = append(b, make([]byte, 8)...)
	return unix.Sendto(k.fd, append(b, payload...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

// receive returns a message that is there.
func (k *Kernel) receive() (kind uint16, payload []byte, err error) {
	buf := make([]byte, 16<<10) // MAX_AUDIT_MESSAGE_LENGTH is 8970
	n, from, err := unix.Recvfrom(k.fd, buf, 0)
	if err != nil {
		return 0, nil, err
	}
	if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 || n < sizeofHeader {
		return 0, nil, nil // from a process
	}
	return binary.NativeEndian.Uint16(buf[4:]), buf[sizeofHeader:n], nil
}

// enabled asks whether audit is on: struct audit_status, whose second word says so.
func (k *Kernel) enabled() bool {
	if k.send(auditGet, unix.NLM_F_REQUEST, "") != nil {
		return false
	}
	// The kernel answers before the send returns, or in a thread of its own.
	deadline := time.Now().Add(time.Second)
	for k.wait(deadline) {
		kind, payload, err := k.receive()
		switch {
		case err != nil || kind == unix.NLMSG_ERROR:
			return false
		case kind == auditGet && len(payload) >= 8:
			return binary.NativeEndian.Uint32(payload[4:]) != 0
		}
	}
	return false
}

func (k *Kernel) wait(deadline time.Time) bool {
	fds := []unix.PollFd{{Fd: int32(k.fd), Events: unix.POLLIN}}
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return false
		}
		n, err := unix.Poll(fds, int(left/time.Millisecond)+1)
		if err == nil {
			return n > 0
		}
		if !errors.Is(err, unix.EINTR) {
			return false
		}
	}
}

// Found is a denial that was heard of.
type Found struct {
	Who     Who
	Refusal Refusal
	Call    int // number of the system call, -1 when that is not known
}

// Read takes what is there, of the sandbox whose command pid is, and returns what is complete.
// A record comes in pieces; what nobody has told the domain of yet waits.
func (k *Kernel) Read(pid uint32) (list []Found) {
	for range maxKernelRecords {
		kind, payload, err := k.receive()
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.ENOBUFS) {
			k.lost = true
			continue
		}
		if err != nil {
			break
		}
		if serial := k.take(kind, string(payload), pid); serial != "" {
			list = append(list, k.finish(serial)...)
		}
	}
	return list
}

// Lost reports whether there were more records than room for them.
func (k *Kernel) Lost() bool { return k.lost }

// Rest waits for what the kernel has yet to tell of a sandbox that is over: it tells things in
// their order, so for a message that is sent to it now, but no longer than a second.
func (k *Kernel) Rest(pid uint32, name string) (list []Found) {
	mark := "op=sandlock-end sandbox=" + strconv.Quote(name)
	if k.send(auditUser, unix.NLM_F_REQUEST, mark+"\x00") == nil {
		deadline := time.Now().Add(time.Second)
		for over := false; !over && k.wait(deadline); {
			kind, payload, err := k.receive()
			if err != nil {
				k.lost = k.lost || errors.Is(err, unix.ENOBUFS)
				continue
			}
			if serial := k.take(kind, string(payload), pid); serial != "" {
				list = append(list, k.finish(serial)...)
			}
			// An error is the answer to who may not write, and so waits for nothing.
			over = kind == unix.NLMSG_ERROR || kind == auditUser && strings.Contains(string(payload), mark)
		}
	}
	for len(k.order) > 0 {
		list = append(list, k.finish(k.order[0])...)
	}
	return list
}

// take keeps one record, and returns the serial of an event that is complete.
func (k *Kernel) take(kind uint16, text string, pid uint32) (complete string) {
	// audit(SECONDS.MILLISECONDS:SERIAL): FIELDS
	head, rest, ok := strings.Cut(text, "): ")
	_, serial, ok2 := strings.Cut(head, "audit(")
	if !ok || !ok2 {
		if kind == auditEndOfEvent {
			_, serial, _ = strings.Cut(strings.TrimRight(text, ": )\x00"), "audit(")
			if k.events[serial] != nil {
				return serial
			}
		}
		return ""
	}
	f := parseFields(strings.TrimRight(rest, "\x00\n"))
	switch kind {
	case landlockAccess:
		if k.domain != "" && f["domain"] != k.domain || k.events[serial] != nil {
			return "" // another's, or one of several of one call, of which the first will do
		}
		if len(k.order) == maxKernelEvents {
			k.lost = true
			return ""
		}
		k.events[serial] = &kernelEvent{access: f}
		k.order = append(k.order, serial)
	case landlockDomain:
		// That of a command is made by the library's own program, which is its process until
		// the exec. By its number alone a task outside could be taken for it, in another pid
		// namespace.
		if f["pid"] == strconv.FormatUint(uint64(pid), 10) && strings.Contains(f["exe"], wardenName) {
			k.domain = f["domain"]
		}
	case auditSyscall:
		if e := k.events[serial]; e != nil {
			e.syscall = f
		}
	case auditEndOfEvent:
		return serial
	}
	return ""
}

// wardenName is what the memfd of the warden is called.
const wardenName = "sandlock-warden"

// finish returns what an event says, and forgets it. One of a domain that is not known waits
// for the record about that, which comes right behind its first.
func (k *Kernel) finish(serial string) []Found {
	e := k.events[serial]
	delete(k.events, serial)
	for i, s := range k.order {
		if s == serial {
			k.order = append(k.order[:i], k.order[i+1:]...)
			break
		}
	}
	if e == nil || k.domain == "" || e.access["domain"] != k.domain {
		return nil
	}
	return []Found{e.found()}
}
