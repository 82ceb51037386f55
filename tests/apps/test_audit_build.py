"""examples/audit_build.py works, and it sees what strace sees; and the same source is made
by eight jobs at once, of which none is denied or killed, and by four within a limit of
memory and with something denied in the tree."""

from __future__ import annotations

import collections
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
from typing import Iterable, Iterator, List, Tuple

import pytest
from sandlock import Result

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


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Where the script has fetched the source, or will."""
    if not shutil.which("apt-get"):
        pytest.skip("apt-get, which fetches the source, is not installed")
    return tmp_path_factory.mktemp("work")


def original(work: pathlib.Path) -> pathlib.Path:
    found = list((work / "apt").glob("*.orig.tar.*"))
    return found[0] if found else audit_build.fetch(work)


def strace(trace: pathlib.Path, build: pathlib.Path, step: Iterable[str]) -> List[Tuple[int, Exec, bool]]:
    """The attempts of a step without a sandbox."""
    subprocess.run(
        ["strace", "-f", "-qq", "-s", "131072", "-e", "trace=execve,execveat", "-e", "signal=none", "-o", str(trace), *step],
        cwd=build, env=audit_build.environment(build), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return traced(trace)


def test_audit_build(work: pathlib.Path) -> None:
    ran = subprocess.run([sys.executable, str(SCRIPT), "--work", str(work), "--keep"],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr
    assert "curl: Operation not permitted" in ran.stdout
    output, end = ran.stdout.split("make: curl: Operation not permitted", 1)
    assert end.endswith("curl was denied\n")
    seen = audited(output)

    # The source is what it is said to be.
    archive = original(work)
    build = work / "build"
    lines = sum(file.read_bytes().count(b"\n") for file in (build / "tree").glob("*.[ch]"))
    assert lines >= 20_000

    if not shutil.which("strace"):
        pytest.skip("strace, which the build is compared with, is not installed")
    # The same build at the same place, without a sandbox.
    sandboxed = work / "sandboxed"
    build.rename(sandboxed)
    audit_build.prepare(build, archive)
    attempts = []
    for number, step in enumerate(audit_build.STEPS):
        attempts += strace(work / f"trace.{number}", build, step)

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


def recorded(result: Result) -> Iterator[Tuple[Exec, bool]]:
    """The attempts among what became of the execs: a script's interpreter, which is the
    process's next record, is none."""
    scripts = set()
    for record in result.execs:
        assert record.argv is not None
        assert record.outcome in ("ran", "became", "failed"), record
        if record.pid in scripts:
            scripts.remove(record.pid)
            continue
        if record.outcome == "became":
            scripts.add(record.pid)
        yield normalised(record.argv), record.outcome != "failed"


def test_parallel_build(work: pathlib.Path, tmp_path: pathlib.Path) -> None:
    if not shutil.which("strace"):
        pytest.skip("strace, which the build is compared with, is not installed")
    archive = original(work)
    step = ("make", "-j8", "-C", "tree")
    fresh, build, outside = tmp_path / "fresh", tmp_path / "build", tmp_path / "outside"
    audit_build.prepare(build, archive)
    for first in audit_build.STEPS[:2]:
        subprocess.run(first, cwd=build, env=audit_build.environment(build), check=True, stdout=subprocess.DEVNULL)
    shutil.copytree(build, fresh, symlinks=True)
    want = collections.Counter((argv, ok) for _, argv, ok in strace(tmp_path / "trace", build, step))
    build.rename(outside)

    runs = 20 if os.environ.get("SANDLOCK_SOAK") else 2
    for _ in range(runs):
        shutil.copytree(fresh, build, symlinks=True)
        box = audit_build.sandbox(build, archive, lambda event, ctx: False)
        box.record_execs = True
        result = box.run(step)
        assert result.success and not result.log, audit_build.complain(step, result)
        got = collections.Counter(recorded(result))
        assert got == want
        for name in "tcc", "libtcc.a", "libtcc1.a":
            assert (outside / "tree" / name).read_bytes() == (build / "tree" / name).read_bytes(), name
        shutil.rmtree(build)
    print(f"make -j8, {runs} runs: {sum(want.values())} execs each, {sum(n for (_, ok), n in want.items() if not ok)} of which"
          " fail without a sandbox too; the same with it")


def test_build_beside_a_denial(work: pathlib.Path, tmp_path: pathlib.Path) -> None:
    build = tmp_path / "build"
    archive = original(work)
    audit_build.prepare(build, archive)
    for first in audit_build.STEPS[:2]:
        subprocess.run(first, cwd=build, env=audit_build.environment(build), check=True, stdout=subprocess.DEVNULL)
    box = audit_build.sandbox(build, archive, lambda event, ctx: False)
    box.policy_fn = None
    box.max_memory = "256M"
    denied = build / "tree" / "tests"
    box.fs_denied = [denied]
    step = ("make", "-j4", "-C", "tree")
    result = box.run(step)
    assert result.success and not result.limits, audit_build.complain(step, result)
    assert box.run(audit_build.STEPS[3]).stdout == b"hello from the new compiler\n"
    assert (denied / "Makefile").exists() and not box.run(["cat", denied / "Makefile"]).success
