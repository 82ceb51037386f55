"""Pipelines and gathers."""

from __future__ import annotations

import gc
import os
import pathlib
import signal
import threading
from typing import Any, List

import pytest

from conftest import INSIDE, SOURCE, SYSTEM, gone, until
from sandlock import (
    CallbackError, ExitReason, Gather, GatherPipeline, NamedStage, Pipeline, PolicyError, Result, Sandbox, Stage,
    inputs,
)


def sh(box: Sandbox, script: str) -> Stage:
    return box.cmd(["sh", "-c", script])


def test_objects(box: Sandbox) -> None:
    one, two, three = (box.cmd(["true"]) for _ in range(3))
    assert isinstance(one, Stage) and isinstance(one | two, Pipeline)
    assert (one | two | three).stages == [one, two, three]
    named, other = one.as_("a"), two.as_("b")
    assert isinstance(named, NamedStage) and isinstance(named + other, Gather) and isinstance(named + other | three, GatherPipeline)
    assert (named + other + three.as_("c")).sources[2].name == "c"
    for few in [], [one]:
        with pytest.raises(ValueError):
            Pipeline(few)
    for bad in "", "a:b", "a,b", "a\0", 3:
        with pytest.raises(ValueError):
            one.as_(bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        one.as_("same") + two.as_("same")
    for wrong in (lambda: one | 3), (lambda: named + one), (lambda: (named + other) | named), (lambda: one + two):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(TypeError):
        box.cmd("true")  # type: ignore[arg-type]
    assert one.run().success and sh(box, "exit 3").run(timeout=100).exit_code == 3


def test_pipeline(box: Sandbox) -> None:
    result = (box.cmd(["printf", "3\n1\n2\n"]) | box.cmd(["sort"]) | sh(box, "cat; echo errs >&2; exit 5")).run()
    assert (result.stdout, result.stderr, result.exit_code, result.success, result.error) == (b"1\n2\n3\n", b"errs\n", 5, False, None)
    assert [(r.stdout, r.stderr, r.exit_code) for r in result.stages] == [(b"", b"", 0), (b"", b"", 0), (b"1\n2\n3\n", b"errs\n", 5)]
    assert (sh(box, "cat; echo end") | box.cmd(["cat"])).run().stdout == b"end\n"  # of /dev/null
    # As much as there is, no more than there is room for.
    big = (box.cmd(["head", "-c", "30000000", "/dev/zero"]) | box.cmd(["cat"]) | box.cmd(["wc", "-c"])).run()
    assert big.stdout == b"30000000\n" and big.success
    # One ends early.
    result = (box.cmd(["yes"]) | box.cmd(["head", "-1"])).run()
    assert result.success and result.stdout == b"y\n" and result.stages[0].signal == signal.SIGPIPE


def test_each_stage_has_its_policy(box: Sandbox, tmp_path: pathlib.Path) -> None:
    (tmp_path / "secret").write_text("secret")
    may = Sandbox(fs_readable=[*SYSTEM, tmp_path], name="named")
    cat = ["cat", tmp_path / "secret"]
    result = (may.cmd(cat) | sh(box, f"cat; cat {tmp_path}/secret") | sh(may, "cat")).run()
    assert result.stdout == b"secret" and result.success and result.stages[1].exit_code == 1
    assert b"denied" in result.stages[1].stderr
    pipeline = may.cmd(cat) | may.cmd(["cat"])
    may.fs_readable = SYSTEM  # read when it runs
    assert pipeline.run().stages[0].exit_code == 1
    # Its Sandbox may be busy.
    may.spawn(["sleep", "1000"])
    may.name = None
    assert pipeline.run().stdout == b""
    may.kill()
    may.wait()


def test_stdout(box: Sandbox, tmp_path: pathlib.Path) -> None:
    pipeline = sh(box, "echo one; echo errs >&2") | box.cmd(["cat"])
    with open(tmp_path / "out", "w+b") as file:
        for where in file, file.fileno():
            result = pipeline.run(stdout=where)
            assert result.success and result.stdout == b""
        file.seek(0)
        assert file.read() == b"one\n" * 2


def test_a_pipe_is_not_one_way(box: Sandbox) -> None:
    """As docs/pipelines.md warns."""
    first, second = sh(box, "read x </proc/self/fd/1; echo $x >&2"), sh(box, "echo answer >/proc/self/fd/0")
    assert (first | second).run().stages[0].stderr == b"answer\n"


def test_timeout(box: Sandbox) -> None:
    """One for all, and nothing is left."""
    for slow in range(3):
        stages = [sh(box, "setsid sleep 1000 & echo $$ $! >&2; wait" if n == slow else "echo; exec >&-") for n in range(3)]
        result = until(lambda t: Pipeline(stages).run(timeout=t), lambda r: r.stages[slow].stderr.endswith(b"\n"))
        assert (result.success, result.exit_code, result.reason, result.error) == (False, -1, ExitReason.TIMEOUT, "Pipeline timed out")
        pids = result.stages[slow].stderr.split()
        assert result.stages[slow].reason is ExitReason.TIMEOUT and pids and all(gone(int(pid)) for pid in pids)
    gather = sh(box, "echo x; sleep 1000").as_("x") | sh(box, "cat")
    result = until(lambda t: gather.run(timeout=t), lambda r: r.stdout == b"x\n")
    assert (result.reason, result.error, result.stdout) == (ExitReason.TIMEOUT, "Gather timed out", b"x\n")
    assert (sh(box, "exec true") | sh(box, "true")).run(timeout=1000).success
    # A grace is each stage's own.
    polite = Sandbox(fs_readable=SYSTEM, term_grace=1000)
    result = (sh(box, "sleep 1000") | sh(polite, "trap 'echo bye; exit' TERM; echo; while :; do sleep 1000 & wait; done")).run(timeout=0.5)
    assert result.reason is ExitReason.TIMEOUT and result.stdout in (b"\nbye\n", b"")
    with pytest.raises(ValueError):
        (sh(box, "true") | sh(box, "true")).run(timeout=-1)


def test_errors_of_any_stage(box: Sandbox, tmp_path: pathlib.Path) -> None:
    bad = tmp_path / "bad"
    bad.write_text("no program")
    bad.chmod(0o755)
    mark = tmp_path / "mark"
    box.fs_readable, box.fs_writable = [*SYSTEM, tmp_path], [tmp_path]
    good = sh(box, f"touch {mark}; cat")
    for number in range(3):
        # What can be known before is, and then nothing runs.
        result = Pipeline([box.cmd(["no-such-command"]) if n == number else good for n in range(3)]).run()
        assert not result.success and result.exit_code == -1 and not mark.exists()
        assert result.error and result.error.startswith(f"stage {number + 1}: ") and "no-such-command" in result.error
    for number in range(3):
        result = Pipeline([box.cmd([bad]) if n == number else good for n in range(3)]).run()
        assert not result.success and result.error and result.error.startswith(f"stage {number + 1}: execve({bad})")
        assert [r.error is not None for r in result.stages] == [n == number for n in range(3)]
        assert result.exit_code == (-1 if number == 2 else 0)
    with pytest.raises(PolicyError):
        (good | Sandbox(fs_readable=[""]).cmd(["true"])).run()
    small = Sandbox(fs_readable=SYSTEM, max_memory="64M")
    result = (small.cmd([INSIDE, "-c", "x = bytearray(200 << 20); x[:] = b'x' * len(x)"]) | good).run()
    assert not result.success and result.error and "stage 1: max_memory" in result.error and result.exit_code == 0


def test_policy_fn(box: Sandbox) -> None:
    asked: List[Any] = []
    judged = Sandbox(fs_readable=SYSTEM, policy_fn=lambda event, ctx: asked.append(event.argv[0]))
    assert (judged.cmd(["echo", "hi"]) | judged.cmd(["cat"]) | box.cmd(["cat"])).run().stdout == b"hi\n"
    assert sorted(asked) == ["cat", "echo"]
    judged.policy_fn = lambda event, ctx: 1 / 0
    with pytest.raises(CallbackError) as caught:
        (box.cmd(["true"]) | judged.cmd(["cat"])).run()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


READS = """
import os
from sandlock import inputs
print(sorted(inputs), len(inputs), os.environ["_SANDLOCK_GATHER"])
print(inputs["b"], inputs["a"], inputs["b"], inputs["c"], sep="|")
try:
    inputs["d"]
except KeyError:
    print("no d")
"""


def test_gather(box: Sandbox) -> None:
    python = Sandbox(fs_readable=[*SYSTEM, str(SOURCE)], env={"PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1"})
    consumer = python.cmd([INSIDE, "-c", READS])
    sources = box.cmd(["printf", "A"]).as_("a") + box.cmd(["printf", r"B\r\n"]).as_("b") + box.cmd(["printf", "é"]).as_("c")
    result = (sources | consumer).run()
    assert result.success, result
    assert result.stdout.decode() == "['a', 'b', 'c'] 3 a:3,b:4,c:0\nB\r\n|A|B\r\n|é\nno d\n"
    assert len(result.stages) == 4 and python.env == {"PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1"}
    # Without the package; one of them is larger than a pipe.
    big = box.cmd(["head", "-c", "1000000", "/dev/zero"]).as_("big") + box.cmd(["echo", "last"]).as_("last")
    result = (big | sh(box, "cat; wc -c <&3; echo $_SANDLOCK_GATHER; test -e /dev/fd/4 && echo more")).run()
    assert result.stdout == b"last\n1000000\nbig:3,last:0\n"
    assert (box.cmd(["echo", "one"]).as_("one") | sh(box, "cat; echo $_SANDLOCK_GATHER")).run().stdout == b"one\none:0\n"
    result = (box.cmd(["no-such-command"]).as_("x") + box.cmd(["true"]).as_("y") | sh(box, "true")).run()
    assert result.error and result.error.startswith("stage 1: ")


def test_inputs_outside() -> None:
    assert list(inputs) == [] and len(inputs) == 0
    with pytest.raises(KeyError):
        inputs["x"]


def test_nothing_is_left(box: Sandbox) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    pipeline = sh(box, "echo x") | box.cmd(["cat"]) | box.cmd(["cat"])
    failing = sh(box, "echo x") | box.cmd(["no-such-command"])
    assert pipeline.run().success
    before, boxes = count(), sum(isinstance(o, Sandbox) for o in gc.get_objects())
    for _ in range(5):
        assert pipeline.run().success and not failing.run().success
    gc.collect()
    assert count() == before and sum(isinstance(o, Sandbox) for o in gc.get_objects()) <= boxes


def test_ctrl_c(host: Any, tmp_path: pathlib.Path) -> None:
    done = host(f"""
import os, signal
from sandlock import Sandbox
def interrupt(*args):
    signal.setitimer(signal.ITIMER_REAL, 0)
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
box = Sandbox(fs_readable={SYSTEM!r}, fs_writable=[{str(tmp_path)!r}])
for _ in range(3):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1, 0.2)
        (box.cmd(["sh", "-c", "echo $$ >> {tmp_path}/pids; exec sleep 1000"]) | box.cmd(["cat"])).run()
    except KeyboardInterrupt:
        print("interrupted")
""")
    assert done.stdout == "interrupted\n" * 3, done
    pids = tmp_path / "pids"
    assert all(gone(int(pid)) for pid in (pids.read_text().split() if pids.exists() else ()))


def test_at_once() -> None:
    """Several pipelines of the same stages, from several threads."""
    box, results = Sandbox(fs_readable=SYSTEM), []
    pipeline = box.cmd(["echo", "x"]) | box.cmd(["cat"])
    threads = [threading.Thread(target=lambda: results.append(pipeline.run().stdout)) for _ in range(10)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == [b"x\n"] * 10
