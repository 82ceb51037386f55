"""What the tests share. They run on the real kernel, as root and as anybody."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from typing import Any, Callable, Dict, List, Optional, Sequence

import pytest

from pythons import PYTHONS
from sandlock import Result, Sandbox

SYSTEM = ["/usr", "/lib", "/lib64", "/bin", "/etc"]
HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parent / "src"
# A Python that lies beneath SYSTEM, for programs inside: the tests' own may not.
INSIDE = "/usr/bin/python3"


def gone(pid: int) -> bool:
    """Whether there is no such process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def until(run: Callable[[float], Result], good: Callable[[Result], bool]) -> Result:
    """Gives a run more time until it has come far enough within it."""
    for timeout in 0.3, 3, 30, 300:
        result = run(timeout)
        if good(result):
            break
    return result


# A host's ctrl_c() is SIGINT until it is seen: one that comes between CPython's last look at
# signals and its poll(2) is seen when the next ends that. One that is raised where CPython
# can't raise it, as in a finalizer, is sent again.
CTRL_C = """
import os, signal, sys, threading
seen = threading.Event()
def interrupted(*args):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    seen.set()
    raise KeyboardInterrupt
signal.signal(signal.SIGINT, interrupted)
def ctrl_c():
    def again():
        while True:
            os.kill(os.getpid(), signal.SIGINT)
            if seen.wait(0.2):
                return
    threading.Thread(target=again, daemon=True).start()
def lost(unraisable):
    if unraisable.exc_type is not KeyboardInterrupt:
        return sys.__unraisablehook__(unraisable)
    seen.clear()
    signal.signal(signal.SIGINT, interrupted)
    ctrl_c()
sys.unraisablehook = lost
"""


@pytest.fixture
def box() -> Sandbox:
    return Sandbox(fs_readable=[*SYSTEM, "/dev/null", "/dev/zero", "/dev/urandom"])


@pytest.fixture
def host() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs a program in a Python of its own, with the package."""

    def run(program: str, *args: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        env: Dict[str, str] = {**os.environ, "PYTHONPATH": str(SOURCE)}
        command: List[str] = [sys.executable, "-W", "error", "-c", program, *args]
        return subprocess.run(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    return run


# What every host program of run_hosts starts with.
PRELUDE = f"""
import atexit, ctypes, os, signal, sys, threading, time
from sandlock import CallbackError, ForkedError, Sandbox
FOREVER = ["sleep", "1000"]
STORM = ["sh", "-c", "while /bin/true; do :; done"]  # of events
def plain(**fields):
    return Sandbox(fs_readable={[*SYSTEM, "/dev/null"]!r}, **fields)
def judged(fn=lambda event, ctx: None, **fields):
    return plain(policy_fn=fn, **fields)
"""


def run_hosts(
    program: str, returncode: int = 0, stdout: str = "", traceback: str = "", options: Sequence[str] = (),
    patience: int = 300, file: Optional[pathlib.Path] = None,
) -> None:
    """Runs a program in each Python, all at once, and waits until it and everything that
    it has started is gone: see reap.py. Its exit is as given; it prints the one traceback
    that ends with the line given, and no other. With file the program is a script there."""
    program = PRELUDE + program
    if file is not None:
        file.write_text(program)
    source = [str(file)] if file is not None else ["-c", program]
    env = {**os.environ, "PYTHONPATH": str(SOURCE)}
    # Since 3.12 os.fork warns when there are threads.
    quiet = ["-W", "error", "-W", "ignore:This process:DeprecationWarning", *options]
    reap = [sys.executable, str(HERE / "reap.py"), str(patience)]
    hosts = {
        version: subprocess.Popen([*reap, python, *quiet, *source], env=env, text=True,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for version, python in PYTHONS.items()
    }
    said = {version: (*host.communicate(), host.returncode) for version, host in hosts.items()}
    for version, (out, errs, code) in said.items():
        assert (code, out) == (returncode, stdout), (version, code, out, errs)
        if traceback:
            assert errs.startswith("Traceback") and errs.endswith(f"\n{traceback}\n") and errs.count("Traceback") == 1, (version, errs)
        else:
            assert errs == "", (version, errs)
