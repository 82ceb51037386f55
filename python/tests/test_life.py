"""A Sandbox through the states of its runs: parked, started, paused, waited for, killed,
interrupted, forked, dropped."""

from __future__ import annotations

import copy
import dataclasses
import gc
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import threading
import weakref
from typing import Any, List, Tuple

import pytest

from conftest import CTRL_C, SOURCE, SYSTEM, gone
from sandlock import ExitReason, PolicyError, Result, Sandbox


def test_create_start_wait(box: Sandbox) -> None:
    for call in box.wait, box.kill, box.pause, box.resume:
        with pytest.raises(RuntimeError, match="sandbox is not running"):
            call()
    with pytest.raises(RuntimeError, match="sandbox has not been created"):
        box.start()
    assert box.pid is None and not box.is_running
    box.create(["echo", "hi"])
    assert box.pid and box.is_running and "sandlock-warden" in os.readlink(f"/proc/{box.pid}/exe")
    with pytest.raises(RuntimeError, match="sandbox is already running"):
        box.create(["true"])
    with pytest.raises(RuntimeError, match="sandbox is already running"):
        box.run(["true"])
    box.start()
    assert box.wait().stdout == b"hi\n"
    assert box.pid is None and not box.is_running
    box.spawn(["true"])
    assert box.wait().success
    with pytest.raises(RuntimeError, match="sandlock_create failed"):
        box.create(["no-such-command"])
    assert box.run(["true"]).success


def state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(") ")[2][0]


def test_pause_resume_kill(box: Sandbox) -> None:
    box.spawn(["sleep", "1000"])
    pid = box.pid
    assert pid
    box.pause()
    while state(pid) not in "Tt":  # the signal is there; the task takes it a moment later
        pass
    box.resume()
    while state(pid) in "Tt":
        pass
    box.pause()
    box.kill()
    r = box.wait()
    assert (r.reason, r.exit_code) == (ExitReason.KILLED, -1) and gone(pid)


def test_kill_from_another_thread(box: Sandbox) -> None:
    results: List[Result] = []
    thread = threading.Thread(target=lambda: results.append(box.run(["sleep", "1000"])))
    thread.start()
    while not box.is_running:
        pass
    box.kill()
    thread.join()
    assert results[0].reason is ExitReason.KILLED


def test_context_manager_and_garbage(box: Sandbox) -> None:
    with Sandbox(fs_readable=SYSTEM) as inner:
        inner.spawn(["sleep", "1000"])
        pid = inner.pid
        assert pid
    assert gone(pid)
    lost = Sandbox(fs_readable=SYSTEM)
    lost.spawn(["sleep", "1000"])
    pid = lost.pid
    assert pid
    del lost
    gc.collect()
    assert gone(pid)


def test_a_function_that_knows_its_sandbox_is_garbage_too() -> None:
    def make() -> Tuple["weakref.ref[Any]", int]:
        box = Sandbox(fs_readable=SYSTEM)
        box.policy_fn = lambda event, ctx: box.name == "never"
        assert box.run(["true"]).success
        box.spawn(["sleep", "1000"])
        assert box.pid
        return weakref.ref(box.policy_fn), box.pid

    function, pid = make()
    gc.collect()
    assert function() is None and gone(pid)


