"""reap.py SECONDS COMMAND...: runs COMMAND and waits until it and everything that has come
of it is gone: orphans become this process's children, prctl(2) PR_SET_CHILD_SUBREAPER.
Exits as COMMAND did, by its signal too. What is there after SECONDS is named, killed
and an exit with 99."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
from typing import List

PR_SET_CHILD_SUBREAPER = 36


def children(parent: int) -> List[int]:
    found = []
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/stat", "rb") as stat:
                fields = stat.read().rpartition(b") ")[2].split()
        except (OSError, ValueError):
            continue  # no process, or gone by now
        if int(fields[1]) == parent:
            found.append(int(name))
    return found


def overdue(*_: object) -> None:
    me, killed = os.getpid(), set()
    while True:
        # Children before their parents, which would make them ours, or nobody's.
        tree = [me]
        for pid in tree:
            tree += children(pid)
        left = [pid for pid in tree[1:] if pid not in killed]
        if not left:
            os._exit(99)
        for pid in reversed(left):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as cmdline:
                    print("still there:", pid, cmdline.read(), file=sys.stderr, flush=True)
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
            killed.add(pid)


def main() -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    signal.signal(signal.SIGALRM, overdue)
    signal.alarm(int(sys.argv[1]))
    host = subprocess.Popen(sys.argv[2:], close_fds=False).pid  # not waited for by this
    ended = None
    while True:
        try:
            pid, status = os.waitpid(-1, 0)
        except ChildProcessError:
            break
        if pid == host:
            ended = status
    assert ended is not None
    if os.WIFSIGNALED(ended):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(os.WTERMSIG(ended), signal.SIG_DFL) if os.WTERMSIG(ended) != signal.SIGKILL else None
        os.kill(os.getpid(), os.WTERMSIG(ended))
    os._exit(os.WEXITSTATUS(ended))


main()
