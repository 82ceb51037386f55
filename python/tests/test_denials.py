"""What a sandbox was refused, as the result tells it."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

from conftest import INSIDE, SYSTEM
from sandlock import Denial, Sandbox


def test_connect() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = f"for i in 1 2; do : > /dev/tcp/127.0.0.1/{port}; done"
        r = Sandbox(fs_readable=SYSTEM, net_allow=["tcp://192.0.2.7:443"]).run(["bash", "-c", script])
        server.setblocking(False)
        try:
            server.accept()
            raise AssertionError("it was reached")
        except BlockingIOError:
            pass
    (denial,) = r.denials
    assert denial == Denial(
        time=denial.time,
        syscall="connect",
        pid=denial.pid,
        command="bash",
        exe=denial.exe,
        path=None,
        protocol="tcp",
        host="127.0.0.1",
        port=port,
        argv=None,
        errno=errno.EACCES,
        errno_name="EACCES",
        rule="net_allow",
        value=f"tcp://127.0.0.1:{port}",
        why="no rule lets the address be reached",
        count=2,
    )
    assert denial.pid and denial.exe and os.path.basename(denial.exe) == "bash"
    # What would allow it does.
    with socket.create_server(("127.0.0.1", port)):
        r = Sandbox(fs_readable=SYSTEM, net_allow=[denial.value or ""]).run(["bash", "-c", script])
    assert r.success and not r.denials and r.denials_dropped == 0


def test_files(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    name = os.fsencode(tmp_path / "secret") + b"/\xff\x1b[2J"
    with open(name, "w"):
        pass
    (tmp_path / "link").symlink_to(name)
    box = Sandbox(fs_readable=[*SYSTEM, tmp_path], fs_denied=[tmp_path / "secret"])
    r = box.run(["sh", "-c", ': < "$0"/link', str(tmp_path)])
    (denial,) = r.denials
    assert denial.path == str(tmp_path / "secret") and denial.rule == "fs_denied" and denial.value is None
    assert denial.syscall in ("open", "openat") and denial.errno == errno.EACCES


def test_callback() -> None:
    box = Sandbox(fs_readable=SYSTEM, policy_fn=lambda event, ctx: event.argv[0] == "id" and errno.ENOENT)
    r = box.run(["sh", "-c", "id; true"])
    (denial,) = r.denials
    assert (denial.syscall, denial.argv, denial.errno_name, denial.rule) == ("execve", '["id"]', "ENOENT", "policy_fn")


def test_flood() -> None:
    """What is refused without end costs a counter."""
    script = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for port in range(1, 3001):
    for _ in range(2):
        try:
            s.connect(("127.0.0.1", port))
        except PermissionError:
            pass
"""
    r = Sandbox(fs_readable=[*SYSTEM, "/dev/urandom"], net_allow=["udp://192.0.2.7"]).run([INSIDE, "-S", "-c", script])
    assert r.success, r
    assert len(r.denials) == 1000
    assert sum(d.count for d in r.denials) + r.denials_dropped == 6000


def test_what_the_kernel_refuses(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("told")
    box = Sandbox(fs_readable=[*SYSTEM, "/dev/null"])
    command = ["sh", "-c", 'cat "$0"; mkdir "$1/new"', str(secret), str(tmp_path)]
    assert not box.run(command).denials
    box.record_denials = True
    r = box.run(command)
    assert not r.stdout and {(d.path, d.rule, d.value) for d in r.denials} >= {
        (str(secret), "fs_readable", str(secret)),
        (str(tmp_path / "new"), "fs_writable", str(tmp_path)),
    }
    box.fs_readable = [*box.fs_readable, secret]
    assert box.run(command).stdout == b"told"
