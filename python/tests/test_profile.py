"""Profiles in Python, and that the tool reads them alike."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any, Dict

import pytest

import sandlock
from sandlock import PolicyError, Sandbox, _profile
from sandlock._document import to_document

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = str(ROOT / "build" / "sandlock")


@pytest.fixture(autouse=True)
def home(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path


def own(home: pathlib.Path, name: str, text: str) -> pathlib.Path:
    directory = home / ".config" / "sandlock" / "profiles"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.toml").write_text(text)
    return directory / f"{name}.toml"


def tool(*args: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([TOOL, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def of_tool(name: str) -> Dict[str, Any]:
    ran = tool("run", "-p", name, "--explain", "--json")
    assert ran.returncode == 0, ran
    fields: Dict[str, Any] = json.loads(ran.stdout)
    return fields


def of_python(box: Sandbox) -> Dict[str, Any]:
    document, faults = to_document(box)
    assert not faults
    fields: Dict[str, Any] = json.loads(document)
    return fields


def without_empty(fields: Dict[str, Any]) -> Dict[str, Any]:
    return {name: value for name, value in fields.items() if value != [] and value is not False}


@pytest.mark.parametrize("name", ["agent", "c-build", "go-build", "node", "python", "system"])
def test_built_in(name: str, home: pathlib.Path) -> None:
    assert name in sandlock.list_profiles()
    (home / ".pyenv").mkdir()
    box = sandlock.load_profile(name)
    assert of_python(box) == of_tool(name)
    assert box.run(["true"]).success
    assert not box.run(["ls", str(home)]).success


ALIKE = {
    "values": """
extends = ["agent", "system"]
[filesystem]
read = ["/usr", "-/no/such", "${HOME}/x", "a$$b", 'lit']
exec = ["/usr"]
[network]
allow = ["tcp://:80,443"]
allow_bind = [8080, "9000-9010"]
[limits]
memory = "1G"
processes = "unlimited"
cpu = 50
open_files = 0x40
cpu_cores = [0]
gpu_devices = []
output = 1_000
term_grace = 1.5
[program]
clean_env = true
env = { A = "b", "C D" = "${PWD}" }
cwd = "${PWD}"
[syscalls]
extra_deny = ["chroot"]
""",
    "dotted": """
limits.memory = 1024
limits = { }
""".replace("limits = { }\n", "") + "program.env.A = 'b'\n",
    "inline": "limits = { memory = 4096, processes = 3 }\n",
}


@pytest.mark.parametrize("name", sorted(ALIKE))
def test_alike(name: str, home: pathlib.Path) -> None:
    own(home, name, ALIKE[name])
    assert without_empty(of_python(sandlock.load_profile(name))) == without_empty(of_tool(name))


FAULTY = {
    "keys": """foo = 1
