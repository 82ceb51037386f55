"""Sandbox.arun and apopen, in asyncio's own loop and in uvloop's; and popen in trio."""

from __future__ import annotations

import asyncio
import gc
import os
import pathlib
import signal
from subprocess import PIPE
from typing import Any, Awaitable, Callable, List

import pytest

from conftest import SYSTEM, gone
from sandlock import AsyncProcess, CallbackError, CommandNotFoundError, ExitReason, PolicyError, Sandbox

Main = Callable[[], Awaitable[Any]]


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> Any:
    """Runs a coroutine function to its end, which leaves no task."""

    def run(main: Main) -> Any:
        if request.param == "uvloop":
            made = pytest.importorskip("uvloop").new_event_loop()
        else:
            made = asyncio.new_event_loop()
        try:
            got = made.run_until_complete(main())
            assert not asyncio.all_tasks(made)
            made.run_until_complete(made.shutdown_asyncgens())
            return got
        finally:
            made.close()

    return run


def test_arun(box: Sandbox, loop: Any) -> None:
    async def main() -> None:
        r = await box.arun(["sh", "-c", "cat; echo errs >&2; exit 3"], input=b"in")
        assert (r.exit_code, r.stdout, r.stderr, r.reason) == (3, b"in", b"errs\n", ExitReason.EXITED)
        assert (await box.arun(["cat"], input="é", text=True)).stdout == "é"
        r = await box.arun(["head", "-c", "3000000", "/dev/zero"])
        assert len(r.stdout) == 3_000_000
        for timeout in 0.3, 3, 30, 300:  # as conftest's until
            r = await box.arun(["sh", "-c", "echo before; exec sleep 1000"], timeout=timeout)
            if r.stdout:
                break
        assert (r.reason, r.stdout) == (ExitReason.TIMEOUT, b"before\n")
        r = await box.arun(["no-such-command"])
        assert not r.success and r.error and "no-such-command" in r.error
        box.term_grace = 1000
        r = await box.arun(["sh", "-c", "trap 'exit 5' TERM; echo; while :; do sleep 1000 & wait; done"], timeout=0.2)
        assert r.reason is ExitReason.TIMEOUT
        box.fs_readable = [""]
        with pytest.raises(PolicyError):
            await box.arun(["true"])

    loop(main)


def test_the_loop_goes_on(box: Sandbox, loop: Any) -> None:
    async def main() -> None:
        running = asyncio.ensure_future(box.arun(["sleep", "1000"]))
        while not box.is_running:
            await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="already running"):
            await box.arun(["true"])
        box.kill()
        assert (await running).reason is ExitReason.KILLED

    loop(main)


def test_policy_fn(box: Sandbox, loop: Any) -> None:
    asked: List[Any] = []
    box.policy_fn = lambda event, ctx: asked.append(event.argv)

    async def main() -> None:
        assert (await box.arun(["sh", "-c", "/bin/echo hi; :"])).stdout == b"hi\n"
        assert asked == [("sh", "-c", "/bin/echo hi; :"), ("/bin/echo", "hi")]
        box.policy_fn = lambda event, ctx: 1 / 0
        with pytest.raises(CallbackError):
            await box.arun(["true"])

    loop(main)


def test_cancelled(box: Sandbox, loop: Any, tmp_path: pathlib.Path) -> None:
    """Its sandbox is over before the task is."""
    box.fs_writable = [tmp_path]
    pids = tmp_path / "pids"

    async def main() -> None:
        running = asyncio.ensure_future(box.arun(["sh", "-c", f"sleep 1000 & echo $$ $! > {pids}.new; mv {pids}.new {pids}; wait"]))
        while not pids.exists():
            await asyncio.sleep(0.001)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert all(gone(int(pid)) for pid in pids.read_text().split()) and not box.is_running
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(box.arun(["sleep", "1000"]), 0.05)
        # Cancelled twice, and before it began.
        for times in 0, 1, 2, 3:
            running = asyncio.ensure_future(box.arun(["sleep", "1000"]))
            for _ in range(times):
                await asyncio.sleep(0)
            running.cancel()
            await asyncio.sleep(0)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        assert (await box.arun(["true"])).success

    loop(main)


def test_a_loop_that_is_left(box: Sandbox) -> None:
    made = asyncio.new_event_loop()

    async def main() -> Any:
        running = asyncio.ensure_future(box.arun(["sleep", "1000"]))
        while not box.is_running:
            await asyncio.sleep(0)
        return running

    running = made.run_until_complete(main())
    running._log_destroy_pending = False
    made.close()
    del running
    gc.collect()
    assert not box.is_running and box.run(["true"]).success


