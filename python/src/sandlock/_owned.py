"""What a Sandbox has of the library."""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from typing import Optional

from ._native import Policy, Run, readable
from .exceptions import SandboxError

# Seconds for the end of a run that was killed, which takes milliseconds.
_PATIENCE = 10

_all: "weakref.WeakSet[Owned]" = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # Whoever held these is not in this process.
    for owned in list(_all):
        owned.lock, owned.claim, owned.process = threading.RLock(), None, False


os.register_at_fork(after_in_child=_after_fork_in_child)


class Owned:
    """The library's objects that a Sandbox has, apart from it so that they can be freed
    when it is gone. Nothing in here may know the Sandbox or its ``policy_fn``."""

    def __init__(self) -> None:
        self.run: Optional[Run] = None
        self.policy: Optional[Policy] = None
        self.lock = threading.RLock()  # guards the claim; the same thread may find it taken: see Running
        # Who runs a command: a call of run(), the create() whose wait() is to come, or a
        # Process. A Ctrl-C can fall between any two calls, so it is given back without a call.
        self.claim: Optional[object] = None
        self.process = False  # it is a Process
        _all.add(self)

    def take(self, claim: object) -> None:
        """RuntimeError, and somebody has it."""
        with self.lock:
            if self.run is not None and self.run.forked:
                self.run = self.claim = None  # the parent's, not ours
            if self.claim is not None:
                raise RuntimeError("sandbox is already running")
            self.claim, self.process = claim, False

    def end(self) -> None:
        """At the interpreter's exit: kills what runs and waits until it is over, unless
        another thread, which is a daemon, does. That one may use it still."""
        run = self.run
        if run is None or run.forked:
            return
        if sys.version_info < (3, 10, 8):
            # Its end waits for ever for a thread that asked for the GIL just before it, as
            # a policy_fn that is busy does every 5 ms: gh-96387.
            sys.setswitchinterval(1)
        try:
            run.call("handle_kill")
            if not run.collecting:
                readable(run.call("handle_pollfd"), time.monotonic() + _PATIENCE)
        except (SandboxError, ValueError):
            pass  # freed meanwhile

    def free(self) -> None:
        run, policy, self.run, self.policy = self.run, self.policy, None, None
        if run is not None:
            run.free()
        if policy is not None:
            policy.free()
