"""What goes into a command and what comes out of it: arguments, input, text."""

from __future__ import annotations

import io
import math
import os
from typing import List, Optional, Sequence, Union

from .result import Result

Arg = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]


def to_argv(cmd: Sequence[Arg]) -> List[bytes]:
    if isinstance(cmd, (str, bytes, os.PathLike)):
        raise TypeError(f"a command line is a list of arguments, not {cmd!r}: there is no shell")
    argv = [os.fsencode(a) for a in cmd]
    if not argv:
        raise ValueError("the command line is empty")
    for a in argv:
        if b"\0" in a:
            raise ValueError(f"embedded NUL in argument {a!r}")
    return argv


def check_name(name: str) -> None:
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


def seconds(timeout: Optional[float]) -> Optional[float]:
    """The limit, None for none. ValueError for what is no duration."""
    if timeout is None or timeout == 0:
        return None
    if not timeout > 0 or math.isnan(timeout):
        raise ValueError(f"timeout {timeout!r}: seconds are not negative")
    return None if math.isinf(timeout) else timeout


def stdin_file(data: bytes) -> int:
    """A descriptor from which data can be read, and that can't be written to."""
    with open(os.memfd_create("sandlock-stdin", os.MFD_CLOEXEC), "wb", buffering=0) as memory:
        view = memoryview(data)
        while view:
            view = view[memory.write(view) or 0:]
        return os.open(f"/proc/self/fd/{memory.fileno()}", os.O_RDONLY | os.O_CLOEXEC)


class TextMode:
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
            result.stdout, result.stderr = self.decoded(result.stdout), self.decoded(result.stderr)
        return result

    def decoded(self, data: bytes) -> str:
        return io.TextIOWrapper(io.BytesIO(data), self.encoding, self.errors).read()
