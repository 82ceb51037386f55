package warden

import (
	"testing"

	"golang.org/x/sys/unix"
)

// A host closes all descriptors, and opens something of its own under the number.
func TestProgramClosedByHost(t *testing.T) {
	if err := Prepare(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		fd := program.fd
		if err := unix.Close(fd); err != nil {
			t.Fatal(err)
		}
		null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if null != fd {
			if err := unix.Dup3(null, fd, unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
			unix.Close(null)
		}
		receive(t, start(t, spec("true")), End)
		if program.fd == fd {
			t.Errorf("descriptor %d was used", fd)
		}
		unix.Close(fd)
	}
}

// Whatever numbers the passed descriptors have, the program's own is not among those
// that the spawn fills.
func TestProgramDescriptor(t *testing.T) {
	for n := 3; n < 64; n++ {
		s := spec("true")
		if err := unix.Dup3(2, n+500, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		s.Files = []int{0, 1, n + 500}
		for range n % 8 {
			s.Files = append(s.Files, 2)
		}
		if m := receive(t, start(t, s), End); m.Step != StepNone {
			t.Errorf("descriptor %d: %+v", n+500, m)
		}
		unix.Close(n + 500)
	}
}
