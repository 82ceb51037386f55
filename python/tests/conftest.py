"""What the tests share. They run on the real kernel, as root and as anybody."""

from __future__ import annotations

import pathlib
import subprocess
import sys
from typing import Any, Callable, Dict, List

import pytest

from sandlock import Sandbox

SYSTEM = ["/usr", "/lib", "/lib64", "/bin", "/etc"]
SOURCE = pathlib.Path(__file__).resolve().parents[1] / "src"
# A Python that lies beneath SYSTEM, for programs inside: the tests' own may not.
INSIDE = "/usr/bin/python3"


@pytest.fixture
def box() -> Sandbox:
    return Sandbox(fs_readable=[*SYSTEM, "/dev/null", "/dev/zero", "/dev/urandom"])


@pytest.fixture
def host() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs a program in a Python of its own, with the package."""

    def run(program: str, *args: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        import os

        env: Dict[str, str] = {**os.environ, "PYTHONPATH": str(SOURCE)}
        command: List[str] = [sys.executable, "-W", "error", "-c", program, *args]
        return subprocess.run(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    return run
