// Init of the guest that tests/vm/run boots: process 1, and the list of what is tested
// there. The verdict, 0 or 1, goes out by the second serial line.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sandlock/sandlock/core"
	"golang.org/x/sys/unix"
)

const (
	verdictLine = "/dev/ttyS1"
	scopeFile   = "/proc/sys/kernel/yama/ptrace_scope"
	testsDir    = "/sandlock"
	victimsDir  = testsDir + "/victims"
	hostCgroup  = "/sys/fs/cgroup/given/host"
	nobody      = 65534 // bothUsers of tests/attacks
)

func main() {
	if os.Getpid() == 1 {
		err := boot()
		fmt.Println("guest:", err)
		unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART) // qemu's -no-reboot makes it an end, without a verdict
	}
	if len(os.Args) > 1 && os.Args[1] == "probe" {
		return // whether the accelerator works
	}
	if err := runAll(); err != nil {
		fmt.Println("guest:", err)
		os.Exit(1)
	}
}

// boot makes the file systems, runs the tests in a child, reaps what its descendants
// leave behind, as process 1 has to, and ends the machine.
func boot() error {
	for _, m := range []struct{ kind, at, options string }{
		{"proc", "/proc", ""},
		{"sysfs", "/sys", ""},
		{"cgroup2", "/sys/fs/cgroup", ""},
		{"securityfs", "/sys/kernel/security", ""},
		{"devtmpfs", "/dev", ""},
		{"devpts", "/dev/pts", "ptmxmode=0666"},
		{"tmpfs", "/dev/shm", "mode=1777"},
		{"tmpfs", "/tmp", "mode=1777"},
	} {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.at, m.kind, 0, m.options); err != nil {
			return fmt.Errorf("mount of %s: %w", m.at, err)
		}
	}
	for link, target := range map[string]string{"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink(target, "/dev/"+link); err != nil {
			return err
		}
	}
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	if err := delegateCgroup(); err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	tests, err := os.StartProcess("/init", append([]string{"init"}, os.Args[1:]...), &os.ProcAttr{
		Env: []string{"PATH=/usr/bin", "HOME=/tmp", "LC_ALL=C", "SANDLOCK_VM=1", "SANDLOCK_VICTIMS=" + victimsDir,
			"SANDLOCK_ATTACK_ROUNDS=20", "VM_STEPS=" + os.Getenv("VM_STEPS")},
		Files: []*os.File{nil, os.Stdout, os.Stderr}, Sys: &unix.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return err
	}
	verdict := "1" // no line end, which a terminal would change
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WALL, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait4: %w", err)
		}
		if pid == tests.Pid {
			if ws.Exited() && ws.ExitStatus() == 0 {
				verdict = "0"
			}
			break
		}
	}
	if err := os.WriteFile(verdictLine, []byte(verdict), 0); err != nil {
		return err
	}
	return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// delegateCgroup leaves a cgroup with a memory controller to an ordinary user, as systemd does
// for a service that has Delegate=memory, DelegateSubgroup=host and that user.
func delegateCgroup() error {
	if err := os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+memory"), 0); err != nil {
		return err
	}
	if err := os.MkdirAll(hostCgroup, 0o755); err != nil {
		return err
	}
	parent := filepath.Dir(hostCgroup)
	for _, name := range []string{"", "/cgroup.procs", "/cgroup.subtree_control", "/host", "/host/cgroup.procs"} {
		if err := os.Chown(parent+name, nobody, nobody); err != nil {
			return err
		}
	}
	return unix.Setxattr(parent, "user.delegate", []byte("1"), 0)
}

// loopbackUp does what ip link set lo up does: netdevice(7).
func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo)
}

// runAll runs the steps, each under its Yama scope, and says what has failed.
func runAll() error {
	abi, err := describe()
	if err != nil {
		return err
	}
	chosen, err := regexp.Compile(os.Getenv("VM_STEPS"))
	if err != nil {
		return err
	}
	var failed []string
	for _, s := range steps {
		name := fmt.Sprintf("ptrace_scope %d: %s %s", s.scope, s.program, strings.Join(s.args, " "))
		if s.cgroup {
			name += " in a delegated cgroup"
		}
		if abi < s.from || !chosen.MatchString(name) {
			continue
		}
		if err := s.run(name); err != nil {
			failed = append(failed, fmt.Sprintf("%s: %v", name, err))
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("failed:\n  %s", strings.Join(failed, "\n  "))
	}
	return nil
}

// describe fails where the guest is not what it is for.
func describe() (landlockABI int, err error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return 0, err
	}
	lsm, err := os.ReadFile("/sys/kernel/security/lsm")
	if err != nil {
		return 0, err
	}
	for _, want := range []string{"landlock", "yama"} {
		if !strings.Contains(","+string(lsm)+",", ","+want+",") {
			return 0, fmt.Errorf("the kernel runs without %s: %s", want, lsm)
		}
	}
	abi := core.LandlockABIVersion()
	fmt.Printf("guest: Linux %s, Landlock ABI %d, %s\n", unix.ByteSliceToString(u.Release[:]), abi, lsm)
	return abi, nil
}

// run runs one step and shows its output. A test that is skipped is a failure: what can't
// run here is not on the list. So is a program that runs no test.
func (s *step) run(name string) error {
	fmt.Printf("\n== %s\n", name)
	if err := os.WriteFile(scopeFile, []byte(strconv.Itoa(s.scope)), 0); err != nil {
		return err
	}
	var out bytes.Buffer
	start := time.Now()
	cmd := exec.Command(testsDir+"/"+s.program, s.args...)
	cmd.Dir = testsDir
	cmd.Env = append(os.Environ(), s.env...)
	cmd.Stdout = io.MultiWriter(os.Stdout, &out)
	cmd.Stderr = cmd.Stdout
	if s.cgroup {
		group, err := os.Open(hostCgroup)
		if err != nil {
			return err
		}
		defer group.Close()
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
	}
	err := cmd.Run()
	fmt.Printf("(%.0f s)\n", time.Since(start).Seconds())
	switch {
	case err != nil:
		return err
	case bytes.Contains(out.Bytes(), []byte("--- SKIP: ")):
		return errors.New("a test was skipped")
	case !bytes.Contains(out.Bytes(), []byte(s.want)):
		return fmt.Errorf("no %s in the output", s.want)
	}
	return nil
}
