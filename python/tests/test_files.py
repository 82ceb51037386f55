"""What the library does to files for the sandbox, seen from a host of its own kind."""

from __future__ import annotations

import ctypes
import os
import pathlib
import signal
import subprocess

from conftest import INSIDE, SYSTEM
from sandlock import Sandbox

READ = """
import sys
for name in "environ", "mem", "maps", "auxv", "pagemap", "fdinfo/0", "task/%s/environ" % sys.argv[1]:
    try:
        open("/proc/%s/%s" % (sys.argv[1], name), "rb").read(1 if name == "mem" else 4096)
    except OSError as e:
        print(name, "read nothing" if e.errno == 5 else e.strerror)
    else:
        print(name, "was read")
"""


def test_a_process_with_the_memory_of_the_host(tmp_path: pathlib.Path) -> None:
    """As each child of the host is between vfork(2) and its exec."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    box = Sandbox(fs_readable=[*SYSTEM, "/proc"], fs_denied=[secret])
    libc = ctypes.CDLL(None, use_errno=True)
    stack = ctypes.create_string_buffer(1 << 16)
    top = (ctypes.addressof(stack) + len(stack)) & ~15
    CLONE_VM = 0x100
    child = libc.clone(ctypes.cast(libc.pause, ctypes.c_void_p), ctypes.c_void_p(top), CLONE_VM | signal.SIGCHLD, None)
    assert child > 0
    try:
        for pid in child, os.getpid():
            control = subprocess.run([INSIDE, "-c", READ, str(pid)], capture_output=True, text=True, check=True)
            assert "environ was read" in control.stdout
            r = box.run([INSIDE, "-c", READ, str(pid)], text=True)
            assert r.success and str(r.stdout).count("Permission denied") == 7, r
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_limit_of_its_own(tmp_path: pathlib.Path) -> None:
    """RLIMIT_FSIZE of a task of the sandbox counts, and not the host's; so do flags that exclude each other."""
    program = """
import errno, os, resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
path = sys.argv[1]
os.truncate(path, 1000)
for call in lambda: os.truncate(path, 1001), lambda: os.open(".", os.O_TMPFILE | os.O_CREAT | os.O_RDWR):
    try:
        call()
    except OSError as e:
        print(errno.errorcode[e.errno])
print(os.stat(path).st_size)
"""
    file, secret = tmp_path / "file", tmp_path / "secret"
    for name in file, secret:
        name.write_text("x")
    box = Sandbox(fs_readable=SYSTEM, fs_writable=[tmp_path], fs_denied=[secret], cwd=tmp_path)
    expected = "EFBIG\nEINVAL\n1000\n"
    assert box.run([INSIDE, "-c", program, file], text=True).stdout == expected
    assert subprocess.run([INSIDE, "-c", program, file], cwd=tmp_path, capture_output=True, text=True).stdout == expected


def test_a_link_from_the_depth(tmp_path: pathlib.Path) -> None:
    """A denied directory is read to its end for files with other names, whatever the length of its paths."""
    denied, link = tmp_path / "denied", tmp_path / "link"
    denied.mkdir()
    deep = os.open(denied, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=deep)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    file = os.open("secret", os.O_CREAT | os.O_WRONLY, dir_fd=deep)
    os.write(file, b"x")
    os.close(file)
    os.link("secret", link, src_dir_fd=deep)
    os.close(deep)
    other, another = tmp_path / "other", tmp_path / "another"
    other.write_text("other")
    os.link(other, another)
    box = Sandbox(fs_readable=[*SYSTEM, tmp_path], fs_denied=[denied])
    assert b"Permission denied" in box.run(["cat", link]).stderr
    assert box.run(["cat", another]).stdout == b"other"
    box.fs_denied = []
    assert box.run(["cat", link]).stdout == b"x"
