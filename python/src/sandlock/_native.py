"""Objects of the library behind a :class:`Sandbox`: a built policy, a run of it, the
bridge to a ``policy_fn``. Each is freed once, and only by the process that made it."""

from __future__ import annotations

import ctypes
import itertools
import json
import math
import os
import select
import sys
import threading
import time
import weakref
from typing import Any, Dict, Optional, Sequence, Set, Tuple

from . import _lib
from .events import CATEGORIES, DENY, PolicyContext, PolicyFn, SyscallEvent, verdict
from .exceptions import ForkedError, PolicyError, SandboxError
from .result import Result, result_of


class Callback:
    """A ``policy_fn`` that the library may call while its Sandbox lives; the first
    exception is kept."""

    _ids = itertools.count(1)
    # What the library holds is the id. Weak, since the function often knows its Sandbox,
    # and all that is reachable from here would live for ever.
    _live: "weakref.WeakValueDictionary[int, Callback]" = weakref.WeakValueDictionary()

    def __init__(self, fn: PolicyFn) -> None:
        self.fn = fn
        self.id = next(self._ids)
        self.error: Optional[BaseException] = None
        self._lock = threading.Lock()
        self._threads: Set[int] = set()
        self._live[self.id] = self

    @classmethod
    def of(cls, id: Optional[int]) -> Optional["Callback"]:
        return cls._live.get(id or 0)

    def decide(self, event: Any, ctx: Optional[int]) -> int:
        context, answer = PolicyContext(ctx), DENY
        # More than one when that of a run before has not returned yet.
        self._threads.add(threading.get_ident())
        try:
            answer = verdict(self.fn(_event(event), context))
        except BaseException as e:  # whatever it is, it may not reach C
            with self._lock:
                if self.error is None:
                    self.error = e
        finally:
            self._threads.discard(threading.get_ident())
        return context._close(answer)

    def is_caller(self) -> bool:
        """Whether it is called on the calling thread."""
        return threading.get_ident() in self._threads

    def take_error(self) -> Optional[BaseException]:
        with self._lock:
            error, self.error = self.error, None
        return error


_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()  # as os.fsdecode


def _event(e: Any) -> SyscallEvent:
    argv = e.argv
    # Past the __init__ of a frozen dataclass, which takes half as long as all the rest of
    # a decision here.
    event = object.__new__(SyscallEvent)
    event.__dict__.update(
        syscall=e.syscall.decode(),
        category=CATEGORIES[e.category] if e.category < len(CATEGORIES) else str(e.category),
        pid=e.pid,
        parent_pid=e.parent_pid,
        host=e.host.decode() if e.host else None,
        port=e.port,
        argv=tuple([a.decode(_ENCODING, _ERRORS) for a in argv[: e.argc]]) if argv else None,
        denied=e.denied,
    )
    return event


class _Kept(threading.local):
    """Says of a thread that the library calls from that it keeps its thread state."""

    state = False


_kept = _Kept()


def _decide(user_data: Optional[int], event: Any, ctx: Optional[int], out: Any) -> None:
    # ctypes takes a thread state for each call and gives it back, which makes and deletes
    # one each time (PyGILState_Ensure). One more that is not given back keeps it, for as
    # long as the thread lives or the interpreter does.
    if not _kept.state:
        ctypes.pythonapi.PyGILState_Ensure()
        _kept.state = True
    # Nobody there: the verdict stays what it is, a denial.
    callback = Callback.of(user_data)
    if callback is not None:
        out[0] = callback.decide(event[0], ctx)


# One for the life of the process: a callback that ctypes has collected while C still
# calls it is a crash.
_DECIDE = _lib.POLICY_CALLBACK(_decide)


class _Object:
    """An object of the library, once it was made and until it is freed, and the process
    that it belongs to. The library writes the pointer into ``_slot`` itself where it
    can: a Ctrl-C can fall between a call and the assignment of what it returned."""

    _free = ""

    def __init__(self) -> None:
        self._slot = ctypes.c_void_p()
        self._generation = _lib.generation

    @property
    def forked(self) -> bool:
        return self._generation != _lib.generation

    @property
    def live(self) -> bool:
        return bool(self._slot)

    def check(self) -> None:
        if self.forked:
            raise ForkedError("this object belongs to the process that made it, not to its forked child")

    @property
    def pointer(self) -> int:
        self.check()
        pointer = self._slot.value
        if pointer is None:
            raise SandboxError("this object was freed")
        return pointer

    def free(self) -> None:
        """Frees it, if it is there. A second free of a handle is an error that nobody
        asks about."""
        if self._slot and not self.forked:
            getattr(_lib.lib(), self._free)(self._slot.value)
        self._slot.value = None


