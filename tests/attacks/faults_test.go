package attacks

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// Each system call of a start that takes something fails once, in the host and in the
// warden, as it does when there is too little: the run is an error that says which step
// failed, or it is a success all the same; the host has what it had, nobody is left, and
// the next run is as ever.
func TestFaults(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("inject.c knows the registers of x86-64 only")
	}
	bothUsers(t, func(t *testing.T) {
		reapAll(t)
		for _, who := range []string{"host", "warden"} {
			for _, how := range brief([]string{"run", "create", "spawn", "terminal", "listen", "walk"}) {
				t.Run(who+", "+how, func(t *testing.T) { everyFault(t, who, how) })
			}
		}
	})
}

func everyFault(t *testing.T, who, how string) {
	failed := 0
	for n := 1; ; n++ {
		hit, came := inject(t, who, n, how)
		if hit == "none" {
			if n < 8 || failed == 0 || came != "ran" {
				t.Errorf("%d calls, of which %d were an error; at the end: %q", n-1, failed, came)
			}
			return
		}
		if came != "ran" {
			failed++
		}
		t.Logf("%d %s: %s", n, hit, came)
		if came == "" || strings.Contains(came, "BUG") || strings.Contains(came, "no reason") {
			t.Errorf("%d, %s: %q", n, hit, came)
		}
	}
}

// inject runs the host of faults.c, in which the n-th call fails, and returns which that
// was, and what came of the run.
func inject(t *testing.T, who string, n int, how string) (hit, came string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command(victim("inject"), who, fmt.Sprint(n), victim("faults"), how)
	cmd.ExtraFiles = []*os.File{w, w, w, w, w, w, w} // 3 to 9
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	w.Close()
	said, _ := io.ReadAll(r)
	hit = strings.TrimSpace(string(said))
	if err != nil || strings.Contains(string(out), "FAILED") {
		t.Errorf("%d, %s: %v\n%s", n, hit, err, out)
	}
	for _, s := range outlive(t, func(int) bool { return false }) {
		t.Errorf("%d, %s: has survived: %s", n, hit, s)
	}
	return hit, strings.TrimSpace(string(out))
}

// The same where the kernel itself has too little to give: descriptors for everybody,
// processes for an ordinary user.
func TestPoorHost(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		reapAll(t)
		for _, how := range []string{"nofile", "nproc"} {
			if how == "nproc" && os.Getuid() == 0 {
				continue // root has no such limit: CAP_SYS_RESOURCE
			}
			out, err := exec.Command(victim("faults"), how).CombinedOutput()
			t.Logf("%s\n%s", how, out)
			if err != nil || strings.Contains(string(out), "BUG") || strings.Contains(string(out), "invalid argument") {
				t.Errorf("%s: %v\n%s", how, err, out)
			}
			for _, s := range outlive(t, func(int) bool { return false }) {
				t.Errorf("%s: has survived: %s", how, s)
			}
		}
	})
}
