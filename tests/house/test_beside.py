"""Hosts that have children and threads of their own, beside sandboxes: neither gets in the
other's way, in Python and in C."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]

PRELUDE = """
import asyncio, os, resource, signal, subprocess, sys, threading
from sandlock import Sandbox
def judge(event, ctx):
    pass
def box(judged=True):
    return Sandbox(fs_readable=["/usr", "/lib", "/lib64", "/bin", "/etc", "/dev/null"], policy_fn=judge if judged else None)
COMMAND = ["sh", "-c", "(exit 3) & wait $!; echo $?; kill -TERM $$"]
def check(result):
    assert result.stdout == b"3\\n" and result.signal == signal.SIGTERM, result
"""

WAYS = {
    "a handler of SIGCHLD": """
taken = []
def handler(number, frame):
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            taken.append(pid)
    except ChildProcessError:
        pass
signal.signal(signal.SIGCHLD, handler)
for i in range(20):
    b = box(i % 2)
    check(b.run(COMMAND))
    b.create(COMMAND)
    command = b.pid
    b.start()
    check(b.wait())
    assert command not in taken
assert signal.getsignal(signal.SIGCHLD) is handler
""",
    "threads that end": """
for i in range(20):
    b = box(i % 2)
    def in_a_thread(call):
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    # The death of a thread that made a process is a signal to that process, where that asks
    # for it: prctl(2), PR_SET_PDEATHSIG.
    in_a_thread(lambda: b.create(COMMAND))
    in_a_thread(b.start)
    check(b.wait())
    in_a_thread(lambda: b.spawn(["sleep", "1000"]))
    assert b.is_running
    in_a_thread(b.kill)
    assert b.wait().reason.name == "KILLED"
""",
    "subprocess": """
def others():
    for _ in range(30):
        assert subprocess.run(["sh", "-c", "exit 7"]).returncode == 7
threads = [threading.Thread(target=others) for _ in range(2)]
for thread in threads:
    thread.start()
for i in range(20):
    check(box(i % 2).run(COMMAND))
for thread in threads:
    thread.join()
""",
    "asyncio": """
async def others():
    for _ in range(15):
        process = await asyncio.create_subprocess_exec("sh", "-c", "echo out; exit 7", stdout=subprocess.PIPE)
        out, _ = await process.communicate()
        assert (out, process.returncode) == (b"out\\n", 7), (out, process.returncode)
async def sandboxes(judged):
    b, loop = box(judged), asyncio.get_running_loop()
    for _ in range(10):
        check(await loop.run_in_executor(None, b.run, COMMAND))
async def main():
    await asyncio.gather(others(), others(), sandboxes(True), sandboxes(False))
if sys.version_info < (3, 12):
    for watcher in asyncio.ThreadedChildWatcher, asyncio.PidfdChildWatcher, asyncio.SafeChildWatcher:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        asyncio.set_child_watcher(watcher())
        asyncio.get_child_watcher().attach_loop(loop)
        loop.run_until_complete(main())
        loop.close()
else:
    asyncio.run(main())
""",
    "few descriptors": """
check(box().run(COMMAND))
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (40, hard))
for i in range(20):
    check(box(i % 2).run(COMMAND))
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (40, hard)
kept, failed = [], None
while failed is None:
    kept.append(box(False))
    try:
        kept[-1].spawn(["sleep", "1000"])
    except RuntimeError as e:
        failed = str(e)
assert "too many open files" in failed, failed
for b in kept[:-1]:
    b.kill()
    assert b.wait().reason.name == "KILLED"
check(box().run(COMMAND))
""",
}


@pytest.mark.parametrize("way", WAYS)
def test_beside(way: str) -> None:
    done = subprocess.run([sys.executable, "-W", "ignore::DeprecationWarning", "-c", PRELUDE + WAYS[way] + "\nprint('done')"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT / "python" / "src")})
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@pytest.mark.parametrize("way", ["handler", "ignored", "waiter", "threads"])
def test_beside_in_c(way: str, tmp_path: pathlib.Path) -> None:
    program = tmp_path / "beside"
    subprocess.run(
        ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-pthread", "-I", ROOT / "include", HERE / "beside.c", "-o", program,
         "-L", ROOT, "-lsandlock", f"-Wl,-rpath,{ROOT}"], check=True)
    done = subprocess.run([program, way], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
