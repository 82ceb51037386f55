"""The parts of Landlock that a kernel may lack."""

from __future__ import annotations

import enum


class Protection(enum.IntEnum):
    """For ``Sandbox.allow_degraded`` and ``Sandbox.disable``; the comments give the
    Landlock ABI and the Linux version that has it."""

    FS_REFER = 0  # ABI 2, Linux 5.19
    FS_TRUNCATE = 1  # ABI 3, Linux 6.2
    NET_TCP = 2  # ABI 4, Linux 6.7
    FS_IOCTL_DEV = 3  # ABI 5, Linux 6.10
    SIGNAL_SCOPE = 4  # ABI 6, Linux 6.12
    ABSTRACT_UNIX_SOCKET_SCOPE = 5  # ABI 6, Linux 6.12
