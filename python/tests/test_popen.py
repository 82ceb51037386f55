"""Sandbox.popen beside subprocess.Popen: a row of docs/popen.md each, and what is ours."""

from __future__ import annotations

import array
import fcntl
import gc
import io
import os
import pathlib
import re
import signal
import subprocess
import termios
import threading
from subprocess import DEVNULL, PIPE, STDOUT
from typing import Any, List

import pytest

from conftest import SYSTEM, gone
from sandlock import (
    CallbackError, ChildError, CommandError, CommandNotFoundError, CommandPermissionError, ExitReason, PolicyError, Sandbox,
    SandlockError, StdioMode,
)

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
FOREVER = ["sleep", "1000"]


def test_each_row_of_the_table_is_a_test() -> None:
    named = re.findall(r"`(test_\w+)`", (DOCS / "popen.md").read_text().split("## CPython's own tests")[0])
    assert named and set(named) <= set(globals()), set(named) - set(globals())


# ---- the rows


def test_command_lines(box: Sandbox) -> None:
    with box.popen(["printf", "%s.", b"\xff", pathlib.Path("p")], stdout=PIPE) as p:
        assert p.communicate() == (b"\xff.p.", None)
        assert p.args == ["printf", "%s.", b"\xff", pathlib.Path("p")]
    for cmd, error in ("true", TypeError), ([], ValueError), (["a\0b"], ValueError):
        with pytest.raises(error):
            box.popen(cmd)  # type: ignore[arg-type]


def test_executable(box: Sandbox, tmp_path: pathlib.Path) -> None:
    for executable in "sh", "/bin/sh", b"/bin/sh", pathlib.Path("/bin/sh"):
        p = box.popen(["another name", "-c", "echo $0"], stdout=PIPE, executable=executable)
        assert p.communicate()[0] == b"another name\n"
    with pytest.raises(FileNotFoundError) as caught:
        box.popen(["true"], executable="/no/such/file")
    assert caught.value.filename == "/no/such/file"
    with pytest.raises(ValueError):
        box.popen(["true"], executable="a\0b")
    box.cwd = tmp_path / "missing"
    with pytest.raises(FileNotFoundError) as caught:
        box.popen(["true"])
    assert caught.value.filename == str(tmp_path / "missing")


def test_bufsize(box: Sandbox) -> None:
    with box.popen(["cat"], PIPE, PIPE) as p:
        assert isinstance(p.stdin, io.FileIO) and isinstance(p.stdout, io.FileIO) and p.stderr is None
        p.stdin.write(b"at once")
        assert p.stdout.read(100) == b"at once"
    with box.popen(["cat"], PIPE, PIPE, bufsize=-1) as p:
        assert isinstance(p.stdin, io.BufferedWriter) and isinstance(p.stdout, io.BufferedReader)
    with box.popen(["cat"], PIPE, PIPE, text=True) as p:
        assert p.stdin and p.stdout
        p.stdin.write("at ")
        p.stdin.write("once\n")
        assert p.stdout.readline() == "at once\n"
    with box.popen(["cat"], PIPE, PIPE, text=True, bufsize=1) as p:
        assert p.stdin and p.stdout and p.stdin.line_buffering
        p.stdin.write("a line\n")
        assert p.stdout.readline() == "a line\n"


def test_pipes(box: Sandbox) -> None:
    for pipe in PIPE, StdioMode.PIPED, 1:
        with box.popen(["sh", "-c", "cat; echo errs >&2; exit 3"], pipe, pipe, pipe) as p:
            assert p.stdin and p.stdout and p.stderr
            assert not os.get_inheritable(p.stdin.fileno())
            p.stdin.write(b"in")
            p.stdin.close()
            assert (p.stdout.read(), p.stderr.read(), p.wait().exit_code) == (b"in", b"errs\n", 3)


def test_devnull(box: Sandbox) -> None:
    for null in DEVNULL, StdioMode.NULL, 2:
        with box.popen(["sh", "-c", "cat; echo lost; readlink /proc/self/fd/0 >&2"], null, null, PIPE) as p:
            assert p.communicate()[1] in (b"/dev/null\n", b"")  # /proc is not granted
            assert p.stdin is p.stdout is None


def test_stderr_to_stdout(box: Sandbox, tmp_path: pathlib.Path) -> None:
    script = ["sh", "-c", "echo out; echo errs >&2"]
    assert box.popen(script, stdout=PIPE, stderr=STDOUT).communicate() == (b"out\nerrs\n", None)
    with open(tmp_path / "file", "wb") as file:
        assert box.popen(script, stdout=file, stderr=STDOUT).wait().success
    assert (tmp_path / "file").read_bytes() == b"out\nerrs\n"
    for stream in "stdin", "stdout":
        with pytest.raises(ValueError, match=stream):
            box.popen(script, **{stream: STDOUT})  # type: ignore[arg-type]


