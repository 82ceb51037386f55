"""A host that mixes everything: soak.py SECONDS SEED. Each of its threads draws one way
after another to run, or to break off, a sandbox, and checks what came of it. Prints the
seed, what the host held before (after a warm-up in which every way was gone) and after,
and how many of each it was."""

from __future__ import annotations

import collections
import ctypes
import faulthandler
import gc
import logging
import os
import random
import re
import subprocess
import sys
import threading
import time
import traceback
from typing import Any, Callable, Counter, Dict, List, NoReturn

from sandlock import CallbackError, ExitReason, PolicyError, Sandbox, landlock_abi_version

SYSTEM = ["/usr", "/lib", "/lib64", "/bin", "/etc", "/dev/null", "/dev/zero"]
THREADS = 8
# Seconds for what is under way at the end; the slowest takes one.
PATIENCE = 120
FOREVER = ["/bin/sleep", "1000"]
PR_SET_CHILD_SUBREAPER = 36


def plain(**fields: Any) -> Sandbox:
    return Sandbox(fs_readable=SYSTEM, **fields)


def judged(fn: Callable[..., Any], **fields: Any) -> Sandbox:
    # A busy machine may keep an answer back for longer than the default.
    return plain(policy_fn=fn, **{"policy_timeout": 0, **fields})


WAYS: Dict[str, Callable[[random.Random], None]] = {}


def way(f: Callable[[random.Random], None]) -> Callable[[random.Random], None]:
    WAYS[f.__name__] = f
    return f


@way
def plain_run(r: random.Random) -> None:
    word, code = str(r.random()), r.randrange(256)
    got = plain().run(["/bin/sh", "-c", f"cat; echo {word}; exit {code}"], text=True, input=word)
    assert (got.stdout, got.exit_code, got.reason) == (f"{word}{word}\n", code, ExitReason.EXITED), got


@way
def answered(r: random.Random) -> None:
    """policy_fn allows, denies, audits or raises."""
    answer, stdout = r.choice([(None, b"ran\n0\n"), (True, b"126\n"), (13, b"126\n"), ("audit", b"ran\n0\n"), (KeyError, b"126\n")])

    def judge(event: Any, ctx: Any) -> Any:
        if event.argv_contains("echo") and len(event.argv) == 2:
            if answer is KeyError:
                raise KeyError(event.pid)
            return answer
        return None

    box = judged(judge)
    try:
        got = box.run(["/bin/sh", "-c", "/bin/echo ran; echo $?"])
    except CallbackError as e:
        assert answer is KeyError and isinstance(e.__cause__, KeyError), e
        return
    assert answer is not KeyError and got.stdout == stdout and got.success, (answer, got)
    assert [e.argv for e in got.audit] == ([("/bin/echo", "ran")] if answer == "audit" else []), got


@way
def unanswered(r: random.Random) -> None:
    """policy_fn answers when the run is long over."""
    over = threading.Event()

    def judge(event: Any, ctx: Any) -> None:
        if event.argv[0] == "/bin/echo":
            over.wait()

    got = judged(judge, policy_timeout=r.choice([0.01, 0.1])).run(["/bin/sh", "-c", "/bin/echo ran; echo $?"])
    over.set()
    # On a busy machine the shell itself may have been too late, or the reading of its words.
    said = [got.error or "", *got.log]
    assert got.stdout == b"126\n" or "not permitted" in said[0], got
    assert any("has not answered" in line or "memory was not read" in line for line in said), got


@way
def pipeline(r: random.Random) -> None:
    n = r.randrange(1, 12)
    asked: List[Any] = []
    got = judged(lambda event, ctx: asked.append(event.argv)).run(
        ["/bin/sh", "-c", f"/usr/bin/seq {n} | /usr/bin/sort -n | while read i; do /bin/echo $i | /bin/cat; done | /usr/bin/tail -1"])
    assert got.stdout == b"%d\n" % n and got.success and len(asked) == 4 + 2 * n, (got, asked)


@way
def overdue(r: random.Random) -> None:
    got = plain().run(["/bin/sh", "-c", "echo out; /bin/sleep 1000"], timeout=r.uniform(0.001, 0.1))
    assert got.reason is ExitReason.TIMEOUT and got.stdout in (b"", b"out\n") and not got.success, got


@way
def killed(r: random.Random) -> None:
    """By another thread, at any time; what has its own session too."""
    box = r.choice([plain, lambda: judged(lambda event, ctx: None)])()
    box.spawn(["/bin/sh", "-c", "(/usr/bin/setsid /bin/sleep 1000 &); while /bin/true; do /bin/sleep 0.01; done"])

    def kill() -> None:
        time.sleep(r.uniform(0, 0.05))
        box.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        got = box.wait()
        assert got.reason is ExitReason.KILLED and not any("became" in line for line in got.log), got
    finally:
        killer.join()


