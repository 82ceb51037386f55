package attacks

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sandlock/sandlock/core"
	"golang.org/x/sys/unix"
)

// The library's own tasks killed by somebody outside: the sandbox ends with them, and
// whoever waits for it is told.
func TestWardenKilled(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		reap := reapAll(t)
		for _, p := range []*core.Policy{policy(), judged(), walked()} {
			for _, name := range []string{"parent", "killer"} {
				for _, parked := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s, parked %v", name, parked), func(t *testing.T) {
						l := newLife(t)
						s := l.create(t, p, "stay", "10")
						if !parked {
							s.Start()
							l.await(t, 11)
						}
						task := parentOf(t, s.PID())
						if name == "killer" {
							task = killerOf(t, task, s.PID())
						}
						if err := unix.Kill(task, unix.SIGKILL); err != nil {
							t.Fatal(err)
						}
						if r, err := s.Wait(0); err == nil && r.Reason != core.Killed {
							t.Errorf("%+v", r)
						}
						l.awaitEnd(t)
						s.Close()
						reap()
					})
				}
			}
		}
	})
}

// parentOf is the warden's parent task: the ancestor of the command that is a child of ours.
func parentOf(t *testing.T, pid int) int {
	t.Helper()
	for child := pid; child > 1; {
		parent := statOf(t, child).ppid
		if parent == os.Getpid() {
			return child
		}
		child = parent
	}
	t.Fatalf("%d does not descend from this process", pid)
	return 0
}

// killerOf is the other child of the parent that is still its program.
func killerOf(t *testing.T, parent, command int) int {
	t.Helper()
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", parent))
	if err != nil {
		t.Fatal(err)
	}
	for _, child := range children(parent) {
		if other, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", child)); child != command && other == exe {
			return child
		}
	}
	t.Fatalf("%d has no killer", parent)
	return 0
}

// Both of the library's tasks killed at once: the command and its session end all the same,
// and whoever waits is told, with a policy function and without. Those that are in sessions
// of their own can't be found any more; they are what the result warns of.
func TestWardenKilledWhole(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		reap := reapAll(t)
		for name, p := range map[string]*core.Policy{"plain": policy(), "traced": judged(), "walked": walked()} {
			for _, mode := range []string{"session", "stay"} {
				t.Run(name+", "+mode, func(t *testing.T) {
					l := newLife(t)
					s := l.create(t, p, mode, "10")
					s.Start()
					l.await(t, 11)
					command := pidfdOf(t, s.PID())
					// The group is the two of them, and gets the signal as one.
					if err := unix.Kill(-parentOf(t, s.PID()), unix.SIGKILL); err != nil {
						t.Fatal(err)
					}
					r, err := s.Wait(time.Minute)
					warns := p.MaxProcesses == nil // else the tracer's end is everybody's
					if err != nil || r.Reason != core.Killed || warns != strings.Contains(r.Error, "may have been left behind") {
						t.Errorf("%+v, %v", r, err)
					}
					if !command.ended(0) {
						t.Error("the command has survived")
					}
					if mode == "stay" && warns {
						if l.ended(t) {
							t.Error("no daemon is left: the result need not warn")
						}
						for _, pid := range children(os.Getpid()) {
							unix.Kill(pid, unix.SIGKILL)
						}
					}
					l.awaitEnd(t)
					s.Close()
					reap()
				})
			}
			t.Run(name+", run", func(t *testing.T) {
				l := newLife(t)
				plan, err := p.Compile()
				if err != nil {
					t.Fatal(err)
				}
				over := make(chan struct{})
				go func() {
					defer close(over)
					r, err := plan.Run(core.Command{Argv: []string{victim("lifetime"), "stay", "0"}, Stdin: int(l.w.Fd())}, time.Hour)
					warns := p.MaxProcesses == nil
					if err != nil || r.Reason != core.Killed || warns != strings.Contains(r.Error, "may have been left behind") {
						t.Errorf("%+v, %v", r, err)
					}
				}()
				l.await(t, 1)
				wardens := children(os.Getpid())
				if len(wardens) != 1 {
					t.Fatal(wardens)
				}
				unix.Kill(-wardens[0], unix.SIGKILL)
				<-over
				l.awaitEnd(t)
				reap()
			})
		}
	})
}

