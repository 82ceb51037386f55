"""The callback: what it sees, what its answers do."""

from __future__ import annotations

import logging
import os
import pathlib
import shlex
import threading
from typing import Any, Callable, Dict, List, Type

import pytest

from conftest import INSIDE, SYSTEM
from sandlock import CallbackError, ExitReason, PolicyContext, Sandbox, SandlockError, SyscallEvent

TRY = "import os\ntry: os.execv('/bin/echo', ['/bin/echo', 'ran'])\nexcept OSError as e: print(e.errno, flush=True)"


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


CHANGES: Dict[str, Callable[[PolicyContext], None]] = {
    "restrict_network": lambda ctx: ctx.restrict_network(["192.0.2.1", "example.org"]),
    "grant_network": lambda ctx: ctx.grant_network(["10.0.0.0/8"]),
    "restrict_max_memory": lambda ctx: ctx.restrict_max_memory(2**64 - 1),
    "restrict_pid_network": lambda ctx: ctx.restrict_pid_network(1, ("192.0.2.1",)),
    "deny_path": lambda ctx: ctx.deny_path(pathlib.Path("/nowhere/at/all")),
}


def changing(box: Sandbox, change: Callable[[PolicyContext], None], answer: Any = None) -> BaseException:
    """Has an event's policy_fn make the change, catch what it raises, and answer. The
    event is denied, whatever the answer, and the next one is decided anew."""
    errors: List[BaseException] = []

    def judge(event: SyscallEvent, ctx: PolicyContext) -> Any:
        if event.argv and event.argv[0] == "/bin/echo":
            try:
                change(ctx)
            except Exception as e:
                errors.append(e)
            return answer
        return None

    box.policy_fn = judge
    r = box.run([INSIDE, "-c", TRY + "\nos.execv('/bin/true', ['true'])"], text=True)
    errno = answer if isinstance(answer, int) and answer > 0 else 1
    assert r.success and r.stdout == f"{errno}\n" and len(errors) == 1, r
    assert not isinstance(errors[0], SandlockError) or any("which denies the event" in line for line in r.log)
    return errors[0]


@pytest.mark.parametrize("name", CHANGES)
def test_context_says_what_fails(box: Sandbox, name: str) -> None:
    error = changing(box, CHANGES[name])
    says = {"restrict_max_memory": "the policy has no max_memory that could be lowered",
            "deny_path": '"/nowhere/at/all": no such file or directory',
            "restrict_pid_network": "1 is not a process of this sandbox"}.get(name, "address ")
    assert type(error) is SandlockError and str(error).startswith(f"{name}: {says}")


def test_deny_path_and_allow_path(box: Sandbox, tmp_path: pathlib.Path) -> None:
    secret = tmp_path / os.fsdecode(b"secret \xff")
    secret.write_text("read\n")
    box.fs_readable = [*box.fs_readable, tmp_path]

    def judge(event: SyscallEvent, ctx: PolicyContext) -> None:
        if event.argv and "deny=1" in event.argv:
            ctx.deny_path(secret)
        elif event.argv and "allow=1" in event.argv:
            ctx.allow_path(str(secret))

    box.policy_fn = judge
    path = os.fsdecode(shlex.quote(str(secret)))
    r = box.run(["sh", "-c", f"cat {path}; env deny=1 cat {path}; cat {path}; env allow=1 cat {path}"])
    assert r.stdout == b"read\nread\n" and r.stderr.count(b"Permission denied") == 2, r
    box.policy_events = ["execve", "execveat"]  # and no path
    with pytest.raises(CallbackError, match='"openat"'):
        box.run(["env", "deny=1", "cat", secret])


def test_file_events(box: Sandbox, tmp_path: pathlib.Path) -> None:
    victim = tmp_path / "file"
    victim.write_text("kept")
    box.fs_writable = [tmp_path]
    seen: List[SyscallEvent] = []

    def judge(event: SyscallEvent, ctx: PolicyContext) -> Any:
        seen.append(event)
        return len(seen) > before

    box.policy_fn, box.policy_events = judge, ["openat"]
    before = 1 << 30
    assert box.run(["sh", "-c", ":"]).success and seen
    assert {(e.syscall, e.category, e.argv, e.denied) for e in seen} == {("openat", "file", None, False)}
    assert all(e.pid > 0 and e.parent_pid > 0 for e in seen)
    before = len(seen)
    seen.clear()  # the shell's own opens are allowed, and so the redirection is not
    r = box.run(["sh", "-c", f": > {victim}"])
    assert not r.success and victim.read_text() == "kept"


