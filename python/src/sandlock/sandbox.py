"""A policy, and the runs of it."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import logging
import math
import operator
import os
import select
import threading
import time
import weakref
from types import TracebackType
from typing import Any, Dict, List, Mapping, Optional, Sequence, Type, Union

from . import _lib
from ._native import Policy, Run, StartError, argv_array
from .events import PolicyFn
from .exceptions import CallbackError, PolicyError
from .grammar import parse_memory_size, parse_ports
from .result import ExitReason, Result, take_result

__all__ = ["Sandbox", "Result", "ExitReason", "parse_ports", "parse_memory_size"]

Arg = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
Path = Arg

_log = logging.getLogger("sandlock")
_DEFAULT_MAX_OUTPUT = 64 << 20


def _check_name(name: str) -> None:
    problem = ""
    if not isinstance(name, str) or not name:
        problem = "a name is a string that is not empty"
    elif "\0" in name or "/" in name:
        problem = "a name holds no NUL and no /"
    elif name in (".", ".."):
        problem = "a name is not . or .."
    elif len(os.fsencode(name)) > 64:
        problem = "a name has at most 64 bytes"
    if problem:
        raise ValueError(f"name {name!r}: {problem}")


class _Owned:
    """The library's objects that a Sandbox has, apart from it so that they can be freed
    when it is gone."""

    def __init__(self) -> None:
        self.run: Optional[Run] = None
        self.policy: Optional[Policy] = None

    def free(self) -> None:
        if self.run is not None:
            self.run.free()
        if self.policy is not None:
            self.policy.free()


@dataclasses.dataclass
class Sandbox:
    """What a command may do, and the way to run it. Everything is denied unless granted.

    The fields can be edited between runs; each run takes them as they are then. A wrong
    value is a :class:`PolicyError` of the run, with every fault at once. A field whose
    text says "not built yet" is refused when it is set.

    One object runs one command at a time; use several objects, from as many threads as
    you like, for more. As a context manager it kills what still runs at the end.
    """

    # ---- files
    fs_readable: Sequence[Path] = ()
    """Paths beneath which reading, listing and executing is allowed. Symbolic links in
    them are followed once, at the start. A path that does not exist then is an error of
    the start, but for /lib, /lib64, /bin and /sbin."""
    fs_writable: Sequence[Path] = ()
    """Paths beneath which also writing, creating and removing is allowed."""
    fs_executable: Optional[Sequence[Path]] = None
    """When given, only what lies beneath these paths can be executed. It has to be
    readable too, and so does its dynamic loader, which must lie beneath them as well."""
    fs_denied: Sequence[Path] = ()
    """Not built yet."""
    workdir: Optional[Path] = None
    """Not built yet."""
    cwd: Optional[Path] = None
    """Working directory of the command; without it, that of the host. One that does not
    exist is an error of the start."""
    chroot: Optional[Path] = None
    """Not built yet."""
    fs_mount: Mapping[Path, Path] = dataclasses.field(default_factory=dict)
    """Not built yet."""
    fs_mount_ro: Mapping[Path, Path] = dataclasses.field(default_factory=dict)
    """Not built yet."""
    fs_storage: Optional[Path] = None
    """Not built yet."""
    max_disk: Union[None, int, str] = None
    """Not built yet."""
    on_exit: Optional[str] = None
    """Not built yet."""
    on_error: Optional[str] = None
    """Not built yet."""
    unix_allow: Sequence[Path] = ()
    """Not built yet."""

    # ---- network
    net_allow: Sequence[str] = ()
    """Outbound rules, ``tcp://:PORT[,PORT…]``. Without any there is no network at all:
    no network socket can be made. Other forms are not built yet."""
    net_deny: Sequence[str] = ()
    """Not built yet."""
    net_allow_bind: Sequence[Union[int, str]] = ()
    """TCP ports that may be bound: ``N``, ``"a,b"``, ``"lo-hi"``, or ``"*"`` alone."""
    net_deny_bind: Sequence[Union[int, str]] = ()
    """Not built yet."""
    port_remap: bool = False
    """Not built yet."""
    http_allow: Sequence[str] = ()
    """Not built yet."""
    http_deny: Sequence[str] = ()
    """Not built yet."""
    http_ports: Sequence[int] = ()
    """Not built yet."""
    http_ca: Optional[Path] = None
    """Not built yet."""
    http_key: Optional[Path] = None
    """Not built yet."""
    http_inject_ca: Sequence[Path] = ()
    """Not built yet."""
    http_ca_out: Optional[Path] = None
    """Not built yet."""
    credentials: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Not built yet."""
    http_auth: Sequence[str] = ()
    """Not built yet."""

    # ---- limits
    max_memory: Union[None, int, str] = None
    """Not built yet."""
    max_processes: int = 64
    """Not enforced yet; another value than the default is refused."""
    max_open_files: Optional[int] = None
    """RLIMIT_NOFILE, soft and hard, at least 1, never above the inherited limits."""
    max_cpu: Optional[int] = None
    """Not built yet."""
    cpu_cores: Optional[Sequence[int]] = None
    """Cores that the command may run on, by number. One that does not exist is an error
    of the start."""
    num_cpus: Optional[int] = None
    """Not built yet."""
    gpu_devices: Optional[Sequence[int]] = None
    """Not built yet."""
    no_coredump: bool = False
    """No core dumps: RLIMIT_CORE 0."""
    max_output: Union[int, str] = _DEFAULT_MAX_OUTPUT
    """Captured bytes kept per stream, an int or a size such as "64M". The rest is read
    and dropped, and the result says so."""

    # ---- determinism
    random_seed: Optional[int] = None
    """Not built yet."""
    time_start: Any = None
    """Not built yet."""
    no_randomize_memory: bool = False
    """No address space layout randomisation: ADDR_NO_RANDOMIZE."""
    no_huge_pages: bool = False
    """No transparent huge pages: PR_SET_THP_DISABLE."""
    deterministic_dirs: bool = False
    """Not built yet."""

    # ---- environment, identity, system calls
    clean_env: bool = False
    """Keep only PATH, HOME, USER, TERM and LANG of the environment."""
    env: Union[Mapping[str, Arg], Mapping[bytes, Arg]] = dataclasses.field(default_factory=dict)
    """Variables to set, after ``clean_env``."""
    uid: Optional[int] = None
    """Not built yet."""
    gid: Optional[int] = None
    """Not built yet."""
    extra_deny_syscalls: Sequence[str] = ()
    """System calls, or the group ``sysv_ipc``, that fail with EPERM beside the default
    list. An unknown name is an error."""
    extra_allow_syscalls: Sequence[str] = ()
    """System calls of the default deny list, or the groups ``sysv_ipc`` and ``debug``,
    that are allowed. Those that would undo the sandbox are refused, with the reason."""
    allow_degraded: Sequence[Union[int, str]] = ()
    """Protections (:class:`Protection`, or their names) that may be missing here."""
    disable: Sequence[Union[int, str]] = ()
    """Protections that are off on every kernel."""

    # ---- of a run
    name: Optional[str] = None
    """Name of the run, at most 64 bytes, without ``/``; None makes one. Two live runs
    can't have the same."""
    policy_fn: Optional[PolicyFn] = None
    """``policy_fn(event, ctx)`` decides each :class:`SyscallEvent` before it happens. It
    returns None, False or 0 to allow; True or -1 to deny with EPERM; a positive number
    to deny with that errno; "audit" or -2 to allow and log. Anything else denies, and
    so does an exception, which :meth:`run` and :meth:`wait` raise as CallbackError when
    the run is over. It is called on a thread of the library, one event at a time."""
    policy_events: Optional[Sequence[str]] = None
    """The system calls that ``policy_fn`` is asked about: None is all that are built,
    which are execve and execveat. What is not asked about runs at full speed."""
    policy_timeout: float = 30.0
    """Seconds after which a ``policy_fn`` that has not answered has denied; 0 waits for
    ever."""
    argv_safety: str = "strict"
    """Not built yet, but for its default."""
    init_fn: Any = None
    """Not built yet."""
    work_fn: Any = None
    """Not built yet."""
    no_supervisor: bool = False
    """Not built yet."""
    control_socket: bool = True
    """Not built yet, but for its default."""

    def __post_init__(self) -> None:
        if self.name is not None:
            _check_name(self.name)
        self._lock = threading.Lock()  # guards what follows
        self._busy = False
        self._owned = _Owned()
        # What runs when this object goes is killed.
        weakref.finalize(self, self._owned.free)
        self._built_from: Any = None

    # ---- the policy ------------------------------------------------------

    def _document(self) -> str:
        """The fields that differ from their defaults, as the library reads them."""
        out: Dict[str, Any] = {}
        for field in dataclasses.fields(self):
            if field.name in _OF_A_RUN:
                continue
            value = getattr(self, field.name)
            default = field.default if field.default_factory is dataclasses.MISSING else {}
            if value != default and not (default == () and value is not None and not isinstance(value, str) and len(value) == 0):
                out[field.name] = _plain(value)
        for name in ("init_fn", "work_fn"):
            if getattr(self, name) is not None:
                out[name] = "set"
        try:
            return json.dumps(out, ensure_ascii=True, allow_nan=False)
        except (TypeError, ValueError) as e:
            raise PolicyError(f"invalid sandbox: {e}") from None

    def _ensure_native(self) -> Policy:
        """The built policy of the fields as they are. PolicyError with every fault."""
        policy, fields = self._owned.policy, _fields(self)
        # The types too: True is not 1.
        if policy is None or policy.forked or (fields, tuple(map(type, fields))) != self._built_from:
            if self.policy_fn is not None and not callable(self.policy_fn):
                raise PolicyError(f"invalid sandbox: policy_fn: {self.policy_fn!r}: a callable is needed")
            new = Policy(self._document(), self.policy_fn)
            if policy is not None:
                policy.free()
            # Copies, since a list may be changed in place.
            self._owned.policy, self._built_from = new, (tuple(map(copy.copy, fields)), tuple(map(type, fields)))
            return new
        return policy

    # ---- running -----------------------------------------------------------

    def run(
        self,
        cmd: Sequence[Arg],
        timeout: Optional[float] = None,
        *,
        text: Optional[bool] = None,
        encoding: Optional[str] = None,
        errors: Optional[str] = None,
        input: Union[None, str, bytes] = None,
    ) -> Result:
        """Runs ``cmd``, waits, and returns its result.

        ``timeout`` in seconds, None or 0 for none; when it is over the sandbox is killed,
        the reason is TIMEOUT and the result has the output up to then. ``text``,
        ``encoding`` and ``errors`` make the outputs str, as in :mod:`subprocess`.
        ``input`` is what the command reads from its standard input, which is /dev/null
        without it.

        A command that can't be started is no exception: ``success`` is False, ``error``
        says why. PolicyError: the policy can't be built. ValueError, TypeError: ``cmd`` is
        no command line. RuntimeError: this object runs a command already. CallbackError:
        ``policy_fn`` raised. Ctrl-C kills the sandbox and is raised at once.
        """
        limit = _seconds(timeout)
        deadline = None if limit is None else time.monotonic() + limit
        text_mode = _TextMode(text, encoding, errors)
        data = text_mode.encode(input) if isinstance(input, str) else input
        try:
            self._create(cmd, data, stepped=True)
        except StartError as e:
            self._raise_callback_error()
            return text_mode.decode(Result(success=False, exit_code=-1, error=str(e)))
        return text_mode.decode(self._collect(deadline))

    def create(self, cmd: Sequence[Arg]) -> None:
        """Confines a child and parks it before its exec; :meth:`start` releases it.
        RuntimeError: "sandlock_create failed: …", or this object runs a command already.
        PolicyError: the policy can't be built."""
        try:
            self._create(cmd, None, stepped=False)
        except StartError as e:
            raise RuntimeError(f"sandlock_create failed: {e}") from None

    def start(self) -> None:
        """Releases the child that :meth:`create` parked."""
        run = self._owned.run
        if run is None:
            raise RuntimeError("sandbox has not been created")
        if run.call("start") != 0:
            raise RuntimeError(f"sandlock_start failed: {_lib.last_error()}")

    def spawn(self, cmd: Sequence[Arg]) -> None:
        """:meth:`create` and :meth:`start`."""
        self.create(cmd)
        self.start()

    def wait(self, timeout: Optional[float] = None) -> Result:
        """Waits for what :meth:`start` started and returns its result. ``timeout`` and
        the exceptions are those of :meth:`run`. RuntimeError: "sandbox is not running"."""
        if self._owned.run is None:
            raise RuntimeError("sandbox is not running")
        limit = _seconds(timeout)
        return self._collect(None if limit is None else time.monotonic() + limit)

    def run_interactive(self, cmd: Sequence[Arg]) -> int:
        """Runs ``cmd`` on the host's own standard streams and gives it the terminal, if
        they are one. Returns its exit code, -1 when it could not be started or did not
        exit by itself; why is logged."""
        argv = _argv(cmd)
        policy = self._ensure_native()
        with self._lock:
            if self._busy:
                raise RuntimeError("sandbox is already running")
            self._busy = True
        try:
            name = os.fsencode(self.name) if self.name is not None else None
            code: int = _lib.lib().sandlock_run_interactive(policy.pointer, name, argv_array(argv), len(argv))
            if code < 0 and _lib.last_error():
                _log.warning("%s", _lib.last_error())
        finally:
            with self._lock:
                self._busy = False
        self._raise_callback_error()
        return code

    def kill(self) -> None:
        """SIGKILL to every task of the sandbox. It may come from any thread."""
        self._running().call("handle_kill")

    def pause(self) -> None:
        """SIGSTOP to every task of the sandbox."""
        if self._running().call("handle_pause") != 0:
            raise RuntimeError("sandbox is not running")

    def resume(self) -> None:
        """SIGCONT to every task of the sandbox."""
        if self._running().call("handle_resume") != 0:
            raise RuntimeError("sandbox is not running")

    @property
    def pid(self) -> Optional[int]:
        """Process id of the command, None when nothing runs."""
        run = self._owned.run
        return None if run is None else int(run.call("handle_pid")) or None

    @property
    def is_running(self) -> bool:
        """Whether a command was created and is not over."""
        run = self._owned.run
        if run is None or run.forked:
            return False
        return run.stepped or not _readable(run.call("handle_pollfd"), 0)

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._end()

    # ---- within ----------------------------------------------------------------

    def _running(self) -> Run:
        run = self._owned.run
        if run is None:
            raise RuntimeError("sandbox is not running")
        return run

    def _create(self, cmd: Sequence[Arg], data: Optional[bytes], stepped: bool) -> None:
        argv = _argv(cmd)
        if self.name is not None:
            _check_name(self.name)
        policy = self._ensure_native()
        with self._lock:
            if self._owned.run is not None and self._owned.run.forked:
                self._owned.run, self._busy = None, False  # the parent's, not ours
            if self._busy:
                raise RuntimeError("sandbox is already running")
            self._busy = True
        stdin = -1
        try:
            if data is not None:
                stdin = _stdin_file(data)
            run = Run(policy, self.name, argv, stdin, stepped)
            self._owned.run = run
        except BaseException:
            with self._lock:
                self._busy = False
            raise
        finally:
            if stdin >= 0:
                os.close(stdin)

    def _collect(self, deadline: Optional[float]) -> Result:
        run = self._running()
        try:
            if _over(run, deadline):
                pointer = run.call("handle_wait")
            else:
                pointer = run.call("handle_wait_timeout", 1)
            if pointer:
                result = take_result(pointer)
            else:
                result = Result(success=False, exit_code=-1, error=_lib.last_error())
        finally:
            self._end()
        for line in result.log:
            _log.warning("%s", line)
        self._raise_callback_error()
        return result

    def _raise_callback_error(self) -> None:
        policy = self._owned.policy
        error = policy.callback.take_error() if policy is not None and policy.callback is not None else None
        if error is not None:
            raise CallbackError(f"policy_fn raised {type(error).__name__}, which denied the event: {error}") from error

    def _end(self) -> None:
        """Kills what runs and forgets it."""
        with self._lock:
            run, self._owned.run = self._owned.run, None
        try:
            if run is not None:
                run.free()
        finally:
            with self._lock:
                self._busy = False


