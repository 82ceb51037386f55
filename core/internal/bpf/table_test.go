package bpf

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// numbersIn reads "PREFIXname number" lines, with or without #define or =.
func numbersIn(t *testing.T, path, prefix string) map[string]int {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	line := regexp.MustCompile(`^(?:#define)?\s*` + prefix + `(\w+)\s+(?:=\s*)?(\d+)$`)
	numbers := make(map[string]int)
	for s := bufio.NewScanner(f); s.Scan(); {
		if m := line.FindStringSubmatch(s.Text()); m != nil {
			n, err := strconv.Atoi(m[2])
			if err != nil {
				t.Fatal(err)
			}
			numbers[strings.ToLower(m[1])] = n
		}
	}
	if len(numbers) < 300 {
		t.Fatalf("%s: %d numbers only", path, len(numbers))
	}
	return numbers
}

// TestTableAgainstXSys: the table has the names and numbers of x/sys/unix, on both
// architectures, and no other.
func TestTableAgainstXSys(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/sys").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "unix")
	for a, file := range map[Arch]string{X86_64: "zsysnum_linux_amd64.go", ARM64: "zsysnum_linux_arm64.go"} {
		want := numbersIn(t, filepath.Join(dir, file), "SYS_")
		// Not a syscall: the first of 16 numbers that the generic table leaves to
		// architectures. arm64 has none there.
		delete(want, "arch_specific_syscall")
		for name, nr := range want {
			if got, ok := Number(a, name); !ok || got != nr {
				t.Errorf("%v: %s is %d, the table says %d, %v", a, name, nr, got, ok)
			}
			if got, ok := Name(a, nr); !ok || got != name {
				t.Errorf("%v: %d is %s, the table says %q, %v", a, nr, name, got, ok)
			}
		}
		for _, r := range rowsOf(a) {
			if _, ok := want[r.name]; !ok {
				t.Errorf("%v: x/sys/unix does not have %s", a, r.name)
			}
		}
	}
}

// TestTableAgainstHeaders: the C library's headers of this machine agree, where
// they are installed (linux-libc-dev). They may be older than the table.
func TestTableAgainstHeaders(t *testing.T) {
	paths, err := filepath.Glob("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) == 0 {
		t.Skip("no <asm/unistd_64.h> of x86-64 here")
	}
	for name, nr := range numbersIn(t, paths[0], "__NR_") {
		if got, ok := Number(X86_64, name); !ok || got != nr {
			t.Errorf("%s is %d, the table says %d, %v", name, nr, got, ok)
		}
	}
}

func TestTableRows(t *testing.T) {
	seen := make(map[string]bool)
	for _, r := range table {
		if seen[r.name] {
			t.Errorf("%s is there twice", r.name)
		}
		seen[r.name] = true
		if r.x86 < 0 && r.arm64 < 0 {
			t.Errorf("%s has no number", r.name)
		}
		if (r.why == "") != (r.class == allowed) {
			t.Errorf("%s: a reason %q", r.name, r.why)
		}
		if _, ok := rules[r.name]; ok != (r.class == ruled) {
			t.Errorf("%s: a rule without the class or the class without a rule", r.name)
		}
	}
	for name := range rules {
		if !seen[name] {
			t.Errorf("a rule for %s, which is not in the table", name)
		}
	}
	for _, g := range groups {
		for _, name := range g.members {
			if !seen[name] {
				t.Errorf("group %s: %s is not in the table", g.name, name)
			}
		}
	}
	for _, name := range needed {
		if r := byName()[name]; r == nil || r.class != allowed && !rules[name].lift {
			t.Errorf("%s is needed for the start, but not allowed", name)
		}
	}
}

// TestRefused is the second list of what must never be allowed by default, written
// apart from the table so that a slip in it shows.
func TestRefused(t *testing.T) {
	refused := strings.Fields(`io_uring_setup io_uring_enter io_uring_register unshare setns mount umount2 fsopen
		fsconfig fsmount fspick move_mount open_tree open_tree_attr mount_setattr chroot pivot_root swapon swapoff
		reboot kexec_load kexec_file_load init_module finit_module delete_module bpf perf_event_open userfaultfd
		keyctl add_key request_key ptrace process_vm_readv process_vm_writev process_madvise process_mrelease
		pidfd_getfd kcmp open_by_handle_at acct quotactl quotactl_fd settimeofday clock_settime clock_adjtime
		adjtimex sethostname setdomainname iopl ioperm modify_ldt vhangup syslog lookup_dcookie fanotify_init
		shmget shmat shmctl shmdt semget semop semctl semtimedop msgget msgsnd msgrcv msgctl mq_open mq_unlink
		lsm_set_self_attr fanotify_mark`)
	missingByChoice := strings.Fields("clone3 file_setattr statmount listmount listns")
	for _, r := range table {
		switch refusing := r.class == denied || r.class == forbidden; {
		case refusing != slices.Contains(refused, r.name):
			t.Errorf("%s: refused with EPERM: %v", r.name, refusing)
		case slices.Contains(missingByChoice, r.name) && r.class != missing:
			t.Errorf("%s is not ENOSYS", r.name)
		}
	}
	for _, name := range strings.Fields(`landlock_create_ruleset landlock_add_rule landlock_restrict_self
		pidfd_open pidfd_send_signal kill tgkill memfd_secret name_to_handle_at uretprobe uprobe restart_syscall
		rt_sigreturn mknod mknodat set_mempolicy`) {
		if byName()[name].class != allowed {
			t.Errorf("%s is not allowed", name)
		}
	}
}
