"""compare.py SUITE [MODULE...]: CPython's own tests, outside and in a sandbox that grants
what they need: each test has the same outcome, but for those that the suite's page in docs
lists, each of which differs."""

from __future__ import annotations

import fnmatch
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from typing import Any, Dict, List, Set, Tuple

from sandlock import Sandbox

HERE = pathlib.Path(__file__).resolve().parent
DOCS = HERE.parents[1] / "docs"
SYSTEM = ["/usr", "/lib", "/lib64", "/bin", "/etc", "/proc", "/sys", "/dev", "/run", "/var", sys.base_prefix, str(HERE)]
PATIENCE = 900  # seconds, for a module; the longest, asyncio, takes one minute or two
Outcomes = Dict[str, Tuple[str, str]]


def files(top: pathlib.Path) -> Dict[str, Dict[str, Any]]:
    """Without and with something denied elsewhere."""
    denied = top / "denied"
    denied.mkdir()
    fields: Dict[str, Any] = {"net_allow": ["*"], "net_allow_bind": ["*"]}
    return {"grants": fields, "one denial": {**fields, "fs_denied": [denied]}}


def network(top: pathlib.Path) -> Dict[str, Dict[str, Any]]:
    """Loopback, by its addresses: the library connects and sends on their behalf."""
    return {"loopback": {"net_allow": ["127.0.0.0/8", "[::1]"], "net_allow_bind": ["*"]}}


SUITES = {
    "files": (files, ["test_os", "test_pathlib", "test_shutil", "test_tempfile", "test_subprocess", "test_socket"]),
    "network": (network, ["test_socket", "test_asyncio", "test_ssl", "test_httplib", "test_httpservers", "test_http_cookies",
                          "test_http_cookiejar", "test_urllib", "test_urllib2", "test_urllib2_localnet", "test_urllib_response",
                          "test_urlparse"]),
}


def listed(suite: str) -> Set[str]:
    """Names of tests and patterns of their classes, before the colon of each point."""
    section = (DOCS / f"{suite}.md").read_text().split("## CPython's own tests")[1].split("\n## ")[0]
    return {name for point in re.findall(r"^- (.*?): ", section, re.M) for name in re.findall(r"`([^`]+)`", point)}


class Place:
    """Where a module's tests run, outside or in the sandboxes of one suite."""

    def __init__(self, suite: str, module: str, top: str) -> None:
        self.module = f"test.{module}"
        self.work = pathlib.Path(top, "work")
        self.work.mkdir()
        self.kinds = SUITES[suite][0](pathlib.Path(top))
        self.box: Dict[str, Any] = {
            "fs_readable": SYSTEM, "fs_writable": [top, "/dev/null", "/dev/tty", "/dev/pts", "/dev/ptmx", "/dev/shm"],
            "cwd": self.work, "max_processes": 1000,
        }
        self.env = {**os.environ, "TMPDIR": str(self.work), "HOME": str(self.work), "PYTHONDONTWRITEBYTECODE": "1"}
        self.env.pop("PYTHONPATH", None)

    def run(self, kind: str, names: List[str]) -> Outcomes:
        file = self.work / "outcomes"
        argv = [sys.executable, str(HERE / "outcomes.py"), self.module, str(file), *names]
        if kind == "outside":
            subprocess.run(argv, cwd=self.work, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, timeout=PATIENCE)
        else:
            Sandbox(**self.box, **self.kinds[kind], env=self.env).run(argv, timeout=PATIENCE)
        if not file.exists():
            return {}
        found: Outcomes = json.loads(file.read_text())
        file.unlink()
        return found


def compare(suite: str, module: str) -> Tuple[Set[str], List[str]]:
    """What is listed and differs, and what is to be said of the rest."""
    differ: Set[str] = set()
    surprises: List[str] = []
    with tempfile.TemporaryDirectory() as top:
        place = Place(suite, module, top)
        all_outside = place.run("outside", [])
        for kind in place.kinds:
            want, got = all_outside, place.run(kind, [])
            count = f"{module}, {kind}: {len(want)} tests outside, {len(got)} inside"
            # Some depend on the machine's load. What differs once more, by itself, differs.
            names = [name for name in want if name not in got or want[name][0] != got[name][0]]
            for _ in range(2):
                again = [name for name in names if name.startswith("test.")]  # others: setUpClass of a class
                if again:
                    want, got = {**want, **place.run("outside", again)}, {**got, **place.run(kind, again)}
                names = [name for name in names if name not in got or want[name][0] != got[name][0]]
            print(f"{count}, {len(names)} differ", flush=True)
            for name in names:
                reasons = {item for item in listed(suite) if any(fnmatch.fnmatchcase(part, item) for part in name.split(".")[2:])}
                differ |= reasons
                if not reasons:
                    surprises.append(f"{module}, {kind}: {name}: {want[name]} outside, {got.get(name)} inside, and is not listed")
        if len(all_outside) < 4:  # as many has test_urllib_response
            surprises.append(f"{module}: {len(all_outside)} tests outside")
    return differ, surprises


def main() -> int:
    suite, *modules = sys.argv[1:]
    differ: Set[str] = set()
    surprises: List[str] = []
    for module in modules or SUITES[suite][1]:
        names, said = compare(suite, module)
        differ |= names
        surprises += said
    if not modules and os.geteuid() == 0:  # some differ for root only
        surprises += [f"{name} is listed, and does not differ" for name in sorted(listed(suite) - differ)]
    print(*surprises, sep="\n")
    return bool(surprises)


sys.exit(main())