_OF_A_RUN = frozenset(("name", "policy_fn", "init_fn", "work_fn"))
# What the built policy depends on.
_fields = operator.attrgetter(*(field.name for field in dataclasses.fields(Sandbox) if field.name != "name"))


def _plain(value: Any) -> Any:
    """The value as JSON can hold it. Bytes and paths become what os.fsdecode makes of
    them; its lone surrogates stand for raw bytes on the other side too."""
    if isinstance(value, (bytes, os.PathLike)):
        return os.fsdecode(value)
    if isinstance(value, Mapping):
        return {_plain(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset, range)):
        return [_plain(v) for v in value]
    return value


def _argv(cmd: Sequence[Arg]) -> List[bytes]:
    if isinstance(cmd, (str, bytes, os.PathLike)):
        raise TypeError(f"a command line is a list of arguments, not {cmd!r}: there is no shell")
    argv = [os.fsencode(a) for a in cmd]
    if not argv:
        raise ValueError("the command line is empty")
    for a in argv:
        if b"\0" in a:
            raise ValueError(f"embedded NUL in argument {a!r}")
    return argv


def _seconds(timeout: Optional[float]) -> Optional[float]:
    """The limit, None for none. ValueError for what is no duration."""
    if timeout is None or timeout == 0:
        return None
    if not timeout > 0 or math.isnan(timeout):
        raise ValueError(f"timeout {timeout!r}: seconds are not negative")
    return None if math.isinf(timeout) else timeout


