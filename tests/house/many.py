"""A host with many sandboxes: many.py plain N prints, for N of them that run at once, or
many.py judged N, for as many with a policy_fn, the threads and the KiB of memory that each takes, of the host and
of the library's own processes. many.py runs N CROWD makes N runs, CROWD at a time, and
prints what the host holds before and after: see host.py."""

from __future__ import annotations

import os
import re
import sys
import threading
from typing import Container, List, Tuple

from sandlock import Sandbox

SYSTEM = ["/usr", "/lib", "/lib64", "/bin", "/etc"]


def field(pid: object, file: str, name: str) -> int:
    with open(f"/proc/{pid}/{file}") as f:
        found = re.search(rf"^{name}:\s*(\d+)", f.read(), re.M)
    assert found is not None
    return int(found.group(1))


def wardens(commands: Container[str] = ()) -> List[str]:
    """The library's processes: children of this one, and theirs that are the same program,
    as commands are that have not come to their exec."""
    found: List[str] = []
    programs = set()
    for _ in range(2):
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat") as stat:
                    parent = stat.read().rpartition(")")[2].split()[1]
                program = os.readlink(f"/proc/{pid}/exe")
            except OSError:
                continue
            if pid not in found and pid not in commands and (parent == str(os.getpid()) or parent in found and program in programs):
                found.append(pid)
                programs.add(program)
    return found


def own_memory(commands: Container[str] = ()) -> Tuple[int, int]:
    """KiB of the host, and of the library's processes: pages of these that are shared by
    two tasks are one task's half each, as they are of those that share all (CLONE_VM)."""
    seen, total = set(), 0
    for pid in wardens(commands):
        parent = field(pid, "status", "PPid")
        # The killer shares all of its parent's memory, which Pss counts for each of them.
        if str(parent) in seen:
            continue
        seen.add(pid)
        total += field(pid, "smaps_rollup", "Pss")
    return field("self", "smaps_rollup", "Rss"), total


def once(number: int, judged: bool) -> None:
    def judge(event: object, ctx: object) -> None:
        pass

    for policy_fn in [judge if judged else None]:
        boxes = [Sandbox(fs_readable=SYSTEM, policy_fn=policy_fn) for _ in range(number)]
        # What the library takes once, and Python for these objects, is not of each.
        for box in boxes[:3]:
            assert box.run(["true"]).success
        threads = field("self", "status", "Threads")
        host, none = own_memory()
        assert none == 0, wardens()
        for box in boxes:
            box.spawn(["sleep", "1000"])
        commands = {str(box.pid) for box in boxes}
        found = wardens(commands)
        assert len(found) == 2 * number, (len(found), found)
        threads = field("self", "status", "Threads") - threads
        grown, own = own_memory(commands)
        print(threads / number, (grown - host) / number, own / number, flush=True)
        for box in boxes:
            box.kill()
            box.wait()


def holdings() -> str:
    try:
        os.waitpid(-1, os.WNOHANG)
        children = "some"
    except ChildProcessError:
        children = "none"
    descriptors = ",".join(sorted(os.listdir("/proc/self/fd"), key=int))
    return f"{descriptors} {len(os.listdir('/proc/self/task'))} {children} {field('self', 'status', 'VmRSS')}"


def runs(number: int, crowd: int) -> None:
    def judge(event: object, ctx: object) -> None:
        pass

    def work(index: int) -> None:
        box = Sandbox(fs_readable=SYSTEM, policy_fn=judge if index % 4 == 0 else None)
        for i in range(number // crowd):
            if i % 10 == 9:
                r = box.run(["sleep", "1000"], timeout=0.01)
                assert not r.success
            else:
                r = box.run(["echo", str(i)])
                assert r.stdout == f"{i}\n".encode(), r

    def crowded() -> None:
        failures = []

        def guarded(index: int) -> None:
            try:
                work(index)
            except BaseException as e:
                failures.append(e)

        threads = [threading.Thread(target=guarded, args=[i]) for i in range(crowd)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures

    whole, number = number, 10 * crowd
    crowded()  # what so many at once need once
    number = whole
    print(holdings(), flush=True)
    crowded()
    print(holdings(), flush=True)


if sys.argv[1] in ("plain", "judged"):
    once(int(sys.argv[2]), sys.argv[1] == "judged")
else:
    runs(int(sys.argv[2]), int(sys.argv[3]))
