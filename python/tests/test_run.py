"""Running: results, streams, time, policies."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import threading
from typing import List

import pytest

from conftest import INSIDE, SOURCE, SYSTEM, until
from sandlock import ExitReason, PolicyError, Sandbox


def test_result_of_an_exit(box: Sandbox) -> None:
    r = box.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (r.success, r.exit_code, r.stdout, r.stderr) == (False, 3, b"out\n", b"err\n")
    assert (r.reason, r.signal, r.error, r.truncated) == (ExitReason.EXITED, -1, None, False)
    assert box.run(["true"]).success


def test_result_of_a_signal(box: Sandbox) -> None:
    r = box.run(["sh", "-c", "kill -TERM $$"])
    assert (r.success, r.exit_code, r.reason, r.signal) == (False, -1, ExitReason.SIGNALED, signal.SIGTERM)
    r = box.run(["sh", "-c", "kill -KILL $$"])
    assert (r.exit_code, r.reason, r.signal) == (-1, ExitReason.KILLED, -1)


def test_exit_code_127_is_the_commands_own(box: Sandbox) -> None:
    assert box.run(["sh", "-c", "exit 127"]).exit_code == 127
    r = box.run(["no-such-command"])
    assert not r.success and r.exit_code == -1 and r.reason is None
    assert r.error is not None and "no-such-command" in r.error and "no such file" in r.error


def test_what_can_not_be_executed(box: Sandbox, tmp_path: pathlib.Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("text")
    for path in plain, tmp_path:
        r = box.run([path])
        assert not r.success and r.error is not None and str(path) in r.error and "permission denied" in r.error
    script = tmp_path / "script"
    script.write_text("#!/bin/true\n")
    script.chmod(0o755)
    r = box.run([script])  # there and executable, but not granted
    assert not r.success and r.error is not None and "permission denied" in r.error


@pytest.mark.parametrize("cmd, error", [([], ValueError), ("true", TypeError), (b"true", TypeError), (["a\0b"], ValueError), ([1], TypeError)])
def test_what_is_no_command_line(box: Sandbox, cmd: object, error: type) -> None:
    with pytest.raises(error):
        box.run(cmd)  # type: ignore[arg-type]
    assert box.run(["true"]).success


def test_text_and_input(box: Sandbox) -> None:
    assert box.run(["cat"], input=b"\xff\0x").stdout == b"\xff\0x"
    assert box.run(["cat"], input="é\n", text=True).stdout == "é\n"
    assert box.run(["cat"], input="é", encoding="latin-1").stdout == "é"
    assert box.run(["printf", r"a\r\nb\377"], encoding="ascii", errors="replace").stdout == "a\nb\N{REPLACEMENT CHARACTER}"
    assert box.run(["cat"]).stdout == b""  # /dev/null
    assert box.run(["wc", "-c"], input=b"x" * 5_000_000).stdout.strip() == b"5000000"
    with pytest.raises(TypeError):
        box.run(["cat"], input="text without text=")


def test_arguments_are_bytes(box: Sandbox, tmp_path: pathlib.Path) -> None:
    name = os.fsdecode(b"\xff\xfe name\n")
    file = tmp_path / name
    file.write_text("found")
    box.fs_readable = [*SYSTEM, file]
    r = box.run(["cat", file])
    assert r.stdout == b"found", r
    assert box.run(["printf", "%s", b"\xff", name]).stdout == b"\xff" + os.fsencode(name)


def test_timeout(box: Sandbox) -> None:
    r = until(lambda t: box.run(["sh", "-c", "echo before; exec sleep 1000"], timeout=t), lambda r: bool(r.stdout))
    assert (r.success, r.exit_code, r.reason, r.stdout) == (False, -1, ExitReason.TIMEOUT, b"before\n")
    assert box.run(["true"], timeout=0).success
    assert box.run(["true"], timeout=1e9).success
    with pytest.raises(ValueError):
        box.run(["true"], timeout=-1)


def test_output_of_one_gibibyte(box: Sandbox) -> None:
    box.max_output = "1M"
    r = box.run(["sh", "-c", "head -c 1073741824 /dev/zero; echo end >&2"])
    assert r.success and len(r.stdout) == 1 << 20 and r.stdout_truncated and not r.stderr_truncated and r.stderr == b"end\n"


def test_fields_are_read_at_each_run(box: Sandbox, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    assert not box.run(["cat", file]).success
    box.fs_readable = [*SYSTEM, tmp_path]
    assert box.run(["cat", file]).stdout == b"x"
    assert isinstance(box.fs_readable, list)
    box.fs_readable.remove(tmp_path)  # edited in place
    assert not box.run(["cat", file]).success


def test_twenty_at_once() -> None:
    results: List[bytes] = []

    def work(number: int) -> None:
        mine = Sandbox(fs_readable=SYSTEM, policy_fn=lambda event, ctx: None)
        for turn in range(5):
            results.append(mine.run(["sh", "-c", f"/bin/echo {number}.{turn}"]).stdout)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(results) == sorted(f"{n}.{t}\n".encode() for n in range(20) for t in range(5))


def test_sandbox_in_a_sandbox(box: Sandbox) -> None:
    """One that has a listener starts in one that has none, and no third: seccomp(2) EBUSY."""
    program = """
