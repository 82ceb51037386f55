"""CPython's own test_subprocess, with subprocess.Popen over Sandbox.popen: each of its
tests passes or is skipped, but for those that docs/popen.md lists, none of which passes."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
import unittest
from typing import Any, List, Set

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import adapter  # noqa: E402

subprocess.Popen = adapter.Popen  # before the tests see it

from test import test_subprocess  # noqa: E402


def listed() -> Set[str]:
    page = (HERE.parents[1] / "docs" / "popen.md").read_text()
    return set(re.findall(r"`(test_\w+)`", page.split("## CPython's own tests")[1]))


class Outcome(unittest.TextTestResult):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.passed: List[str] = []

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        self.passed.append(test._testMethodName)


suite = unittest.defaultTestLoader.loadTestsFromModule(test_subprocess)
outcome: Any = unittest.TextTestRunner(stream=sys.stdout, verbosity=0, resultclass=Outcome, descriptions=False).run(suite)

differ = set()
for test, _ in outcome.failures + outcome.errors:
    test = getattr(test, "test_case", test)  # of a subtest
    differ.add(getattr(test, "_testMethodName", str(test)))
surprises = [f"{name}: failed, and is not listed" for name in sorted(differ - listed())]
# A name can be that of several classes, for one of which it does not matter.
surprises += [f"{name}: is listed, and passed" for name in sorted(listed() & set(outcome.passed) - differ)]
print(*surprises, sep="\n")
print(f"{len(outcome.passed)} passed, {len(outcome.skipped)} were skipped, {len(differ)} differ, {len(surprises)} of them otherwise than listed")
sys.exit(bool(surprises) or len(outcome.passed) < 200)
