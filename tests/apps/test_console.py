"""The tool's documentation: what its commands print, and that its table of fields is the
tool's own."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
from typing import Dict, List, Tuple

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = ROOT / "build" / "sandlock"
PAGES = ["README.md", "docs/guide.md", "docs/tool.md", "docs/cookbook.md"]


def sessions() -> List[Tuple[str, str]]:
    return [(page, text) for page in PAGES
            for text in re.findall(r"^```console\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S)]


def environment(home: pathlib.Path) -> Dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "SANDLOCK_"))}
    return {**kept, "PATH": f"{TOOL.parent}:{os.environ['PATH']}", "HOME": str(home), "LC_ALL": "C"}


@pytest.mark.parametrize("page,session", sessions())
def test_session(page: str, session: str, tmp_path: pathlib.Path) -> None:
    """Lines with "$ " are commands, all others what they print, in any order."""
    commands = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", session, re.M)
    assert commands
    work = tmp_path / "work"
    work.mkdir()
    for command, printed in commands:
        ran = subprocess.run(["sh", "-c", command], cwd=work, env=environment(tmp_path), text=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert sorted(ran.stdout.splitlines()) == sorted(printed.splitlines()), (page, command)


def programs() -> List[Tuple[str, str]]:
    return [program for page in ("docs/tool.md", "docs/cookbook.md")
            for program in re.findall(r"^```python\n(.*?)^```\n\nprints\n\n```text\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S)]


@pytest.mark.parametrize("program,printed", programs())
def test_program(program: str, printed: str, tmp_path: pathlib.Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    ran = subprocess.run([sys.executable, "-c", program], cwd=work, text=True, stdout=subprocess.PIPE,
                         env={**environment(tmp_path), "PYTHONPATH": str(ROOT / "python" / "src")})
    assert ran.stdout == printed


def test_manual_pages(tmp_path: pathlib.Path) -> None:
    """They are about commands and flags that there are, all commands among them; the
    program in the page for C compiles; and they are installed."""
    page = re.sub(r"\\f.|\\(?=-)", "", (ROOT / "docs/man/sandlock.1").read_text())
    told = subprocess.run([TOOL, "run", "--help"], check=True, stdout=subprocess.PIPE, text=True).stdout
    flags = set(re.findall(r"^  (?:-\w, |    )(--[\w-]+)", told, re.M)) | {"--merge", "--"}
    named = set(re.findall(r"--[\w-]*", page))
    assert len(named) > 10 and not named - flags - {"--help"}
    commands = subprocess.run([TOOL, "help"], check=True, stdout=subprocess.PIPE, text=True).stdout
    for command in re.findall(r"^  (\w+)", commands, re.M):
        assert re.search(rf"\b{command}\b", page), command

    source = (ROOT / "docs/man/sandlock.3").read_text().split(".SH EXAMPLE\n.nf\n")[1].split("\n.fi")[0]
    (tmp_path / "hello.c").write_text(source.replace("\\-", "-").replace("\\e", "\\"))
    subprocess.run(["make", "install", "PREFIX=/usr", f"DESTDIR={tmp_path}"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "MAKEFLAGS": ""})
    subprocess.run(["cc", "-Wall", "-Werror", f"-I{tmp_path}/usr/include", "hello.c", f"-L{tmp_path}/usr/lib", "-lsandlock",
                    f"-Wl,-rpath,{tmp_path}/usr/lib", "-o", "hello"], cwd=tmp_path, check=True)
    assert subprocess.run([tmp_path / "hello"], stdout=subprocess.PIPE, text=True).stdout == "hello from the sandbox\n"
    for name in "man/man1/sandlock.1", "man/man3/sandlock.3", "bash-completion/completions/sandlock", "zsh/site-functions/_sandlock":
        assert (tmp_path / "usr/share" / name).stat().st_size > 500
    assert subprocess.run([tmp_path / "usr/bin/sandlock", "run", "-p", "system", "--", "echo", "in"], stdout=subprocess.PIPE).stdout == b"in\n"


def test_each_profile_is_documented() -> None:
    listed = subprocess.run([TOOL, "profile", "list"], check=True, stdout=subprocess.PIPE, text=True,
                            env=environment(pathlib.Path("/nonexistent"))).stdout
    section = (ROOT / "docs/tool.md").read_text().split("These are built in:")[1].split("```")[0]
    assert re.findall(r"^\| `([\w-]+)` \|", section, re.M) and \
        sorted(re.findall(r"^\| `([\w-]+)` \|", section, re.M)) == [line.split()[0] for line in listed.splitlines()]


def test_there_are_sessions() -> None:
    assert {page for page, _ in sessions()} == set(PAGES) and len(programs()) == 2


def table() -> Dict[str, Tuple[str, str]]:
    """name: (flags, key of a profile), as docs/tool.md has them."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) ?\| ", (ROOT / "docs/tool.md").read_text().split("## Fields")[1], re.M)
    return {name: (flag.replace("\\|", "|"), key) for name, flag, key in rows}


def test_flags_are_documented() -> None:
    told = subprocess.run([TOOL, "run", "--help"], check=True, stdout=subprocess.PIPE, text=True).stdout
    flags = set(re.findall(r"^  (?:-\w, |    )(--[\w-]+)", told, re.M))
    own = {"--audit", "--pty", "--control-socket", "--profile", "--interactive", "--timeout", "--explain", "--json", "--status-fd", "--help"}
    documented = {flag for flags, _ in table().values() for flag in re.findall(r"--[\w-]+", flags)}
    assert documented == flags - own
    text = (ROOT / "docs/tool.md").read_text()
    assert not [flag for flag in own - {"--profile"} if f"`{flag}" not in text and f" {flag}" not in text]


def test_keys_are_documented(tmp_path: pathlib.Path) -> None:
    """Each key of the table is known to the tool, and no other is."""
    keys = {name: re.findall(r"`\[(\w+)\]` `(\w+)`", key) for name, (_, key) in table().items()}
    for name, found in keys.items():
        for section, key in found:
            # No field takes a list of tables, so that the key is known is all that passes.
            (tmp_path / "p.toml").write_text(f"[{section}]\n{key} = [{{}}]\n")
            ran = subprocess.run([TOOL, "run", "-p", tmp_path / "p.toml", "--explain"], stderr=subprocess.PIPE, text=True)
            assert ran.returncode == 125 and "unknown key" not in ran.stderr and f"{section}.{key}" in ran.stderr, (name, ran)
    sections = sorted({section for found in keys.values() for section, _ in found})
    for section in sections:
        (tmp_path / "p.toml").write_text(f"[{section}]\nnonsense = 1\n")
        ran = subprocess.run([TOOL, "run", "-p", tmp_path / "p.toml", "--explain"], stderr=subprocess.PIPE, text=True)
        known = [key for key in ran.stderr.strip().split("] has ")[1].split(", ") if key != "create"]  # no field
        assert known == [key for found in keys.values() for s, key in found if s == section], section
