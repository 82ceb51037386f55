"""CPython's own tests of os, pathlib, shutil, tempfile and subprocess, outside and in a
sandbox that grants what they need, without and with something denied elsewhere: each test
has the same outcome, but for those that docs/files.md lists. With arguments: these modules
alone."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
import tempfile
from typing import Any, Dict, List, Set

from sandlock import Sandbox

MODULES = ["test_os", "test_pathlib", "test_shutil", "test_tempfile", "test_subprocess"]
PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "files.md"
SYSTEM = ["/usr", "/lib", "/lib64", "/bin", "/etc", "/proc", "/sys", "/dev", "/run", "/var", sys.base_prefix]


def listed() -> Set[str]:
    return set(re.findall(r"`(test_\w+)`", PAGE.read_text().split("## CPython's own tests")[1]))


def outcomes(text: str) -> Dict[str, str]:
    """Of each test of a verbose run, by its full name: ok, skipped, or another word."""
    found = {}
    for m in re.finditer(r"^(test\w+) \(([\w.]+)\)(?:\n[^\n]*?)?? \.\.\. (.*)$", text, re.M):
        found[m.group(2)] = m.group(3).split()[0] if m.group(3).split() else "?"
    return found


def compare(module: str) -> List[str]:
    argv = [sys.executable, "-m", "unittest", "-v", f"test.{module}"]
    surprises = []
    with tempfile.TemporaryDirectory() as top:
        work = pathlib.Path(top, "work")
        work.mkdir()
        denied = pathlib.Path(top, "denied")
        denied.mkdir()
        env = {**os.environ, "TMPDIR": str(work), "HOME": str(work), "PYTHONDONTWRITEBYTECODE": "1"}
        env.pop("PYTHONPATH", None)
        plain = subprocess.run(argv, cwd=work, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True, errors="replace", timeout=600)
        want = outcomes(plain.stderr)
        kinds: Dict[str, Dict[str, Any]] = {"grants": {}, "one denial": {"fs_denied": [denied]}}
        for kind, fields in kinds.items():
            box = Sandbox(fs_readable=SYSTEM, cwd=work, env=env, max_processes=1000, net_allow=["tcp://:*"], net_allow_bind=["*"],
                          fs_writable=[top, "/dev/null", "/dev/tty", "/dev/pts", "/dev/ptmx", "/dev/shm"], **fields)
            r = box.run(argv, timeout=600)
            got = outcomes(r.stderr.decode(errors="replace"))
            differ = {name: f"{want[name]} outside, {got.get(name)} inside" for name in want if want[name] != got.get(name)}
            print(f"{module}, {kind}: {len(want)} tests outside, {len(got)} inside, {len(differ)} differ", flush=True)
            for name, what in sorted(differ.items()):
                if name.rpartition(".")[2] not in listed():
                    surprises.append(f"{module}, {kind}: {name}: {what}, and is not listed")
        if len(want) < 50:
            surprises.append(f"{module}: {len(want)} tests: {plain.stderr[-300:]}")
    return surprises


def main() -> int:
    surprises = [s for module in sys.argv[1:] or MODULES for s in compare(module)]
    print(*surprises, sep="\n")
    return bool(surprises)


sys.exit(main())
