"""The calling process confines itself."""

from __future__ import annotations

import copy

from . import _lib
from .exceptions import ConfinementError, LandlockUnavailableError
from .sandbox import Sandbox

__all__ = ["confine"]


def confine(sandbox: Sandbox) -> None:
    """Confines this process itself, every thread of it, and what it starts from now on. There
    is no way back; a second call confines it further, at most 16 times, and has to read
    ``/proc``.

    Of the policy, what the kernel keeps by itself is in force: ``fs_readable``,
    ``fs_writable``, ``fs_executable``, the list of system calls with ``extra_deny_syscalls``
    and ``extra_allow_syscalls``, ``disable`` and ``allow_degraded``. There is no network, and
    no process outside can be signalled. chmod, chown, utime and extended attributes are
    refused beneath writable paths too, unless ``extra_allow_syscalls`` names the calls.
    ``max_processes`` is no limit here. What is open stays open.

    What Python imports later has to be readable.

    ConfinementError: a field is set that needs a supervisor or a command; a sandbox of this
    process runs; a path does not exist; the kernel lacks something (LandlockUnavailableError:
    all of Landlock); a thread does not answer. Nothing has changed then, or the text says "in
    part". PolicyError: the policy is wrong.
    """
    if sandbox.name is not None:
        raise ConfinementError("name: this is set when a command is started; a process that confines itself leaves it out")
    own = copy.copy(sandbox)  # whoever uses that one meanwhile has its built policy
    lib = _lib.lib()
    if lib.sandlock_confine(own._ensure_native().pointer) != 0:
        why = _lib.last_error()
        raise (LandlockUnavailableError if lib.sandlock_landlock_abi_version() < 0 else ConfinementError)(why)
