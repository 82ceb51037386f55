"""examples/audit_build.py works, and it sees what strace sees."""

from __future__ import annotations

import pathlib
import re
import shlex
import shutil
import subprocess
import sys
from typing import Iterable, Iterator, List, Tuple

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "examples" / "audit_build.py"
sys.path.insert(0, str(SCRIPT.parent))

import audit_build  # noqa: E402

Exec = Tuple[str, ...]

# Names that gcc (its temporary files) and tcc's configure (its pid) make up.
TEMPORARY = re.compile(r"\bcc[A-Za-z0-9]{6}\b|\bconftest-\d+")


def normalised(argv: Iterable[str]) -> Exec:
    return tuple(TEMPORARY.sub("TEMP", word) for word in argv)


def last_tries(attempts: List[Tuple[int, Exec, bool]]) -> Iterator[Tuple[Exec, bool]]:
    """A program that is looked for along PATH is one attempt after another by one
    task with one argv; the last one of them tells how it went."""
    for i, (pid, argv, succeeded) in enumerate(attempts):
        later = next(((a, s) for p, a, s in attempts[i + 1:] if p == pid), None)
        if later is None or later[0] != argv or succeeded:
            yield argv, succeeded


def traced(file: pathlib.Path) -> List[Tuple[int, Exec, bool]]:
    """The attempts in the output of strace -f -o, in order."""
    attempts = []
    unfinished = {}
    for line in file.read_text().splitlines():
        pid, rest = re.fullmatch(r"(\d+) +(.*)", line).groups()  # type: ignore[union-attr]
        if rest.endswith("<unfinished ...>"):
            unfinished[pid] = rest[:-len("<unfinished ...>")]
            continue
        resumed = re.match(r"<\.\.\. \w+ resumed>", rest)
        if resumed:
            rest = unfinished.pop(pid) + rest[resumed.end():]
        call = re.match(r'execve\("(?:[^"\\]|\\.)*", \[((?:"(?:[^"\\]|\\.)*"(?:, )?)*)\], .*\) += (-?\d+)', rest)
        assert call, f"not understood: {line}"
        argv = [word.encode().decode("unicode_escape").encode("latin-1").decode()
                for word in re.findall(r'"((?:[^"\\]|\\.)*)"', call.group(1))]
        attempts.append((int(pid), normalised(argv), call.group(2) == "0"))
    return attempts


def audited(output: str) -> List[Tuple[int, Exec, bool]]:
    """The attempts that the script printed. The second event of a script, which
    shows its interpreter's arguments, is left out."""
    attempts: List[Tuple[int, Exec, bool]] = []
    latest = {}
    # A command line may go over many lines; each begins with its verdict.
    for verdict, number, text in re.findall(r"^(exec|deny) (\d+): (.*?)(?=^(?:exec|deny) \d+: |\Z)", output, re.M | re.S):
        pid, argv = int(number), normalised(shlex.split(text))
        previous = latest.get(pid, ())
        latest[pid] = argv
        interpreted = len(argv) > len(previous) > 0 and argv[len(argv) - len(previous) + 1:] == previous[1:]
        if interpreted and argv[0].startswith("/"):
            continue
        attempts.append((pid, argv, verdict == "exec"))
    return attempts


def test_audit_build(tmp_path: pathlib.Path) -> None:
    if not shutil.which("apt-get"):
        pytest.skip("apt-get, which fetches the source, is not installed")
    ran = subprocess.run([sys.executable, str(SCRIPT), "--work", str(tmp_path), "--keep"],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr
    assert "curl: Operation not permitted" in ran.stdout
    output, end = ran.stdout.split("make: curl: Operation not permitted", 1)
    assert end.endswith("curl was denied\n")
    seen = audited(output)

    # The source is what it is said to be.
    archive = next((tmp_path / "apt").glob("*.orig.tar.*"))
    build = tmp_path / "build"
    lines = sum(file.read_bytes().count(b"\n") for file in (build / "tree").glob("*.[ch]"))
    assert lines >= 20_000

    if not shutil.which("strace"):
        pytest.skip("strace, which the build is compared with, is not installed")
    # The same build at the same place, without a sandbox.
    sandboxed = tmp_path / "sandboxed"
    build.rename(sandboxed)
    audit_build.prepare(build, archive)
    attempts = []
    for number, step in enumerate(audit_build.STEPS):
        trace = tmp_path / f"trace.{number}"
        subprocess.run(
            ["strace", "-f", "-qq", "-s", "131072", "-e", "trace=execve,execveat", "-e", "signal=none", "-o", str(trace), *step],
            cwd=build, env=audit_build.environment(build), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        attempts += traced(trace)

    outside = list(last_tries(attempts))
    failed = [argv for argv, succeeded in outside if not succeeded]
    allowed = [argv for argv, succeeded in last_tries([(p, a, False) for p, a, s in seen if s])]
    curl = [argv for pid, argv, exec_ in seen if not exec_]
    # make looks for curl along PATH; each attempt is denied.
    assert set(curl) == {("curl", "--version")}
    assert allowed[-1] == ("make", "-f", "fetch.mk")
    inside = [argv for argv in allowed[:-1] if argv not in failed]
    assert inside == [argv for argv, succeeded in outside if succeeded]
    assert len(inside) >= 90

    # What an exec that failed in the sandbox alone would have changed.
    for name in "tcc", "libtcc.a", "libtcc1.a":
        assert (sandboxed / "tree" / name).read_bytes() == (build / "tree" / name).read_bytes(), name
