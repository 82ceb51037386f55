"""What the package raises. Everything is a :class:`SandlockError`."""

from __future__ import annotations


class SandlockError(Exception):
    """Anything that Sandlock raises of its own."""


class PolicyError(SandlockError, ValueError, RuntimeError):
    """A policy that can't be built. The message holds every fault at once."""


class MemoryProtectError(SandlockError):
    """Memory of the sandbox could not be protected."""


class SandboxError(SandlockError):
    """Something about a running sandbox failed."""


class ForkError(SandboxError):
    """A child could not be made."""


class ForkedError(SandboxError):
    """An object from before ``os.fork()`` was used in the forked child."""


class ConfinementError(SandboxError):
    """A process could not be confined."""


class LandlockUnavailableError(ConfinementError):
    """The kernel has no Landlock, or one that is too old."""


class SeccompError(ConfinementError):
    """A seccomp filter could not be installed."""


class NotifError(SeccompError):
    """A seccomp notification could not be handled."""


class ChildError(SandboxError):
    """The confined child failed before its exec."""


class CommandError(ChildError, OSError):
    """The command could not be executed. ``errno`` says why, ``strerror`` in a sentence,
    ``filename`` is the command."""


class CommandNotFoundError(CommandError, FileNotFoundError):
    """There is no such command, or no such interpreter of a script."""


class CommandPermissionError(CommandError, PermissionError):
    """The file permissions, the policy or its ``policy_fn`` do not let it run."""


class BranchError(SandboxError):
    """A copy-on-write branch could not be committed or dropped."""


class BranchConflictError(BranchError):
    """Two branches changed the same file."""


class CallbackError(SandboxError):
    """A ``policy_fn`` raised. The event was denied; the exception that it raised is
    the ``__cause__`` of this one."""
