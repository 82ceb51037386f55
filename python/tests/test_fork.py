"""Hosts that fork: the parent's sandboxes go on, the child has its own. Each host is one
of every Python that is found. A child that hangs is ended by its alarm."""

from __future__ import annotations

import pathlib

import pytest

from conftest import run_hosts

CHILD = """
def check(number=0):
    box = judged(lambda event, ctx: "no" in event.argv)
    assert box.run(["/bin/echo", str(number)]).stdout == b"%d\\n" % number
    r = box.run(["sh", "-c", "/bin/echo no; echo $?"])
    assert r.stdout == b"126\\n", r
def child(body, status=0, leave=os._exit):
    pid = os.fork()
    if pid == 0:
        signal.alarm(200)
        try:
            body()
        except Exception:
            import traceback
            traceback.print_exc()
            leave = os._exit
            status = 99
        leave(status)
    return pid
def ended(pid, status=0):
    got = os.waitpid(pid, 0)[1]
    assert got == status, got
"""


def test_nested(tmp_path: pathlib.Path) -> None:
    """A child, its child, and so on; each leaves in another way. What the parent runs
    goes on."""
    run_hosts(CHILD + f"""
fifo = os.path.join({str(tmp_path)!r}, sys.version.split()[0])
os.mkfifo(fifo)
def forbidden(run):
    try:
        run()
    except ForkedError:
        return
    raise AssertionError(run)
def generation(number):
    check(number)
    if number:
        assert not sleeper.is_running and not reader.is_running
        for call in sleeper.wait, sleeper.kill, sleeper.pause, reader.wait:
            forbidden(call)
    if number < 3:
        before = os.getpid()
        for leave in os._exit, sys.exit:
            pid = child(lambda: generation(number + 1), number, leave)
            ended(pid, number << 8)
    else:
        assert sleeper.run(["true"]).success  # the object, with a run of its own
    check(number)
sleeper, reader = plain(), judged(fs_writable=[{str(tmp_path)!r}])
sleeper.spawn(FOREVER)
reader.spawn(["sh", "-c", f"read word <{{fifo}}; /bin/echo $word"])
generation(0)
assert sleeper.is_running and reader.is_running
with open(fifo, "w") as f:
    f.write("word\\n")
assert reader.wait().stdout == b"word\\n"
sleeper.kill()
print(sleeper.wait().reason.name)
""", stdout="KILLED\n")


def test_a_child_that_fails() -> None:
    """An exception ends it as it ends any child."""
    run_hosts(CHILD + """
box = judged()
box.spawn(FOREVER)
pid = os.fork()
if pid == 0:
    signal.alarm(200)
    os.close(2)
    check()
    raise ValueError("of the child")
ended(pid, 1 << 8)
assert box.is_running
check()
""")


def test_while_other_threads_run_sandboxes() -> None:
    """The child may use the very objects that they use."""
    run_hosts(CHILD + """
boxes = [judged() if i % 2 else plain() for i in range(4)]
stop = threading.Event()
failed = []
def work(box):
    while not stop.is_set():
        box.env = {"N": str(time.monotonic())}  # a new policy for each run
        r = box.run(["sh", "-c", "/bin/true; echo $N"])
        if r.stdout.decode() != box.env["N"] + "\\n":
            failed.append(r)
def use():
    for box in boxes:
        assert box.run(["true"]).success
threads = [threading.Thread(target=work, args=[box]) for box in boxes]
for thread in threads:
    thread.start()
for _ in range(25):
    ended(child(use))
stop.set()
for thread in threads:
    thread.join()
assert not failed, failed
use()
""")


def test_while_another_thread_loads_the_library() -> None:
    run_hosts(CHILD + """
import sandlock
def host(spins):
    signal.alarm(200)
    thread = threading.Thread(target=sandlock.landlock_abi_version)
    thread.start()
    for _ in range(spins):
        pass
    pid = child(check)
    thread.join()
    check()
    ended(pid)
for i in range(30):
    ended(child(lambda: host(i * 5000)))
""")


