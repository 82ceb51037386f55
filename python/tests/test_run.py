"""Running: results, streams, time, life and death."""

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

from conftest import INSIDE, SOURCE, SYSTEM, gone
from sandlock import ExitReason, PolicyError, Result, Sandbox


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
    r = box.run(["sh", "-c", "echo before; exec sleep 1000"], timeout=0.3)
    assert (r.success, r.exit_code, r.reason, r.stdout) == (False, -1, ExitReason.TIMEOUT, b"before\n")
    assert box.run(["true"], timeout=0).success
    assert box.run(["true"], timeout=1e9).success
    with pytest.raises(ValueError):
        box.run(["true"], timeout=-1)


def test_output_of_one_gibibyte(box: Sandbox) -> None:
    box.max_output = "1M"
    r = box.run(["sh", "-c", "head -c 1073741824 /dev/zero; echo end >&2"])
    assert r.success and len(r.stdout) == 1 << 20 and r.stdout_truncated and not r.stderr_truncated and r.stderr == b"end\n"


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
    box.extra_allow_syscalls, box.max_processes = ["debug"], "unlimited"  # a policy_fn needs to read and to trace
    r = box.run([INSIDE, "-c", program], text=True)
    assert r.stdout == "b'inner\\n' None\n" * 3, r
    box.policy_fn, box.extra_allow_syscalls = lambda event, ctx: None, []
    # A limit of processes takes tracing, which is refused inside.
    lines = box.run([INSIDE, "-c", program.replace("inner()\ninner(net", "inner()\ninner(max_processes=9)\ninner(net")], text=True).stdout.splitlines()
    assert "ptrace" in (said := lines.pop(1)) and 'max_processes="unlimited" does without' in said, said
    assert lines[0] == "b'inner\\n' None" and all(l.startswith("b'' seccomp") and "busy" in l for l in lines[1:]), lines


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
    program = f"""
import os, signal
from sandlock import Sandbox
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
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
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate()
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
sys.unraisablehook = lambda e: None  # it may fall into a callback of ctypes, too
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
    done = host(f"""
import os, signal, sys, threading
from sandlock import Sandbox
signal.signal(signal.SIGINT, signal.default_int_handler)
box = Sandbox(fs_readable={SYSTEM!r})
r, w = os.pipe()
results = sys.stderr
os.dup2(w, 1)
for how in box.kill, lambda: os.kill(os.getpid(), signal.SIGINT):
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
    done = host("""
import os, signal, sys, threading
from sandlock import Sandbox, _native
signal.signal(signal.SIGINT, signal.default_int_handler)
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
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
box = Sandbox(fs_readable=["/usr", "/lib", "/lib64", "/bin", "/etc"], fs_writable=[directory], cwd=directory, term_grace=3600)
try:
    box.run(["sh", "-c", "trap '' TERM; echo ready > fifo; while :; do sleep 1000; done"], timeout=0.01)
except KeyboardInterrupt:
    print("interrupted")
""", str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")
