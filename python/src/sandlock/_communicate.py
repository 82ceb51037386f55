"""Both directions of the pipes to a command at once."""

from __future__ import annotations

import os
import select
import selectors
import subprocess
import time
from typing import IO, Any, Dict, List, Optional, Tuple

from ._command import TextMode

# PIPE_BUF: what a pipe that is said to be writable takes without blocking, pipe(7).
_AT_ONCE = select.PIPE_BUF
_CHUNK = 1 << 16


class Exchange:
    """An input on its way and outputs as far as they came. Raises what writing and reading
    raise, but for a pipe whose reader is gone."""

    def __init__(
        self, stdin: Optional[IO[Any]], stdout: Optional[IO[Any]], stderr: Optional[IO[Any]], text: TextMode, data: Any
    ) -> None:
        if isinstance(data, str) and not text.on:
            raise TypeError("input is str: the streams are not in text mode")
        self._text = text
        self._stdin = stdin if stdin is not None and not stdin.closed else None
        self._left = memoryview(text.encode(data) if isinstance(data, str) else data or b"").cast("b")
        self._outputs = (stdout, stderr)
        self._chunks: Dict[IO[Any], List[bytes]] = {f: [] for f in self._outputs if f is not None}
        if self._stdin is not None:
            try:
                self._stdin.flush()
            except BrokenPipeError:
                pass
            if not self._left:
                self._close_stdin()

    def _close_stdin(self) -> None:
        stdin, self._stdin = self._stdin, None
        try:
            if stdin is not None:
                stdin.close()
        except BrokenPipeError:
            pass

    def go_on(self, deadline: Optional[float]) -> bool:
        """Goes on until all is through. False: the deadline has passed."""
        with selectors.PollSelector() as selector:
            if self._stdin is not None:
                selector.register(self._stdin, selectors.EVENT_WRITE)
            for output in self._chunks:
                if not output.closed:
                    selector.register(output, selectors.EVENT_READ)
            while selector.get_map():
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left < 0:
                    return False
                for key, _ in selector.select(left):
                    file: Any = key.fileobj
                    if not (self._write(key.fd) if file is self._stdin else self._read(file, key.fd)):
                        selector.unregister(file)
                        if file is self._stdin:
                            self._close_stdin()
                        else:
                            file.close()
        return True

    def _write(self, fd: int) -> bool:
        try:
            self._left = self._left[os.write(fd, self._left[:_AT_ONCE]):]
        except BrokenPipeError:
            return False
        return len(self._left) > 0

    def _read(self, file: IO[Any], fd: int) -> bool:
        data = os.read(fd, _CHUNK)
        if data:
            self._chunks[file].append(data)
        return bool(data)

    def _bytes(self) -> Tuple[Optional[bytes], ...]:
        return tuple(None if f is None else b"".join(self._chunks[f]) for f in self._outputs)

    def output(self) -> Tuple[Any, Any]:
        """What came, in text mode as text."""
        out, errs = (self._text.decoded(data) if data is not None and self._text.on else data for data in self._bytes())
        return out, errs

    def expired(self, args: Any, timeout: float) -> subprocess.TimeoutExpired:
        out, errs = self._bytes()
        return subprocess.TimeoutExpired(args, timeout, output=out or None, stderr=errs or None)