@way
def killed_while_judged(r: random.Random) -> None:
    asked, over = threading.Event(), threading.Event()

    def judge(event: Any, ctx: Any) -> Any:
        if event.argv[0] == "/bin/echo":
            asked.set()
            over.wait()
        return None

    box = judged(judge, record_execs=True)
    box.spawn(["/bin/sh", "-c", "/bin/echo ran"])
    asked.wait()
    box.kill()
    got = box.wait()
    over.set()
    assert got.reason is ExitReason.KILLED and got.stdout == b"" and [e.outcome for e in got.execs] == ["ran", "ended"], got


@way
def in_steps(r: random.Random) -> None:
    box = plain()
    box.create(["/bin/echo", "stepped"])
    pid = box.pid
    assert box.is_running and pid is not None and os.readlink(f"/proc/{pid}/exe")
    box.start()
    assert box.wait().stdout == b"stepped\n" and not box.is_running and box.pid is None


@way
def left_early(r: random.Random) -> None:
    with plain() as box:
        r.choice([box.spawn, box.create])(FOREVER)
        if r.random() < 0.5:
            time.sleep(r.uniform(0, 0.01))
    assert not box.is_running


@way
def freed(r: random.Random) -> None:
    """While it runs; the cycle through policy_fn waits for the collector."""
    box = plain() if r.random() < 0.5 else judged(lambda event, ctx: box.name)
    box.spawn(FOREVER)
    del box
    gc.collect()


FORKER = f"""
import os, sys, threading, warnings
warnings.simplefilter("ignore")  # Python 3.12 warns of fork with threads
from sandlock import Sandbox
def run(word):
    box = Sandbox(fs_readable={SYSTEM!r}, policy_fn=lambda event, ctx: None)
    assert box.run(["/bin/echo", word]).stdout == word.encode() + b"\\n"
over = threading.Event()
def always():
    while not over.is_set():
        run("thread")
run("first")
threads = [threading.Thread(target=always) for _ in range(2)]
for t in threads: t.start()
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        try: run("child")
        except BaseException as e: print("child:", e, flush=True); os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
over.set()
for t in threads: t.join()
print("done")
"""


