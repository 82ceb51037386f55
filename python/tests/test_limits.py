"""The limits of a sandbox, and what a result says of them."""

import os
import pathlib
import stat
from typing import Any, List

import pytest
from conftest import INSIDE, SYSTEM

from sandlock import ExitReason, PolicyContext, Sandbox, SyscallEvent

# N children at a time; prints how many there were, and the errno of one too many.
CHILDREN = """
import os, sys
read, write = os.pipe()
made, errno = 0, 0
for _ in range(int(sys.argv[1])):
    try:
        pid = os.fork()
    except OSError as e:
        errno = e.errno
        break
    if pid == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    made += 1
print(made, errno)
sys.stdout.flush()
os.close(write)
for _ in range(made):
    os.wait()
"""


def python(box: Sandbox, program: str, *args: Any, timeout: float = 120) -> Any:
    box.fs_readable = SYSTEM
    return box.run([INSIDE, "-I", "-c", program, *map(str, args)], timeout=timeout, text=True)


@pytest.mark.parametrize("limit", [2, 11])
def test_max_processes(limit: int) -> None:
    r = python(Sandbox(max_processes=limit), CHILDREN, limit - 1)
    assert (r.success, r.stdout, r.limits, r.processes) == (True, f"{limit - 1} 0\n", (), limit), r
    r = python(Sandbox(max_processes=limit), CHILDREN, limit)
    assert (r.success, r.stdout, r.limits, r.processes) == (True, f"{limit - 1} 11\n", ("max_processes",), limit), r
    r = python(Sandbox(max_processes="unlimited"), CHILDREN, limit + 70)
    assert (r.success, r.stdout, r.limits, r.processes) == (True, f"{limit + 70} 0\n", (), 0), r


def test_the_default_is_64_processes() -> None:
    assert python(Sandbox(), CHILDREN, 64).stdout == "63 11\n"


def test_restrict_max_processes() -> None:
    def judge(event: SyscallEvent, ctx: PolicyContext) -> None:
        if event.argv == ("/bin/echo", "fewer"):
            ctx.restrict_max_processes(2)
            ctx.restrict_max_processes(50)  # never more

    box = Sandbox(fs_readable=SYSTEM, policy_fn=judge)
    r = box.run(["sh", "-c", "/bin/echo a | /bin/cat; /bin/echo fewer; /bin/echo b | /bin/cat"], text=True)
    assert r.stdout == "a\nfewer\n" and "fork" in r.stderr and r.limits == ("max_processes",), r


# Each of N processes fills MiB of memory; all hold theirs until all have, or for ever.
FILLS = """
import os, sys
count, mib = int(sys.argv[1]), int(sys.argv[2])
tell, go = os.pipe(), os.pipe()
first = True
for _ in range(count - 1):
    if os.fork() == 0:
        first = False
        break
if not first:
    os.close(go[1])
held = bytearray(mib << 20)
os.write(tell[1], b"x")
if not first:
    os.read(go[0], 1)
    os._exit(0)
if len(sys.argv) > 3 and count > 1:
    sys.exit(os.wait()[1])
told = 0
while told < count:
    told += len(os.read(tell[0], count))
if len(sys.argv) > 3:
    os.read(os.pipe()[0], 1)
os.close(go[1])
codes = [os.wait()[1] for _ in range(count - 1)]
print(told, set(codes) or {0})
"""


@pytest.mark.parametrize("count, under, over", [(1, 80, 200), (10, 6, 30)])
def test_max_memory(count: int, under: int, over: int) -> None:
    """A Python holds some 6 MiB by itself."""
    r = python(Sandbox(max_memory="160M"), FILLS, count, under)
    assert (r.stdout, r.limits) == (f"{count} {{0}}\n", ()), r
    r = python(Sandbox(max_memory="160M"), FILLS, count, over, "hold")
    assert "max_memory" in r.limits and not r.success, r
    r = python(Sandbox(), FILLS, count, over)
    assert (r.stdout, r.limits) == (f"{count} {{0}}\n", ()), r