[limits]
cpu = true
max_memory = 3
memory = []
[filesystem]
read = [
  "/usr",
  4,
  "$USER",
  "${USER}",
]
reed = []
mount = ["/a", "/b:/c"]
create = ["/x"]
[files]
read = []
[program]
env = { A = 3 }
cwd = 4
no_coredump = "yes"
[network]
allow_bind = [true]
allow = "tcp://:80"
""",
    "flat": "memory = '1G'\n[program.env]\nA = 'b'\nB = 1\n",
    "base": "\nextends = 'no-such'\n",
    "paths": "extends = './no/such.toml'\n",
    "bases": "extends = 3\n",
    "loop": "extends = ['./loop.toml']\n",
}


@pytest.mark.parametrize("name", sorted(FAULTY))
def test_faults_are_alike(name: str, home: pathlib.Path) -> None:
    own(home, name, FAULTY[name])
    ran = tool("run", "-p", name, "--explain")
    assert ran.returncode == 125
    said = [line[len("sandlock: "):] for line in ran.stderr.splitlines()]
    with pytest.raises(PolicyError) as raised:
        sandlock.load_profile(name)
    if name == "paths":  # the system's words differ
        assert str(raised.value).lower() == said[0].lower()
    else:
        assert sorted(str(raised.value).splitlines()) == sorted(said)


@pytest.mark.parametrize("text,line", [("[limits]\ncpu = 1\ncpu = 2\n", 3), ("[limits]\ncpu =\n", 2)])
def test_syntax_is_an_error_with_its_line(text: str, line: int, home: pathlib.Path) -> None:
    path = own(home, "bad", text)
    with pytest.raises(PolicyError) as raised:
        sandlock.load_profile("bad")
    assert str(raised.value).startswith(f"{path}:{line}:")


def test_names_and_shadows(home: pathlib.Path) -> None:
    own(home, "mine", "extends = 'system'\n")
    own(home, "agent", "extends = 'agent'\nlimits.cpu = 7\n")
    assert "mine" in sandlock.list_profiles()
    box = sandlock.load_profile("agent")
    assert box.max_cpu == 7 and box.clean_env
    assert of_python(box) == of_tool("agent")
    for name in "none", "../agent", ".hidden", "":
        with pytest.raises(PolicyError, match="profile"):
            sandlock.load_profile(name)
    assert _profile.profiles_dir() == home / ".config" / "sandlock" / "profiles"


def test_xdg_config_home(home: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    assert _profile.profiles_dir() == home / "config" / "sandlock" / "profiles"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert _profile.profiles_dir() == home / ".config" / "sandlock" / "profiles"


def test_a_path_and_what_it_extends(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "upper.toml").write_text("extends = './lower.toml'\nfilesystem.read = ['/upper']\nlimits.cpu = 2\n")
    (tmp_path / "a" / "lower.toml").write_text("filesystem.read = ['/lower']\nlimits.cpu = 1\n")
    box = _profile.load_profile_path(tmp_path / "a" / "upper.toml")
    assert (box.fs_readable, box.max_cpu) == (["/lower", "/upper"], 2)


def test_from_a_dict() -> None:
    box = _profile.policy_from_dict({"extends": "system", "limits": {"memory": "1G"}, "program": {"env": {"A": "b"}}})
    assert box.max_memory == "1G" and box.env == {"A": "b"} and "/usr" in box.fs_readable
    with pytest.raises(PolicyError, match=r"^here: unknown key limits.size; \[limits\] has "):
        _profile.policy_from_dict({"limits": {"size": 1}}, "here")


def test_overrides() -> None:
    base = Sandbox(fs_readable=["/usr"], env={"A": "a", "B": "b"}, max_memory="1G", max_cpu=3)
    merged = _profile.merge_cli_overrides(base, {"fs_readable": ["/etc"], "env": {"B": "c"}, "max_memory": "2G", "max_cpu": None})
    assert (merged.fs_readable, merged.env, merged.max_memory, merged.max_cpu) == (["/usr", "/etc"], {"A": "a", "B": "c"}, "2G", 3)
    assert (base.fs_readable, base.max_memory) == (["/usr"], "1G")
    with pytest.raises(PolicyError, match="unknown field fs_read"):
        _profile.merge_cli_overrides(base, {"fs_read": []})


def test_the_home_is_not_granted(home: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for directory in home, home.parent, pathlib.Path("/"):
        monkeypatch.chdir(directory)
        ran = tool("run", "-p", "agent", "--explain")
        with pytest.raises(PolicyError, match="the working directory holds your home") as raised:
            sandlock.load_profile("agent")
        assert ran.stderr.splitlines() == [f"sandlock: {line}" for line in str(raised.value).splitlines()]


def test_directories_are_made_in_the_working_directory_only(home: pathlib.Path) -> None:
    own(home, "make", "extends = 'agent'\nfilesystem.create = ['a/b']\n")
    sandlock.load_profile("make")
    assert os.path.isdir("a/b")
    os.rmdir("a/b")
    os.rmdir("a")
    os.symlink(home, "a")
    with pytest.raises(PolicyError, match="filesystem.create: a/b"):
        sandlock.load_profile("make")
    assert not (home / "b").exists()


def test_the_tool_is_a_module() -> None:
    def module(*args: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([sys.executable, "-m", "sandlock", *args], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env={**os.environ, "PYTHONPATH": str(ROOT / "python" / "src")})

    assert module("version").stdout == f"sandlock {sandlock.__version__}\n"
    assert module("run", "-p", "system", "--", "sh", "-c", "exit 5").returncode == 5


def test_importing_does_not_read_toml() -> None:
    """Python 3.9 and 3.10 have no TOML reader: only profiles need one."""
    program = "import sys, sandlock; sys.exit(any(name in sys.modules for name in ('tomllib', 'tomli')))"
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": str(ROOT / "python" / "src")})