def _readable(fd: int, deadline: Optional[float]) -> bool:
    """Waits until fd is readable, None for ever; 0 only asks. Here and not in the
    library, since a thread in a foreign call does not see Ctrl-C."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while True:
        ms = None
        if deadline is not None:
            # poll takes a C int; a longer wait is made of several.
            ms = min(math.ceil(max(0.0, deadline - time.monotonic()) * 1000), 2**31 - 1)
        if poll.poll(ms):
            return True
        if deadline is not None and time.monotonic() >= deadline:
            return False


def _over(run: Run, deadline: Optional[float]) -> bool:
    """Waits until the run is over, and reports whether it is."""
    if not run.stepped:
        return _readable(run.call("handle_pollfd"), deadline)
    fd = run.call("handle_stepfd")
    while _readable(fd, deadline):
        if run.call("handle_step") != 0:
            return True
    return False


def _stdin_file(data: bytes) -> int:
    """A descriptor from which data can be read, and that can't be written to."""
    with open(os.memfd_create("sandlock-stdin", os.MFD_CLOEXEC), "wb", buffering=0) as memory:
        view = memoryview(data)
        while view:
            view = view[memory.write(view) or 0:]
        return os.open(f"/proc/self/fd/{memory.fileno()}", os.O_RDONLY | os.O_CLOEXEC)


class _TextMode:
    """text=, encoding= and errors= of :mod:`subprocess`."""

    def __init__(self, text: Optional[bool], encoding: Optional[str], errors: Optional[str]) -> None:
        self.on = bool(text or encoding or errors)
        self.encoding, self.errors = encoding, errors

    def encode(self, data: str) -> bytes:
        if not self.on:
            raise TypeError("input is str: give text=True or an encoding, or bytes")
        buffer = io.BytesIO()
        with io.TextIOWrapper(buffer, self.encoding, self.errors, newline="") as wrapper:
            wrapper.write(data)
            wrapper.flush()
            return buffer.getvalue()

    def decode(self, result: Result) -> Result:
        if self.on:
            result.stdout, result.stderr = self._text(result.stdout), self._text(result.stderr)
        return result

    def _text(self, data: bytes) -> str:
        return io.TextIOWrapper(io.BytesIO(data), self.encoding, self.errors).read()
