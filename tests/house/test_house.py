"""The host is as it was, however many sandboxes it ran."""

from __future__ import annotations

import os
import pathlib
import random
import subprocess
import sys
from typing import List, NamedTuple

import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# 300 runs, of which each way to run and to fail has its share; 2,000 in the long form.
RUNS = "2000" if os.environ.get("SANDLOCK_SOAK") else "300"


class Holdings(NamedTuple):
    descriptors: str
    threads: int
    children: str
    memory: int  # KiB

    @classmethod
    def parse(cls, line: str) -> Holdings:
        descriptors, threads, children, memory = line.rsplit(maxsplit=3)
        return cls(descriptors, int(threads), children, int(memory))


def c_host(directory: pathlib.Path) -> List[str]:
    program = directory / "host"
    subprocess.run(
        ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-I", ROOT / "include", HERE / "host.c", "-o", program,
         "-L", ROOT, "-lsandlock", f"-Wl,-rpath,{ROOT}"], check=True)
    return [str(program)]


@pytest.mark.parametrize("language", ["C", "Python"])
def test_nothing_is_left(language: str, tmp_path: pathlib.Path) -> None:
    host = c_host(tmp_path) if language == "C" else [sys.executable, str(HERE / "host.py")]
    # Descriptors that the host inherits could hide some of its own.
    done = subprocess.run([*host, RUNS], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, env={**os.environ, "PYTHONPATH": str(ROOT / "python" / "src")})
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert_same(*map(Holdings.parse, done.stdout.splitlines()))


def assert_same(before: Holdings, after: Holdings) -> None:
    assert after.descriptors == before.descriptors
    assert after.threads <= before.threads + 2
    assert (before.children, after.children) == ("none", "none")
    assert after.memory <= before.memory + 5 * 1024


def test_mixed_soak(capsys: pytest.CaptureFixture[str]) -> None:
    """For SANDLOCK_SOAK_SECONDS; SANDLOCK_SOAK_SEED draws the same once more."""
    seconds = float(os.environ.get("SANDLOCK_SOAK_SECONDS") or (600 if os.environ.get("SANDLOCK_SOAK") else 5))
    seed = os.environ.get("SANDLOCK_SOAK_SEED") or str(random.SystemRandom().randrange(1 << 32))
    # The program itself says what hangs, long before this is over.
    done = subprocess.run([sys.executable, str(HERE / "soak.py"), str(seconds), seed], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=seconds + 3600,
                          env={**os.environ, "PYTHONPATH": str(ROOT / "python" / "src")})
    assert (done.returncode, done.stderr) == (0, ""), (seed, done)
    said_seed, before, after, *ran = done.stdout.splitlines()
    with capsys.disabled():
        print(f"\n{said_seed}, {seconds:g} s:", ", ".join(ran))
    assert_same(Holdings.parse(before), Holdings.parse(after))
    assert all(int(line.split()[1]) > 0 for line in ran) or seconds < 60, ran


# Ways of a host with its children that are none of the library's business.
HOSTS = {
    "ignores SIGCHLD": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "takes every child's status": """
def take():
    while not over.is_set():
        try:
            pid, status = os.waitpid(-1, os.WUNTRACED | os.WCONTINUED)
        except ChildProcessError:
            continue  # none at the moment
        # A child of the host's, ended: never a stop, and never a task of the sandbox.
        assert os.WIFEXITED(status), status
        assert pid not in asked, pid
threading.Thread(target=take, daemon=True).start()
""",
}

WAYS = """
import os, signal, threading
from sandlock import Sandbox
over = threading.Event()
asked = set()
{way}
def judge(event, ctx):
    asked.add(event.pid)
box = Sandbox(fs_readable=["/usr", "/lib", "/lib64", "/bin", "/etc", "/dev/null"], policy_fn=judge)
for _ in range(20):
    result = box.run(["sh", "-c", "(exit 3) & wait $!; echo $?; kill -TERM $$"])
    assert result.stdout == b"3\\n" and result.signal == signal.SIGTERM, result
over.set()
print("done")
"""


@pytest.mark.parametrize("way", HOSTS)
def test_hosts_with_ways_of_their_own(way: str) -> None:
    done = subprocess.run([sys.executable, "-c", WAYS.format(way=HOSTS[way])], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, env={**os.environ, "PYTHONPATH": str(ROOT / "python" / "src")})
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
