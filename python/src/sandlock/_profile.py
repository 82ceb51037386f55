"""Profiles: policies in TOML files. The tool reads the same files by the same rules, in
cmd/sandlock/profile.go; a test compares the two."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import sys
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from .exceptions import PolicyError
from .sandbox import Sandbox

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_BUILT_IN = pathlib.Path(__file__).resolve().parent / "profiles"
_MOST_DEPTH = 16

# section.key: (field, how it is written). "paths" and "path" are those of the host, in
# which ${PWD} and ${HOME} are put in.
_KEYS = {
    "filesystem.read": ("fs_readable", "paths"),
    "filesystem.write": ("fs_writable", "paths"),
    "filesystem.exec": ("fs_executable", "paths"),
    "filesystem.deny": ("fs_denied", "paths"),
    "program.cwd": ("cwd", "path"),
    "config.workdir": ("workdir", "path"),
    "filesystem.chroot": ("chroot", "path"),
    "filesystem.mount": ("fs_mount", "mounts"),
    "config.fs_storage": ("fs_storage", "path"),
    "limits.disk": ("max_disk", "size"),
    "filesystem.on_exit": ("on_exit", "text"),
    "filesystem.on_error": ("on_error", "text"),
    "network.unix_allow": ("unix_allow", "paths"),
    "network.allow": ("net_allow", "list"),
    "network.deny": ("net_deny", "list"),
    "network.allow_private_names": ("net_allow_private_names", "boolean"),
    "network.allow_bind": ("net_allow_bind", "ports"),
    "network.deny_bind": ("net_deny_bind", "ports"),
    "network.port_remap": ("port_remap", "boolean"),
    "http.allow": ("http_allow", "list"),
    "http.deny": ("http_deny", "list"),
    "http.ports": ("http_ports", "numbers"),
    "config.http_ca": ("http_ca", "path"),
    "config.http_key": ("http_key", "path"),
    "config.http_inject_ca": ("http_inject_ca", "paths"),
    "config.http_ca_out": ("http_ca_out", "path"),
    "limits.memory": ("max_memory", "size"),
    "limits.processes": ("max_processes", "integer"),
    "limits.cpu": ("max_cpu", "integer"),
    "limits.open_files": ("max_open_files", "integer"),
    "limits.cpu_cores": ("cpu_cores", "numbers"),
    "limits.num_cpus": ("num_cpus", "integer"),
    "limits.gpu_devices": ("gpu_devices", "numbers"),
    "limits.output": ("max_output", "size"),
    "limits.term_grace": ("term_grace", "seconds"),
    "program.no_coredump": ("no_coredump", "boolean"),
    "determinism.random_seed": ("random_seed", "integer"),
    "determinism.time_start": ("time_start", "text"),
    "determinism.no_randomize_memory": ("no_randomize_memory", "boolean"),
    "determinism.deterministic_dirs": ("deterministic_dirs", "boolean"),
    "program.no_huge_pages": ("no_huge_pages", "boolean"),
    "program.clean_env": ("clean_env", "boolean"),
    "program.env": ("env", "table"),
    "program.uid": ("uid", "integer"),
    "program.gid": ("gid", "integer"),
    "syscalls.extra_deny": ("extra_deny_syscalls", "list"),
    "syscalls.extra_allow": ("extra_allow_syscalls", "list"),
}
_SECTIONS = sorted({key.split(".")[0] for key in _KEYS})
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_VARIABLE = re.compile(r"\$(?:\$|\{([^}]*)\})?")

_Fields = Dict[str, Any]


def profiles_dir() -> pathlib.Path:
    """Where the user's profiles are: $XDG_CONFIG_HOME/sandlock/profiles, or the same below
    ~/.config. PolicyError when neither XDG_CONFIG_HOME nor HOME is an absolute path."""
    config, home = os.environ.get("XDG_CONFIG_HOME", ""), os.environ.get("HOME", "")
    if os.path.isabs(config):
        return pathlib.Path(config, "sandlock", "profiles")
    if os.path.isabs(home):
        return pathlib.Path(home, ".config", "sandlock", "profiles")
    raise PolicyError("neither XDG_CONFIG_HOME nor HOME is an absolute path, so there is no directory of profiles")


def list_profiles() -> List[str]:
    """The names of the user's profiles and of those that are built in, sorted."""
    found = [_BUILT_IN]
    try:
        found.append(profiles_dir())
    except PolicyError:
        pass
    return sorted({path.stem for directory in found for path in directory.glob("*.toml") if _NAME.fullmatch(path.stem)})