# N processes burn until so many seconds have passed; prints what they used.
BURNS = """
import os, sys, time
count, seconds = int(sys.argv[1]), float(sys.argv[2])
end = time.monotonic() + seconds
children = []
for _ in range(count - 1):
    pid = os.fork()
    if pid == 0:
        children = None
        break
    children.append(pid)
while time.monotonic() < end:
    pass
if children is None:
    os._exit(0)
for pid in children:
    os.waitpid(pid, 0)
t = os.times()
print(sum(t[:4]))
"""


@pytest.mark.parametrize("count", [1, 10])
def test_max_cpu(count: int) -> None:
    """Less than was granted is no matter, the machine may be busy; more is."""
    r = python(Sandbox(max_cpu=20), BURNS, count, 1.5)
    assert r.success and r.limits == ("max_cpu",), r
    assert float(r.stdout) < 0.2 * r.wall_time * 1.5 + 0.3, r
    r = python(Sandbox(max_cpu=100), "import time; time.sleep(0.3)")
    assert r.success and r.limits == (), r


EXECS = """
import os, subprocess, threading
def some():
    for _ in range(6):
        assert subprocess.run(["/bin/true"]).returncode == 0
threads = [threading.Thread(target=some) for _ in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
for _ in range(5):
    pid = os.fork()
    if pid == 0:  # threads that an exec ends
        never = threading.Event()
        for _ in range(8): threading.Thread(target=never.wait, daemon=True).start()
        os.execv("/bin/true", ["true"])
    assert os.waitpid(pid, 0)[1] == 0
print("ok")
"""


@pytest.mark.parametrize("limit", [64, "unlimited"])
def test_execs_of_who_is_held(limit: Any) -> None:
    """No exec is lost or denied when its task, or a thread that it waits for, is held."""
    events: List[SyscallEvent] = []

    def judge(event: SyscallEvent, ctx: PolicyContext) -> None:
        events.append(event)

    result = python(Sandbox(max_cpu=10, max_processes=limit, policy_fn=judge), EXECS)
    assert (result.stdout, result.stderr, result.log) == ("ok\n", "", ()) and result.success
    assert len(events) == 1 + 36 + 5


def test_num_cpus() -> None:
    program = "import os; print(len(os.sched_getaffinity(0)))"
    available = len(os.sched_getaffinity(0))
    for n in 1, available, available + 1:
        r = python(Sandbox(num_cpus=n), program)
        assert r.stdout == f"{min(n, available)}\n", r
    r = python(Sandbox(num_cpus=1), "import os; os.sched_setaffinity(0, range(os.cpu_count()))")
    assert not r.success and "PermissionError" in r.stderr
    core = max(os.sched_getaffinity(0))
    r = python(Sandbox(num_cpus=1, cpu_cores=[core]), "import os; print(os.sched_getaffinity(0))")
    assert r.stdout == f"{{{core}}}\n", r


def test_num_cpus_in_files() -> None:
    program = """
import os, re
print(os.cpu_count(), len(re.findall(r"^processor", open("/proc/cpuinfo").read(), re.M)), len(re.findall(r"^cpu\\d", open("/proc/stat").read(), re.M)))
print(open("/sys/devices/system/cpu/online").read().strip(), ",".join(map(str, os.sched_getaffinity(0))))
"""
    for n in 1, len(os.sched_getaffinity(0)):
        box = Sandbox(fs_readable=SYSTEM + ["/proc", "/sys"], num_cpus=n)
        r = box.run([INSIDE, "-I", "-c", program], text=True)
        assert r.success and r.stdout.splitlines()[0] == f"{n} {n} {n}", r
        if n == 1:
            online, affinity = r.stdout.splitlines()[1].split()
            assert online == affinity, r
    # Nothing of it where the files may not be read.
    r = python(Sandbox(num_cpus=1), "import os; print(os.cpu_count(), os.access('/proc/cpuinfo', os.F_OK)); open('/proc/cpuinfo')")
    assert r.stdout == "1 True\n" and "PermissionError" in r.stderr, r


