package broker

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/sandlock/sandlock/core/internal/sys"
	"golang.org/x/sys/unix"
)

// maxIdentities bounds the sets of credentials of one sandbox that have threads.
const maxIdentities = 32

// identity is the threads that act with one set of credentials: those that the sandbox
// started with, or others that its tasks have changed to, as root's may.
type identity struct {
	quick, patient pool
	fsuid          uint32
	base           bool
}

func newIdentity(confine func() error) *identity {
	id := &identity{}
	for _, p := range []*pool{&id.quick, &id.patient} {
		p.confine, p.change.L = confine, &p.mu
	}
	return id
}

func (id *identity) close() {
	id.quick.close()
	id.patient.close()
}

// identity returns the threads for a caller, EACCES where there can be none.
func (b *Broker) identity(c *Caller) (*identity, error) {
	if err := b.Ready(); err != nil {
		return nil, unix.EACCES
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.Task.Credentials == b.status {
		return b.base, nil
	}
	if id := b.others[c.Task.Credentials]; id != nil {
		return id, nil
	}
	ids, err := c.Task.parse()
	if b.closed || err != nil || len(b.others) >= maxIdentities {
		return nil, unix.EACCES
	}
	id := newIdentity(func() error {
		if err := b.confine(); err != nil {
			return err
		}
		return ids.adopt()
	})
	got, err := id.credentials()
	if err != nil || got != c.Task.Credentials {
		id.close()
		return nil, unix.EACCES
	}
	id.fsuid = ids.UID[3]
	if b.others == nil {
		b.others = map[Credentials]*identity{}
	}
	b.others[c.Task.Credentials] = id
	return id, nil
}

// credentials makes a thread, and returns what it has.
func (id *identity) credentials() (Credentials, error) {
	confined, read := make(chan int, 1), make(chan struct{})
	thread := make(chan error, 1)
	go func() {
		err := id.quick.do(func() {
			confined <- unix.Gettid()
			<-read // by somebody else: a confined thread may not
		})
		close(confined)
		thread <- err
	}()
	var c Credentials
	var err error
	if tid, ok := <-confined; ok {
		c, err = readCredentials(fmt.Sprintf("/proc/self/task/%d/status", tid))
	}
	close(read)
	return c, errors.Join(<-thread, err)
}

// open is how a walk for this identity opens what is on its way: with its permissions.
func (id *identity) open(dir int, name string, flags int) (fd int, err error) {
	if id.base {
		return openAt(dir, name, flags) // this thread's, which are the same
	}
	if broken := id.quick.do(func() { fd, err = openAt(dir, name, flags) }); broken != nil {
		return -1, unix.EACCES
	}
	return fd, err
}

// numbers are credentials to be adopted.
type numbers struct {
	sys.ThreadIDs
	caps uint64
}

func (c Credentials) parse() (n numbers, err error) {
	number := func(text string, base, bits int) uint64 {
		v, wrong := strconv.ParseUint(text, base, bits)
		err = errors.Join(err, wrong)
		return v
	}
	for line := range strings.Lines(c.ids) {
		name, value, _ := strings.Cut(line, ":")
		f := strings.Fields(value)
		switch {
		case (name == "Uid" || name == "Gid") && len(f) == 4:
			to := &n.UID
			if name == "Gid" {
				to = &n.GID
			}
			for i, text := range f {
				to[i] = uint32(number(text, 10, 32))
			}
		case name == "Groups":
			for _, text := range f {
				n.Groups = append(n.Groups, uint32(number(text, 10, 32)))
			}
		case name == "CapEff" && len(f) == 1:
			n.caps = number(f[0], 16, 64)
		default:
			err = errors.Join(err, errStatus)
		}
	}
	return n, err
}

// adopt gives the calling thread, which is locked for good, and no other, the credentials.
func (n *numbers) adopt() error {
	// A change of ids makes the whole process one that dumps no core, which the host is not
	// to notice: commit_creds() of the kernel.
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		return os.NewSyscallError("prctl(PR_GET_DUMPABLE)", err)
	}
	err = unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0)
	if err == nil {
		err = sys.SetThreadIDs(&n.ThreadIDs)
	}
	if err == nil {
		err = setEffective(n.caps)
	}
	if dumpable == 1 {
		err = errors.Join(err, unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0))
	}
	return err
}

// setEffective leaves the thread those capabilities alone.
func setEffective(caps uint64) error {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	for i := range sets {
		sets[i].Effective = uint32(caps >> (32 * i))
		sets[i].Permitted = sets[i].Effective
	}
	return unix.Capset(&head, &sets[0])
}
