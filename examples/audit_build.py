#!/usr/bin/env python3
"""Build a C program in a sandbox and see every command that the build runs.

    python3 examples/audit_build.py [--work DIR] [--keep]

The source of tcc, a C compiler of some 50,000 lines, is fetched from the Debian
mirrors that this machine already uses (as any user: apt-get is given folders of
its own). It is then unpacked, configured and made inside a sandbox, which can
read the system's programs, headers and libraries, write one directory, and reach
no network. A policy_fn prints each command line before it runs and denies any
that mentions curl, as the last step shows with a recipe that calls it.

Exit status 0: the build succeeded, the compiler works, curl was denied.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
from typing import Callable, Optional, Sequence

from sandlock import PolicyContext, Result, Sandbox, SyscallEvent

PACKAGE = "tcc"

# The steps of the build, each a command run in the work directory. They are run
# one after the other with -j1 so that two runs start the same commands in the
# same order.
STEPS: Sequence[Sequence[str]] = (
    ("tar", "-xf", "source.tar", "--no-same-owner", "-C", "tree"),
    ("sh", "-c", "cd tree && ./configure"),
    ("make", "-j1", "-C", "tree"),
    ("tree/tcc", "-Btree", "-Itree/include", "-run", "hello.c"),
)

HELLO = """
#include <stdio.h>
int main(void) { puts("hello from the new compiler"); return 0; }
"""

FETCH_MAKEFILE = "all:\n\tcurl --version\n"


def debian_sources(directory: pathlib.Path) -> None:
    """Writes deb-src entries for the distribution's own deb entries."""
    release = pathlib.Path("/etc/os-release").read_text()
    found = re.search(r"^VERSION_CODENAME=(\w+)", release, re.M)
    suite = found.group(1) if found else "sid"
    directory.mkdir(parents=True, exist_ok=True)
    here = pathlib.Path("/etc/apt")
    written = 0
    for file in [here / "sources.list", *sorted((here / "sources.list.d").glob("*"))]:
        if file.suffix == ".sources":
            stanzas = re.split(r"\n\s*\n", file.read_text())
            kept = [re.sub(r"^Types:.*$", "Types: deb-src", s, flags=re.M) for s in stanzas
                    if re.search(rf"^Suites:.*\b{suite}", s, re.M) and re.search(r"^Types:.*\bdeb\b", s, re.M)]
            text = "\n\n".join(kept)
        elif file.suffix == ".list" and file.exists():
            lines = [line for line in file.read_text().splitlines()
                     if re.match(rf"deb\s+(\[.*\]\s+)?\S+\s+{suite}", line)]
            text = "".join("deb-src" + line[3:] + "\n" for line in lines)
        else:
            continue
        if text:
            (directory / file.name).write_text(text + "\n")
            written += 1
    if not written:
        raise SystemExit(f"no Debian mirror for {suite} in /etc/apt: nowhere to fetch {PACKAGE} from")


def fetch(work: pathlib.Path) -> pathlib.Path:
    """Downloads the source package with apt-get, which checks its signature, and
    returns the path of its upstream archive. Needs no root."""
    apt = work / "apt"
    (apt / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (apt / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    debian_sources(apt / "parts")
    options = [
        "-q", "-o", f"Dir::State::lists={apt}/lists", "-o", f"Dir::Cache={apt}/cache",
        "-o", "Dir::Etc::SourceList=/dev/null", "-o", f"Dir::Etc::SourceParts={apt}/parts",
        "-o", "APT::Sandbox::User=", "-o", "Acquire::Languages=none",
    ]
    subprocess.run(["apt-get", *options, "update"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["apt-get", *options, "source", "--download-only", PACKAGE],
                   check=True, stdout=subprocess.DEVNULL, cwd=apt)
    archives = list(apt.glob("*.orig.tar.*"))
    if len(archives) != 1:
        raise SystemExit(f"apt-get source {PACKAGE} left {archives}")
    return archives[0]


def prepare(work: pathlib.Path, archive: pathlib.Path) -> None:
    """Lays out what the steps need."""
    for name in "tree", "tmp", "bin":
        (work / name).mkdir(parents=True)
    (work / "source.tar").symlink_to(archive)
    (work / "hello.c").write_text(HELLO)
    (work / "fetch.mk").write_text(FETCH_MAKEFILE)
    # A machine without curl shows the same thing.
    (work / "bin" / "curl").symlink_to("/bin/echo")


def environment(work: pathlib.Path) -> dict[str, str]:
    return {
        "PATH": f"/usr/local/bin:/usr/bin:/bin:{work}/bin",
        "HOME": str(work),
        "TMPDIR": f"{work}/tmp",
        "LC_ALL": "C",
    }


def sandbox(
    work: pathlib.Path,
    archive: pathlib.Path,
    policy_fn: Callable[[SyscallEvent, PolicyContext], bool],
) -> Sandbox:
    return Sandbox(
        fs_readable=["/usr", "/lib", "/lib64", "/bin", "/etc", str(archive)],
        fs_writable=[str(work), "/dev/null"],
        cwd=str(work),
        clean_env=True,
        env=environment(work),
        policy_fn=policy_fn,
    )


def judge(event: SyscallEvent, ctx: PolicyContext) -> bool:
    """Prints the command line; True denies it with EPERM."""
    if event.argv is None:
        return False  # not an exec
    denied = event.argv_contains("curl")
    print(f"{'deny' if denied else 'exec'} {event.pid}: {shlex.join(event.argv)}", flush=True)
    return denied


def complain(step: Sequence[str], result: Result) -> str:
    stderr: bytes = result.stderr
    return (f"{shlex.join(step)}: {result.error or f'exit code {result.exit_code}'}\n"
            + stderr.decode(errors="replace")[-2000:])


def audit(work: pathlib.Path, archive: pathlib.Path) -> Optional[str]:
    """Runs it all; returns what went wrong, or None."""
    prepare(work, archive)
    box = sandbox(work, archive, judge)
    result = None
    for step in STEPS:
        result = box.run(list(step))
        if not result.success:
            return complain(step, result)
    assert result is not None
    if result.stdout != b"hello from the new compiler\n":
        return f"the new compiler's program wrote {result.stdout!r}"

    step = ["make", "-f", "fetch.mk"]
    result = box.run(step)
    if result.success or b"Operation not permitted" not in result.stderr:
        return "curl was to be denied with EPERM\n" + complain(step, result)
    print(result.stderr.decode().strip())
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=pathlib.Path, help="directory to work in; must not hold a build")
    parser.add_argument("--keep", action="store_true", help="leave the directory there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="audit-build-") as temporary:
        top = pathlib.Path(temporary)
        if args.keep or args.work:
            top = (args.work or pathlib.Path(tempfile.mkdtemp(prefix="audit-build-"))).resolve()
            top.mkdir(parents=True, exist_ok=True)
        problem = audit(top / "build", fetch(top).resolve())
        if args.keep:
            print(f"left in {top}", file=sys.stderr)
    if problem:
        print(problem, file=sys.stderr)
        return 1
    print("the build succeeded, and curl was denied")
    return 0


if __name__ == "__main__":
    sys.exit(main())
