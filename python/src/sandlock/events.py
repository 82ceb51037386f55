"""What a ``policy_fn`` gets and may answer."""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Optional, Sequence, Tuple, Union

from .exceptions import SandlockError


@dataclasses.dataclass(frozen=True)
class SyscallEvent:
    """Something that the sandbox is about to do. There is no path in it, and there
    will be none: paths belong to the kernel's static rules.

    ``argv`` holds the exact bytes, decoded as ``os.fsdecode`` does; None where there
    is none. ``category`` is "file", "network", "process" or "memory"; ``parent_pid``
    0 means unknown.
    """

    syscall: str
    category: str
    pid: int
    parent_pid: int = 0
    host: Optional[str] = None
    port: int = 0
    argv: Optional[Tuple[str, ...]] = None
    denied: bool = False

    def argv_contains(self, s: str) -> bool:
        """Whether ``s`` is part of any argument."""
        return any(s in arg for arg in self.argv or ())


CATEGORIES = ("file", "network", "process", "memory")


@dataclasses.dataclass(frozen=True)
class ExecRecord:
    """An exec that a ``policy_fn`` was asked about. ``outcome`` is "denied"; "ran";
    "became", when the kernel made something else of it, such as a script's interpreter,
    which is the process's next record; "failed" with the kernel's error; "killed", since
    it had become what was not allowed; "ended", when the task or the sandbox did before;
    "allowed", without its ``argv``, which is None then."""

    syscall: str
    pid: int
    argv: Optional[Tuple[str, ...]]
    outcome: str


class PolicyContext:
    """Changes the policy of the running sandbox from a ``policy_fn``. What its methods
    do is not built yet, and each says so."""

    def __init__(self, ctx_ptr: Optional[int]) -> None:
        self._ctx = ctx_ptr

    def _not_built(self, name: str, needs: str) -> SandlockError:
        return SandlockError(f"PolicyContext.{name} is not built yet: it needs {needs}")

    def restrict_network(self, ips: Sequence[str]) -> None:
        raise self._not_built("restrict_network", "network rules by address")

    def grant_network(self, ips: Sequence[str]) -> None:
        raise self._not_built("grant_network", "network rules by address")

    def restrict_max_memory(self, bytes: int) -> None:
        raise self._not_built("restrict_max_memory", "max_memory")

    def restrict_max_processes(self, n: int) -> None:
        raise self._not_built("restrict_max_processes", "max_processes")

    def restrict_pid_network(self, pid: int, ips: Sequence[str]) -> None:
        raise self._not_built("restrict_pid_network", "network rules by address")

    def deny_path(self, p: str) -> None:
        raise self._not_built("deny_path", "fs_denied")

    def allow_path(self, p: str) -> None:
        raise self._not_built("allow_path", "fs_denied")


Verdict = Union[None, bool, int, str]
PolicyFn = Callable[[SyscallEvent, PolicyContext], Verdict]

ALLOW, DENY, AUDIT = 0, -1, -2


def verdict(answer: Any) -> int:
    """The library's number for what a ``policy_fn`` returned. What is none of the
    known answers denies."""
    if answer is None or answer is False:
        return ALLOW
    if answer is True:
        return DENY
    if isinstance(answer, str):
        return AUDIT if answer == "audit" else DENY
    if isinstance(answer, int) and (answer in (ALLOW, AUDIT) or 0 < answer < 2**31):
        return int(answer)
    return DENY