def load_profile(name: str) -> Sandbox:
    """The policy of a profile: one of the user's, or a built-in one.

    ``${PWD}`` and ``${HOME}`` are what they are now, and directories that the profile
    wants to be there are made now, in the working directory. PolicyError: there is no such
    profile, or it is wrong; the message has every fault, each with its line. That a value
    is none that its field takes is an error of the run.
    """
    problem = _name_problem(name)
    if problem:
        raise PolicyError(f'profile "{name}": {problem}')
    return _load(*_find(name, "", False), name)


def load_profile_path(path: Union[str, "os.PathLike[str]"]) -> Sandbox:
    """The policy of the profile in a file; as :func:`load_profile`."""
    return _load(*_read(os.path.normpath(path)), os.fspath(path))


def policy_from_dict(data: Mapping[str, Any], source: str = "profile") -> Sandbox:
    """The policy of a profile that was read already, as tomllib has it. What it extends by
    a relative path counts from the working directory. ``source`` stands in messages."""
    reader = _Reader()
    reader.take(data, source, "", "", "")
    return _sandbox(reader)


def merge_cli_overrides(base: Sandbox, overrides: Mapping[str, Any]) -> Sandbox:
    """A copy of a policy with fields, by their names, put over it: lists append, tables
    take in, single values replace; None is not given. PolicyError: an unknown field."""
    known = {field.name for field in dataclasses.fields(base)}
    unknown = sorted(set(overrides) - known)
    if unknown:
        raise PolicyError("\n".join(f"unknown field {name}" for name in unknown))
    fields = {name: getattr(base, name) for name in known}
    _merge(fields, {name: value for name, value in overrides.items() if value is not None})
    return Sandbox(**fields)


def _merge(fields: _Fields, over: Mapping[str, Any]) -> None:
    for name, value in over.items():
        before = fields.get(name)
        if isinstance(value, Mapping):
            fields[name] = {**(before or {}), **value}
        elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
            fields[name] = [*(before or ()), *value]
        else:
            fields[name] = value


def _name_problem(name: str) -> str:
    if re.search(r"[^A-Za-z0-9._-]", name):
        return "a name has letters, digits, . _ and -"
    return "" if _NAME.fullmatch(name) else "a name starts with a letter, a digit or _"