class Policy(_Object):
    """A built policy. Raises PolicyError with every fault."""

    _free = "sandlock_sandbox_free"

    def __init__(self, document: str, callback: Optional[Callback]) -> None:
        super().__init__()
        self.judged = callback is not None
        lib = _lib.lib()
        data = document.encode("ascii")
        builder = lib.sandlock_sandbox_builder_json(lib.sandlock_sandbox_builder_new(), data, len(data))
        if callback is not None:
            builder = lib.sandlock_sandbox_builder_policy_callback(builder, _DECIDE, callback.id, None)
        message = ctypes.c_void_p()
        self._slot.value = lib.sandlock_sandbox_build(builder, None, ctypes.byref(message))
        if not self._slot:
            raise PolicyError(_lib.take_string(message.value) or _lib.last_error())


class StartError(Exception):
    """The command could not be started. ``errno`` is 0 when no system call says why."""

    def __init__(self) -> None:
        super().__init__(_lib.last_error())
        self.errno = _lib.last_errno()


class Run(_Object):
    """One run of a policy. ``stepped``: whoever made it collects it; else it is parked
    until it is started, and collected by the library."""

    _free = "sandlock_handle_free"
    _PARKED, _INTERACTIVE, _WATCHED, _TERMINAL = 1, 2, 4, 8

    def __init__(self, stepped: bool) -> None:
        super().__init__()
        self.stepped = self.collecting = stepped
        self.judged = False
        self.grace = 0.0

    def begin(
        self,
        policy: Policy,
        name: Optional[str],
        argv: Sequence[bytes],
        files: Sequence[Tuple[int, int]],
        grace: float,
        interactive: bool = False,
        watched: bool = False,
        executable: Optional[bytes] = None,
        terminal: bool = False,
    ) -> None:
        """Starts or parks the command, on the host's streams (``interactive``) or with these
        descriptors under these numbers, and captured output. ``watched``: :meth:`executes`
        is to be called. ``terminal``: descriptor 0 is one that is to be the command's.
        Raises StartError."""
        self.judged, self.grace = policy.judged, grace
        flags = 0 if self.stepped else self._PARKED
        flags |= self._INTERACTIVE if interactive else 0
        flags |= self._WATCHED if watched else 0
        flags |= self._TERMINAL if terminal else 0
        _lib.lib().sandlock_spawn_files(
            policy.pointer,
            os.fsencode(name) if name is not None else None,
            executable,
            (ctypes.c_char_p * len(argv))(*argv),
            len(argv),
            (_lib.File * len(files))(*(_lib.File(*f) for f in files)),
            len(files),
            flags,
            ctypes.byref(self._slot),
        )
        if not self._slot:
            raise StartError

    def call(self, name: str, *args: int) -> Any:
        return getattr(_lib.lib(), "sandlock_" + name)(self.pointer, *args)

    def ports(self) -> Dict[int, int]:
        text = _lib.take_string(self.call("handle_port_mappings"))
        return {int(port): real for port, real in json.loads(text).items()} if text else {}

    def start(self) -> None:
        if self.call("start") != 0:
            raise StartError

    def executes(self) -> None:
        """Waits until the started command was executed. StartError: it can't be."""
        readable(self.call("handle_execfd"), None)
        self.executed()

    def executed(self) -> None:
        """The same when there is nothing to wait for any more."""
        if self.call("handle_executed") != 1:
            readable(self.call("handle_pollfd"), None)
            self.result()

    def expire(self) -> bool:
        """Ends a run whose time is over, and waits for its grace if it has one: True, and
        that is over too, and this has to be called again."""
        return self.call("handle_expire") == 1 and not self.wait(time.monotonic() + self.grace)

    def result(self) -> Result:
        """Waits. StartError, and the command was not executed."""
        out = NativeResult()
        try:
            if _lib.lib().sandlock_handle_result(self.pointer, 0, ctypes.byref(out._slot)) != 0:
                raise StartError
            return result_of(out.pointer, self.judged)
        finally:
            out.free()

    def wait(self, deadline: Optional[float]) -> bool:
        """Waits until the run is over, and reports whether it is, or the deadline of
        time.monotonic() has passed."""
        if not self.stepped:
            return readable(self.call("handle_pollfd"), deadline)
        fd = self.call("handle_stepfd")
        while readable(fd, deadline):
            if self.call("handle_step") != 0:
                return True
        return False


class NativeResult(_Object):
    _free = "sandlock_result_free"


def milliseconds(deadline: Optional[float]) -> Optional[int]:
    """What is left until a deadline of time.monotonic(), for poll(2), whose C int makes
    several waits of a longer one."""
    return None if deadline is None else min(math.ceil(max(0.0, deadline - time.monotonic()) * 1000), 2**31 - 1)


def readable(fd: int, deadline: Optional[float]) -> bool:
    """Waits until fd is readable, None for ever; 0 only asks. Here and not in the
    library, since a thread in a foreign call does not see Ctrl-C."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while True:
        if poll.poll(milliseconds(deadline)):
            return True
        if deadline is not None and time.monotonic() >= deadline:
            return False
