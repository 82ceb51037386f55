"""The host is as it was, however many sandboxes it ran."""

from __future__ import annotations

import os
import pathlib
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
        descriptors, threads, children, memory = line.split()
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
    before, after = map(Holdings.parse, done.stdout.splitlines())
    assert done.stderr == ""
    assert after.descriptors == before.descriptors
    assert after.threads <= before.threads + 2
    assert (before.children, after.children) == ("none", "none")
    assert after.memory <= before.memory + 5 * 1024