def test_apopen(box: Sandbox, loop: Any) -> None:
    async def main() -> None:
        p = await box.apopen(["sh", "-c", "cat; echo errs >&2; exit 3"], PIPE, PIPE, PIPE)
        assert isinstance(p, AsyncProcess) and p.returncode is None and p.pid
        data = os.urandom(3_000_000)
        assert await p.communicate(data) == (data, b"errs\n")
        assert p.returncode == 3 and (await p.wait()).exit_code == 3
        async with await box.apopen(["cat"], PIPE, PIPE) as p:
            assert p.stdin and p.stdout and p.stderr is None
            for line in b"one\n", b"two\n":
                p.stdin.write(line)
                await p.stdin.drain()
                assert await p.stdout.readline() == line
        assert p.returncode == 0
        with pytest.raises(CommandNotFoundError):
            await box.apopen(["no-such-command"], PIPE, PIPE, PIPE)
        p = await box.apopen(["sleep", "1000"])
        assert (await p.wait(0.05)).reason is ExitReason.TIMEOUT
        p = await box.apopen(["sleep", "1000"])
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(p.wait(), 0.05)
        assert p.poll() is None  # which is the wait's end, not the command's
        p.terminate()
        assert (await p.wait()).signal == signal.SIGTERM and p.returncode == -signal.SIGTERM
        p.kill()
        with pytest.raises(ZeroDivisionError):
            async with await box.apopen(["sleep", "1000"], PIPE, PIPE) as p:
                1 / 0
        assert gone(p.pid) and p.returncode == -signal.SIGKILL
        # Not asked for, its end is seen.
        p = await box.apopen(["true"])
        while p.returncode is None:
            await asyncio.sleep(0.001)
        assert p.poll() == 0 and box.run(["true"]).success
        # Who does not read.
        p = await box.apopen(["true"], PIPE)
        assert await p.communicate(data) == (None, None)

    loop(main)


def test_back_pressure(box: Sandbox, loop: Any) -> None:
    async def main() -> None:
        async with await box.apopen(["sh", "-c", "head -c 20000000 /dev/zero; echo end >&2"], stdout=PIPE, stderr=PIPE, limit=1000) as p:
            assert p.stdout and p.stderr
            end = asyncio.ensure_future(p.stderr.read(1))
            total = 0
            while data := await p.stdout.read(1 << 16):
                assert total > 19_000_000 or not end.done()
                total += len(data)
            assert total == 20_000_000 and await end == b"e"

    loop(main)


MANY = """
import asyncio, os, pathlib, random, resource, sys, threading
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
from sandlock import Sandbox
SYSTEM, loop_of, seed, mark = %r, sys.argv[1], int(sys.argv[2]), f"marked-{os.getpid()}"
chance = random.Random(seed)

def sandbox(number):
    return Sandbox(fs_readable=SYSTEM, policy_fn=(lambda event, ctx: None) if number %% 4 == 0 else None)

boxes = [sandbox(n) for n in range(200)]

async def one(number):
    # Some end by themselves, some have descendants, all are marked.
    command = ["sh", "-c", f": {mark}; sleep {chance.random():.3f}", mark] if number %% 3 else [
        "sh", "-c", f": {mark}; setsid sleep 1000 & sleep 1000", mark]
    task = asyncio.ensure_future(boxes[number].arun(command))
    await asyncio.sleep(chance.random())
    task.cancel()
    try:
        return (await task).exit_code
    except asyncio.CancelledError:
        return "cancelled"

async def main():
    return await asyncio.gather(*map(one, range(200)))

def there():
    return sorted(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), threading.active_count()

def marked():
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if mark.encode() in file.read():
                    found.append(pid)
        except OSError:
            pass
    return found

if loop_of == "uvloop":
    import uvloop
    loop = uvloop.new_event_loop()
else:
    loop = asyncio.new_event_loop()
loop.run_until_complete(main())  # the library's threads, once
before = there()
outcomes = loop.run_until_complete(main())
after = there()
assert before[0] == after[0], (before, after)
# Of a run with a policy_fn there are two, which the Go runtime keeps for the next.
assert after[1] <= 2 * 50 + 20 and after[2] == 1, (before, after)
assert marked() == [] and not any(b.is_running for b in boxes)
children = [pathlib.Path(f"/proc/self/task/{t}/children").read_text() for t in os.listdir("/proc/self/task")]
assert not any(children), children
assert set(outcomes) <= {0, "cancelled"} and "cancelled" in outcomes, outcomes
loop.close()
print(len(outcomes))
""" % SYSTEM


@pytest.mark.parametrize("of", ["asyncio", "uvloop"])
def test_many_cancelled_at_random(host: Any, of: str) -> None:
    if of == "uvloop":
        pytest.importorskip("uvloop")
    for seed in range(20 if os.environ.get("SANDLOCK_SOAK") else 1):
        done = host(MANY, of, str(seed))
        assert done.stdout == "200\n", done


def test_trio(box: Sandbox) -> None:
    """As docs/asyncio.md does it."""
    trio = pytest.importorskip("trio")

    async def run(cmd: List[str]) -> bytes:
        process = box.popen(cmd, stdout=PIPE)
        try:
            out = b""
            async with trio.lowlevel.FdStream(os.dup(process.stdout.fileno())) as stream:  # type: ignore[union-attr]
                async for data in stream:
                    out += data
            await trio.lowlevel.wait_readable(process.fileno())
            process.wait()
            return out
        finally:
            process.kill()
            process.communicate()

    async def main() -> None:
        assert await run(["sh", "-c", "echo one; sleep 0.01; echo two"]) == b"one\ntwo\n"
        with trio.move_on_after(0.05) as scope:
            await run(["sleep", "1000"])
        assert scope.cancelled_caught and not box.is_running

    trio.run(main)


def test_asyncio_is_not_imported_before(host: Any) -> None:
    done = host("import sys, sandlock; print('asyncio' in sys.modules)")
    assert done.stdout == "False\n", done