def test_files_and_descriptors(box: Sandbox, tmp_path: pathlib.Path) -> None:
    (tmp_path / "in").write_text("input")
    with open(tmp_path / "in") as source, open(tmp_path / "out", "w+b") as target:
        # Each of them by itself, so that they share no offset.
        assert box.popen(["cat"], source, target.fileno()).wait().success
        assert os.lseek(source.fileno(), 0, os.SEEK_CUR) == 5  # one open file, as ever
        target.seek(0)
        assert target.read() == b"input"
        closed = target.fileno()
    for bad, error in (closed, ValueError), (1 << 20, ValueError), (-7, ValueError), (1 << 70, ValueError), \
            ("out", TypeError), (True, TypeError), (io.BytesIO(), io.UnsupportedOperation), (2.5, TypeError):
        with pytest.raises(error):
            box.popen(["true"], stdout=bad)
    assert box.run(["true"]).success


def test_inherited(host: Any) -> None:
    done = host(f"""
import os
from sandlock import Sandbox
box = Sandbox(fs_readable={SYSTEM!r})
print(box.popen(["sh", "-c", "read x; echo $x; echo errs >&2"]).wait().exit_code)
os.close(0)
print(box.popen(["sh", "-c", "exec 3<&0"], stderr=2).wait().exit_code)
""", input="line\nmore\n")
    assert (done.stdout, done.stderr) == ("line\n0\n2\n", "errs\n"), done


def test_no_other_descriptors(box: Sandbox) -> None:
    box.fs_readable = [*box.fs_readable, "/proc"]
    with open("/dev/null") as file:
        os.set_inheritable(file.fileno(), True)
        out = box.popen(["ls", "/proc/self/fd"], stdout=PIPE).communicate()[0]
    assert out.split() == [b"0", b"1", b"2", b"3"]  # 3 is what ls reads


def test_pass_fds(box: Sandbox, tmp_path: pathlib.Path) -> None:
    box.fs_readable = [*box.fs_readable, "/proc"]
    read, write = os.pipe()
    high = fcntl.fcntl(write, fcntl.F_DUPFD_CLOEXEC, 150)
    try:
        with box.popen(["bash", "-c", f"echo low >&{write}; echo high >&{high}; ls /proc/self/fd"], stdout=PIPE,
                       pass_fds=[write, high, high, 1]) as p:
            names = set(p.communicate()[0].split())
        assert {str(fd).encode() for fd in (write, high)} <= names and str(read).encode() not in names - {b"3"}
        assert os.read(read, 100) == b"low\nhigh\n"
        assert not os.get_inheritable(write)  # which it need not be
    finally:
        for fd in read, write, high:
            os.close(fd)
    with pytest.raises(OSError):
        box.popen(["true"], pass_fds=[high])
    for bad in [-1], ["1"], [True]:
        with pytest.raises(ValueError):
            box.popen(["true"], pass_fds=bad)  # type: ignore[arg-type]


def test_cwd_and_env_are_the_policys(box: Sandbox, tmp_path: pathlib.Path) -> None:
    box.fs_readable, box.cwd, box.env = [*box.fs_readable, tmp_path], tmp_path, {"A": "b"}
    assert box.popen(["sh", "-c", "pwd; echo $A"], stdout=PIPE, text=True).communicate()[0] == f"{tmp_path}\nb\n"


def test_text(box: Sandbox) -> None:
    script = ["printf", r"a\r\nb\rc\n\303\251"]
    assert box.popen(script, stdout=PIPE, encoding="utf-8").communicate() == ("a\nb\nc\né", None)
    with box.popen(script, stdout=PIPE, encoding="utf-8") as p:
        assert p.stdout and p.stdout.read() == "a\nb\nc\né"
    assert box.popen(script, stdout=PIPE, encoding="ascii", errors="replace").communicate()[0].endswith("c\n\ufffd\ufffd")
    assert box.popen(["cat"], PIPE, PIPE, encoding="latin-1").communicate("é")[0] == "é"
    with pytest.raises(UnicodeDecodeError):
        box.popen(script, stdout=PIPE, encoding="ascii").communicate()
    p = box.popen(["cat"], PIPE, PIPE)
    with pytest.raises(TypeError):
        p.communicate("text")
    assert p.communicate(b"bytes")[0] == b"bytes"


