package attacks

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hostRounds is how often a host is killed, in each of two modes by each of two users: 300
// times in all, 10,000 in a soak. SANDLOCK_HOST_ROUNDS gives another number.
func hostRounds() int {
	if n, err := strconv.Atoi(os.Getenv("SANDLOCK_HOST_ROUNDS")); err == nil && n > 0 {
		return n
	}
	if os.Getenv("SANDLOCK_SOAK") != "" {
		return 2_500
	}
	if testing.Short() {
		return 15
	}
	return 75
}

// A SIGKILL of the host at any moment leaves nothing: not of a sandbox that is being set
// up, runs, or ends; with a policy function or without; daemons, stopped tasks, zombies,
// tasks that have closed all they had, and sandboxes inside. Nor does a forked child of the
// host, which holds copies of all its descriptors, keep a sandbox alive.
func TestHostKilled(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for _, mode := range []string{"plain", "fork"} {
			t.Run(mode, func(t *testing.T) {
				reapAll(t)
				survivors := 0
				for range hostRounds() {
					for _, s := range killHost(t, mode) {
						survivors++
						t.Errorf("has survived: %s", s)
					}
				}
				t.Logf("user %d, host %s: %d trials, %d survivors", os.Getuid(), mode, hostRounds(), survivors)
			})
		}
	})
}

// killHost starts a host, kills it, and returns what has survived. The pipe shows who holds
// it; and all that descends from the host becomes this process's child, or a descendant of
// one, when it has lost its parent: so nothing can be missed.
func killHost(t *testing.T, mode string) (survivors []string) {
	t.Helper()
	l := newLife(t)
	defer l.close()
	cmd := exec.Command(victim("host"), mode, victim("lifetime"))
	cmd.Stdin, cmd.Stderr = l.w, os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(line, err)
	}
	// The moment is to be random; nothing waits for it.
	time.Sleep(time.Duration(rand.IntN(80_000)) * time.Microsecond)
	cmd.Process.Kill()
	cmd.Wait()
	forked := func(pid int) bool {
		exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		return exe == victim("host")
	}
	survivors = outlive(t, forked)
	if !l.endsBy(time.Now().Add(time.Minute)) { // a forked child may be about to close it
		survivors = append(survivors, "a holder of the pipe")
	}
	for _, pid := range children(os.Getpid()) {
		if forked(pid) {
			unix.Kill(pid, unix.SIGKILL)
		}
	}
	return append(survivors, outlive(t, func(int) bool { return false })...)
}

// outlive waits until this process has no descendants but those that are spared, and
// returns, and kills, those that are there after a minute.
func outlive(t *testing.T, spared func(pid int) bool) (survivors []string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		for {
			pid, err := unix.Wait4(-1, nil, unix.WALL|unix.WNOHANG, nil)
			if errors.Is(err, unix.ECHILD) {
				return survivors
			} else if pid <= 0 && !errors.Is(err, unix.EINTR) {
				break
			}
		}
		alone := true
		for _, pid := range descendants(os.Getpid()) {
			if spared(pid) {
				continue
			}
			alone = false
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				continue // gone, and its children are somebody else's now
			}
			if !process(fd).ended(int(max(0, time.Until(deadline).Milliseconds()))) {
				cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
				survivors = append(survivors, fmt.Sprintf("%d %q", pid, cmdline))
				unix.Kill(pid, unix.SIGKILL)
				deadline = time.Now().Add(time.Second)
			}
			unix.Close(fd)
		}
		if alone {
			return survivors
		}
	}
}

// descendants of a process.
func descendants(root int) (list []int) {
	of := families()
	list = of[root]
	for i := 0; i < len(list); i++ {
		list = append(list, of[list[i]]...)
	}
	return list
}
