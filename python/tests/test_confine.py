"""Processes that confine themselves. Each is one of every Python that is found."""

from __future__ import annotations

import pathlib

from conftest import SYSTEM, run_hosts

# The interpreters may lie anywhere.
CONFINE = f"""
from sandlock import ConfinementError, PolicyError, confine
import socket, subprocess
SYSTEM = {SYSTEM!r} + sorted({{sys.prefix, sys.base_prefix, os.path.dirname(os.path.realpath(sys.executable))}})
def refused(what, error=PermissionError):
    try:
        what()
    except error as e:
        return str(e)
    raise AssertionError(what)
def read(path):
    with open(path) as f:
        return f.read()
"""


def test_threads(tmp_path: pathlib.Path) -> None:
    """The caller, threads that were there and that come, pools, and children of each."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "work").mkdir()
    run_hosts(CONFINE + f"""
from concurrent.futures import ThreadPoolExecutor
secret, work = {str(tmp_path / "secret")!r}, {str(tmp_path / "work")!r}
outside = os.getppid()
pool, go = ThreadPoolExecutor(4), threading.Event()
def attempt(name):
    go.wait()
    refused(lambda: read(secret))
    refused(lambda: open(secret + ".new", "w"))
    refused(lambda: os.chmod(secret, 0o600))
    refused(lambda: os.kill(outside, 0))
    refused(socket.socket)
    assert subprocess.run(["cat", secret], stderr=subprocess.DEVNULL).returncode == 1
    mine = os.path.join(work, f"{{name}}-{{os.getpid()}}")
    with open(mine, "w") as f:
        f.write("x")
    os.remove(mine)
before = [pool.submit(attempt, "pool%d" % i) for i in range(4)]
confine(Sandbox(fs_readable=SYSTEM, fs_writable=[work, "/dev/null"]))
go.set()
attempt("main")
for b in before:
    b.result()
late = threading.Thread(target=attempt, args=("late",))
late.start(), late.join()
pid = os.fork()
if pid == 0:
    attempt("child")
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
""")


def test_refused(tmp_path: pathlib.Path) -> None:
    """What can't be had is an error that names it, and leaves the process as it was."""
    (tmp_path / "secret").write_text("secret")
    run_hosts(CONFINE + f"""
secret = {str(tmp_path / "secret")!r}
for fields in (dict(net_allow=[":443"]), dict(max_memory="1G"), dict(cwd="/"), dict(env={{"A": "b"}}), dict(name="x"),
               dict(max_processes=3), dict(policy_fn=lambda event, ctx: None), dict(fs_denied=["/etc/passwd"])):
    said = refused(lambda: confine(Sandbox(fs_readable=SYSTEM, **fields)), ConfinementError)
    assert next(iter(fields)) + ": " in said, said
assert "missing" in refused(lambda: confine(Sandbox(fs_readable=["/missing"])), ConfinementError)
refused(lambda: confine(Sandbox(fs_readable=[""])), PolicyError)
box = plain()
run = box.popen(["cat"], stdin=subprocess.PIPE)
assert "is running" in refused(lambda: confine(plain()), ConfinementError)
run.stdin.close()
assert run.wait().success
run = box = None
assert read(secret) == "secret"
confine(Sandbox(fs_readable=[*SYSTEM, "/proc", secret]))
assert read(secret) == "secret"
confine(Sandbox(fs_readable=SYSTEM))
refused(lambda: read(secret))
""")


def test_forked(tmp_path: pathlib.Path) -> None:
    """A child confines itself before its exec, and its parent stays as it was."""
    (tmp_path / "secret").write_text("secret")
    run_hosts(CONFINE + f"""
secret = {str(tmp_path / "secret")!r}
assert plain().run(["true"]).success
pid = os.fork()
if pid == 0:
    signal.alarm(200)
    try:
        confine(Sandbox(fs_readable=SYSTEM))
        refused(lambda: read(secret))
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(2)
    os.execv("/bin/sh", ["sh", "-c", 'cat "$0" 2>&1 | grep -q "Permission denied"', secret])
assert os.waitpid(pid, 0)[1] == 0
assert read(secret) == "secret" and plain().run(["true"]).success
""")