import sys
from sandlock import Sandbox
def inner(**fields):
    fields = {"max_processes": "unlimited", **fields}
    r = Sandbox(fs_readable=["/usr", "/lib", "/lib64", "/bin", "/etc"], **fields).run(["echo", "inner"])
    print(r.stdout, r.error)
inner()
inner(net_allow=["tcp://:80"])
inner(policy_fn=lambda event, ctx: None)
"""
    root = SOURCE.parents[1]
    box.fs_readable = [*box.fs_readable, "/proc", "/sys", str(root)]
    box.env = {"PYTHONPATH": str(SOURCE)}
    # A policy_fn needs to read and to trace.
    box.extra_allow_syscalls, box.max_processes = ["debug", "landlock_restrict_self"], "unlimited"
    r = box.run([INSIDE, "-c", program], text=True)
    assert r.stdout == "b'inner\\n' None\n" * 3, r
    box.policy_fn, box.extra_allow_syscalls = lambda event, ctx: None, ["landlock_restrict_self"]
    # A limit of processes takes tracing, which is refused inside.
    lines = box.run([INSIDE, "-c", program.replace("inner()\ninner(net", "inner()\ninner(max_processes=9)\ninner(net")], text=True).stdout.splitlines()
    assert "ptrace" in (said := lines.pop(1)) and 'max_processes="unlimited" does without' in said, said
    assert lines[0] == "b'inner\\n' None" and all(l.startswith("b'' kernel") and "needs a seccomp listener" in l and "EBUSY" in l for l in lines[1:]), lines


def test_import_does_not_load(host) -> None:  # type: ignore[no-untyped-def]
    done = host("""
import sandlock
def loaded(): return "libsandlock" in open("/proc/self/maps").read()
print(loaded()); sandlock.Sandbox(); print(loaded()); sandlock.landlock_abi_version(); print(loaded())
""")
    assert done.stdout == "False\nFalse\nTrue\n", done


def test_little_address_space(host) -> None:  # type: ignore[no-untyped-def]
    done = host("""
import resource, sandlock
resource.setrlimit(resource.RLIMIT_AS, (512 << 20, resource.RLIM_INFINITY))
try: sandlock.landlock_abi_version()
except sandlock.SandlockError as e: print(e)
""")
    assert "RLIMIT_AS" in done.stdout and done.returncode == 0, done


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_as_an_ordinary_user(tmp_path: pathlib.Path) -> None:
    import shutil

    copy = tmp_path / "src"
    shutil.copytree(SOURCE, copy, symlinks=False, ignore=shutil.ignore_patterns("__pycache__"))
    for path in [tmp_path, *tmp_path.parents][:3]:
        path.chmod(0o755)
    program = f"""
import os
from sandlock import Sandbox
box = Sandbox(fs_readable={SYSTEM!r}, policy_fn=lambda e, c: None)
r = box.run(["sh", "-c", "id -u; cat /etc/shadow"])
print(r.stdout, b"denied" in r.stderr, os.getuid())
"""
    done = subprocess.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", INSIDE, "-c", program],
                          env={"PATH": os.environ["PATH"], "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.stdout == "b'65534\\n' True 65534\n", done


def test_policy_that_can_not_be_built(box: Sandbox) -> None:
    bad = Sandbox(fs_readable=[""], net_allow=["nonsense://"], max_open_files=0, extra_deny_syscalls=["no_such"], disable=[77])
    for kind in PolicyError, ValueError, RuntimeError:
        with pytest.raises(kind) as caught:
            bad.run(["true"])
    for field in "fs_readable", "net_allow", "max_open_files", "no_such", "disable":
        assert field in str(caught.value)
    # The policy before is not used in its place.
    box.run(["true"])
    box.fs_readable = [""]
    for _ in range(2):
        with pytest.raises(PolicyError):
            box.run(["true"])