def test_the_parent_is_killed_while_the_child_lives() -> None:
    run_hosts(CHILD + """
import select
pids_r, pids_w = os.pipe()
go_r, go_w = os.pipe()
said_r, said_w = os.pipe()
def parent():
    entered = threading.Event()
    def stuck(event, ctx):
        entered.set()
        time.sleep(1000)
    boxes = [plain(), judged(), judged(stuck), judged()]
    for box in boxes[:3]:
        box.spawn(FOREVER)
    boxes[3].create(FOREVER)
    entered.wait()
    os.write(pids_w, b"".join(b"%d " % box.pid for box in boxes))
    def survivor():
        check(1)
        os.write(said_w, b"a")
        os.close(go_w)
        os.read(go_r, 1)  # its end
        check(2)
        os.write(said_w, b"b")
    child(survivor)
    time.sleep(1000)
pid = child(parent)
assert os.read(said_r, 1) == b"a"
pidfds = [os.pidfd_open(int(p)) for p in os.read(pids_r, 100).split()]
assert len(pidfds) == 4
os.kill(pid, signal.SIGKILL)
ended(pid, signal.SIGKILL)
for fd in pidfds:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    assert poll.poll(200_000)
os.close(go_w)
assert os.read(said_r, 1) == b"b"
""")


POOL = CHILD + """
import concurrent.futures, multiprocessing
def task(number):
    check(number)
    return os.getpid()
def sleep(box_pid):
    box = judged()
    box.spawn(FOREVER)
    box_pid.value = box.pid
    box.wait()
if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    running = judged()
    running.spawn(FOREVER)
    check()
    for limit in None, 2:
        with context.Pool(3, maxtasksperchild=limit) as pool:
            pids = pool.map(task, range(8), chunksize=1)
            check()
            pool.close()
            pool.join()
        assert os.getpid() not in pids
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        assert len(list(pool.map(task, range(4)))) == 4
    process = context.Process(target=task, args=[1])
    process.start()
    process.join()
    assert process.exitcode == 0, process.exitcode
    # One that is ended while it runs a sandbox.
    box_pid = context.Value("i", 0)
    process = context.Process(target=sleep, args=[box_pid])
    process.start()
    while box_pid.value == 0:
        assert process.is_alive()
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert running.is_running
    running.kill()
    print(running.wait().reason.name)
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_multiprocessing(method: str, tmp_path: pathlib.Path) -> None:
    run_hosts(POOL.format(method=method), stdout="KILLED\n", file=tmp_path / "script.py")


def test_in_a_callback() -> None:
    """A callback starts processes in all ways that Python has. A child that returns from
    it, or raises, has nothing to return to."""
    run_hosts(CHILD + """
import multiprocessing, subprocess
done = []
def process(target):
    p = multiprocessing.get_context("fork").Process(target=target)
    p.start()
    p.join()
    assert p.exitcode == 0, p.exitcode
def back(event, leave):
    pid = os.fork()
    if pid == 0:
        signal.alarm(200)
        return leave()
    ended(pid, 1 << 8)
ways = [
    lambda event: ended(child(lambda: None, 7), 7 << 8),
    lambda event: ended(child(check)),
    lambda event: back(event, lambda: None),
    lambda event: back(event, sys.exit),
    lambda event: process(check),
    lambda event: subprocess.run(["true"], check=True),
    lambda event: subprocess.run(["true"], check=True, preexec_fn=os.setsid),
]
for way in ways:
    def judge(event, ctx):
        way(event)
        done.append(way)
    r = judged(judge).run(["sh", "-c", "/bin/echo ran"])
    assert r.stdout == b"ran\\n", r
assert len(done) == 2 * len(ways)
""")


def test_crashes(tmp_path: pathlib.Path) -> None:
    """In the parent and in the child, which has two copies of the library; in a policy_fn
    too; with faulthandler, enabled before the library was loaded and after: each ends its
    process with its signal, and is reported once."""
    run_hosts(CHILD + f"""
import faulthandler, itertools, resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
report = open(os.path.join({str(tmp_path)!r}, sys.version.split()[0]), "w+")
def crash(how, in_callback):
    def judge(event, ctx):
        crash(how, False)
    if in_callback:
        judged(judge).run(["true"])
    elif how == signal.SIGSEGV:
        ctypes.string_at(0)
    else:
        os.abort()
def host(how, in_callback, in_child, when):
    if when == "before":
        faulthandler.enable(report)
    check()
    if when == "after":
        faulthandler.enable(report)
    if in_child:
        ended(child(lambda: (check(1), crash(how, in_callback))), how)
        check(2)
        os.kill(os.getpid(), signal.SIGKILL)
    crash(how, in_callback)
for case in itertools.product([signal.SIGSEGV, signal.SIGABRT], [False, True], [False, True], [None, "before", "after"]):
    how, in_callback, in_child, when = case
    report.truncate(0)
    status = os.waitpid(child(lambda: host(*case)), 0)[1]
    assert status == (signal.SIGKILL if in_child else how), (case, status)
    report.seek(0)
    assert report.read().count("Fatal Python error") == (when is not None), case
report.close()
""")
