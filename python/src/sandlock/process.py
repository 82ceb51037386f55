"""A running command whose streams its host uses meanwhile."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
import warnings
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Set, Tuple, Type, TypeVar

from ._command import Arg, TextMode
from ._communicate import Exchange
from ._lib import last_errno
from ._native import readable
from .exceptions import CallbackError, SandboxError
from .result import ExitReason, Result
from .terminal import Terminal

if TYPE_CHECKING:
    from ._runs import Runs

_Self = TypeVar("_Self", bound="Running")


def returncode_of(result: Result) -> int:
    """As subprocess has it: the exit code, or the negative number of the signal."""
    if result.reason is ExitReason.EXITED:
        return result.exit_code
    return -result.signal if result.reason is ExitReason.SIGNALED else -signal.SIGKILL


class Running:
    """What a :class:`Process` and one of asyncio have in common."""

    def __init__(self, sandbox: "Runs", claim: object, args: Sequence[Arg], pid: int) -> None:
        run = sandbox._owned.run
        assert run is not None
        self.args = args
        """The command line, as it was given."""
        self.pid = pid
        """Process id of the command."""
        self.returncode: Optional[int] = None
        """None until it is known that the command is over: then its exit code, or the
        negative number of the signal that ended it."""
        self._sandbox, self._claim, self._run = sandbox, claim, run  # the Sandbox lives as long as this
        self._result: Optional[Result] = None
        self._callback_error: Optional[CallbackError] = None
        # Not held over a wait, and one that its own thread can take again: up to Python 3.9 a
        # Ctrl-C can fall between the end of a `with` and the release, bpo-29988.
        self._lock = threading.RLock()
        # Who waits on the run's descriptor, so that it is not freed meanwhile. One that a
        # Ctrl-C has left in here only keeps it for as long as this object lives.
        self._waiters: Set[object] = set()

    def fileno(self) -> int:
        """A descriptor for poll(2) and event loops, which is readable when the run is
        over; it is this object's. ValueError once it was waited for."""
        if self._result is not None:
            raise ValueError("the command is over and was waited for")
        return self._descriptor()

    def kill(self) -> None:
        """SIGKILL to every task of the sandbox; over already is no error."""
        try:
            if self._result is None:
                self._run.call("handle_kill")
        except SandboxError:
            if self._run.live and self._run.forked:
                raise

    def terminate(self) -> None:
        """SIGTERM to the command."""
        self.send_signal(signal.SIGTERM)

    def send_signal(self, sig: int) -> None:
        """A signal to the command alone; nothing when it is over. OSError: it is none."""
        if self.poll() is not None:
            return
        try:
            failed = self._run.call("handle_signal", sig) != 0
        except SandboxError:
            return  # another thread has just waited for it
        if failed and last_errno() == errno.EINVAL:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def poll(self) -> Optional[int]:
        """``returncode``, after a look whether the command is over."""
        with self._lock:
            if self._result is None and readable(self._descriptor(), 0):
                self._finish()
        return self.returncode

    def ports(self) -> Dict[int, int]:
        """The TCP ports that the command has bound and that are others on the host, by what
        they are inside: see ``port_remap``. Empty once it is over."""
        return self._run.ports() if self._run.live else {}

    def _descriptor(self) -> int:
        return int(self._run.call("handle_pollfd"))

    def _finish(self) -> None:
        """Takes the result of a run that is over, or waits for it. The lock is held."""
        if self._result is None:
            try:
                result = self._sandbox._outcome(self._run)
            except CallbackError as e:
                self._callback_error = e
                result = self._run.result()
            self.returncode, self._result = returncode_of(result), result
            owned = self._sandbox._owned
            if owned.claim is self._claim:
                owned.run = owned.claim = None
                owned.process = False
        if not self._waiters:
            self._run.free()

    def _outcome(self) -> Result:
        error, self._callback_error = self._callback_error, None
        if error is not None:
            raise error
        assert self._result is not None
        return self._result

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: returncode: {self.returncode} args: {self.args!r}>"

    def __del__(self, _warn: Any = warnings.warn) -> None:
        # Without a run it was never made.
        run = getattr(self, "_run", None)
        if run is None or run.forked or not run.live:
            return
        if self._result is None:
            _warn(f"sandboxed process {self.pid} was not waited for", ResourceWarning, source=self)
            owned = self._sandbox._owned
            if owned.claim is self._claim:
                owned.run = owned.claim = None
                owned.process = False
        run.free()


