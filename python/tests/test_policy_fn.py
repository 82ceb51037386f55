"""The callback: what it sees, what its answers do."""

from __future__ import annotations

import logging
import os
import pathlib
import threading
from typing import Any, Dict, List

import pytest

from conftest import INSIDE, SYSTEM
from sandlock import CallbackError, ExitReason, PolicyContext, Sandbox, SandlockError, SyscallEvent

TRY = "import os\ntry: os.execv('/bin/echo', ['/bin/echo', 'ran'])\nexcept OSError as e: print(e.errno)"


def test_every_command_line_in_order(box: Sandbox) -> None:
    seen: List[SyscallEvent] = []
    box.policy_fn = lambda event, ctx: seen.append(event)
    script = "/bin/echo one; /bin/echo 'a b' ''; /bin/true"
    r = box.run(["sh", "-c", script])
    assert r.stdout == b"one\na b \n"
    assert [e.argv for e in seen] == [("sh", "-c", script), ("/bin/echo", "one"), ("/bin/echo", "a b", ""), ("/bin/true",)]
    assert all((e.syscall, e.category, e.denied, e.host, e.port) == ("execve", "process", False, None, 0) for e in seen)
    assert seen[1].parent_pid == seen[0].pid and seen[1].pid != seen[2].pid
    assert seen[2].argv_contains("a b") and not seen[2].argv_contains("one")
    assert not hasattr(seen[0], "path")
    with pytest.raises(AttributeError):
        seen[0].pid = 1  # type: ignore[misc]


def test_arguments_are_exact(box: Sandbox) -> None:
    seen: List[Any] = []
    box.policy_fn = lambda event, ctx: seen.append(event.argv)
    odd = [os.fsdecode(b"\xff\xfe"), "x" * 131000, "new\nline", ""]
    assert box.run(["true", *odd]).success
    assert seen == [("true", *odd)]


@pytest.mark.parametrize("answer, errno", [
    (None, None), (False, None), (0, None), ("audit", None), (-2, None),
    (True, 1), (-1, 1), (-5, 1), (2, 2), (13, 13), (5000, 1), (1 << 40, 1), ("allow", 1), (0.0, 1), ([], 1), (object(), 1),
])
def test_answers(box: Sandbox, answer: Any, errno: Any) -> None:
    box.policy_fn = lambda event, ctx: answer if event.argv[0] == "/bin/echo" else None
    assert box.run([INSIDE, "-c", TRY], text=True).stdout == ("ran\n" if errno is None else f"{errno}\n")


def test_denying_the_command_itself(box: Sandbox) -> None:
    box.policy_fn = lambda event, ctx: True
    r = box.run(["true"])
    assert not r.success and r.error is not None and "policy_fn denied" in r.error and "not permitted" in r.error


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)])
def test_an_exception_denies_and_is_raised_at_the_end(box: Sandbox, error: BaseException) -> None:
    def judge(event: SyscallEvent, ctx: PolicyContext) -> None:
        if event.argv_contains("echo"):
            raise error

    box.policy_fn = judge
    with pytest.raises(CallbackError) as caught:
        box.run(["sh", "-c", "/bin/echo x; /bin/echo y"])
    assert caught.value.__cause__ is error
    assert box.run(["true"]).success  # the next run is a new one


def test_no_answer_in_time_denies(box: Sandbox) -> None:
    release = threading.Event()
    returned = threading.Event()

    def judge(event: SyscallEvent, ctx: PolicyContext) -> None:
        if event.argv and event.argv[0] == "/bin/echo":
            release.wait()
            returned.set()

    box.policy_fn, box.policy_timeout = judge, 0.2
    r = box.run([INSIDE, "-c", TRY + "\ntry: os.execv('/bin/true', ['true'])\nexcept OSError as e: print(e.errno)"], text=True)
    assert r.stdout == "1\n1\n", r  # and while it has not returned, what comes later is denied too
    assert any("has not answered" in line for line in r.log)
    release.set()
    returned.wait()
    box.policy_fn = None
    assert box.run(["true"]).success


