package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/sandlock/sandlock/core"
	"golang.org/x/sys/unix"
)

// control is the socket by which others of the user's find and end a run.
type control struct {
	dir, listener int
	entry         string
	info          runInfo

	mu      sync.Mutex // guards what follows
	sandbox *core.Sandbox
}

// runInfo is what a run says of itself.
type runInfo struct {
	Name    string          `json:"name"`
	PID     int             `json:"pid"` // of the tool
	Started time.Time       `json:"started"`
	Command []string        `json:"command"`
	Policy  json.RawMessage `json:"policy"`

	Processes []process `json:"processes"`
}

// errNameTaken is a run of the name that was asked for.
type errNameTaken string

func (e errNameTaken) Error() string {
	return fmt.Sprintf("--name %s: a sandbox of that name is running", string(e))
}

// register makes the socket. A name that was asked for is one of a kind.
func register(info runInfo, named bool) (*control, error) {
	dir, _, err := controlDir(true)
	if err != nil {
		return nil, err
	}
	c := &control{dir: dir, listener: -1, info: info}
	if err := c.listen(named); err != nil {
		c.close()
		return nil, err
	}
	go c.serve()
	return c, nil
}

func (c *control) listen(named bool) error {
	how := unix.LOCK_SH | unix.LOCK_NB
	if named {
		how = unix.LOCK_EX
	}
	if err := unix.Flock(c.dir, how); err != nil {
		return fmt.Errorf("the directory of running sandboxes is locked: %w", err)
	}
	defer unix.Flock(c.dir, unix.LOCK_UN)
	if named {
		running, err := runs(c.dir, false)
		if err != nil {
			return err
		}
		for _, r := range running {
			if r.Name == c.info.Name {
				return errNameTaken(r.Name)
			}
		}
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	c.listener = fd
	var id [16]byte
	if _, err := unix.Getrandom(id[:], 0); err != nil {
		return err
	}
	entry := hex.EncodeToString(id[:])
	if err := unix.Bind(fd, socketAddress(c.dir, entry)); err != nil {
		return err
	}
	c.entry = entry
	return unix.Listen(fd, 16)
}

// started tells which sandbox the run is.
func (c *control) started(s *core.Sandbox) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sandbox = s
}

// close removes the socket. Who waits for the end sees it when the process is gone.
func (c *control) close() {
	if c == nil {
		return
	}
	if c.entry != "" {
		_ = unix.Unlinkat(c.dir, c.entry, 0)
	}
}

func (c *control) serve() {
	for {
		conn, _, err := unix.Accept4(c.listener, unix.SOCK_CLOEXEC)
		switch err {
		case nil:
			// Who may not is told so here, one at a time: a sandbox that reaches the socket
			// makes no more work than that.
			if err := mayControl(conn); err != nil {
				reply(conn, refusal{err.Error()})
				unix.Close(conn)
				continue
			}
			go c.answer(conn)
		case unix.EINTR, unix.ECONNABORTED:
		default:
			return
		}
	}
}

func (c *control) answer(conn int) {
	switch request(conn) {
	case "info":
		info := c.info
		info.Processes = descendants()
		reply(conn, info)
	case "kill":
		c.mu.Lock()
		s := c.sandbox
		c.mu.Unlock()
		if s == nil {
			reply(conn, refusal{"the sandbox is only starting"})
			break
		}
		_ = s.Kill()
		reply(conn, refusal{})
		return // the connection ends with this process, which tells the peer of the end
	default:
		reply(conn, refusal{"there are info and kill"})
	}
	unix.Close(conn)
}

// refusal is an answer without more to say; an empty one is none.
type refusal struct {
	Error string `json:"error,omitempty"`
}

// peerPatience is how long a peer may take for its few bytes, so that a stopped one holds
// up nothing.
var peerPatience = unix.Timeval{Sec: 5}

// request reads one word.
func request(conn int) string {
	_ = unix.SetsockoptTimeval(conn, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &peerPatience)
	var word [16]byte
	n, err := unix.Read(conn, word[:])
	if err != nil {
		return ""
	}
	return string(word[:n])
}

// reply writes one line of JSON.
func reply(conn int, v any) {
	doc, err := json.Marshal(v)
	if err != nil {
		doc, _ = json.Marshal(refusal{err.Error()})
	}
	_ = unix.SetsockoptTimeval(conn, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &peerPatience)
	for doc = append(doc, '\n'); len(doc) > 0; {
		n, err := unix.SendmsgN(conn, doc, nil, nil, unix.MSG_NOSIGNAL)
		if err != nil {
			return
		}
		doc = doc[n:]
	}
}
