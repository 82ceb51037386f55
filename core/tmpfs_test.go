package core

import (
	"os"
	"testing"
)

func TestWritesMemory(t *testing.T) {
	mounts := parseMounts("1 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n" +
		"2 1 0:1 / /dev rw - devtmpfs devtmpfs rw\n3 2 0:2 / /dev/shm rw master:7 - tmpfs tmpfs rw\n" +
		"4 1 0:3 / /usr rw - tmpfs tmpfs rw\n5 4 8:2 / /usr rw - ext4 /dev/sdb1 rw\n" +
		"6 1 0:4 / /mnt/a\\040b rw - tmpfs x rw\nnonsense\n")
	for path, want := range map[string]bool{
		"/dev/shm": true, "/dev": true, "/": true, "/etc": false, "/proc": false, "/usr/bin": false, // it is covered
		"/no such path": true, "/var": false,
	} {
		if got := anyOn([]string{path}, mounts, mount.isMemory); got != want {
			t.Errorf("%s: %t", path, got)
		}
	}
	if len(mounts) != 6 || mounts[5] != (mount{"/mnt/a b", "tmpfs"}) {
		t.Errorf("%q", mounts)
	}
	if writesMemory(nil) {
		t.Error("nothing is writable")
	}
	if _, err := os.Stat("/dev/shm"); err == nil && !writesMemory([]string{"/etc", "/dev/shm"}) {
		t.Error("/dev/shm is no memory")
	}
}
