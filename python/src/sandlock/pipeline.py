"""Commands that feed one another, each in a sandbox of its own.

::

    (Sandbox(…).cmd(["cat", "log"]) | Sandbox(…).cmd(["sort"])).run()
    (a.cmd([…]).as_("left") + b.cmd([…]).as_("right") | c.cmd([…])).run()
"""

from __future__ import annotations

import dataclasses
import os
import select
import time
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Optional, Sequence, Set, Tuple, Union

from ._command import Arg, seconds, to_argv
from ._native import StartError, milliseconds
from .exceptions import CallbackError
from .inputs import VARIABLE
from .result import ExitReason, Result

if TYPE_CHECKING:
    from .sandbox import Sandbox

Output = Union[None, int, Any]


class Stage:
    """A command and the policy that it is to run under, made by :meth:`Sandbox.cmd`. The
    fields of the Sandbox are read when it runs."""

    def __init__(self, sandbox: "Sandbox", args: Sequence[Arg]) -> None:
        to_argv(args)
        self.sandbox, self.args = sandbox, args

    def run(self, timeout: Optional[float] = None) -> Result:
        """:meth:`Sandbox.run`."""
        return self.sandbox.run(self.args, timeout)

    def as_(self, name: str) -> "NamedStage":
        """This command as a source of a :class:`Gather`. ValueError: no name for one."""
        return NamedStage(name, self)

    def __or__(self, other: "Stage") -> "Pipeline":
        return Pipeline([self, other]) if isinstance(other, Stage) else NotImplemented


class Pipeline:
    """Stages whose standard output is the next one's standard input."""

    def __init__(self, stages: Iterable[Stage]) -> None:
        self.stages = list(stages)
        if len(self.stages) < 2:
            raise ValueError("a pipeline has two stages at the least")

    def __or__(self, other: Stage) -> "Pipeline":
        return Pipeline([*self.stages, other]) if isinstance(other, Stage) else NotImplemented

    def run(self, stdout: Output = None, timeout: Optional[float] = None) -> Result:
        """Runs all stages at once and waits until all are over. The result is that of the
        last one, with the outputs that it had, and ``stages`` has those of all, in which
        stdout is only the last one's. ``stdout``, a descriptor or a file, takes the last
        one's output instead. The first stage reads /dev/null.

        ``error`` says which stage could not be started or was ended, and why; ``success`` is
        False then. When ``timeout`` seconds are over all are killed, and the reason is
        TIMEOUT. Exceptions are those of :meth:`Sandbox.run`."""
        together = _Together()
        try:
            for stage in self.stages[:-1]:
                together.add(stage)
                together.connect(len(together.parts) - 1, len(together.parts), 0)
            together.add(self.stages[-1])
            return together.run(stdout, timeout, "Pipeline timed out")
        finally:
            together.end()


class NamedStage:
    """A stage that is a source of a :class:`Gather`."""

    def __init__(self, name: str, stage: Stage) -> None:
        if not isinstance(name, str) or not name or any(c in ":,\0" for c in name):
            raise ValueError(f"name {name!r}: a source's name is a string that is not empty, without : and ,")
        self.name, self.stage = name, stage

    def __add__(self, other: "NamedStage") -> "Gather":
        return Gather([self, other]) if isinstance(other, NamedStage) else NotImplemented

    def __or__(self, other: Stage) -> "GatherPipeline":
        return Gather([self]) | other


class Gather:
    """Sources that run at once."""

    def __init__(self, sources: Iterable[NamedStage]) -> None:
        self.sources = list(sources)
        names = [source.name for source in self.sources]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"the sources' names are not different, or there is none: {names}")

    def __add__(self, other: NamedStage) -> "Gather":
        return Gather([*self.sources, other]) if isinstance(other, NamedStage) else NotImplemented

    def __or__(self, consumer: Stage) -> "GatherPipeline":
        return GatherPipeline(self, consumer) if isinstance(consumer, Stage) else NotImplemented