def _read(path: str) -> Tuple[str, str, str]:
    """What messages call it, its path, its text. PolicyError when it can't be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return path, path, file.read()
    except (OSError, UnicodeDecodeError) as e:
        raise PolicyError(f"{path}: {getattr(e, 'strerror', None) or e}") from None


def _find(name: str, directory: str, built_in_only: bool) -> Tuple[str, str, str]:
    if "/" in name or name.endswith(".toml"):
        return _read(os.path.normpath(os.path.join(directory, name)))
    problem = _name_problem(name)
    if problem:
        raise PolicyError(f'profile "{name}": {problem}')
    if not built_in_only:
        try:
            own = profiles_dir() / f"{name}.toml"
        except PolicyError:
            own = None
        if own is not None and own.exists():
            return _read(str(own))
    built_in = _BUILT_IN / f"{name}.toml"
    if not built_in.exists():
        raise PolicyError(f'there is no profile "{name}"; sandlock profile list names them')
    return name, "", built_in.read_text(encoding="utf-8")


def _load(shown: str, path: str, text: str, name: str) -> Sandbox:
    reader = _Reader()
    reader.load(shown, path, text, name)
    return _sandbox(reader)


def _sandbox(reader: "_Reader") -> Sandbox:
    for directory, where in reader.create:
        try:
            _make_below(directory)
        except OSError as e:
            raise PolicyError(f"{where}: filesystem.create: {directory}: {e.strerror}") from None
    return Sandbox(**reader.fields)


def _make_below(directory: str) -> None:
    """Makes a directory of the working directory, through no symbolic link."""
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    at = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in pathlib.PurePath(directory).parts:
            try:
                os.mkdir(part, dir_fd=at)
            except FileExistsError:
                pass
            below = os.open(part, flags, dir_fd=at)
            os.close(at)
            at = below
    finally:
        os.close(at)


class _Reader:
    """Reads a profile and what it extends."""

    def __init__(self) -> None:
        self.fields: _Fields = {}
        self.create: List[Tuple[str, str]] = []  # directories, and where each was named
        self._chain: List[str] = []

    def load(self, shown: str, path: str, text: str, name: str) -> None:
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as e:
            at = re.search(r" \(at line (\d+), column (\d+)\)$", str(e))
            where, what = (f":{at[1]}:{at[2]}", str(e)[:at.start()]) if at else ("", str(e))
            raise PolicyError(f"{shown}{where}: {what}") from None
        self.take(data, shown, path, text, name)

    def take(self, data: Mapping[str, Any], shown: str, path: str, text: str, name: str) -> None:
        if shown in self._chain:
            raise PolicyError(f"{shown}: it extends itself: {' extends '.join([*self._chain, shown])}")
        if len(self._chain) == _MOST_DEPTH:
            raise PolicyError(f"{shown}: profiles extend each other deeper than {_MOST_DEPTH}")
        self._chain.append(shown)
        file = _File(data, shown, text)
        if file.faults:
            raise PolicyError("\n".join(fault for _, fault in sorted(file.faults)))
        for base in file.extends:
            try:
                found = _find(base, os.path.dirname(path), bool(path) and base == name)
            except PolicyError as e:
                raise PolicyError(f"{shown}{file.line('', 'extends')[1]}: extends: {e}") from None
            self.load(*found, base)
        self._chain.pop()
        _merge(self.fields, file.fields)
        self.create += file.create


class _File:
    """One profile: its fields and its faults."""

    def __init__(self, data: Mapping[str, Any], shown: str, text: str) -> None:
        self._shown = shown
        self._lines = _lines(text)
        self.fields: _Fields = {}
        self.extends: List[str] = []
        self.create: List[Tuple[str, str]] = []
        self.faults: List[Tuple[int, str]] = []
        for key, value in data.items():
            if key == "description":
                if not isinstance(value, str):
                    self._fault("", key, "description: a string belongs here")
            elif key == "extends":
                self.extends = self._strings("", key, key, value)
            elif key not in _SECTIONS and isinstance(value, dict):
                self._fault("", key, f"there is no section [{key}]; there are {', '.join(_SECTIONS)}")
            elif key not in _SECTIONS or not isinstance(value, dict):
                self._fault("", key, f"unknown key {key}{_near(key)}")
            else:
                for name, inner in value.items():
                    self._take(key, name, inner)

    def line(self, section: str, key: str, item: int = -1) -> Tuple[int, str]:
        """Where a key stands, as a number and as it stands in messages."""
        above, _, last = section.rpartition(".")
        places = (section, key, item), (section, key, -1), (above, last, -1)
        number = next((self._lines[place] for place in places if place in self._lines), 0)
        return number, f":{number}" if number else ""

    def _fault(self, section: str, key: str, problem: str, item: int = -1) -> None:
        number, where = self.line(section, key, item)
        self.faults.append((number, f"{self._shown}{where}: {problem}"))

    def _strings(self, section: str, key: str, full: str, value: Any) -> List[str]:
        if isinstance(value, str):
            return [value]
        if not isinstance(value, list):
            self._fault(section, key, f"{full}: a list of strings belongs here")
            return []
        for i, item in enumerate(value):
            if not isinstance(item, str):
                self._fault(section, key, f"{full}: each item is a string", i)
        return [item for item in value if isinstance(item, str)]

    def _take(self, section: str, key: str, value: Any) -> None:
        full = f"{section}.{key}"
        if full == "filesystem.create":
            for path in self._strings(section, key, full, value):
                if os.path.isabs(path) or ".." in pathlib.PurePath(path).parts or not path:
                    self._fault(section, key, f'{full}: "{path}": a relative path without .. belongs here')
                self.create.append((path, self._shown + self.line(section, key)[1]))
            return
        if full not in _KEYS:
            self._fault(section, key, f"unknown key {full}{_near(full)}")
            return
        field, kind = _KEYS[full]
        problem = _problem(kind, value)
        if problem:
            self._fault(section, key, f"{full}: {problem} belongs here")
        elif kind == "path":
            self.fields[field] = self._expand(section, key, value, -1)
        elif kind == "table":
            for name, text in value.items():
                if isinstance(text, str):
                    self.fields.setdefault(field, {})[name] = self._expand(section, key, text, -1)
                else:
                    self._fault(full, name, f"{full}.{name}: a string belongs here")
        elif isinstance(value, list):
            self._items(section, key, field, kind, value)
        else:
            self.fields[field] = value

    def _items(self, section: str, key: str, field: str, kind: str, value: List[Any]) -> None:
        full = f"{section}.{key}"
        out: List[Any] = []
        for i, item in enumerate(value):
            whole = isinstance(item, int) and not isinstance(item, bool)
            if kind == "numbers" and not whole:
                self._fault(section, key, f"{full}: each item is a whole number", i)
            elif kind != "numbers" and not isinstance(item, str) and not (kind == "ports" and whole):
                self._fault(section, key, f"{full}: each item is a string", i)
            elif kind == "mounts":
                self._mount(section, key, self._expand(section, key, item, i), i)
            elif kind == "paths" and item.startswith("-"):
                path = self._expand(section, key, item[1:], i)
                if os.path.exists(path):
                    out.append(path)
            else:
                out.append(self._expand(section, key, item, i) if kind == "paths" else item)
        if kind != "mounts":
            self.fields[field] = out

    def _mount(self, section: str, key: str, spec: str, item: int) -> None:
        virtual, _, host = spec.partition(":")
        name = "fs_mount"
        if host.endswith(":ro"):
            name, host = "fs_mount_ro", host[:-3]
        elif host.endswith(":rw"):
            host = host[:-3]
        if not virtual or not host:
            self._fault(section, key, f'{section}.{key}: "{spec}": write VIRTUAL:HOST, perhaps with :ro', item)
            return
        self.fields.setdefault(name, {})[virtual] = host

    def _expand(self, section: str, key: str, text: str, item: int) -> str:
        problem: List[str] = []

        def put(found: "re.Match[str]") -> str:
            if found[0] == "$$":
                return "$"
            if found[1] == "PWD" and (f"{section}.{key}" == "program.env" or not _holds_home()):
                return os.getcwd()
            if found[1] == "HOME" and os.path.isabs(os.environ.get("HOME", "")):
                return os.environ["HOME"]
            if found[1] == "HOME":
                problem.append("HOME is not set to an absolute path")
            elif found[1] == "PWD":
                problem.append("the working directory holds your home; use a directory of the command's own")
            elif found[1] is None:
                problem.append("there are ${PWD} and ${HOME}; a $ itself is written $$")
            else:
                problem.append(f"there are ${{PWD}} and ${{HOME}}, no ${{{found[1]}}}")
            return ""

        out = _VARIABLE.sub(put, text)
        if problem:
            self._fault(section, key, f'{section}.{key}: "{text}": {problem[0]}', item)
        return out


def _problem(kind: str, value: Any) -> Optional[str]:
    """What belongs where a value of a wrong type stands."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    fits, what = {
        "boolean": (isinstance(value, bool), "true or false"),
        "text": (isinstance(value, str), "a string"),
        "path": (isinstance(value, str), "a string"),
        "size": (whole or isinstance(value, str), 'a size such as "512M", or a number of bytes,'),
        "integer": (whole or isinstance(value, str), "a whole number"),
        "seconds": (whole or isinstance(value, float), "a number of seconds"),
        "table": (isinstance(value, dict), "a table of strings"),
    }.get(kind, (isinstance(value, list), "a list"))
    return None if fits else what