class Process(Running):
    """A running command, made by :meth:`Sandbox.popen`. Its methods may be called from any
    thread. As a context manager it closes its streams and waits at the end, or kills when
    the block was left by an exception. One that nobody waits for is killed when it goes."""

    def __init__(
        self,
        sandbox: "Runs",
        claim: object,
        args: Sequence[Arg],
        pid: int,
        ends: List[Optional[IO[Any]]],
        text: TextMode,
        terminal: Optional[Terminal],
    ) -> None:
        super().__init__(sandbox, claim, args, pid)
        self.stdin, self.stdout, self.stderr = ends
        """Files of this side's ends of the streams that are pipes, None for the others."""
        self.terminal = terminal
        """The host's side of the terminal that ``pty`` asked for, else None."""
        self._text = text
        self._exchange: Optional[Exchange] = None

    def wait(self, timeout: Optional[float] = None) -> Result:
        """Waits until the command is over and returns its result, which has no output. A
        piped ``stdin`` is closed first. ``timeout`` in seconds, 0 is a millisecond, None for
        ever; when it is over the sandbox is killed, after its ``term_grace``, and the reason
        is TIMEOUT. It can be repeated. CallbackError, once: ``policy_fn`` raised. Ctrl-C is
        raised at once, and the command goes on."""
        deadline = None
        if timeout is not None:
            if not timeout >= 0:
                raise ValueError(f"timeout {timeout!r}: seconds are not negative")
            deadline = time.monotonic() + (timeout or 0.001)
        if self.stdin is not None and self._result is None:
            _close(self.stdin)
        if not self._wait(deadline):
            self._expire()
        return self._outcome()

    def communicate(self, input: Any = None, timeout: Optional[float] = None) -> Tuple[Any, Any]:
        """Writes ``input`` to a piped ``stdin`` and closes it, reads piped outputs to their
        ends, waits, and returns ``(stdout, stderr)``, None for what is no pipe. subprocess's
        TimeoutExpired, when that takes longer than ``timeout`` seconds: the command goes on,
        and the next call goes on with it, losing nothing."""
        if self.terminal is not None:
            raise ValueError("a command with a terminal is read from and written to by that")
        deadline = None if timeout is None else time.monotonic() + timeout
        if self._exchange is None:
            self._exchange = Exchange(self.stdin, self.stdout, self.stderr, self._text, input)
        elif input:
            raise ValueError("Cannot send input after starting communication")
        if not self._exchange.go_on(deadline) or not self._wait(deadline):
            assert timeout is not None
            raise self._exchange.expired(self.args, timeout)
        self._outcome()
        return self._exchange.output()

    def _wait(self, deadline: Optional[float]) -> bool:
        """Waits until the run is over; False, and the deadline has passed."""
        waiter = object()
        with self._lock:
            if self._result is not None:
                return True
            descriptor = self._descriptor()
            self._waiters.add(waiter)
        try:
            over = readable(descriptor, deadline)
        finally:
            self._waiters.discard(waiter)
        if over:
            with self._lock:
                self._finish()
        return over

    def _expire(self) -> None:
        """Ends a run whose time is over. Another thread may be waiting for it."""
        try:
            while self._run.call("handle_expire") == 1:
                if self._wait(time.monotonic() + self._run.grace):
                    return
        except SandboxError:
            pass  # that one has just finished
        self._wait(None)

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if kind is not None:
            self.kill()
        try:
            for stream in self.stdout, self.stderr, self.stdin, self.terminal:
                if stream is not None:
                    _close(stream)
        finally:
            if kind is None:
                self.wait()
            else:
                self._wait(None)


def _close(stream: IO[Any]) -> None:
    try:
        stream.close()
    except BrokenPipeError:
        pass  # what it held is for nobody any more