def test_max_memory_in_meminfo() -> None:
    program = """
def meminfo(): return {k: int(v.split()[0]) for k, v in (line.split(":") for line in open("/proc/meminfo"))}
before = meminfo()
block = bytearray(64 << 20)
after = meminfo()
print(before["MemTotal"], before["SwapTotal"], before["MemAvailable"] >= before["MemTotal"] - (32 << 10))
print(after["MemTotal"], after["MemTotal"] - after["MemAvailable"] >= 64 << 10, after["AnonPages"] >= 64 << 10)
"""
    box = Sandbox(fs_readable=SYSTEM + ["/proc/meminfo"], max_memory="128M")
    r = box.run([INSIDE, "-I", "-c", program], text=True)
    assert r.stdout == "131072 0 True\n131072 True True\n", r

    def judge(event: SyscallEvent, ctx: PolicyContext) -> None:
        ctx.restrict_max_memory(100 << 20)

    box.policy_fn = judge
    assert "102400 True True" in box.run([INSIDE, "-I", "-c", program], text=True).stdout


def test_gpu_devices_name_themselves() -> None:
    show = ["sh", "-c", "echo $CUDA_VISIBLE_DEVICES/$ROCR_VISIBLE_DEVICES"]
    env = {"CUDA_VISIBLE_DEVICES": "", "ROCR_VISIBLE_DEVICES": ""}
    saved = {name: os.environ.pop(name, None) for name in env}
    try:
        for devices, said in (None, "/"), ([], "/"), ([1, 0, 1], "0,1/0,1"):
            r = Sandbox(fs_readable=SYSTEM, gpu_devices=devices).run(show, text=True)
            assert r.stdout == f"{said}\n", (devices, r)
        r = Sandbox(fs_readable=SYSTEM, gpu_devices=[3], env={"CUDA_VISIBLE_DEVICES": "mine"}).run(show, text=True)
        assert r.stdout == "mine/3\n", r
    finally:
        os.environ.update({name: value for name, value in saved.items() if value is not None})


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes device nodes")
def test_gpu_devices() -> None:
    made: List[pathlib.Path] = []
    null = os.stat("/dev/null").st_rdev

    def node(name: str) -> None:
        path = pathlib.Path("/dev", name)
        if not path.exists():
            os.mknod(path, stat.S_IFCHR | 0o666, null)
            made.append(path)

    try:
        for name in "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia0", "nvidia1":
            node(name)
        program = """
import sys
for name in sys.argv[1:]:
    try:
        open("/dev/" + name, "r+b", buffering=0).write(b"x")
        print(name)
    except PermissionError:
        pass
"""
        names = ["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia0", "nvidia1"]
        for devices, opens in (None, []), ([1], [*names[:3], "nvidia1"]), ([], names), ([7], names[:3]):
            r = python(Sandbox(gpu_devices=devices), program, *names)
            assert r.success and r.stdout.split() == opens, (devices, r)
    finally:
        for path in made:
            path.unlink()


def test_what_a_run_took() -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass\nb = bytearray(50 << 20)"
    r = python(Sandbox(), busy)
    assert 0.2 < r.user_time + r.system_time <= 2 * r.wall_time + 0.1 and r.wall_time >= 0.3, r
    assert 50 << 20 < r.max_rss < 200 << 20 and r.processes == 1 and r.limits == (), r
    r = Sandbox(fs_readable=SYSTEM, max_output=5).run(["echo", "more than five"])
    assert r.limits == ("max_output",) and r.truncated
    r = Sandbox(fs_readable=SYSTEM).run(["sleep", "100"], timeout=0.05)
    assert r.limits == ("timeout",) and r.reason is ExitReason.TIMEOUT


@pytest.mark.parametrize("field, value", [
    ("max_processes", 0), ("max_processes", -1), ("max_processes", "many"), ("max_processes", 1.5), ("max_processes", 1 << 32),
    ("max_memory", 0), ("max_memory", "0"), ("max_memory", "much"), ("max_memory", -1), ("max_memory", 1 << 64),
    ("max_cpu", 0), ("max_cpu", 101), ("max_cpu", "half"), ("max_cpu", 0.5), ("num_cpus", 0), ("num_cpus", -1),
    ("gpu_devices", "all"), ("gpu_devices", [-1]), ("gpu_devices", [1024]), ("term_grace", -1), ("term_grace", "1"),
])
def test_bad_limits(field: str, value: Any) -> None:
    box = Sandbox()
    setattr(box, field, value)
    with pytest.raises(ValueError, match=field):
        box.run(["true"])
