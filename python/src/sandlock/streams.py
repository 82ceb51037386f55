"""The standard streams of a command, and the ends of them that its host has."""

from __future__ import annotations

import enum
import io
import os
import subprocess
from typing import IO, Any, Iterable, List, Optional, Tuple, Union

from ._command import TextMode
from .terminal import Terminal, resize


class StdioMode(enum.IntEnum):
    """What one standard stream of a command is."""

    INHERIT = 0
    """The host's, by its descriptor; closed, if that is closed."""
    PIPED = 1
    """A pipe, whose other end the :class:`Process` has."""
    NULL = 2
    """/dev/null."""


# What may be given for a stream: a mode, as a number too, a constant of subprocess, None
# for INHERIT, a descriptor beyond 2, or an object with a fileno().
Stream = Union[None, int, IO[Any], Any]

_OF_SUBPROCESS = {subprocess.PIPE: StdioMode.PIPED, subprocess.DEVNULL: StdioMode.NULL}
NAMES = ("stdin", "stdout", "stderr")


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except (OSError, OverflowError):
        return False
    return True


def _mode_or_descriptor(name: str, value: Stream) -> Tuple[Optional[StdioMode], int]:
    if value is None:
        return StdioMode.INHERIT, -1
    if isinstance(value, bool):
        raise TypeError(f"{name}: {value!r} is neither a mode nor a descriptor")
    if isinstance(value, int):
        if value in _OF_SUBPROCESS:
            return _OF_SUBPROCESS[value], -1
        if 0 <= value <= 2:
            return StdioMode(value), -1
        if value > 2 and _is_open(value):
            return None, value
        raise ValueError(f"{name}: {value} is no StdioMode, no constant of subprocess that fits, and no open descriptor")
    if hasattr(value, "fileno"):
        return None, int(value.fileno())
    raise TypeError(f"{name}: {value!r} is neither a mode, a descriptor nor a file")


class Streams:
    """The descriptors for a command that is about to be started, and this side's ends."""

    def __init__(self) -> None:
        self.files: List[Tuple[int, int]] = []  # descriptor, the command's number for it
        self.ends = [-1, -1, -1]
        self._theirs: List[int] = []
        self._master = -1

    def open(
        self, given: Tuple[Stream, Stream, Stream], pass_fds: Iterable[int], size: Optional[Tuple[int, int]] = None
    ) -> None:
        """Whatever happens, :meth:`close` closes what it has opened. With a ``size`` what
        would be inherited is a new terminal."""
        slave = -1
        if size is not None:
            self._master, slave = os.openpty()
            self._theirs.append(slave)
            resize(slave, *size)
            if given[0] is not None and given[0] is not StdioMode.INHERIT:
                raise ValueError("stdin: a command with a terminal reads that")
        for number, (name, value) in enumerate(zip(NAMES, given)):
            if number == 2 and isinstance(value, int) and value == subprocess.STDOUT:
                self.files.append((self.files[1][0], 2))
                continue
            mode, fd = _mode_or_descriptor(name, value)
            if mode is StdioMode.INHERIT and slave >= 0:
                fd = slave
            elif mode is StdioMode.INHERIT:
                fd = number if _is_open(number) else -1
            elif mode is StdioMode.NULL:
                fd = os.open(os.devnull, (os.O_WRONLY if number else os.O_RDONLY) | os.O_CLOEXEC)
                self._theirs.append(fd)
            elif mode is StdioMode.PIPED:
                pair = os.pipe()
                fd, self.ends[number] = pair if number == 0 else pair[::-1]
                self._theirs.append(fd)
            self.files.append((fd, number))
        for fd in sorted(set(pass_fds)):
            if isinstance(fd, bool) or not isinstance(fd, int) or fd < 0:
                raise ValueError(f"pass_fds: {fd!r} is no descriptor")
            if fd > 2:
                self.files.append((fd, fd))

    def close_theirs(self) -> None:
        """What the command has by now."""
        while self._theirs:
            os.close(self._theirs.pop())

    def close(self) -> None:
        self.close_theirs()
        for number, fd in enumerate(self.ends):
            self.ends[number] = -1
            if fd >= 0:
                os.close(fd)
        master, self._master = self._master, -1
        if master >= 0:
            os.close(master)

    def terminal(self) -> Optional[Terminal]:
        """This side of the terminal, which owns it; None, and there is none."""
        master, self._master = self._master, -1
        return Terminal(master) if master >= 0 else None

    def file(self, number: int, bufsize: int) -> IO[Any]:
        """This side's end of a pipe as a file, which owns it."""
        fd = self.ends[number]
        # A Ctrl-C can fall between the next two: rather lost than closed twice.
        self.ends[number] = -1
        return io.open(fd, "rb" if number else "wb", bufsize)

    def end(self, number: int, bufsize: int, text: TextMode) -> Optional[IO[Any]]:
        """The same as a Process has it; None, and there is none."""
        if self.ends[number] < 0:
            return None
        if not text.on:
            return self.file(number, bufsize)
        file: Any = self.file(number, -1 if bufsize in (0, 1) else bufsize)
        if number > 0:
            return io.TextIOWrapper(file, text.encoding, text.errors)
        wrapper = io.TextIOWrapper if bufsize else _Unbuffered
        return wrapper(file, text.encoding, text.errors, write_through=True, line_buffering=bufsize == 1)


class _Unbuffered(io.TextIOWrapper):
    """Text, each piece of which is on its way when the call is back. Not over a raw file,
    which may write a part of it."""

    def write(self, text: str) -> int:
        count = super().write(text)
        self.flush()
        return count
