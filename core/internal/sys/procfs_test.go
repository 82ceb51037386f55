package sys

import (
	"fmt"
	"os"
	"testing"
)

func TestStatus(t *testing.T) {
	s := Status("Name:\tUid:\nUid:\t1\t2\t3\t4\nGroups:\t \nTgid:\t12\nSigBlk:\tff00\nlast:\t7")
	for name, want := range map[string]string{"Uid": "1\t2\t3\t4", "Groups": "", "Tgid": "12", "Gid": "", "last": "7"} {
		if got := s.Field(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if s.Number("SigBlk", 16, 64) != 0xff00 || s.Number("Uid", 10, 32) != 0 || s.Number("SigBlk", 16, 8) != 0 || s.Number("none", 10, 32) != 0 {
		t.Error("numbers")
	}
	own, err := ReadStatus("/proc/self/status", 1<<20)
	if err != nil || own.Number("Tgid", 10, 32) != uint64(os.Getpid()) {
		t.Errorf("%v, %s", err, own)
	}
}

func TestStat(t *testing.T) {
	f, err := ReadStat("/proc/self/stat", 20)
	if err != nil || string(f[1]) != fmt.Sprint(os.Getppid()) {
		t.Errorf("%q, %v", f, err)
	}
	if _, err := ReadStat("/proc/self/stat", 1000); err == nil {
		t.Error("fields that are not there")
	}
	if _, err := ReadStat("/proc/0/stat", 1); err == nil {
		t.Error("a process that is not there")
	}
}