def test_one_thread_waits(box: Sandbox) -> None:
    results: List[Any] = []

    def wait() -> None:
        try:
            results.append(box.wait().reason)
        except RuntimeError as e:
            results.append(str(e))
            box.kill()

    for spawned in range(10):
        box.spawn(["sleep", "1000"])
        threads = [threading.Thread(target=wait) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == ["another thread waits for this sandbox", ExitReason.KILLED]
        results.clear()

    # Nor can a policy_fn wait for the run that it decides about, or end it but by a kill.
    def judge(event: Any, ctx: Any) -> None:
        with pytest.raises(RuntimeError, match="waits"):
            box.wait()
        results.append(event.syscall)

    box.policy_fn = judge
    assert box.run(["sh", "-c", "echo out"]).stdout == b"out\n" and results == ["execve"]
    box.policy_fn = lambda event, ctx: box.__exit__(None, None, None)
    assert box.run(["true"]).reason is ExitReason.KILLED


def test_pid_of_a_run_that_is_over(box: Sandbox) -> None:
    box.spawn(["true"])
    while box.is_running:
        pass
    assert box.pid is None and box.wait().success and box.pid is None


def test_copies(box: Sandbox) -> None:
    box.env = {"A": "1"}
    with box:
        box.spawn(["sleep", "1000"])
        for other in copy.copy(box), copy.deepcopy(box), pickle.loads(pickle.dumps(box)), dataclasses.replace(box):
            assert other == box and not other.is_running and other.pid is None
            assert other.run(["sh", "-c", "echo $A"]).stdout == b"1\n"
            other.env = {"A": "2"}
            assert other != box
        assert box.is_running


def test_names(box: Sandbox) -> None:
    for bad in "", "a/b", ".", "..", "a\0b", "x" * 65:
        with pytest.raises(ValueError):
            Sandbox(name=bad)
    box.name = "one"
    box.create(["true"])
    other = Sandbox(fs_readable=SYSTEM, name="one")
    r = other.run(["true"])
    assert not r.success and r.error is not None and "running" in r.error
    box.start()
    box.wait()
    assert other.run(["true"]).success
    box.name = "a/b"
    with pytest.raises(ValueError):
        box.run(["true"])


def test_ctrl_c(tmp_path: pathlib.Path) -> None:
    program = CTRL_C + f"""
from sandlock import Sandbox
box = Sandbox(fs_readable={SYSTEM!r}, fs_writable=[{str(tmp_path)!r}])
try:
    box.run(["sh", "-c", "echo $$ > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; exec sleep 1000"])
except KeyboardInterrupt:
    print("interrupted", box.is_running, box.run(["true"]).success)
"""
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True,
                             env={**os.environ, "PYTHONPATH": str(SOURCE)})
    pid = tmp_path / "pid"
    while not pid.exists():
        assert child.poll() is None
    out = ""
    while not out:
        child.send_signal(signal.SIGINT)  # as ctrl_c() does
        try:
            out, _ = child.communicate(timeout=0.2)
        except subprocess.TimeoutExpired:
            pass
    assert out == "interrupted False True\n" and gone(int(pid.read_text()))


def test_ctrl_c_at_any_time(host) -> None:  # type: ignore[no-untyped-def]
    """Wherever it falls, it leaves nothing running and an object that can be used."""
    done = host(f"""
import signal, sys
from sandlock import Sandbox
def interrupt(*args):
    signal.setitimer(signal.ITIMER_REAL, 0)
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
# It may fall into a callback of ctypes, too, which can't raise it.
sys.unraisablehook = lambda e: signal.setitimer(signal.ITIMER_REAL, 0.01, 0.2)
boxes = [Sandbox(fs_readable={SYSTEM!r}), Sandbox(fs_readable={SYSTEM!r}, policy_fn=lambda event, ctx: None)]
for box in boxes:
    box.run(["true"])
interrupted = 0
for i in range(600):
    box = boxes[i % 2]
    try:
        # Again and again, since one that comes between CPython's last look and its poll(2)
        # is seen when the next ends that.
        signal.setitimer(signal.ITIMER_REAL, 0.00001 * (1 + i), 0.2)
        if i % 3 == 0:
            box.run(["sleep", "1000"])
        elif i % 3 == 1:
            box.run_interactive(["sleep", "1000"])
        while True:
            box.run(["true"])
    except KeyboardInterrupt:
        interrupted += 1
    assert box.pid is None and not box.is_running, i
    assert box.run(["true"]).success, i
print(interrupted)
""")
    assert done.stdout == "600\n", done


