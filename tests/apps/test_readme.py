"""The programs of README and docs, as they are pasted from there, print what these say,
and what README says is not there is not there."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
from typing import Any, Dict, List, Tuple

import pytest

import sandlock

ROOT = pathlib.Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def blocks(text: str = README) -> List[Tuple[str, str]]:
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)


def go_environment() -> Dict[str, str]:
    out = subprocess.run([os.environ.get("GO", "go"), "env", "-json", "GOCACHE", "GOMODCACHE", "GOPATH"],
                         check=True, stdout=subprocess.PIPE, text=True).stdout
    return dict(json.loads(out))


def python_blocks() -> List[Tuple[str, str]]:
    texts = [README, *(page.read_text() for page in sorted((ROOT / "docs").glob("*.md")))]
    return [(source, all_blocks[i + 1][1]) for all_blocks in map(blocks, texts)
            for i, (kind, source) in enumerate(all_blocks) if kind == "python"]


@pytest.mark.parametrize("source,output", python_blocks())
def test_python(source: str, output: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "pasted.py").write_text(source)
    ran = subprocess.run([sys.executable, "pasted.py"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                         env={**os.environ, "PYTHONPATH": str(ROOT / "python" / "src")})
    assert (ran.stderr, ran.stdout.rstrip("\n")) == ("", output.rstrip("\n"))


def test_there_are_python_programs() -> None:
    assert len(python_blocks()) >= 3


def test_c(tmp_path: pathlib.Path) -> None:
    source, = (text for kind, text in blocks() if kind == "c")
    commands, = (text for kind, text in blocks() if kind == "sh")
    install, rest = commands.split("\n", 1)
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "hello.c").write_text(source)
    # A home of its own, but not an empty cache of the compiler's.
    environment = {**os.environ, **go_environment(), "HOME": str(home), "MAKEFLAGS": ""}
    subprocess.run(["sh", "-ec", install], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    ran = subprocess.run(["sh", "-ec", rest], cwd=tmp_path, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    assert ran.stdout == "hello from the sandbox\n"


def c_programs() -> List[Tuple[str, str]]:
    return [(source, all_blocks[i + 1][1]) for all_blocks in (blocks(page.read_text()) for page in sorted((ROOT / "docs").glob("*.md")))
            for i, (kind, source) in enumerate(all_blocks) if kind == "c"]


@pytest.mark.parametrize("source,output", c_programs())
def test_c_of_docs(source: str, output: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "pasted.c").write_text(source)
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-I", ROOT / "include", "pasted.c", ROOT / "build" / "libsandlock.so.0",
                    f"-Wl,-rpath,{ROOT / 'build'}", "-o", "pasted"], cwd=tmp_path, check=True)
    ran = subprocess.run([tmp_path / "pasted"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert (ran.stderr, ran.stdout) == ("", output)


def test_each_block_is_run() -> None:
    """The languages whose blocks a test runs, and the text that they print; profiles are in
    TOML, and what has no language is a picture or a command line of a measurement."""
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        kinds = {kind for kind, _ in blocks(page.read_text())}
        assert kinds <= {"python", "c", "sh", "console", "text", "toml", ""}, (page.name, kinds)
        assert "sh" not in kinds or page.name == "README.md"


def missing_fields() -> List[str]:
    section = README.split("These fields are refused when they are set:")[1].split("And these are not")[0]
    return [name for name in re.findall(r"`([a-z_]+)`", section) if name != "net_allow"]


def test_refused_fields() -> None:
    names = set(missing_fields())
    assert len(names) >= 10
    defaults = {field.name: field.default for field in dataclasses.fields(sandlock.Sandbox)}
    for name in sorted(names):
        # Anything but the default will do: the value is not looked at.
        value: Any = ["x"] if defaults[name] == () else {"a": "b"} if name.startswith("fs_mount") else 2
        with pytest.raises(sandlock.PolicyError, match=f"{name}: .*: this field is not built yet"):
            sandlock.Sandbox(fs_readable=["/usr"], **{name: value}).run(["/bin/true"])
    not_enforced = sandlock.kernel_report()["not_enforced_yet"]
    assert set(not_enforced) <= names
