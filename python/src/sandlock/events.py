"""What a ``policy_fn`` gets and may answer."""

from __future__ import annotations

import ctypes
import dataclasses
import os
from typing import Any, Callable, Optional, Sequence, Tuple, Union

from . import _lib
from .exceptions import SandlockError

StrPath = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]


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


@dataclasses.dataclass(frozen=True)
class Denial:
    """Something that the sandbox was refused; equal ones are one with a ``count``.

    ``syscall`` is what was called ("fork" for whatever makes processes), ``time`` when that
    was first, in seconds since 1970, and ``pid``, ``command`` and ``exe`` say by which
    process: its name, which it may have chosen itself, and the path of its program. ``path``
    is the object that the call led to, as the host sees it and without a symbolic link in it,
    or the name that is not there; ``protocol`` ("tcp", "udp", "icmp"), ``host`` and ``port``
    the address, of a bind the caller's own; ``argv`` a command line as people read it, cut
    where it is long. None is what is not known, or not applicable.

    ``errno`` is what the call failed with, 0 when the caller was killed. ``rule`` is the
    field of the policy that decided, ``value`` what would allow it there, None when nothing
    in it would, and ``why`` says that in a sentence.
    """

    time: float
    syscall: str
    pid: Optional[int]
    command: Optional[str]
    exe: Optional[str]
    path: Optional[str]
    protocol: Optional[str]
    host: Optional[str]
    port: Optional[int]
    argv: Optional[str]
    errno: int
    errno_name: Optional[str]
    rule: Optional[str]
    value: Optional[str]
    why: str
    count: int


class PolicyContext:
    """Changes the policy of the running sandbox, during the call of the ``policy_fn``
    that gets it: from the next decision on, of any task, until the run is over. Nothing
    becomes wider than the policy that the run was started with, and no grant undoes a
    restriction.

    A method that raises has denied the event, also if the ``policy_fn`` catches what it
    raises, and whatever it returns: one that takes something for restricted does not go
    on allowing. A change that can't be had raises :class:`SandlockError`;
    arguments of a wrong kind are a TypeError or a ValueError.

    What is said of the network is asked at each connect and datagram; connections that are there go on.
    """

    def __init__(self, ctx_ptr: Optional[int]) -> None:
        self._ctx = ctx_ptr
        self._failed = False

    def restrict_network(self, ips: Sequence[str]) -> None:
        """Lets these exact addresses be reached, of those that the policy lets be
        reached; ``[]`` closes the network, and so does a list that is wrong."""
        self._call("restrict_network", lambda: _addresses(ips))

    def grant_network(self, ips: Sequence[str]) -> None:
        """Adds addresses that the policy lets be reached, unless there was a
        :meth:`restrict_network`."""
        self._call("grant_network", lambda: _addresses(ips))

    def restrict_max_memory(self, bytes: int) -> None:
        """Lowers ``max_memory``."""
        self._call("restrict_max_memory", lambda: (_number(bytes, 64),))

    def restrict_max_processes(self, n: int) -> None:
        """Lowers ``max_processes``."""
        self._call("restrict_max_processes", lambda: (_number(n, 32),))

    def restrict_pid_network(self, pid: int, ips: Sequence[str]) -> None:
        """Restricts one process, and those that it starts from then on, besides."""
        self._call("restrict_pid_network", lambda: (_number(pid, 32), *_addresses(ips)))

    def deny_path(self, p: StrPath) -> None:
        """Denies what lies at this absolute path, and beneath it, as ``fs_denied`` does, from
        the next call on, of any task. Its directory exists. It fails where calls that take a
        path are not trapped: ``policy_events`` is given and does not name "openat", and the
        policy denies nothing."""
        self._call("deny_path", lambda: (_encode(p),))

    def allow_path(self, p: StrPath) -> None:
        """Takes back a :meth:`deny_path` of the same path."""
        self._call("allow_path", lambda: (_encode(p),))

    def _call(self, name: str, arguments: Callable[[], Tuple[Any, ...]]) -> None:
        try:
            # With NULL, when the callback has returned: that denies the event of the one
            # that runs on this thread now.
            getattr(_lib.lib(), "sandlock_ctx_" + name)(self._ctx, *arguments())
            why = _lib.last_error()
            if why:
                raise SandlockError(why if self._ctx else f"{name}: the callback of this context has returned")
        except BaseException:
            self._failed = True
            raise

    def _close(self, answer: int) -> int:
        """Ends the use of the context, and gives the answer that counts."""
        self._ctx = None
        return DENY if self._failed and answer <= 0 else answer


def _addresses(ips: Sequence[str]) -> Tuple[Any, int]:
    if isinstance(ips, (str, bytes)):
        raise TypeError(f"addresses are a list of str, not {ips!r}")
    encoded = []
    for ip in ips:
        if not isinstance(ip, str):
            raise TypeError(f"an address is a str, not {ip!r}")
        encoded.append(_encode(ip))
    return (ctypes.c_char_p * len(encoded))(*encoded), len(encoded)


def _encode(p: StrPath) -> bytes:
    encoded = os.fsencode(p)
    if b"\0" in encoded:
        raise ValueError(f"embedded NUL in {p!r}")
    return encoded


def _number(n: int, bits: int) -> int:
    # ctypes cuts off what does not fit.
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"an int is needed, not {n!r}")
    if not 0 <= n < 1 << bits:
        raise ValueError(f"{n} is not between 0 and {(1 << bits) - 1}")
    return n


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
