package notify_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/sandlock/sandlock/core/internal/notify"
	"github.com/sandlock/sandlock/core/internal/warden"
	"golang.org/x/sys/unix"
)

// BenchmarkTrapped is the time between two notifications of a program that does
// nothing but make the trapped call: a Python loop, which adds some 50 ns.
func BenchmarkTrapped(b *testing.B) {
	for name, answer := range map[string]func(*notify.Request){
		"continue": carryOn,
		"errno":    func(r *notify.Request) { r.Errno(unix.EACCES) },
	} {
		b.Run(name, func(b *testing.B) {
			script := fmt.Sprintf("import os\nfor _ in range(%d):\n try: os.getppid()\n except OSError: pass", b.N+1)
			w, err := warden.Start(&warden.Spec{
				Path: "/usr/bin/python3", Argv: []string{"python3", "-c", script}, Filter: trap(unix.SYS_GETPPID), Listener: true,
				Files: []int{0, 1, 2}, Exec: -1, Ruleset: -1, Cwd: -1, Cgroup: -1, TTY: -1, KeepCaps: ^uint64(0), KillerScope: 1 << 1,
			})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { w.Kill(); w.Reap(); w.Close() }()
			_, fd, err := w.Receive()
			if err != nil {
				b.Fatal(err)
			}
			var first, last time.Time
			calls := 0
			l := notify.Serve(fd, false, time.Second, map[int32]notify.Handler{unix.SYS_GETPPID: func(r *notify.Request) {
				switch calls {
				case 0:
					first = time.Now()
				case b.N:
					last = time.Now()
				}
				calls++
				answer(r)
			}}, func(err error) { b.Error(err); w.Kill() })
			l.Wait(time.Minute)
			b.ReportMetric(float64(last.Sub(first).Nanoseconds())/float64(b.N), "ns/op")
		})
	}
}
