"""Many sandboxes in one host: what each takes while it runs, and that nothing is left."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from typing import List

import pytest

HERE = pathlib.Path(__file__).resolve().parent
RUNS = "10000" if os.environ.get("SANDLOCK_SOAK") else "400"


def many(*args: str) -> List[str]:
    done = subprocess.run([sys.executable, str(HERE / "many.py"), *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True,
                          env={**os.environ, "PYTHONPATH": str(HERE.parents[1] / "python" / "src")})
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.splitlines()


@pytest.mark.parametrize("kind", ["plain", "judged"])
def test_what_each_takes(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """100 at once: at most two threads and 0.3 MiB for each, of the host and of the
    library's own processes together. The runtime may take some threads for itself."""
    threads, host, own = map(float, many(kind, "100")[0].split())
    with capsys.disabled():
        print(f"\n100 sandboxes at once, {kind}: {threads:.2f} threads, {host:.0f} + {own:.0f} KiB each", end=" ")
    assert threads <= 2.1
    assert host + own <= 300


def test_a_crowd_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """20 at a time, judged and not, some of them timed out."""
    before, after = (line.split() for line in many("runs", RUNS, "20"))
    with capsys.disabled():
        print(f"\n{RUNS} runs, 20 at a time: descriptors {before[0]}, then {after[0]}; threads {before[1]}, {after[1]};"
              f" children {before[2]}, {after[2]}; memory {before[3]}, {after[3]} KiB", end=" ")
    assert before[0] == after[0]
    # The runtime keeps as many as were ever busy at a time; one for each of a kind of run is far more.
    assert int(after[1]) <= int(before[1]) + 8
    assert (before[2], after[2]) == ("none", "none")
    assert int(after[3]) <= int(before[3]) + 5 * 1024