def test_session(box: Sandbox) -> None:
    with box.popen(FOREVER) as p:
        assert os.getsid(p.pid) == os.getpgid(p.pid) == p.pid
        p.kill()


def test_errors_of_the_start(box: Sandbox, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # subprocess's error is that of a directory that can't be searched
    box.fs_readable = [*box.fs_readable, tmp_path]
    for name, text in ("noexec", "text"), ("nobody", "#!/no/such/interpreter\n"), ("plain", "#!/bin/sh\n"):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o644 if name == "plain" else 0o755)
    for command, kind, builtin in [("no-such-command", CommandNotFoundError, FileNotFoundError),
                                   (tmp_path / "nobody", CommandNotFoundError, FileNotFoundError),
                                   (tmp_path / "plain", CommandPermissionError, PermissionError),
                                   ("/root", CommandPermissionError, PermissionError),
                                   (tmp_path / "noexec", CommandError, OSError)]:
        with pytest.raises(builtin) as caught:
            box.popen([command], PIPE, PIPE, PIPE)
        with pytest.raises(builtin) as bare:
            subprocess.Popen([command], stdin=PIPE, stdout=PIPE, stderr=PIPE)
        assert type(caught.value) is kind and isinstance(caught.value, (ChildError, SandlockError))
        assert (caught.value.errno, caught.value.filename) == (bare.value.errno, str(command))
    box.policy_fn = lambda event, ctx: True
    with pytest.raises(PermissionError, match="policy_fn denied it"):
        box.popen(["true"])
    box.policy_fn, box.fs_readable = None, [""]
    with pytest.raises(PolicyError):
        box.popen(["true"])
    assert not box.is_running


def test_poll_and_returncode(box: Sandbox) -> None:
    p = box.popen(["sh", "-c", "read x; exit 3"], PIPE)
    assert p.poll() is None and p.returncode is None and p.stdin
    p.stdin.close()
    while p.poll() is None:
        pass
    assert p.returncode == p.poll() == 3 and p.wait().exit_code == 3
    for sig in signal.SIGTERM, signal.SIGKILL:
        p = box.popen(["sh", "-c", f"kill -{int(sig)} $$"])
        p.wait()
        assert p.returncode == -sig


def test_wait(box: Sandbox) -> None:
    p = box.popen(["sh", "-c", "cat; exit 4"], PIPE)
    result = p.wait()  # which closes stdin
    assert (result.exit_code, result.reason, result.stdout) == (4, ExitReason.EXITED, b"") and p.wait() is result
    p = box.popen(FOREVER)
    assert p.wait(0).reason is ExitReason.TIMEOUT and p.wait(5).reason is ExitReason.TIMEOUT and p.returncode == -signal.SIGKILL
    p = box.popen(["true"])
    assert p.wait(1000).success
    for bad in -1, float("nan"):
        with pytest.raises(ValueError):
            p.wait(bad)
    box.term_grace = 1000
    with box.popen(["sh", "-c", "trap 'exit 5' TERM; echo; while :; do sleep 1000 & wait; done"], stdout=PIPE) as p:
        assert p.stdout and p.stdout.read(1)
        assert p.wait(0.01).reason is ExitReason.TIMEOUT


def test_communicate(box: Sandbox) -> None:
    data = os.urandom(5_000_000)
    p = box.popen(["sh", "-c", "cat; head -c 3000000 /dev/zero >&2"], PIPE, PIPE, PIPE)
    out, errs = p.communicate(data)
    assert out == data and errs == bytes(3_000_000) and p.returncode == 0
    assert p.communicate() == (out, errs)
    with pytest.raises(ValueError):
        p.communicate(b"more")
    # Who does not read is no error, nor who closes before the end.
    assert box.popen(["true"], PIPE).communicate(data) == (None, None)
    assert box.popen(["true"]).communicate() == (None, None)
    with box.popen(["cat"], PIPE, PIPE) as p:
        assert p.stdin and p.stdout
        p.stdin.close()
        assert p.communicate() == (b"", None)


def test_communicate_timeout(box: Sandbox) -> None:
    p = box.popen(["sh", "-c", "echo one; echo two >&2; head -c 1; wc -c; exec 1>&- 2>&-; exec sleep 1000"], PIPE, PIPE, PIPE)
    read, seen = b"", []
    while b"one\nx999999\n" not in read:
        with pytest.raises(subprocess.TimeoutExpired) as caught:
            p.communicate(None if seen else b"x" * 1_000_000, timeout=0.05)
        read = caught.value.output or b""
        seen.append(read)
        assert caught.value.cmd == p.args and caught.value.timeout == 0.05
    with pytest.raises(subprocess.TimeoutExpired):
        p.communicate(timeout=0)
    assert p.poll() is None
    p.kill()
    assert p.communicate() == (b"one\nx999999\n", b"two\n") and p.returncode == -signal.SIGKILL