def test_a_script_is_seen_for_what_it_becomes(box: Sandbox, tmp_path: pathlib.Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/echo interpreted\n")
    script.chmod(0o755)
    box.fs_readable = [*SYSTEM, tmp_path]
    seen: List[Any] = []
    box.policy_fn = lambda event, ctx: seen.append(event.argv)
    assert box.run([script, "arg"], text=True).stdout == f"interpreted {script} arg\n"
    assert seen == [(str(script), "arg"), ("/bin/echo", "interpreted", str(script), "arg")]
    box.policy_fn = lambda event, ctx: event.argv[0] == "/bin/echo"
    r = box.run([script])
    assert r.reason is ExitReason.KILLED and r.error is not None and "became" in r.error
    r = box.run(["sh", "-c", f"{script}; echo $?"])
    assert r.stdout == b"137\n"


def test_audit_and_log(box: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    box.policy_fn = lambda event, ctx: "audit"
    with caplog.at_level(logging.WARNING, logger="sandlock"):
        r = box.run(["true"])
    assert r.success and any("audit" in line and "true" in line for line in r.log)
    assert [rec.getMessage() for rec in caplog.records] == list(r.log)


def test_events_that_are_not_asked_for(box: Sandbox) -> None:
    seen: List[Any] = []
    box.policy_fn = lambda event, ctx: seen.append(event)
    box.policy_events = []
    assert box.run(["sh", "-c", "/bin/true"]).success and not seen
    box.policy_events = ["execve"]
    assert box.run(["sh", "-c", "/bin/true"]).success and len(seen) == 2


def test_context_says_what_is_not_built(box: Sandbox) -> None:
    errors: List[str] = []

    def judge(event: SyscallEvent, ctx: PolicyContext) -> None:
        for call in (
            lambda: ctx.restrict_network([]), lambda: ctx.grant_network([]), lambda: ctx.restrict_max_memory(1),
            lambda: ctx.restrict_max_processes(1), lambda: ctx.restrict_pid_network(1, []), lambda: ctx.deny_path("/"),
            lambda: ctx.allow_path("/"),
        ):
            try:
                call()
            except SandlockError as e:
                errors.append(str(e))

    box.policy_fn = judge
    assert box.run(["true"]).success
    assert len(errors) == 7 and all("not built yet" in e for e in errors)


def test_one_thread_calls(box: Sandbox) -> None:
    threads = set()
    box.policy_fn = lambda event, ctx: threads.add(threading.get_native_id())
    box.run(["sh", "-c", "for i in 1 2 3 4 5; do /bin/true & done; wait"])
    assert len(threads) == 1 and threading.get_native_id() not in threads


def test_callback_may_run_another_sandbox(box: Sandbox) -> None:
    inner = Sandbox(fs_readable=SYSTEM)
    results: List[bool] = []
    box.policy_fn = lambda event, ctx: results.append(inner.run(["true"]).success)
    assert box.run(["sh", "-c", "/bin/true"]).success and results == [True, True]


def test_an_argv_that_can_not_be_protected(box: Sandbox) -> None:
    seen: List[Any] = []
    box.policy_fn = lambda event, ctx: seen.append(event.argv)
    box.extra_allow_syscalls = ["debug"]
    with pytest.raises(SandlockError, match="debug"):
        box.run(["true"])
    box.argv_safety = "landlock"
    assert box.run(["sh", "-c", "/bin/true"]).success and seen == [None, None]
    box.argv_safety = "loose"
    with pytest.raises(SandlockError, match="argv_safety"):
        box.run(["true"])


def test_records(box: Sandbox, tmp_path: pathlib.Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/echo became\n")
    script.chmod(0o755)
    cheat = tmp_path / "cheat"
    cheat.write_text("#!/bin/echo evil\n")
    cheat.chmod(0o755)
    box.fs_readable = [*box.fs_readable, tmp_path]
    odd = os.fsdecode(b'\xff"\\\n\x7f\xc3\xa9')
    answers: Dict[str, Any] = {"evil": True, "no": 13, "noted": "audit"}
    box.policy_fn = lambda event, ctx: answers.get(event.argv[1]) if len(event.argv or ()) > 1 else None
    command = ["sh", "-c", f'/bin/echo no; /bin/echo noted; {script}; {cheat}; /bin/nothing; /bin/echo "$0"', odd]
    assert not box.run(command).execs
    box.record_execs = True
    r = box.run(command)
    assert [(e.argv, e.outcome) for e in r.execs] == [
        (tuple(command), "ran"),
        (("/bin/echo", "no"), "denied"),
        (("/bin/echo", "noted"), "ran"),
        ((str(script),), "became"),
        (("/bin/echo", "became", str(script)), "ran"),
        ((str(cheat),), "became"),
        (("/bin/echo", "evil", str(cheat)), "killed"),
        (("/bin/nothing",), "failed"),
        (("/bin/echo", odd), "ran"),
    ], r
    assert all(e.syscall == "execve" and e.pid > 0 for e in r.execs)
    assert [e.argv for e in r.audit] == [("/bin/echo", "noted")]
    assert r.audit[0].category == "process" and r.audit[0].parent_pid == r.execs[0].pid


def test_not_callable() -> None:
    with pytest.raises(SandlockError, match="callable"):
        Sandbox(policy_fn="no").run(["true"])  # type: ignore[arg-type]
