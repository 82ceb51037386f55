"""Waiting for commands in an event loop of asyncio: on descriptors, without threads."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Callable, List, Optional, Sequence, Tuple, Type

from ._command import Arg
from ._native import Run
from .process import Running
from .result import Result
from .streams import NAMES, Streams

if TYPE_CHECKING:
    from ._runs import Runs


class Watch:
    """Calls ``look`` whenever a descriptor is readable, until that returns True. The
    descriptor has to be open until then, or until :meth:`end`."""

    def __init__(self, descriptor: int, look: Callable[[], bool]) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptor, self._look = descriptor, look
        self.over: "asyncio.Future[None]" = self._loop.create_future()
        self._loop.add_reader(descriptor, self._readable)

    def _readable(self) -> None:
        try:
            if self._look():
                self.end()
        except BaseException as e:
            self.end(e)
            if not isinstance(e, Exception):
                raise

    def end(self, error: Optional[BaseException] = None) -> None:
        """The descriptor is about to be closed."""
        if self._descriptor < 0:
            return
        if not self._loop.is_closed():
            self._loop.remove_reader(self._descriptor)
            if not self.over.done():
                if isinstance(error, Exception):
                    self.over.set_exception(error)
                else:
                    self.over.set_result(None)
        self._descriptor = -1

    async def wait(self, deadline: Optional[float]) -> bool:
        """False: the deadline of time.monotonic() has passed. A cancellation is only that of
        the wait."""
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        await asyncio.wait((self.over,), timeout=timeout)
        if self.over.done():
            self.over.result()
        return self.over.done()


async def collect(run: Run, deadline: Optional[float]) -> None:
    """Steps a run to its end, which comes at the deadline at the latest, and when the task
    is cancelled. It is over then, but when the loop leaves it, or it is cancelled again:
    who frees it ends it."""
    watch = Watch(run.call("handle_stepfd"), lambda: run.call("handle_step") != 0)
    try:
        if not await watch.wait(deadline):
            while run.call("handle_expire") == 1:
                if await watch.wait(time.monotonic() + run.grace):
                    return
            await watch.wait(None)
    except asyncio.CancelledError:
        run.call("handle_kill")
        await watch.wait(None)
        raise
    finally:
        watch.end()


async def executes(run: Run) -> None:
    """Waits until a started command was executed. StartError: it can't be."""
    watch = Watch(run.call("handle_execfd"), lambda: True)
    try:
        await watch.wait(None)
    finally:
        watch.end()
    run.executed()


class AsyncProcess(Running):
    """A running command, made by :meth:`Sandbox.apopen`, for the event loop that made it
    and its thread. ``returncode`` is there as soon as the command is over. ``async with``
    closes its streams and waits at the end, or kills when the block was left by an
    exception, a cancellation too."""

    def __init__(self, sandbox: "Runs", claim: object, args: Sequence[Arg], pid: int) -> None:
        super().__init__(sandbox, claim, args, pid)
        self.stdin: Optional[asyncio.StreamWriter] = None
        """Writes to a piped stdin, else None."""
        self.stdout: Optional[asyncio.StreamReader] = None
        """Reads a piped stdout, else None."""
        self.stderr: Optional[asyncio.StreamReader] = None
        """Reads a piped stderr, else None."""
        self._transports: List[asyncio.BaseTransport] = []
        self._watch = Watch(self._descriptor(), self._is_over)

    def _is_over(self) -> bool:
        with self._lock:
            self._finish()
        return True

    def _finish(self) -> None:
        self._watch.end()  # before the descriptor is closed
        super()._finish()

    async def connect(self, streams: Streams, limit: int) -> None:
        """Takes this side's ends of the pipes."""
        for number, name in enumerate(NAMES):
            if streams.ends[number] >= 0:
                setattr(self, name, await self._connect(streams.file(number, 0), number == 0, limit))

    async def _connect(self, file: IO[Any], writes: bool, limit: int) -> Any:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit, loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        try:
            connect: Any = loop.connect_write_pipe if writes else loop.connect_read_pipe
            transport, _ = await connect(lambda: protocol, file)
        except BaseException:
            file.close()
            raise
        self._transports.append(transport)
        return asyncio.StreamWriter(transport, protocol, reader, loop) if writes else reader

    async def wait(self, timeout: Optional[float] = None) -> Result:
        """Waits until the command is over and returns its result, which has no output.
        ``timeout`` in seconds, None for ever; when it is over the sandbox is killed, after
        its ``term_grace``, and the reason is TIMEOUT. Who is cancelled in here leaves the
        command as it is. It can be repeated. CallbackError, once: ``policy_fn`` raised."""
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout {timeout!r}: seconds are not negative")
        if self.stdin is not None and self._result is None:
            self.stdin.close()
        if not await self._watch.wait(None if timeout is None else time.monotonic() + timeout):
            while self._result is None and self._run.call("handle_expire") == 1:
                if await self._watch.wait(time.monotonic() + self._run.grace):
                    break
            await self._watch.wait(None)
        return self._outcome()

    async def communicate(self, input: Optional[bytes] = None) -> Tuple[Optional[bytes], Optional[bytes]]:
        """Writes ``input`` to a piped ``stdin`` and closes it, reads piped outputs to their
        ends, waits, and returns ``(stdout, stderr)``, None for what is no pipe."""
        out, errs, _ = await asyncio.gather(self._read(self.stdout), self._read(self.stderr), self._write(input))
        self.close()
        await self.wait()
        return out, errs

    async def _write(self, data: Optional[bytes]) -> None:
        if self.stdin is None:
            return
        try:
            if data:
                self.stdin.write(data)
                await self.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            pass
        self.stdin.close()

    @staticmethod
    async def _read(reader: Optional[asyncio.StreamReader]) -> Optional[bytes]:
        return None if reader is None else await reader.read()

    def abandon(self) -> None:
        """The run is about to be freed."""
        self.close()
        self._watch.end()

    def close(self) -> None:
        """Closes this side's ends of the streams."""
        for transport in self._transports:
            transport.close()

    async def __aenter__(self) -> "AsyncProcess":
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()
        if kind is None:
            await self.wait()
        else:
            self.kill()
            await self._watch.wait(None)

    def __del__(self, *args: Any) -> None:
        watch = getattr(self, "_watch", None)
        if watch is not None:
            watch.end()
        super().__del__(*args)
