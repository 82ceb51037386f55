"""The outcome of a run."""

from __future__ import annotations

import ctypes
import dataclasses
import enum
import json
from typing import Any, List, Optional, Tuple

from . import _lib
from .events import CATEGORIES, Denial, ExecRecord, SyscallEvent


class ExitReason(enum.IntEnum):
    """How a run ended."""

    EXITED = 0
    """The command exited by itself; ``exit_code`` is valid."""
    SIGNALED = 1
    """A signal other than SIGKILL ended it; ``signal`` is its number."""
    KILLED = 2
    """SIGKILL ended it: ``kill()``, a verdict, the kernel."""
    TIMEOUT = 3
    """Its time was over, and it was killed."""


@dataclasses.dataclass
class Result:
    """What came of a run. ``stdout`` and ``stderr`` are bytes, or str in text mode.

    ``exit_code`` is -1 unless the reason is EXITED, ``signal`` -1 unless it is SIGNALED.
    ``error`` says why the command could not be started or was ended, None when there
    is nothing to say. ``stdout_truncated`` and ``stderr_truncated`` tell that more than
    ``max_output`` came and was dropped. ``log`` is what the library had to say. ``execs``
    is what became of each exec that ``policy_fn`` was asked about, in that order, when
    ``record_execs`` was set; ``audit`` holds the events that it answered with "audit".
    Both end after 10,000 entries or 16 MiB of arguments.

    ``denials`` are what the sandbox was refused, of what the library decides or sees: what
    Landlock and the seccomp program refuse by themselves only with ``record_denials``. They end after 1,000 or 1 MiB
    of names; ``denials_dropped`` is how many calls were refused beyond that.

    ``user_time`` and ``system_time`` are the seconds of CPU that the tasks took which were
    waited for, ``wall_time`` those from the start of the command to the end of the last
    task; ``max_rss`` is what the largest process held, in bytes. ``processes`` is how many
    there were in all, 0 when ``max_processes`` is unlimited, as nothing counts them then.
    ``limits`` names the limits that were met, of max_processes, max_memory, max_cpu,
    max_output and timeout. ``stages`` are the results of the stages of a pipeline.
    """

    success: bool
    exit_code: int = 0
    stdout: Any = b""
    stderr: Any = b""
    error: Optional[str] = None
    reason: Optional[ExitReason] = None
    signal: int = -1
    stdout_truncated: bool = False
    stderr_truncated: bool = False
    log: Tuple[str, ...] = ()
    execs: Tuple[ExecRecord, ...] = ()
    audit: Tuple[SyscallEvent, ...] = ()
    denials: Tuple[Denial, ...] = ()
    denials_dropped: int = 0
    user_time: float = 0.0
    system_time: float = 0.0
    wall_time: float = 0.0
    max_rss: int = 0
    processes: int = 0
    limits: Tuple[str, ...] = ()
    stages: Tuple["Result", ...] = ()

    @property
    def truncated(self) -> bool:
        """Whether output was dropped because of ``max_output``."""
        return self.stdout_truncated or self.stderr_truncated


def _bytes(accessor: Any, pointer: int) -> bytes:
    length = ctypes.c_size_t()
    at = accessor(pointer, ctypes.byref(length))
    return ctypes.string_at(at, length.value) if at else b""


def _list(text: Optional[bytes]) -> List[Any]:
    return [] if not text or text == b"[]" else list(json.loads(text))


def _argv(argv: Optional[List[str]]) -> Optional[Tuple[str, ...]]:
    return None if argv is None else tuple(argv)


_LIMITS = ("max_processes", "max_memory", "max_cpu", "max_output", "timeout")


def result_of(pointer: int, judged: bool) -> Result:
    """The Python result of the library's; ``judged`` by a ``policy_fn``."""
    lib = _lib.lib()
    cut = lib.sandlock_result_truncated(pointer)
    code = lib.sandlock_result_exit_code(pointer)
    usage = _lib.Usage()
    lib.sandlock_result_usage(pointer, ctypes.byref(usage), ctypes.sizeof(usage))
    log = (lib.sandlock_result_log(pointer) or b"").decode("utf-8", "replace")
    result = Result(
        success=code == 0,
        exit_code=code,
        stdout=_bytes(lib.sandlock_result_stdout_bytes, pointer),
        stderr=_bytes(lib.sandlock_result_stderr_bytes, pointer),
        error=(lib.sandlock_result_error(pointer) or b"").decode("utf-8", "replace") or None,
        reason=ExitReason(lib.sandlock_result_reason(pointer)),
        signal=lib.sandlock_result_signal(pointer),
        stdout_truncated=bool(cut & 1),
        stderr_truncated=bool(cut & 2),
        log=tuple(log.split("\n")) if log else (),
        user_time=usage.user_us / 1e6,
        system_time=usage.system_us / 1e6,
        wall_time=usage.wall_us / 1e6,
        max_rss=usage.max_rss,
        processes=usage.processes,
        limits=tuple(name for bit, name in enumerate(_LIMITS) if usage.limits >> bit & 1) if usage.limits else (),
    )
    denials = _list(lib.sandlock_result_denials(pointer))
    if denials:
        result.denials = tuple(Denial(**d) for d in denials)
        result.denials_dropped = lib.sandlock_result_denials_dropped(pointer)
    if judged:
        result.execs = tuple(
            ExecRecord(e["syscall"], e["pid"], _argv(e["argv"]), e["outcome"])
            for e in _list(lib.sandlock_result_execs(pointer))
        )
        result.audit = tuple(
            SyscallEvent(e["syscall"], CATEGORIES[e["category"]], e["pid"], e["parent_pid"], argv=_argv(e["argv"]))
            for e in _list(lib.sandlock_result_audit(pointer))
        )
    return result