@way
def forked(r: random.Random) -> None:
    done = subprocess.run([sys.executable, "-c", FORKER], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert (done.returncode, done.stdout) == (0, b"done\n"), done


@way
def truncated(r: random.Random) -> None:
    limit = r.randrange(100_000)
    got = plain(max_output=limit).run(["/bin/sh", "-c", "/usr/bin/head -c 3000000 /dev/zero; /usr/bin/head -c 9 /dev/zero >&2"])
    assert got.stdout == bytes(limit) and got.stdout_truncated and got.success, (limit, len(got.stdout), got.error)
    assert len(got.stderr) == min(9, limit) and got.stderr_truncated == (limit < 9)


@way
def recorded(r: random.Random) -> None:
    got = judged(lambda event, ctx: "no" in event.argv, record_execs=True).run(
        ["/bin/sh", "-c", "/bin/true; /bin/echo no; /bin/missing; /bin/false"])
    assert [(e.argv[0] if e.argv else "", e.outcome) for e in got.execs] == [
        ("/bin/sh", "ran"), ("/bin/true", "ran"), ("/bin/echo", "denied"), ("/bin/missing", "failed"), ("/bin/false", "ran")], got
    assert got.exit_code == 1


@way
def missing(r: random.Random) -> None:
    box = r.choice([plain, lambda: judged(lambda event, ctx: None)])()
    command = r.choice(["no-such-command", "/nonexistent", "/etc/passwd"])
    got = box.run([command])
    assert not got.success and got.exit_code == -1 and got.error, got
    assert box.run(["/bin/echo", "then"]).stdout == b"then\n"


@way
def unbuilt(r: random.Random) -> None:
    try:
        Sandbox(fs_readable=[""]).run(["/bin/true"])
    except PolicyError:
        return
    raise AssertionError("a policy that is wrong was built")


@way
def nested(r: random.Random) -> None:
    inner = []

    def judge(event: Any, ctx: Any) -> None:
        fn = (lambda event, ctx: None) if r.random() < 0.5 else None
        inner.append(plain(policy_fn=fn, policy_timeout=0).run(["/bin/echo", "inner"]).stdout)

    got = judged(judge).run(["/bin/sh", "-c", "/bin/echo outer; :"])
    assert got.stdout == b"outer\n" and inner == [b"inner\n"] * 2, (got, inner)


@way
def paused(r: random.Random) -> None:
    """What was stopped goes on, or dies as well."""
    box = r.choice([plain, lambda: judged(lambda event, ctx: None)])()
    goes_on = r.random() < 0.7
    box.spawn(["/bin/sh", "-c", "/bin/sleep 0.01; /bin/echo on"] if goes_on else FOREVER)
    try:
        for _ in range(r.randrange(1, 4)):
            box.pause()
            time.sleep(r.uniform(0, 0.01))
            box.resume()
        if not goes_on:
            box.pause()
            box.kill()
    except RuntimeError as e:
        assert goes_on and "not running" in str(e), e  # it is over already
    got = box.wait()
    assert (got.stdout, got.reason) == ((b"on\n", ExitReason.EXITED) if goes_on else (b"", ExitReason.KILLED)), got


shared_box = plain()


@way
def shared(r: random.Random) -> None:
    """One object, which runs one command at a time."""
    try:
        assert shared_box.run(["/bin/echo", "shared"]).stdout == b"shared\n"
    except RuntimeError as e:
        assert "already running" in str(e), e


@way
def interactive(r: random.Random) -> None:
    code = r.randrange(256)
    assert plain().run_interactive(["/bin/sh", "-c", f"exit {code}"]) == code


# A Python that starts and loads the library four times takes as long as hundreds of runs.
WEIGHTS = [1 if name == "forked" else 20 for name in WAYS]


def crowd(all_here: threading.Barrier) -> None:
    """Every worker is in the policy_fn of a sandbox within that of another at once: the
    most threads that the library ever needs, which keeps them."""

    def inner(event: Any, ctx: Any) -> None:
        all_here.wait()

    def outer(event: Any, ctx: Any) -> None:
        assert judged(inner).run(["/bin/true"]).success

    assert judged(outer).run(["/bin/true"]).success


class Worker(threading.Thread):
    def __init__(self, number: int, seed: str, start: threading.Barrier, measure: threading.Barrier) -> None:
        super().__init__(name=f"worker {number}", daemon=True)
        self.random = random.Random(f"{seed}/{number}")
        self.start_line, self.measure = start, measure
        self.ran: Counter[str] = collections.Counter()

    def go(self, name: str) -> None:
        try:
            WAYS[name](self.random)
        except BaseException:
            fail(f"{self.name}: {name}: {traceback.format_exc()}")
        self.ran[name] += 1

    def run(self) -> None:
        crowd(self.start_line)
        for name in [*WAYS, *WAYS]:
            self.start_line.wait()  # all at once, so that what grows with them has grown
            self.go(name)
        self.ran.clear()
        self.measure.wait()
        self.measure.wait()
        over = time.monotonic() + seconds
        while time.monotonic() < over:
            self.go(self.random.choices(list(WAYS), WEIGHTS)[0])
        self.measure.wait()
        self.measure.wait()


def fail(why: str) -> NoReturn:
    print(f"seed {seed}: {why}", file=sys.stderr, flush=True)
    os._exit(1)


def at_rest(measure: threading.Barrier, patience: float) -> str:
    """What the host holds while every worker waits."""
    try:
        measure.wait(patience)
        held = holdings()
        measure.wait(PATIENCE)
    except threading.BrokenBarrierError:
        faulthandler.dump_traceback(sys.stderr, all_threads=True)
        fail("a run hangs")
    return held


def holdings() -> str:
    """Descriptors, threads, children and KiB of memory."""
    gc.collect()
    try:
        os.waitpid(-1, os.WNOHANG)
        children = "some"
    except ChildProcessError:
        children = "none"
    descriptors = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            # Without the inode, which is another one each time.
            descriptors.append(re.sub(r"\d+", "N", os.readlink(f"/proc/self/fd/{fd}")))
        except FileNotFoundError:
            pass  # the listing's own
    with open("/proc/self/status") as status:
        memory = re.search(r"^VmRSS:\s*(\d+) kB", status.read(), re.M)
    assert memory is not None
    threads = len(os.listdir("/proc/self/task"))
    return f"{','.join(sorted(descriptors))} {threads} {children} {memory.group(1)}"


seconds, seed = float(sys.argv[1]), sys.argv[2]


def main() -> None:
    print("seed", seed, flush=True)
    logging.getLogger("sandlock").addHandler(logging.NullHandler())  # results have it too
    # A task that survives its sandbox becomes a child of this process.
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        fail("PR_SET_CHILD_SUBREAPER")
    landlock_abi_version()  # loads the library
    start, measure = threading.Barrier(THREADS), threading.Barrier(THREADS + 1)
    workers = [Worker(number, seed, start, measure) for number in range(THREADS)]
    for worker in workers:
        worker.start()
    before = at_rest(measure, 10 * PATIENCE)
    print(before, at_rest(measure, seconds + PATIENCE), sep="\n")
    for name in WAYS:
        print(name, sum(worker.ran[name] for worker in workers))


main()
