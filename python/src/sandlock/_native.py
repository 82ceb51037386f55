"""Objects of the library behind a :class:`Sandbox`: a built policy, a run of it, the
bridge to a ``policy_fn``. Each is freed once, and only by the process that made it."""

from __future__ import annotations

import ctypes
import itertools
import os
import threading
from typing import Any, Dict, List, Optional, Sequence, Tuple

from . import _lib
from .events import DENY, PolicyContext, PolicyFn, SyscallEvent, verdict
from .exceptions import ForkedError, PolicyError, SandboxError

_CATEGORIES = ("file", "network", "process", "memory")


class Callback:
    """A ``policy_fn`` that the library may call; the first exception is kept."""

    _ids = itertools.count(1)
    # What the library holds is the id. An entry goes when the library drops it, which
    # may be after the sandbox is gone: a slow function is not waited for.
    live: Dict[int, "Callback"] = {}

    def __init__(self, fn: PolicyFn) -> None:
        self.fn = fn
        self.id = next(self._ids)
        self.error: Optional[BaseException] = None
        self._lock = threading.Lock()
        self.live[self.id] = self

    def decide(self, event: Any, ctx: Optional[int]) -> int:
        try:
            return verdict(self.fn(_event(event), PolicyContext(ctx)))
        except BaseException as e:  # whatever it is, it may not reach C
            with self._lock:
                self.error = self.error or e
            return DENY

    def take_error(self) -> Optional[BaseException]:
        with self._lock:
            error, self.error = self.error, None
        return error


def _event(e: Any) -> SyscallEvent:
    argv: Optional[Tuple[str, ...]] = None
    if e.argv:
        argv = tuple(os.fsdecode(e.argv[i]) for i in range(e.argc))
    return SyscallEvent(
        syscall=e.syscall.decode(),
        category=_CATEGORIES[e.category] if e.category < len(_CATEGORIES) else str(e.category),
        pid=e.pid,
        parent_pid=e.parent_pid,
        host=e.host.decode() if e.host else None,
        port=e.port,
        argv=argv,
        denied=bool(e.denied),
    )


def _decide(user_data: Optional[int], event: Any, ctx: Optional[int], out: Any) -> None:
    callback = Callback.live.get(user_data or 0)
    if callback is not None:
        out[0] = callback.decide(event[0], ctx)


def _drop(user_data: Optional[int]) -> None:
    Callback.live.pop(user_data or 0, None)


# One of each for the life of the process: a callback that ctypes has collected while C
# still calls it is a crash.
_DECIDE = _lib.POLICY_CALLBACK(_decide)
_DROP = _lib.DROP(_drop)


class _Owned:
    """A pointer of the library, and the process that it belongs to."""

    def __init__(self) -> None:
        self._pointer: Optional[int] = None
        self._generation = _lib.generation
        self._lock = threading.Lock()

    @property
    def forked(self) -> bool:
        return self._generation != _lib.generation

    @property
    def pointer(self) -> int:
        if self.forked:
            raise ForkedError("this object belongs to the process that made it, not to its forked child")
        if self._pointer is None:
            raise SandboxError("this object was freed")
        return self._pointer

    def _take(self) -> Optional[int]:
        if self.forked:
            return None
        with self._lock:
            pointer, self._pointer = self._pointer, None
        return pointer


class Policy(_Owned):
    """A built policy. Raises PolicyError with every fault."""

    def __init__(self, document: str, fn: Optional[PolicyFn]) -> None:
        super().__init__()
        self.callback: Optional[Callback] = None
        lib = _lib.lib()
        data = document.encode("ascii")
        builder = lib.sandlock_sandbox_builder_json(lib.sandlock_sandbox_builder_new(), data, len(data))
        if fn is not None:
            self.callback = Callback(fn)
            builder = lib.sandlock_sandbox_builder_policy_callback(builder, _DECIDE, self.callback.id, _DROP)
        message = ctypes.c_void_p()
        self._pointer = lib.sandlock_sandbox_build(builder, None, ctypes.byref(message))
        if not self._pointer:
            raise PolicyError(_lib.take_string(message.value) or _lib.last_error())

    def free(self) -> None:
        pointer = self._take()
        if pointer:
            _lib.lib().sandlock_sandbox_free(pointer)


class StartError(Exception):
    """The command could not be started."""


def argv_array(argv: Sequence[bytes]) -> Any:
    return (ctypes.c_char_p * len(argv))(*argv)


class Run(_Owned):
    """One run: parked until it is started, or started and ``stepped`` by us. Raises
    StartError."""

    def __init__(self, policy: Policy, name: Optional[str], argv: List[bytes], stdin: int, stepped: bool) -> None:
        super().__init__()
        self.policy, self.stepped = policy, stepped
        lib = _lib.lib()
        self._pointer = (lib.sandlock_spawn if stepped else lib.sandlock_create_stdin)(
            policy.pointer, os.fsencode(name) if name is not None else None, argv_array(argv), len(argv), stdin
        )
        if not self._pointer:
            raise StartError(_lib.last_error())

    def call(self, name: str, *args: int) -> Any:
        return getattr(_lib.lib(), "sandlock_" + name)(self.pointer, *args)

    def free(self) -> None:
        pointer = self._take()
        if pointer:
            _lib.lib().sandlock_handle_free(pointer)
