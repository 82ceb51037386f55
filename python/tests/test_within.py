"""A sandbox inside a sandbox. The kernel has one seccomp listener for the two: an inner one
that needs none starts, one that needs it says so."""

from __future__ import annotations

import json
import pathlib
import subprocess
from typing import Any, Dict

from conftest import INSIDE, SOURCE, SYSTEM
from sandlock import Sandbox

# What the inner sandbox does: prints the outcomes of a run that needs a listener for nothing
# but chmod, and of one for something else.
INNER = f"""
import json, sys
from sandlock import Sandbox
top, said = sys.argv[1], {{}}
fields = dict(fs_readable={[*SYSTEM, "/dev/null"]!r} + [top], max_processes="unlimited", cwd=top)
def run(name, *words, **more):
    r = Sandbox(**{{**fields, **more}}).run(list(words), text=True)
    said[name] = [r.stdout, r.error or r.stderr.rpartition(": ")[2].strip()]
run("read", "cat", "open")
run("write", "sh", "-c", "echo new > made && cat made && cat secret", fs_writable=[top])
run("chmod", "chmod", "600", "made", fs_writable=[top])
run("outside", "sh", "-c", "echo x > made", fs_writable=[top + "/sub"])
run("denied", "cat", "secret", fs_denied=[top + "/secret"])
run("asked", "cat", "open", policy_fn=lambda event, ctx: None)
run("address", "cat", "open", net_allow=["tcp://127.0.0.1"])
run("counted", "cat", "open", max_processes=10)
print(json.dumps(said))
"""

ALONE = {
    "read": ["open\n", ""], "write": ["new\nsecret\n", ""], "chmod": ["", ""], "outside": ["", "Permission denied"],
    "denied": ["", "Permission denied"], "asked": ["open\n", ""], "address": ["open\n", ""], "counted": ["open\n", ""],
}


def outcomes(top: pathlib.Path, **outer: Any) -> Dict[str, Any]:
    (top / "sub").mkdir(exist_ok=True)
    for name in "open", "secret":
        (top / name).write_text(f"{name}\n")
    argv = [INSIDE, "-c", INNER, str(top)]
    env = {"PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1"}
    if not outer:
        done = subprocess.run(argv, env={**env, "PATH": "/usr/bin:/bin"}, stdout=subprocess.PIPE, text=True, check=True)
        return dict(json.loads(done.stdout))
    library = (SOURCE / "sandlock" / "libsandlock.so.0").resolve().parent
    readable = [*SYSTEM, "/proc", "/sys", "/dev/null", SOURCE, library, *outer.pop("fs_readable", ())]
    # Where /proc is granted, Landlock is not there for an inner one unless it is named.
    r = Sandbox(**{"fs_readable": readable, "env": env, "extra_allow_syscalls": ["landlock_restrict_self"], **outer}).run(argv, text=True)
    assert r.success, r
    return dict(json.loads(r.stdout))


def test_within(tmp_path: pathlib.Path) -> None:
    assert outcomes(tmp_path) == ALONE  # the control

    for outer in (
        {"max_processes": "unlimited"},  # has a listener for what changes attributes
        {},  # refuses one, since it traces
        {"max_processes": "unlimited", "policy_fn": lambda event, ctx: None},
    ):
        got = outcomes(tmp_path, fs_writable=[tmp_path], **outer)
        for needs in "denied", "asked", "address":
            out, why = got.pop(needs)
            assert out == "" and "needs a seccomp listener" in why and "EBUSY" in why, (needs, why)
        out, why = got.pop("counted")
        assert out == "" and 'max_processes="unlimited"' in why, why
        assert got.pop("chmod") == ["", "Operation not permitted"]
        assert got == {name: ALONE[name] for name in got} and len(got) == 3
        assert (tmp_path / "secret").read_text() == "secret\n"

    got = outcomes(tmp_path, fs_writable=[tmp_path], extra_allow_syscalls=[])
    assert all(out == "" and "Landlock" in why for out, why in got.values()), got

    # One without a listener keeps an inner one from the other things that it takes.
    got = outcomes(tmp_path, max_processes="unlimited", fs_readable=[tmp_path])
    assert got["read"] == ALONE["read"] and got["write"][0] == "" and got["chmod"] == ["", "Operation not permitted"]
    for needs in "denied", "asked", "counted":
        assert got[needs][0] == "" and "not permitted" in got[needs][1], got
