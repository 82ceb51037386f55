"""outcomes.py MODULE FILE [TEST...]: runs a module of CPython's own tests, or those of its
tests, and writes what became of each to FILE: its full name, one word, the end of why."""

from __future__ import annotations

import json
import sys
import traceback
import unittest
from typing import Any, Dict, Tuple

from test import support

# As "python3 -m test -u cpu,subprocess": nothing that asks the Internet or fills the disk.
support.use_resources = ["cpu", "subprocess"]


class Outcomes(unittest.TestResult):
    def __init__(self) -> None:
        super().__init__()
        self.found: Dict[str, Tuple[str, str]] = {}

    def note(self, test: unittest.TestCase, word: str, why: str = "") -> None:
        # The first that is said of a test with subtests is its failure.
        self.found.setdefault(test.id(), (word, why))

    def failed(self, test: unittest.TestCase, err: Any) -> None:
        self.note(test, "failed", "".join(traceback.format_exception_only(*err[:2])).strip()[-300:])

    def addSuccess(self, test: unittest.TestCase) -> None:
        self.note(test, "ok")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self.note(test, "skipped", reason)

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        self.note(test, "failed as expected")

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        self.note(test, "ok unexpectedly")

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        if err is not None:
            self.failed(test, err)

    addFailure = addError = failed


def asked(suite: unittest.TestSuite) -> unittest.TestSuite:
    """Without the test that connects by vsock to this machine, which hypervisors leave
    unanswered for ever."""
    return unittest.TestSuite(asked(t) if isinstance(t, unittest.TestSuite) else t
                              for t in suite if "ThreadedVSOCKSocketStreamTest" not in type(t).__name__)


def main() -> None:
    module, file, *names = sys.argv[1:]
    outcomes = Outcomes()
    for name in names or [module]:
        asked(unittest.defaultTestLoader.loadTestsFromName(name)).run(outcomes)
    with open(file, "w") as f:
        json.dump(outcomes.found, f)


main()
