"""Running commands: what a Sandbox does besides being a policy."""

from __future__ import annotations

import errno
import logging
import operator
import os
import time
from types import TracebackType
from typing import TYPE_CHECKING, Callable, Dict, Iterable, Optional, Sequence, Tuple, Type, TypeVar, Union

from ._command import Arg, TextMode, check_name, seconds, stdin_file, to_argv
from ._native import Callback, Policy, Run, StartError, readable
from ._owned import Owned
from .exceptions import CallbackError, ChildError, CommandError, CommandNotFoundError, CommandPermissionError
from .process import Process
from .result import Result
from .streams import StdioMode, Stream, Streams
from .terminal import attend, host_size

if TYPE_CHECKING:
    from ._aio import AsyncProcess

_Self = TypeVar("_Self", bound="Runs")
_log = logging.getLogger("sandlock")

_KINDS = {
    errno.ENOENT: CommandNotFoundError,
    errno.ENOTDIR: CommandNotFoundError,
    errno.EACCES: CommandPermissionError,
    errno.EPERM: CommandPermissionError,
}


class Runs:
    """The methods of a Sandbox that run commands."""

    name: Optional[str]
    cwd: Optional[Arg]
    term_grace: float
    _owned: Owned
    _callback: Optional[Callback]
    _ensure_native: Callable[[], Policy]

    def run(
        self,
        cmd: Sequence[Arg],
        timeout: Optional[float] = None,
        *,
        text: Optional[bool] = None,
        encoding: Optional[str] = None,
        errors: Optional[str] = None,
        input: Union[None, str, bytes] = None,
    ) -> Result:
        """Runs ``cmd``, waits, and returns its result.

        ``timeout`` in seconds, None or 0 for none; when it is over the sandbox is killed,
        after ``term_grace``, the reason is TIMEOUT and the result has the output up to then. ``text``,
        ``encoding`` and ``errors`` make the outputs str, as in :mod:`subprocess`.
        ``input`` is what the command reads from its standard input, which is /dev/null
        without it.

        A command that can't be started is no exception: ``success`` is False, ``error``
        says why. PolicyError: the policy can't be built. ValueError, TypeError: ``cmd`` is
        no command line. RuntimeError: this object runs a command already. CallbackError:
        ``policy_fn`` raised. Ctrl-C kills the sandbox and is raised at once.
        """
        limit = seconds(timeout)
        deadline = None if limit is None else time.monotonic() + limit
        text_mode = TextMode(text, encoding, errors)
        data = text_mode.encode(input) if isinstance(input, str) else input
        return text_mode.decode(self._run(cmd, data, deadline))

    def create(self, cmd: Sequence[Arg]) -> None:
        """Confines a child and parks it before its exec; :meth:`start` releases it.
        RuntimeError: "sandlock_create failed: …", or this object runs a command already.
        PolicyError: the policy can't be built."""
        claim: Optional[object] = object()
        mine = claim
        try:
            self._begin(claim, cmd, (), stepped=False)
            mine = None  # kept for wait()
        except StartError as e:
            raise RuntimeError(f"sandlock_create failed: {e}") from None
        finally:
            if mine is not None and self._owned.claim is mine:
                left, self._owned.run, self._owned.claim, self._owned.process = self._owned.run, None, None, False
                if left is not None:
                    left.free()

    def start(self) -> None:
        """Releases the child that :meth:`create` parked."""
        run = self._owned.run
        if run is None or not run.live:
            raise RuntimeError("sandbox has not been created")
        try:
            run.start()
        except StartError as e:
            raise RuntimeError(f"sandlock_start failed: {e}") from None

    def spawn(self, cmd: Sequence[Arg]) -> None:
        """:meth:`create` and :meth:`start`."""
        self.create(cmd)
        self.start()

    def wait(self, timeout: Optional[float] = None) -> Result:
        """Waits for what :meth:`start` started and returns its result. ``timeout`` and
        the exceptions are those of :meth:`run`. RuntimeError: "sandbox is not running"."""
        limit = seconds(timeout)
        with self._owned.lock:
            run, claim = self._running(), self._owned.claim
            if self._callback is not None and self._callback.is_caller():
                raise RuntimeError("policy_fn waits for the run that it decides about")
            if run.collecting:
                raise RuntimeError("another thread waits for this sandbox")
            run.collecting = True
        try:
            return self._collect(run, None if limit is None else time.monotonic() + limit)
        finally:
            if self._owned.claim is claim:
                self._owned.run = self._owned.claim = None
                run.free()

    def popen(
        self,
        cmd: Sequence[Arg],
        stdin: Stream = StdioMode.INHERIT,
        stdout: Stream = StdioMode.INHERIT,
        stderr: Stream = StdioMode.INHERIT,
        *,
        bufsize: int = 0,
        executable: Optional[Arg] = None,
        text: Optional[bool] = None,
        encoding: Optional[str] = None,
        errors: Optional[str] = None,
        pass_fds: Iterable[int] = (),
        pty: Union[bool, Tuple[int, int]] = False,
    ) -> Process:
        """Starts ``cmd`` and returns once it was executed. The :class:`Process` has this
        object until it was waited for.

        Each stream is a :class:`StdioMode`, one of :mod:`subprocess`'s constants, an object
        with a ``fileno()``, or a descriptor beyond 2, as 0 to 2 are modes. The files of the
        piped ones are unbuffered unless ``bufsize`` says otherwise, as in :mod:`subprocess`,
        and so do ``text``, ``encoding`` and ``errors``. What goes through a pipe is kept by
        nobody, so ``max_output`` does not bound it, and who does not read makes the command
        wait. ``pass_fds`` are descriptors that the command has under the same numbers.
        ``executable`` is what is executed, in the place of ``cmd[0]``. ``pty`` gives the
        command a terminal of its own, of 24 rows and 80 columns or as many as it says, in
        the place of the streams that would be inherited; ``terminal`` of the Process is the
        host's side of it.

        CommandError, which is an OSError with its ``errno``, CommandNotFoundError or
        CommandPermissionError: the command can't be executed. PolicyError: the policy can't
        be built. ValueError, TypeError: the command line or a stream is none.
        RuntimeError: this object runs a command already.
        """
        text_mode, bufsize = TextMode(text, encoding, errors), operator.index(bufsize)
        claim: Optional[object] = object()
        streams, mine = Streams(), claim
        try:
            size = None if pty is False else (24, 80) if pty is True else pty
            streams.open((stdin, stdout, stderr), pass_fds, size)
            terminal = size is not None
            run = self._begin(claim, cmd, streams.files, False, watched=True, executable=executable, terminal=terminal)
            streams.close_theirs()
            pid = int(run.call("handle_pid"))
            run.start()
            run.executes()
            ends = [streams.end(number, bufsize, text_mode) for number in range(3)]
            process = Process(self, claim, cmd, pid, ends, text_mode, streams.terminal())
            self._owned.process, mine = True, None
            return process
        except StartError as e:
            self._raise_callback_error()
            raise self._command_error(e, executable or cmd[0]) from None
        finally:
            if mine is not None and self._owned.claim is mine:
                left, self._owned.run, self._owned.claim, self._owned.process = self._owned.run, None, None, False
                if left is not None:
                    left.free()
            streams.close()

    async def arun(
        self,
        cmd: Sequence[Arg],
        timeout: Optional[float] = None,
        *,
        text: Optional[bool] = None,
        encoding: Optional[str] = None,
        errors: Optional[str] = None,
        input: Union[None, str, bytes] = None,
    ) -> Result:
        """:meth:`run` for an event loop of asyncio: the loop waits on a descriptor, no
        thread does. Who is cancelled kills the sandbox and waits for its end, which takes
        milliseconds. The start blocks the loop for one or two."""
        from . import _aio  # asyncio takes longer to import than all the rest

        limit = seconds(timeout)
        deadline = None if limit is None else time.monotonic() + limit
        text_mode = TextMode(text, encoding, errors)
        data = text_mode.encode(input) if isinstance(input, str) else input
        claim, stdin = object(), -1
        try:
            if data is not None:
                stdin = stdin_file(data)
            run = self._begin(claim, cmd, [(stdin, 0)] if stdin >= 0 else [], True)
            await _aio.collect(run, deadline)
            return text_mode.decode(self._outcome(run))
        except StartError as e:
            self._raise_callback_error()
            return text_mode.decode(Result(success=False, exit_code=-1, error=str(e)))
        finally:
            if self._owned.claim is claim:
                left, self._owned.run, self._owned.claim, self._owned.process = self._owned.run, None, None, False
                if left is not None:
                    left.free()
            if stdin >= 0:
                os.close(stdin)

    async def apopen(
        self,
        cmd: Sequence[Arg],
        stdin: Stream = StdioMode.INHERIT,
        stdout: Stream = StdioMode.INHERIT,
        stderr: Stream = StdioMode.INHERIT,
        *,
        limit: int = 1 << 16,
        pass_fds: Iterable[int] = (),
    ) -> "AsyncProcess":
        """:meth:`popen` for an event loop of asyncio. The piped streams are asyncio's
        StreamWriter and StreamReader, of bytes; ``limit`` is the StreamReader's: a command
        waits that is ahead of its reader by twice as much and what a pipe holds. Who is
        cancelled in here kills the sandbox."""
        from . import _aio

        claim: Optional[object] = object()
        streams, mine = Streams(), claim
        process: Optional["AsyncProcess"] = None
        try:
            streams.open((stdin, stdout, stderr), pass_fds)
            run = self._begin(claim, cmd, streams.files, stepped=False, watched=True)
            streams.close_theirs()
            pid = int(run.call("handle_pid"))
            run.start()
            await _aio.executes(run)
            process = _aio.AsyncProcess(self, claim, cmd, pid)
            await process.connect(streams, limit)
            self._owned.process, mine = True, None
            return process
        except StartError as e:
            self._raise_callback_error()
            raise self._command_error(e, cmd[0]) from None
        finally:
            if process is not None and mine is not None:
                process.abandon()
            if mine is not None and self._owned.claim is mine:
                left, self._owned.run, self._owned.claim, self._owned.process = self._owned.run, None, None, False
                if left is not None:
                    left.free()
            streams.close()

    def run_interactive(self, cmd: Sequence[Arg], *, pty: bool = False) -> int:
        """Runs ``cmd`` on the host's own standard streams and gives it the terminal, if
        they are one. Returns its exit code, -1 when it could not be started or did not
        exit by itself; why is logged. The exceptions are those of :meth:`run`. When Ctrl-Z
        stops the command, this process group stops too, until the shell continues it.

        ``pty`` keeps the host's terminal out of the sandbox: the command has one of its
        own, with job control, and this copies keys and what is shown. That the host's has
        another size is seen with the next key or output."""
        if pty:
            return self._run_on_terminal(cmd)
        result = self._run(cmd, None, None, interactive=True)
        if result.error:
            _log.warning("%s", result.error)
        return result.exit_code

    def _run_on_terminal(self, cmd: Sequence[Arg]) -> int:
        try:
            with self.popen(cmd, pty=host_size()) as process:
                attend(process)
                result = process.wait()
        except ChildError as e:
            _log.warning("%s", e)
            return -1
        if result.error:
            _log.warning("%s", result.error)
        return result.exit_code

    def kill(self) -> None:
        """SIGKILL to every task of the sandbox. It may come from any thread."""
        self._running().call("handle_kill")

    def pause(self) -> None:
        """Stops every task of the sandbox."""
        if self._running().call("handle_pause") != 0:
            raise RuntimeError("sandbox is not running")

    def resume(self) -> None:
        """Lets every task go on that was not stopped before the pause."""
        if self._running().call("handle_resume") != 0:
            raise RuntimeError("sandbox is not running")

    def ports(self) -> Dict[int, int]:
        """The TCP ports that the command has bound and that are others on the host, by what
        they are inside: see ``port_remap``. None when nothing runs. It may come from any
        thread."""
        run = self._owned.run
        return run.ports() if run is not None and run.live else {}

    @property
    def pid(self) -> Optional[int]:
        """Process id of the command, None when nothing runs."""
        run = self._owned.run
        return None if run is None or not run.live else int(run.call("handle_pid")) or None

    @property
    def is_running(self) -> bool:
        """Whether a command was created and is not over."""
        run = self._owned.run
        if run is None or run.forked or not run.live:
            return False
        return run.stepped or not readable(run.call("handle_pollfd"), 0)

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        run = self._owned.run
        if run is not None and run.live and (run.collecting or self._owned.process) and not run.forked:
            run.call("handle_kill")  # who waits for it does the rest
            if self._owned.process:
                readable(run.call("handle_pollfd"), None)
        elif run is not None:
            self._owned.run = self._owned.claim = None
            run.free()

    # ---- within ----------------------------------------------------------------

    def _running(self) -> Run:
        run = self._owned.run
        if run is None or not run.live:
            raise RuntimeError("sandbox is not running")
        run.check()
        if self._owned.process:
            raise RuntimeError("a Process has this sandbox: it is to be used through that until it was waited for")
        return run

    def _begin(
        self,
        claim: object,
        cmd: Sequence[Arg],
        files: Sequence[Tuple[int, int]],
        stepped: bool,
        interactive: bool = False,
        watched: bool = False,
        executable: Optional[Arg] = None,
        terminal: bool = False,
    ) -> Run:
        """Claims this object and starts or parks the command. Whatever happens, to give the
        claim back ends it."""
        argv = to_argv(cmd)
        instead = to_argv([executable])[0] if executable is not None else None
        if self.name is not None:
            check_name(self.name)
        self._owned.take(claim)
        policy = self._ensure_native()
        run = self._owned.run = Run(stepped)
        run.begin(policy, self.name, argv, files, float(self.term_grace), interactive, watched, instead, terminal)
        return run

    def _run(
        self, cmd: Sequence[Arg], data: Optional[bytes], deadline: Optional[float], interactive: bool = False
    ) -> Result:
        claim, stdin = object(), -1
        try:
            if data is not None:
                stdin = stdin_file(data)
            files = [(stdin, 0)] if stdin >= 0 else []
            return self._collect(self._begin(claim, cmd, files, True, interactive), deadline)
        except StartError as e:
            self._raise_callback_error()
            return Result(success=False, exit_code=-1, error=str(e))
        finally:
            if self._owned.claim is claim:
                left, self._owned.run, self._owned.claim, self._owned.process = self._owned.run, None, None, False
                if left is not None:
                    left.free()
            if stdin >= 0:
                os.close(stdin)

    def _collect(self, run: Run, deadline: Optional[float]) -> Result:
        """Waits for the run."""
        if not run.wait(deadline) and run.expire():
            run.expire()
        return self._outcome(run)

    def _outcome(self, run: Run) -> Result:
        """The result of a run that is over."""
        try:
            result = run.result()
        except StartError as e:
            result = Result(success=False, exit_code=-1, error=str(e))
        for line in result.log:
            _log.warning("%s", line)
        self._raise_callback_error()
        return result

    def _command_error(self, e: StartError, command: Arg) -> ChildError:
        if e.errno == 0:
            return ChildError(str(e))
        path = self.cwd if self.cwd is not None and str(e).startswith("cwd(") else command
        return _KINDS.get(e.errno, CommandError)(e.errno, str(e), os.fsdecode(path))

    def _raise_callback_error(self) -> None:
        error = self._callback.take_error() if self._callback is not None else None
        if error is not None:
            try:
                text = str(error)
            except Exception as e:
                text = f"its text raised {type(e).__name__}"
            raise CallbackError(f"policy_fn raised {type(error).__name__}, which denied the event: {text}") from error


