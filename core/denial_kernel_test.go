package core

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What Landlock refuses unseen by the library is heard of from the kernel's audit, where
// that is on and may be read.
func TestKernelAudit(t *testing.T) {
	if os.Getenv("SANDLOCK_VM") == "" {
		t.Skip("turns on the audit of the whole machine: make test-vm")
	}
	if abi := LandlockABIVersion(); abi < landlockLogs {
		t.Skipf("Landlock tells the audit nothing before ABI %d, this is %d", landlockLogs, abi)
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	interpreter, script, secret := filepath.Join(dir, "inter preter"), filepath.Join(dir, "granted", "script"), filepath.Join(dir, "secret")
	if err := os.Mkdir(filepath.Dir(script), 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "granted", "interpreter")
	sh, err := os.ReadFile("/bin/sh")
	if err == nil {
		err = os.WriteFile(interpreter, sh, 0o755)
	}
	if err == nil {
		err = os.Symlink(interpreter, link)
	}
	if err == nil {
		err = os.WriteFile(script, []byte("#!"+link+"\n"), 0o755)
	}
	if err == nil {
		err = os.WriteFile(secret, nil, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	run := func() *Result {
		p := NewPolicy()
		p.FSReadable = []string{"/usr", "/lib", "/lib64", "/bin", filepath.Dir(script)}
		p.RecordDenials = true
		plan, err := p.Compile()
		if err != nil {
			t.Fatal(err)
		}
		r, err := plan.Run(Command{Argv: []string{"sh", "-c", `"$1"; "$1"; kill -0 "$2"; : < "$3"`, "sh", script, fmt.Sprint(os.Getpid()), secret}, Stdin: -1}, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"script: Permission denied", "kill: ", "secret: Permission denied"} {
			if !strings.Contains(string(r.Stderr), want) && !strings.Contains(string(r.Stderr), strings.ReplaceAll(want, "kill: ", "kill")) {
				t.Errorf("no %q: %s", want, r.Stderr)
			}
		}
		return r
	}
	find := func(r *Result, syscall, path string) (found []Denial) {
		for _, d := range r.Denials {
			if d.Syscall == syscall && d.Path == path {
				found = append(found, d)
			}
		}
		return found
	}
	// Off, it tells nothing, and nobody waits for it.
	if r := run(); len(find(r, "kill", "")) != 0 || len(find(r, "openat", secret)) != 1 {
		t.Errorf("with the audit off: %s", r.DenialsJSON())
	}
	enableAudit(t, 1)
	defer enableAudit(t, 0)
	r := run()
	t.Log(r.DenialsJSON())
	if d := find(r, "execve", interpreter); len(d) != 1 || d[0].Rule != "fs_readable" || d[0].Count != 2 || d[0].Errno != int(unix.EACCES) || d[0].PID == 0 || !strings.HasSuffix(d[0].Exe, "sh") {
		t.Errorf("what both have told, and of two calls: %+v", d)
	}
	if d := find(r, "kill", ""); len(d) != 1 || d[0].Rule != "" || d[0].Errno != int(unix.EPERM) || !strings.Contains(d[0].Why, "outside") {
		t.Errorf("the signal: %+v", d)
	}
	if d := find(r, "openat", secret); len(d) != 1 || d[0].Count != 1 {
		t.Errorf("what the library has told itself: %+v", d)
	}
}

// enableAudit is auditctl -e: AUDIT_SET of linux/audit.h with a struct audit_status whose
// first word says that the second is meant.
func enableAudit(t *testing.T, on uint32) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_AUDIT)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	status := make([]byte, 44)
	binary.NativeEndian.PutUint32(status, 1)
	binary.NativeEndian.PutUint32(status[4:], on)
	m := binary.NativeEndian.AppendUint32(nil, uint32(16+len(status)))
	m = binary.NativeEndian.AppendUint16(m, 1001)
	m = binary.NativeEndian.AppendUint16(m, unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	m = append(append(m, make([]byte, 8)...), status...)
	if err := unix.Sendto(fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 1024)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil || n < 20 {
		t.Fatal(n, err)
	}
	if errno := -int32(binary.NativeEndian.Uint32(answer[16:])); errno != 0 {
		t.Fatal(unix.Errno(errno))
	}
}
