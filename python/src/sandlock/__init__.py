"""Run commands that nobody trusts, confined by Landlock, seccomp and a supervisor.

    >>> from sandlock import Sandbox
    >>> box = Sandbox(fs_readable=["/usr", "/lib", "/lib64", "/bin", "/etc"])
    >>> box.run(["echo", "hello"]).stdout
    b'hello\\n'

Importing the package does not load the shared library; the first use does.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Dict, List

from . import _lib
from ._confine import confine
from .events import Denial, ExecRecord, PolicyContext, SyscallEvent
from .exceptions import (
    BranchConflictError,
    BranchError,
    CallbackError,
    ChildError,
    CommandError,
    CommandNotFoundError,
    CommandPermissionError,
    ConfinementError,
    ForkedError,
    ForkError,
    LandlockUnavailableError,
    MemoryProtectError,
    NotifError,
    PolicyError,
    SandboxError,
    SandlockError,
    SeccompError,
)
from .inputs import inputs
from .pipeline import Gather, GatherPipeline, NamedStage, Pipeline, Stage
from .protection import Protection
from .sandbox import ExitReason, Process, Result, Sandbox, StdioMode, parse_memory_size, parse_ports

if TYPE_CHECKING:
    from ._aio import AsyncProcess

__version__ = "0.1.0"

__all__ = [
    "AsyncProcess",
    "BranchConflictError",
    "BranchError",
    "CallbackError",
    "ChildError",
    "CommandError",
    "CommandNotFoundError",
    "CommandPermissionError",
    "ConfinementError",
    "Denial",
    "ExecRecord",
    "ExitReason",
    "ForkError",
    "ForkedError",
    "LandlockUnavailableError",
    "Gather",
    "GatherPipeline",
    "MemoryProtectError",
    "NamedStage",
    "NotifError",
    "Pipeline",
    "PolicyContext",
    "PolicyError",
    "Process",
    "Protection",
    "Result",
    "Sandbox",
    "SandboxError",
    "SandlockError",
    "SeccompError",
    "Stage",
    "StdioMode",
    "SyscallEvent",
    "__version__",
    "confine",
    "inputs",
    "kernel_report",
    "landlock_abi_version",
    "list_profiles",
    "load_profile",
    "min_landlock_abi",
    "parse_memory_size",
    "parse_ports",
]


def load_profile(name: str) -> Sandbox:
    """The policy of a profile of the user's, or of a built-in one: see docs/tool.md.
    PolicyError: there is none, or it is wrong, with every fault and its line."""
    from . import _profile  # which imports a TOML reader

    return _profile.load_profile(name)


def list_profiles() -> List[str]:
    """The names of the profiles that there are, sorted."""
    from . import _profile

    return _profile.list_profiles()


def kernel_report() -> Dict[str, Any]:
    """What this kernel offers, and which limits of a policy are not enforced yet."""
    report: Dict[str, Any] = json.loads(_lib.take_string(_lib.lib().sandlock_kernel_report()))
    return report


def landlock_abi_version() -> int:
    """The Landlock ABI of this kernel, -1 without Landlock."""
    return int(_lib.lib().sandlock_landlock_abi_version())


def min_landlock_abi() -> int:
    """The Landlock ABI that every protection needs."""
    return int(_lib.lib().sandlock_min_landlock_abi())


def __getattr__(name: str) -> Any:
    if name == "AsyncProcess":  # whose module imports asyncio
        from ._aio import AsyncProcess

        return AsyncProcess
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
