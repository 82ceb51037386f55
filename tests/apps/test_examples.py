"""examples/policy.c and policy.cc compile as strictly as can be, link with what
pkg-config says of an installed tree, and judge a build as audit_build.py does."""

from __future__ import annotations

import os
import pathlib
import shlex
import shutil
import subprocess
import sys
from typing import Dict, List

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples"))

import audit_build  # noqa: E402

STRICT = ["-Wall", "-Wextra", "-pedantic", "-Werror"]
COMPILERS = {
    "policy.c": ["cc", "-std=c99", *STRICT],
    "policy.cc": ["c++", "-std=c++11", *STRICT],
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Dict[str, str]:
    """The environment in which pkg-config and the loader find an installed library."""
    root = tmp_path_factory.mktemp("installed")
    subprocess.run(["make", "install", "PREFIX=/usr", f"DESTDIR={root}"], cwd=ROOT, check=True,
                   stdout=subprocess.DEVNULL, env={**os.environ, "MAKEFLAGS": ""})
    return {
        "PKG_CONFIG_PATH": f"{root}/usr/lib/pkgconfig",
        "PKG_CONFIG_SYSROOT_DIR": str(root),
        # /usr/include would be left out as the compiler's own.
        "PKG_CONFIG_ALLOW_SYSTEM_CFLAGS": "1",
        "PKG_CONFIG_ALLOW_SYSTEM_LIBS": "1",
        "LD_LIBRARY_PATH": f"{root}/usr/lib",
    }


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    if not shutil.which("apt-get"):
        pytest.skip("apt-get, which fetches the source, is not installed")
    return audit_build.fetch(tmp_path_factory.mktemp("fetched").resolve())


@pytest.mark.parametrize("example", COMPILERS)
def test_policy(example: str, installed: Dict[str, str], archive: pathlib.Path, tmp_path: pathlib.Path) -> None:
    if not shutil.which("pkg-config"):
        pytest.skip("pkg-config is not installed")
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "sandlock"], env={**os.environ, **installed},
                           check=True, stdout=subprocess.PIPE, text=True).stdout
    program = tmp_path / "policy"
    subprocess.run([*COMPILERS[example], ROOT / "examples" / example, "-o", program, *shlex.split(flags)], check=True)

    build = tmp_path.resolve() / "build"
    audit_build.prepare(build, archive)
    (build / "source.tar").unlink()
    shutil.copy(archive, build / "source.tar")  # it reads nothing of ours outside "."
    environment = {**audit_build.environment(build), "LD_LIBRARY_PATH": installed["LD_LIBRARY_PATH"]}

    def run(step: List[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(program), *step], cwd=build, env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, errors="replace")

    lines: List[str] = []
    for step in audit_build.STEPS:
        done = run(list(step))
        assert done.returncode == 0, done.stderr
        assert "deny" not in done.stderr
        lines += [line for line in done.stderr.splitlines() if line.startswith("exec ")]
    assert done.stdout == "hello from the new compiler\n"
    assert len(lines) >= 90
    assert any(line.startswith("exec gcc -o tcc.o -c tcc.c") for line in lines)

    done = run(["make", "-f", "fetch.mk"])
    assert done.returncode == 2
    assert "deny curl --version\n" in done.stderr
    assert "curl: Operation not permitted" in done.stderr


def test_errors(installed: Dict[str, str], tmp_path: pathlib.Path) -> None:
    flags = ["-I", str(ROOT / "include"), "-L", str(ROOT), "-lsandlock"]
    for example, compiler in COMPILERS.items():
        program = tmp_path / example.replace(".", "-")
        subprocess.run([*compiler, ROOT / "examples" / example, "-o", program, *flags], check=True)
        for argv, status, said in (
            ([], 125, "usage:"),
            (["/nonexistent"], 125, "/nonexistent"),
            (["sh", "-c", "exit 7"], 7, "0 command lines denied"),
            (["sh", "-c", "kill -KILL $$"], 125, "0 command lines denied"),
        ):
            done = subprocess.run([str(program), *argv], env={**os.environ, **installed}, cwd=tmp_path,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            assert (done.returncode, said in done.stderr) == (status, True), (argv, done)