def test_signals(box: Sandbox) -> None:
    # To the command alone.
    p = box.popen(["sh", "-c", "trap 'echo heard; exit 5' USR1; (trap 'echo no' USR1; sleep 1000) & echo; wait"], stdout=PIPE)
    assert p.stdout and p.stdout.read(1)
    with pytest.raises(OSError):
        p.send_signal(999)
    p.send_signal(signal.SIGUSR1)
    assert p.communicate()[0] == b"heard\n" and p.returncode == 5
    p.send_signal(signal.SIGUSR1)  # nothing, and nobody else
    p = box.popen(FOREVER)
    p.terminate()
    assert p.wait().signal == signal.SIGTERM


def test_kill(box: Sandbox) -> None:
    box.fs_readable = [*box.fs_readable, "/proc"]
    p = box.popen(["sh", "-c", "setsid sleep 1000 & echo $!; wait"], stdout=PIPE, text=True)
    assert p.stdout
    other = int(p.stdout.readline())
    for _ in range(2):
        p.kill()
    assert p.wait().reason is ExitReason.KILLED and gone(other)
    p.kill()


def test_context_manager(box: Sandbox) -> None:
    with box.popen(["cat"], PIPE, PIPE) as p:
        pass
    assert p.returncode == 0 and p.stdin and p.stdin.closed and p.stdout and p.stdout.closed
    with pytest.raises(ZeroDivisionError):
        with box.popen(FOREVER) as p:
            1 / 0
    assert p.returncode == -signal.SIGKILL and gone(p.pid)


def test_dropped(box: Sandbox) -> None:
    p = Sandbox(fs_readable=SYSTEM).popen(FOREVER)  # whose Sandbox nobody else has
    gc.collect()
    assert p.poll() is None
    pid = p.pid
    with pytest.warns(ResourceWarning, match=f"{pid} was not waited for"):
        del p
        gc.collect()
    assert gone(pid)
    p = box.popen(["true"])
    p.wait()
    del p
    assert box.popen(["true"]).wait().success


def test_ctrl_c(host: Any) -> None:
    """Is raised at once, and leaves the command as it is."""
    done = host(f"""
import signal, subprocess
from sandlock import Sandbox
def interrupt(*args):
    signal.setitimer(signal.ITIMER_REAL, 0)
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
for call in (lambda p: p.wait()), (lambda p: p.communicate()), (lambda p: p.stdout.read()):
    p = Sandbox(fs_readable={SYSTEM!r}).popen(["sleep", "1000"], stdout=subprocess.PIPE)
    try:
        # Again, since one that comes just before the system call is seen when that ends.
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.2)
        call(p)
    except KeyboardInterrupt:
        print("interrupted", p.poll())
    p.kill()
    p.communicate()
""")
    assert done.stdout == "interrupted None\n" * 3 and not done.stderr, done


# ---- ours


def test_the_sandbox_of_a_process(box: Sandbox) -> None:
    p = box.popen(FOREVER)
    for call in box.wait, box.kill, box.pause, box.resume:
        with pytest.raises(RuntimeError, match="Process has this sandbox"):
            call()
    for start in box.popen, box.run, box.create:
        with pytest.raises(RuntimeError, match="already running"):
            start(["true"])  # type: ignore[operator]
    assert box.pid == p.pid and box.is_running and p.ports() == box.ports() == {}
    with box:
        pass  # ends it
    assert p.returncode is None and not box.is_running and p.wait().reason is ExitReason.KILLED
    with pytest.raises(RuntimeError, match="not running"):
        box.kill()
    assert box.run(["true"]).success


def test_descriptor(box: Sandbox) -> None:
    import select

    with box.popen(["cat"], PIPE) as p:
        assert select.select([p], [], [], 0) == ([], [], []) and p.stdin
        p.stdin.close()
        assert select.select([p], [], []) == ([p], [], [])
    with pytest.raises(ValueError):
        p.fileno()


def test_back_pressure(box: Sandbox) -> None:
    """A command whose output nobody reads waits; nothing is lost, nothing is kept."""
    box.max_output = 10
    with box.popen(["sh", "-c", "head -c 50000000 /dev/zero; echo end >&2"], stdout=PIPE, stderr=PIPE) as p:
        assert p.stdout and p.stderr
        count, size = array.array("i", [0]), fcntl.fcntl(p.stdout, 1032)  # F_GETPIPE_SZ
        while count[0] < size:
            fcntl.ioctl(p.stdout, termios.FIONREAD, count)
        os.set_blocking(p.stderr.fileno(), False)
        assert p.stderr.read() is None and p.poll() is None
        os.set_blocking(p.stderr.fileno(), True)
        total = 0
        while data := p.stdout.read(1 << 16):
            total += len(data)
        assert total == 50_000_000 and p.stderr.read() == b"end\n"