def test_network_events(box: Sandbox) -> None:
    seen: List[SyscallEvent] = []
    box.policy_fn = lambda event, ctx: seen.append(event) if event.category == "network" else None
    box.net_allow = ["127.0.0.0/8", "[::1]"]
    program = """
import socket
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.sendto(b"x", ("127.0.0.1", 9))
u.sendmsg([b"x"], [], 0, ("127.0.0.2", 9))
u.connect(("127.0.0.3", 9))
u.send(b"x")
t = socket.socket(socket.AF_INET6)
print(t.connect_ex(("::1", 1)), t.connect_ex(("::1", 1)))
"""
    r = box.run([INSIDE, "-c", program], text=True)
    assert r.success and r.stdout == "111 111\n", r
    assert [(e.syscall, e.host, e.port) for e in seen] == [
        ("sendto", "127.0.0.1", 9), ("sendmsg", "127.0.0.2", 9), ("connect", "127.0.0.3", 9), ("connect", "::1", 1), ("connect", "::1", 1)]
    assert all(e.pid > 0 and e.parent_pid > 0 and e.argv is None and not e.denied for e in seen)


def test_restrict_network(box: Sandbox) -> None:
    def judge(event: SyscallEvent, ctx: PolicyContext) -> Any:
        if event.argv and "only=1" in event.argv:
            ctx.restrict_network(["127.0.0.2"])
        elif event.argv and "none=1" in event.argv:
            ctx.restrict_pid_network(event.pid, [])
        return 101 if event.host == "127.0.0.4" else False

    box.policy_fn, box.net_allow = judge, ["tcp://*"]
    program = "import socket, sys; print([socket.socket().connect_ex((f'127.0.0.{n}', 1)) for n in (1, 2, 4)])"
    reach = f'{INSIDE} -c "{program}"'
    r = box.run(["sh", "-c", f"{reach}; env none=1 {reach}; env only=1 {reach}; {reach}"], text=True)
    assert r.stdout.splitlines() == ["[111, 111, 101]", "[13, 13, 13]", "[13, 111, 13]", "[13, 111, 13]"], r
    box.policy_events = ["execve"]  # and no connect
    with pytest.raises(CallbackError, match='"connect"'):
        box.run(["env", "only=1", "true"])


@pytest.mark.parametrize("answer", [False, "audit", -1, 13])
def test_a_failed_change_denies(box: Sandbox, answer: Any) -> None:
    changing(box, CHANGES["deny_path"], answer)


def test_a_failed_change_that_is_not_caught(box: Sandbox) -> None:
    box.policy_fn = lambda event, ctx: ctx.restrict_network(["x"])
    with pytest.raises(CallbackError) as caught:
        box.run(["true"])
    assert isinstance(caught.value.__cause__, SandlockError) and "is not an IP address" in str(caught.value.__cause__)


@pytest.mark.parametrize("change, kind", [
    (lambda ctx: ctx.restrict_network("192.0.2.1"), TypeError),
    (lambda ctx: ctx.restrict_network(b"192.0.2.1"), TypeError),
    (lambda ctx: ctx.restrict_network(None), TypeError),
    (lambda ctx: ctx.restrict_network([b"192.0.2.1"]), TypeError),
    (lambda ctx: ctx.grant_network([pathlib.Path("192.0.2.1")]), TypeError),
    (lambda ctx: ctx.grant_network(["192.0.2.1\0"]), ValueError),
    (lambda ctx: ctx.restrict_pid_network("1", []), TypeError),
    (lambda ctx: ctx.restrict_pid_network(-1, []), ValueError),
    (lambda ctx: ctx.restrict_pid_network(1 << 32, []), ValueError),
    (lambda ctx: ctx.restrict_pid_network(1, [1]), TypeError),
    (lambda ctx: ctx.restrict_max_memory(-1), ValueError),
    (lambda ctx: ctx.restrict_max_memory(1 << 64), ValueError),
    (lambda ctx: ctx.restrict_max_memory("1G"), TypeError),
    (lambda ctx: ctx.restrict_max_memory(1.0), TypeError),
    (lambda ctx: ctx.restrict_max_processes(True), TypeError),
    (lambda ctx: ctx.restrict_max_processes(1 << 32), ValueError),
    (lambda ctx: ctx.deny_path(None), TypeError),
    (lambda ctx: ctx.deny_path("/a\0b"), ValueError),
    (lambda ctx: ctx.allow_path(1), TypeError),
])
def test_arguments_of_a_change(box: Sandbox, change: Any, kind: Type[Exception]) -> None:
    assert type(changing(box, change)) is kind


def test_a_context_that_was_kept(box: Sandbox) -> None:
    kept: List[PolicyContext] = []
    box.policy_fn = lambda event, ctx: kept.append(ctx)
    assert box.run(["true"]).success
    for name, change in CHANGES.items():
        with pytest.raises(SandlockError, match=f"{name}: the callback of this context has returned"):
            change(kept[0])
    # In a later event it denies that one.
    assert "has returned" in str(changing(box, lambda ctx: kept[0].deny_path("/")))


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
    box.extra_allow_syscalls, box.max_processes = ["debug"], "unlimited"
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
