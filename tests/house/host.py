"""A Python host of the library: host.py RUNS. Prints what it holds before its first
run and after its last: descriptors, threads, children, KiB of memory."""

from __future__ import annotations

import os
import re
import resource
import signal
import sys

from sandlock import Sandbox, landlock_abi_version

SYSTEM = ["/usr", "/lib", "/lib64", "/bin", "/etc"]


def print_holdings() -> None:
    try:
        os.waitpid(-1, os.WNOHANG)
        children = "some"
    except ChildProcessError:
        children = "none"
    with open("/proc/self/status") as status:
        memory = re.search(r"^VmRSS:\s*(\d+) kB", status.read(), re.M)
    assert memory is not None
    # The listing's own descriptor is there both times.
    descriptors = sorted(os.listdir("/proc/self/fd"), key=int)
    threads = len(os.listdir("/proc/self/task"))
    print(",".join(descriptors), threads, children, memory.group(1), flush=True)


# Go's runtime catches these in any process that loads it.
GO_CATCHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGPIPE, signal.SIGURG}


def surroundings() -> object:
    """What a library must leave alone, whether it was loaded or not."""
    umask = os.umask(0o22)
    os.umask(umask)
    limits = {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")}
    with open("/proc/self/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    masks = {}
    for name in "SigBlk", "SigIgn", "SigCgt":
        mask = int(lines[name], 16)
        # 32 to 34 are libc's and Go's own.
        masks[name] = [number for number in range(1, 65)
                       if mask >> (number - 1) & 1 and number not in GO_CATCHES and not 32 <= number <= 34]
    return os.getcwd(), dict(os.environ), umask, limits, masks, lines["NoNewPrivs"], lines["Seccomp"]


def main() -> None:
    runs = int(sys.argv[1])
    before = surroundings()
    landlock_abi_version()  # loads the library
    asked = []

    def judge(event: object, ctx: object) -> bool:
        asked.append(event)
        return False

    plain = Sandbox(fs_readable=SYSTEM)
    judged = Sandbox(fs_readable=SYSTEM, policy_fn=judge)
    print_holdings()
    for number in range(runs):
        kind = number % 8
        if kind == 0:
            result = judged.run(["/bin/sh", "-c", "echo judged; exec /bin/true"])
            assert result.stdout == b"judged\n" and len(asked) == 2, (result, asked)
            asked.clear()
        elif kind == 1:
            result = plain.run(["/nonexistent"])
            assert not result.success and result.error, result
        elif kind == 2:
            with Sandbox(fs_readable=SYSTEM) as never_started:
                never_started.create(["/bin/true"])
        elif kind == 3:
            plain.spawn(["/bin/sleep", "1000"])
            plain.kill()
            assert not plain.wait().success
        else:
            result = plain.run(["/bin/echo", "plain"])
            assert result.stdout == b"plain\n", result
    print_holdings()
    after = surroundings()
    assert before == after, (before, after)


main()