def test_interactive_run_can_be_ended(host) -> None:  # type: ignore[no-untyped-def]
    done = host(CTRL_C + f"""
import sys
from sandlock import Sandbox
box = Sandbox(fs_readable={SYSTEM!r})
r, w = os.pipe()
results = sys.stderr
os.dup2(w, 1)
for how in box.kill, ctrl_c:
    def end():
        os.read(r, 1)
        while not box.is_running:
            pass  # the command may be faster than the call that starts it
        how()
    thread = threading.Thread(target=end)
    thread.start()
    try:
        print(box.run_interactive(["sh", "-c", "echo; exec sleep 1000"]), file=results)
    except KeyboardInterrupt:
        print("interrupted", file=results)
    thread.join()
""")
    assert done.stderr.splitlines() == ["-1", "interrupted"], done


def test_run_interactive(host) -> None:  # type: ignore[no-untyped-def]
    done = host(f"""
from sandlock import Sandbox
box = Sandbox(fs_readable={SYSTEM!r})
print(box.run_interactive(["sh", "-c", "read x; echo got $x; exit 5"]), box.run_interactive(["no-such-command"]))
""", input="line\n")
    assert done.stdout == "got line\n5 -1\n", done


def test_after_fork(host) -> None:  # type: ignore[no-untyped-def]
    done = host(f"""
import os, warnings
warnings.simplefilter("ignore")  # Python 3.12 warns of fork with threads
from sandlock import ForkedError, Sandbox
box = Sandbox(fs_readable={SYSTEM!r}, policy_fn=lambda e, c: None)
running = Sandbox(fs_readable={SYSTEM!r})
running.spawn(["sleep", "1000"])
pid = os.fork()
if pid == 0:
    try:
        running.wait()
    except ForkedError:
        print("forked", flush=True)
    print(box.run(["echo", "child"]).stdout, running.is_running, flush=True)
    del running
    os._exit(0)
os.waitpid(pid, 0)
print(box.run(["echo", "parent"]).stdout, running.is_running)
running.kill()
print(running.wait().reason.name)
""")
    assert done.stdout == "forked\nb'child\\n' False\nb'parent\\n' True\nKILLED\n", done


GRACEFUL = """trap 'wait $!; echo parent; exit 0' TERM
(trap 'echo child; exit' TERM; echo ready >&2; while :; do sleep 1000 & wait; done) & wait"""


def test_term_grace(box: Sandbox) -> None:
    box.term_grace = 3600
    ready = 0
    while not ready:  # before its time is over
        r = box.run(["sh", "-c", GRACEFUL], timeout=0.5, text=True)
        assert (r.reason, r.exit_code, r.success) == (ExitReason.TIMEOUT, -1, False)
        ready = r.stderr == "ready\n"
    assert r.stdout == "child\nparent\n"
    box.spawn(["sh", "-c", GRACEFUL])
    assert box.wait(0.5).reason == ExitReason.TIMEOUT
    box.term_grace = 0.05
    for run in box.run, lambda cmd, timeout: box.spawn(cmd) or box.wait(timeout):
        r = run(["sh", "-c", "trap '' TERM; while :; do sleep 1000; done"], timeout=0.05)
        assert (r.reason, r.exit_code) == (ExitReason.TIMEOUT, -1)
    for bad in -1, float("nan"), "1", 1e20:
        box.term_grace = bad
        with pytest.raises(PolicyError, match="term_grace"):
            box.run(["true"])


def test_ctrl_c_in_the_grace(host: Any, tmp_path: pathlib.Path) -> None:
    """It is the host's at once, as ever."""
    os.mkfifo(tmp_path / "fifo")
    done = host(CTRL_C + """
import sys
from sandlock import Sandbox, _native
directory = sys.argv[1]
began = threading.Event()
expire = _native.Run.expire
def expires(run):
    with open(directory + "/fifo") as fifo:  # SIGTERM would end the command before its trap
        fifo.read()
    began.set()
    return expire(run)
_native.Run.expire = expires
def interrupt():
    began.wait()
    ctrl_c()
threading.Thread(target=interrupt).start()
box = Sandbox(fs_readable=["/usr", "/lib", "/lib64", "/bin", "/etc"], fs_writable=[directory], cwd=directory, term_grace=3600)
try:
    box.run(["sh", "-c", "trap '' TERM; echo ready > fifo; while :; do sleep 1000; done"], timeout=0.01)
except KeyboardInterrupt:
    print("interrupted")
""", str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")
