"""What README and docs name is there: tests, files, pages."""

from __future__ import annotations

import pathlib
import re
from typing import Dict, Set

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def sources(*patterns: str) -> str:
    return "\n".join(f.read_text() for pattern in patterns for f in sorted(ROOT.glob(pattern)))


def lacking(pattern: str, there: Set[str]) -> Dict[str, Set[str]]:
    found = {page.name: set(re.findall(pattern, page.read_text())) for page in PAGES}
    assert any(found.values())
    return {page: names - there for page, names in found.items() if names - there}


def test_go_tests() -> None:
    there = set(re.findall(r"^func (Test\w+)\(", sources("**/*_test.go"), re.M))
    assert not lacking(r"`(Test\w+)`", there)


def test_python_tests() -> None:
    there = set(re.findall(r"^ *(?:async )?def (test_\w+)\(", sources("**/test_*.py"), re.M))
    there |= {f"test_{name}" for name in ("subprocess", "listdir")}  # CPython's
    # files.md lists CPython's own by name, in its last section.
    text = {page.name: re.split(r"## CPython's own tests", page.read_text())[0] for page in PAGES}
    named = {name: set(re.findall(r"`(test_\w+)`", page)) for name, page in text.items()}
    assert sum(map(len, named.values())) > 20
    assert not {name: tests - there for name, tests in named.items() if tests - there}


def test_files() -> None:
    for page in PAGES:
        for path in re.findall(r"`((?:core|capi|cmd|python|tests|docs|bench|examples|include)/[\w./-]+)`", page.read_text()):
            assert (ROOT / path).exists(), (page.name, path)


def anchors(text: str) -> Set[str]:
    """As GitHub makes them of headings."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links() -> None:
    count = 0
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if target.startswith("http"):
                continue
            path, _, anchor = target.partition("#")
            to = page.parent / path if path else page
            assert to.exists(), (page.name, target)
            assert not anchor or anchor in anchors(to.read_text()), (page.name, target)
            count += 1
    assert count > 40