// Stopped by somebody outside, the library's tasks still end the sandbox: at an order, at
// the host's death, and at the command's end.
func TestWardenStopped(t *testing.T) {
	orders := map[string]func(*testing.T, *core.Sandbox){
		"kill": func(t *testing.T, s *core.Sandbox) { s.Kill() },
		"pause, kill": func(t *testing.T, s *core.Sandbox) {
			if err := s.Pause(); err != nil {
				t.Error(err)
			}
			s.Kill()
		},
		"end of the command": func(t *testing.T, s *core.Sandbox) { unix.Kill(s.PID(), unix.SIGKILL) },
		"death of the other": nil,
	}
	bothUsers(t, func(t *testing.T) {
		reap := reapAll(t)
		for name, p := range map[string]*core.Policy{"plain": policy(), "traced": judged(), "walked": walked()} {
			for _, who := range []string{"parent", "killer", "both"} {
				for what, order := range orders {
					if who == "both" && order == nil || who != "parent" && name == "walked" && what == "end of the command" {
						continue // who is there to see it?
					}
					t.Run(fmt.Sprintf("%s, %s stopped, %s", name, who, what), func(t *testing.T) {
						l := newLife(t)
						s := l.create(t, p, "stay", "3")
						s.Start()
						l.await(t, 4)
						parent := parentOf(t, s.PID())
						killer := killerOf(t, parent, s.PID())
						if order == nil {
							order = func(*testing.T, *core.Sandbox) {
								unix.Kill(map[string]int{"parent": killer, "killer": parent}[who], unix.SIGKILL)
							}
						}
						stop(t, who, parent, killer)
						order(t, s)
						// Both stopped, they see nothing before the host's own time is over.
						timeout := time.Hour
						if who == "both" {
							timeout = 50 * time.Millisecond
						}
						if r, err := s.Wait(timeout); err != nil || r.Reason == core.Exited {
							t.Errorf("%+v, %v", r, err)
						}
						l.awaitEnd(t)
						s.Close()
						reap()
					})
				}
			}
			t.Run(name+", set-up", func(t *testing.T) {
				l := newLife(t)
				s := l.create(t, p, "stay", "3") // parked
				parent := parentOf(t, s.PID())
				stop(t, "both", parent, killerOf(t, parent, s.PID()))
				s.Close()
				l.awaitEnd(t)
				reap()
			})
		}
		for _, who := range []string{"parent", "killer", "both", "command", "host"} {
			t.Run(who+" stopped, death of the host", func(t *testing.T) {
				l := newLife(t)
				cmd, command := startHost(t, l, "one", "stay")
				parent := statOf(t, command).ppid
				switch who {
				case "command":
					unix.Kill(command, unix.SIGSTOP)
				case "host":
					unix.Kill(cmd.Process.Pid, unix.SIGSTOP)
				default:
					stop(t, who, parent, killerOf(t, parent, command))
				}
				cmd.Process.Kill()
				cmd.Wait()
				l.awaitEnd(t)
				reap()
			})
		}
	})
}

// stop stops one of the warden's tasks or both, and waits until they are.
func stop(t *testing.T, who string, parent, killer int) {
	t.Helper()
	pids := map[string][]int{"parent": {parent}, "killer": {killer}, "both": {parent, killer}}[who]
	for _, pid := range pids {
		if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	for _, pid := range pids {
		for s := statOf(t, pid).state; s != 'T' && s != 't'; s = statOf(t, pid).state { // t: its tracer listens
			runtime.Gosched()
		}
	}
}

type procStat struct {
	state byte
	ppid  int
}

func statOf(t *testing.T, pid int) (s procStat) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	s.state = f[0][0]
	s.ppid, _ = strconv.Atoi(f[1])
	return s
}

// process is a pidfd.
type process int

func pidfdOf(t *testing.T, pid int) process {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return process(fd)
}

// ended waits for the process's end, at most so many milliseconds.
func (p process) ended(ms int) bool {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(p), Events: unix.POLLIN}}, ms)
		if err != unix.EINTR {
			return n == 1
		}
	}
}

// startHost starts a host whose sandbox runs the victim lifetime, and returns it and the
// command in the sandbox, once that has made all its tasks.
func startHost(t *testing.T, l *life, how, mode string) (host *exec.Cmd, command int) {
	t.Helper()
	cmd := exec.Command(victim("host"), how, victim("lifetime"), mode)
	cmd.Stdin, cmd.Stderr = l.w, os.Stderr
	// As a host that was started from a shell or as a service: its children go to a
	// process of another session, and then the kernel continues them, setpgid(2).
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(line, err)
	}
	command, _ = strconv.Atoi(strings.TrimSpace(line))
	l.await(t, 4)
	return cmd, command
}