class GatherPipeline:
    """A :class:`Gather` and the command that reads what its sources write."""

    def __init__(self, gather: Gather, consumer: Stage) -> None:
        self.gather, self.consumer = gather, consumer

    def run(self, stdout: Output = None, timeout: Optional[float] = None) -> Result:
        """As :meth:`Pipeline.run`. The consumer has the last source as descriptor 0 and the
        others from 3 on, and ``_SANDLOCK_GATHER`` in its environment says which is which:
        :data:`sandlock.inputs` reads them. ``stages`` has the consumer's result last."""
        together, sources = _Together(), self.gather.sources
        try:
            descriptors = [*range(3, len(sources) + 2), 0]
            for number, (source, fd) in enumerate(zip(sources, descriptors)):
                together.add(source.stage)
                together.connect(number, len(sources), fd)
            named = ",".join(f"{source.name}:{fd}" for source, fd in zip(sources, descriptors))
            together.add(self.consumer, {VARIABLE: named})
            return together.run(stdout, timeout, "Gather timed out")
        finally:
            together.end()


class _Together:
    """Commands that run at once, the last of which has the result."""

    def __init__(self) -> None:
        self.parts: List[Tuple[Sandbox, Sequence[Arg]]] = []
        self._files: Dict[int, List[Tuple[int, int]]] = {}
        self._open: List[int] = []
        self._names: Set[str] = set()

    def add(self, stage: Stage, env: Optional[Dict[str, str]] = None) -> None:
        # A copy each, so that one Sandbox can be several stages, and run meanwhile.
        box = dataclasses.replace(stage.sandbox)
        if env:
            both: Dict[Any, Any] = {**box.env, **env}
            box.env = both
        if box.name in self._names:
            box.name = None
        if box.name is not None:
            self._names.add(box.name)
        self.parts.append((box, stage.args))

    def connect(self, writer: int, reader: int, number: int) -> None:
        """A pipe from one's standard output to the other's descriptor of that number."""
        ends = os.pipe()
        self._open += ends
        self._files.setdefault(reader, []).append((ends[0], number))
        self._files.setdefault(writer, []).append((ends[1], 1))

    def run(self, stdout: Output, timeout: Optional[float], expired: str) -> Result:
        limit = seconds(timeout)
        deadline = None if limit is None else time.monotonic() + limit
        last = len(self.parts) - 1
        if stdout is not None:
            self._files.setdefault(last, []).append((stdout if isinstance(stdout, int) else stdout.fileno(), 1))
        for number, (box, args) in enumerate(self.parts):
            try:
                box._begin(object(), args, self._files.get(number, ()), stepped=False)
            except StartError as e:
                box._raise_callback_error()
                return Result(success=False, exit_code=-1, error=f"stage {number + 1}: {e}")
        self._close()
        for number, (box, _) in enumerate(self.parts):
            box.start()
        late = self._wait(deadline)
        results, raised = [], None
        for box, _ in self.parts:
            try:
                results.append(box._outcome(box._running()))
            except CallbackError as e:
                raised = raised or e
        if raised is not None:
            raise raised
        errors = [f"stage {n}: {result.error}" for n, result in enumerate(results, 1) if result.error]
        result = dataclasses.replace(results[-1], stages=tuple(results), error=errors[0] if errors else None)
        if errors:
            result.success = False
        if late:
            result.success, result.exit_code, result.signal = False, -1, -1
            result.reason, result.error = ExitReason.TIMEOUT, expired
        return result

    def _wait(self, deadline: Optional[float]) -> bool:
        """Waits until all are over, at the deadline by ending them; True, and that was so."""
        poll, late = select.poll(), False
        left = {}
        for box, _ in self.parts:
            run = box._running()
            descriptor = run.call("handle_pollfd")
            left[descriptor] = (run, deadline)
            poll.register(descriptor, select.POLLIN)
        while left:
            soonest = min((due for _, due in left.values() if due is not None), default=None)
            for descriptor, _ in poll.poll(milliseconds(soonest)):
                poll.unregister(descriptor)
                del left[descriptor]
            for descriptor, (run, due) in left.items():
                if due is not None and due <= time.monotonic():
                    late = True
                    graceful = run.call("handle_expire") == 1
                    left[descriptor] = run, time.monotonic() + run.grace if graceful else None
        return late

    def _close(self) -> None:
        while self._open:
            os.close(self._open.pop())

    def end(self) -> None:
        """Ends what still runs."""
        self._close()
        for box, _ in self.parts:
            if box._owned.run is not None and box._owned.run.live:
                box._owned.run.call("handle_kill")  # all of them, before any is waited for
        for box, _ in self.parts:
            box._owned.free()