def _holds_home() -> bool:
    """Whether a profile that grants the working directory would grant the home."""
    here, home = os.path.realpath(os.getcwd()), os.environ.get("HOME", "")
    return here == "/" or (home != "" and os.path.exists(home) and f"{os.path.realpath(home)}/".startswith(f"{here}/"))


def _near(full: str) -> str:
    section, _, key = full.rpartition(".")
    for known, (field, _) in _KEYS.items():
        where, _, name = known.partition(".")
        if key in (name, field):
            return f"; it is {name} in [{where}]"
    here = [known.partition(".")[2] for known in _KEYS if known.startswith(f"{section}.")]
    if not here:
        return ""
    if section == "filesystem":
        here.append("create")
    return f"; [{section}] has {', '.join(here)}"


def _lines(text: str) -> Dict[Tuple[str, str, int], int]:
    """The lines of (section, key, number of the item, -1 for the key itself): tomllib
    tells none. It is right for what people write, one key or item a line."""
    out: Dict[Tuple[str, str, int], int] = {}
    section, key, item, depth = "", "", 0, 0
    for number, line in enumerate(text.splitlines(), 1):
        bare = re.sub(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'', "S", line).split("#")[0]
        if depth == 0:
            header = re.match(r"\s*\[+\s*([\w.\"' -]+?)\s*\]", line.split("#")[0])
            if header:
                section = header[1]
                first, _, inner = section.partition(".")
                out.setdefault(("", first, -1), number)
                out.setdefault((first, inner, -1), number)
                continue
            start = re.match(r"\s*([\w.-]+)\s*=", bare)
            if not start:
                continue
            before, _, last = start[1].rpartition(".") if not section else (section, "", start[1].split(".")[0])
            key, item = last, 0
            home = before
            out.setdefault((home, key, -1), number)
            out.setdefault(("", home or key, -1), number)
            inline = re.match(r"\s*[\w.-]+\s*=\s*\{(.*)", bare)
            if inline and not section:
                for name in re.findall(r"([\w-]+)\s*=", inline[1]):
                    out.setdefault((key, name, -1), number)
            bare = bare[start.end():]
        for token in re.findall(r"[\[\]{},]|[^\s\[\]{},]+", bare):
            if token in "[{":
                depth += 1
            elif token in "]}":
                depth -= 1
            elif token == ",":
                item += depth == 1
            elif depth == 1:
                out.setdefault((home, key, item), number)
    return out