def test_policy_fn(box: Sandbox) -> None:
    asked: List[Any] = []
    box.policy_fn = lambda event, ctx: asked.append(event.argv)
    assert box.popen(["sh", "-c", "/bin/echo hi; :"], stdout=PIPE).communicate()[0] == b"hi\n"
    assert asked == [("sh", "-c", "/bin/echo hi; :"), ("/bin/echo", "hi")]

    def judge(event: Any, ctx: Any) -> None:
        if event.argv[0] != "sh":
            raise KeyError("oops")

    box.policy_fn = judge
    p = box.popen(["sh", "-c", "/bin/true; exit 7"], stderr=DEVNULL)
    while p.poll() is None:  # which does not raise it
        pass
    with pytest.raises(CallbackError) as caught:
        p.wait()
    assert isinstance(caught.value.__cause__, KeyError) and p.wait().exit_code == 7


def test_threads() -> None:
    """Many wait for one, and many have one each."""
    results: List[Any] = []

    def work(number: int) -> None:
        for turn in range(5):
            mine = Sandbox(fs_readable=SYSTEM)
            out, _ = mine.popen(["sh", "-c", f"cat; echo {number}.{turn}"], PIPE, PIPE).communicate(b"in ")
            results.append(out)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(results) == sorted(f"in {n}.{t}\n".encode() for n in range(20) for t in range(5))

    p = Sandbox(fs_readable=SYSTEM).popen(["sh", "-c", "read x; exit 6"], PIPE)
    threads = [threading.Thread(target=lambda: results.append(p._wait(None))) for _ in range(9)]
    results.clear()
    for t in threads:
        t.start()
    assert p.poll() is None and p.stdin
    p.stdin.close()
    for t in threads:
        t.join()
    assert results == [True] * 9 and p.returncode == 6
    # One that waits keeps others from nothing.
    p = Sandbox(fs_readable=SYSTEM).popen(FOREVER)
    waits = threading.Thread(target=p.wait)
    waits.start()
    assert p.poll() is None and p.wait(0).reason is not None
    waits.join()


def test_after_fork(host: Any) -> None:
    done = host(f"""
import os, warnings
warnings.simplefilter("ignore")  # Python 3.12 warns of fork with threads
from subprocess import PIPE
from sandlock import ForkedError, Sandbox
box = Sandbox(fs_readable={SYSTEM!r})
p = box.popen(["cat"], PIPE, PIPE)
pid = os.fork()
if pid == 0:
    for call in p.wait, p.poll, p.kill, p.fileno:
        try:
            call()
        except ForkedError:
            print("forked", flush=True)
    del p
    print(box.popen(["echo", "child"], stdout=PIPE).communicate(), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print(p.poll(), p.communicate(b"parent"), p.returncode)
""")
    assert done.stdout == "forked\n" * 4 + "(b'child\\n', None)\nNone (b'parent', None) 0\n", done


def test_nothing_is_left(host: Any) -> None:
    done = host(f"""
import os, pathlib, signal, sys
from subprocess import PIPE
from sandlock import Sandbox
def interrupt(*args):  # again, should it be lost in a __del__
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
sys.unraisablehook = lambda e: None
import warnings
warnings.simplefilter("ignore", ResourceWarning)  # a Process that nobody has yet
boxes = [Sandbox(fs_readable={SYSTEM!r}), Sandbox(fs_readable={SYSTEM!r}, policy_fn=lambda event, ctx: None)]
for box in boxes:
    box.popen(["true"], PIPE, PIPE).communicate()
def count():
    return len(os.listdir("/proc/self/fd"))
before, interrupted, p = count(), 0, None
for i in range(200):
    box = boxes[i % 2]
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.00002 * (1 + i), 0.2)
        while True:
            p = None
            p = box.popen(["true"], PIPE, PIPE)
            p.communicate()
    except KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, 0)
        interrupted += 1
    if p is not None:
        p.kill()
        p.communicate()
    p = None
    assert box.pid is None and not box.is_running, i
for box in boxes:
    box.popen(["true"], PIPE, PIPE).communicate()
# A pipe can be made and not have a name yet.
print(interrupted, count() - before <= 10, pathlib.Path(f"/proc/self/task/{{os.getpid()}}/children").read_text())
""")
    assert done.stdout == "200 True \n", done
