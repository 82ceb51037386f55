"""The interpreters that host programs are tested under."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import Dict, List

VERSIONS = ["3.9", "3.10", "3.11", "3.12", "3.13"]
ASK = "import sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2], sys.executable)"


def _candidates() -> List[str]:
    """This interpreter's environment, those on PATH, and pyenv's: a shim of pyenv's on
    PATH may stand for a version that is not selected."""
    found = [sys.executable, *(shutil.which("python" + v) or "" for v in VERSIONS)]
    root = os.environ.get("PYENV_ROOT", "")
    if not root and shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], stdout=subprocess.PIPE, text=True).stdout.strip()
    versions = os.path.join(root, "versions")
    if root and os.path.isdir(versions):
        found += [os.path.join(versions, name, "bin", "python") for name in sorted(os.listdir(versions))]
    return [path for path in found if path]


def find() -> Dict[str, str]:
    """One of each version: those of SANDLOCK_PYTHONS, a list like PATH; else those that
    are found."""
    given = os.environ.get("SANDLOCK_PYTHONS")
    pythons: Dict[str, str] = {}
    for path in given.split(os.pathsep) if given else _candidates():
        try:
            said = subprocess.run([path, "-c", ASK], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        except OSError:
            said = None
        name, version, executable = (said.stdout.split(maxsplit=2) if said and said.stdout else ("", "", ""))
        if name == "cpython" and version in VERSIONS:
            pythons.setdefault(version, executable.strip())
        elif given:
            raise ValueError(f"SANDLOCK_PYTHONS: {path}: no CPython of {', '.join(VERSIONS)}")
    return {v: pythons[v] for v in VERSIONS if v in pythons}


PYTHONS = find()
