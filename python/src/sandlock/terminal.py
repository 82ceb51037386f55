"""Pseudo-terminals: one that a command has for itself, and a host's own in front of it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import select
import struct
import termios
import tty
from typing import Any, Iterator, List, Tuple

_END_OF_FILE = b"\x04"  # VEOF of termios(3), as a new terminal has it
_CHUNK = 1 << 16


def size_of(fd: int) -> Tuple[int, int]:
    """Rows and columns of a terminal; OSError: it is none."""
    rows, columns, _, _ = struct.unpack("4H", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))
    return rows, columns


def resize(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))


class Terminal(io.FileIO):
    """The host's side of the terminal of a command, made by ``popen(pty=…)``, unbuffered:
    what is written are its keys, what is read is what it shows. It ends when the command
    and all that it has started is over. Closing it hangs the command up: SIGHUP."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd, "r+b")

    @property
    def size(self) -> Tuple[int, int]:
        """Rows and columns. To set them tells the command: SIGWINCH."""
        return size_of(self.fileno())

    @size.setter
    def size(self, value: Tuple[int, int]) -> None:
        resize(self.fileno(), *value)

    # A terminal that nobody has any more answers EIO.

    def readinto(self, buffer: Any) -> Any:
        try:
            return super().readinto(buffer)
        except OSError as e:
            if e.errno != errno.EIO:
                raise
            return 0

    def read(self, size: Any = -1) -> Any:
        if size is None or size < 0:
            return self.readall()
        buffer = bytearray(size)
        count = self.readinto(buffer)
        return None if count is None else bytes(buffer[:count])

    def readall(self) -> Any:
        chunks: List[bytes] = []
        while True:
            data = self.read(_CHUNK)
            if not data:
                return b"".join(chunks)
            chunks.append(data)


@contextlib.contextmanager
def _raw(fd: int) -> Iterator[None]:
    """Has each key of a terminal come through as it is, if it is one and the host in its
    foreground; another may not touch it: SIGTTOU of termios(3)."""
    try:
        mine = os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        mine = False
    if not mine:
        yield
        return
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def host_size() -> Tuple[int, int]:
    """That of the host's terminal, if its standard streams are one."""
    for fd in range(3):
        try:
            return size_of(fd)
        except OSError:
            pass
    return 24, 80


def attend(process: Any) -> None:
    """Puts the host's descriptors 0 and 1 in front of the command's terminal until the
    command is over."""
    terminal: Terminal = process.terminal
    fd, over = terminal.fileno(), process.fileno()
    os.set_blocking(fd, False)
    keys, more, shows, last = b"", True, True, b"\n"
    with _raw(0):
        while True:
            if terminal.size != host_size():
                terminal.size = host_size()
            poll = select.poll()
            poll.register(over, select.POLLIN)
            if shows:
                poll.register(fd, select.POLLIN | (select.POLLOUT if keys else 0))
            if shows and more and not keys:
                poll.register(0, select.POLLIN)
            ready = dict(poll.poll())
            if ready.get(fd, 0) & ~select.POLLOUT:
                data = terminal.read(_CHUNK)
                shows = data != b""  # None is nothing yet
                while data:
                    data = data[os.write(1, data):]
            elif over in ready:
                return
            if 0 in ready:
                keys = os.read(0, _CHUNK)
                if keys:
                    last = keys[-1:]
                else:
                    # The first of two ends what is no whole line.
                    keys, more = _END_OF_FILE * (1 if last == b"\n" else 2), False
            if keys:
                with contextlib.suppress(BlockingIOError, OSError):
                    keys = keys[os.write(fd, keys):]
