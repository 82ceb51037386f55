"""The end of an interpreter in which sandboxes run: it is the script's own, in time, and
all that ran is gone. Each host is one of every Python that is found."""

from __future__ import annotations

import pathlib

import pytest

from conftest import CTRL_C, run_hosts

SPAWNED = """
box = plain()
box.spawn(FOREVER)
"""

# program, exit status, last line of the one traceback
ENDS = {
    "end of the script": (SPAWNED, 0, ""),
    "sys.exit": (SPAWNED + "sys.exit(3)", 3, ""),
    "exception": (SPAWNED + "raise ValueError('mine')", 1, "ValueError: mine"),
    "os._exit": (SPAWNED + "os._exit(4)", 4, ""),
    "parked": ("box = judged()\nbox.create(STORM)", 0, ""),
    "in a with": ("with judged() as box:\n    box.spawn(STORM)\n    sys.exit(6)", 6, ""),
    "in a cycle": ("class A: pass\na = A()\na.box = judged(lambda event, ctx: a)\na.box.spawn(STORM)\na.a = a.box.a = a\ndel a", 0, ""),
    "events": ("box = judged()\nbox.spawn(STORM)", 0, ""),
    "SIGTERM": ("judged(lambda event, ctx: os.kill(os.getpid(), signal.SIGTERM)).run(FOREVER)", -15, ""),
    "SIGINT": (CTRL_C + "judged(lambda event, ctx: ctrl_c()).run(FOREVER)", -2, "KeyboardInterrupt"),
    "SIGINT, the callback does not return": (CTRL_C + """
def judge(event, ctx):
    ctrl_c()
    threading.Event().wait()
judged(judge).run(FOREVER)
""", -2, "KeyboardInterrupt"),
}


@pytest.mark.parametrize("how", ENDS)
def test_ends(how: str) -> None:
    program, status, traceback = ENDS[how]
    run_hosts(program, status, traceback=traceback)


IN_A_CALLBACK = """
entered = threading.Event()
tasks = []
def judge(event, ctx):
    tasks.append(threading.get_native_id())
    entered.set()
    {body}
box = judged(judge)
box.spawn(FOREVER)
entered.wait()
{then}
"""


@pytest.mark.parametrize("body", ["threading.Event().wait()", "time.sleep(1000)", "while True: pass", "while True: time.sleep(0)"])
def test_while_a_callback_runs(body: str) -> None:
    run_hosts(IN_A_CALLBACK.format(body=body, then=""))
    run_hosts(IN_A_CALLBACK.format(body=body, then="sys.exit(5)"), 5)
    run_hosts(IN_A_CALLBACK.format(body=body, then="os._exit(5)"), 5)


def test_a_callback_wakes_when_the_interpreter_is_taken_apart() -> None:
    """CPython ends the thread then, which is one of the library's."""
    run_hosts(IN_A_CALLBACK.format(body="while True: time.sleep(0.001)", then="""
class Late:
    access, write, path = staticmethod(os.access), staticmethod(os.write), f"/proc/self/task/{tasks[0]}"
    def __del__(self):
        while self.access(self.path, 0):
            pass
        self.write(1, b"the thread is gone\\n")
sys.late = Late()  # of the last that go
"""), stdout="the thread is gone\n")


DAEMONS = {
    "run": "boxes[i].run(FOREVER)",
    "run, interactive": "boxes[i].run_interactive(FOREVER)",
    "wait": "boxes[i].wait()",
    "runs": "[boxes[i].run(['sh', '-c', '/bin/true; /bin/true']) for _ in iter(int, 1)]",
    "events": "[boxes[i].run(STORM) for _ in iter(int, 1)]",
}


@pytest.mark.parametrize("what", DAEMONS)
def test_daemon_threads(what: str) -> None:
    run_hosts(f"""
boxes = [judged() if i % 2 else plain() for i in range(4)]
{"[box.spawn(FOREVER) for box in boxes]" if what == "wait" else ""}
for i in range(4):
    threading.Thread(target=lambda i=i: {DAEMONS[what]}, daemon=True).start()
while not all(box.is_running for box in boxes):
    pass
""")


def test_a_daemon_thread_that_is_waited_for() -> None:
    """By an atexit handler, after the library's own: its wait ends with the kill."""
    run_hosts("""
import atexit
@atexit.register
def finish():
    stop.set()
    thread.join()
    print(reasons[-1])
from sandlock import Sandbox
stop = threading.Event()
reasons = []
box = judged()
def work():
    while not stop.is_set():
        reasons.append(box.run(FOREVER).reason.name)
thread = threading.Thread(target=work, daemon=True)
thread.start()
while not box.is_running:
    pass
# The run that comes after the library's handler and before this one is ended here.
atexit.register(lambda: None)
stop.set()
""", stdout="KILLED\n")


def test_other_threads_are_waited_for() -> None:
    run_hosts("""
def work():
    print(box.run(["sh", "-c", "/bin/echo ran"]).stdout)
box = judged()
threading.Thread(target=work).start()
""", stdout="b'ran\\n'\n")


def test_atexit_handlers_use_it() -> None:
    """Whether they were registered before the library was used or after, and leave
    something running."""
    run_hosts("""
def use(name):
    print(name, judged().run(["/bin/echo", "ran"]).stdout)
    late = judged()
    late.spawn(STORM)
    kept.append(late)
def end(box):
    box.kill()
    print(box.wait().reason.name)
kept = []
atexit.register(use, "first")
first = judged()
first.spawn(FOREVER)
atexit.register(use, "second")
atexit.register(end, first)
""", stdout="KILLED\nsecond b'ran\\n'\nfirst b'ran\\n'\n")


def test_what_writes_is_dead_before_its_directory_is_removed() -> None:
    run_hosts("""
import tempfile
work = tempfile.TemporaryDirectory()
box = plain(fs_writable=[work.name], cwd=work.name)
box.spawn(["sh", "-c", "i=0; while :; do i=$((i+1)); : >$i; done"])
while not os.listdir(work.name):
    pass
""", options=["-W", "ignore:Implicitly cleaning:ResourceWarning"])


@pytest.mark.parametrize("how", ["daemon", "atexit"])
def test_a_process_that_outlives_its_interpreter(how: str, tmp_path: pathlib.Path) -> None:
    """As one that embeds Python does: here in an exit handler of C, which reads what the
    sandboxes hold open until they are gone, since what they would execute is denied. To
    call a policy_fn then would be a crash."""
    run_hosts(f"""
fifo = os.path.join({str(tmp_path)!r}, sys.version.split()[0])
os.mkfifo(fifo)
end = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
command = ["sh", "-c", f"exec 3>{{fifo}}; while /bin/true; do :; done"]
# A callback may have been entered; its thread is ended by CPython, and does not answer.
boxes = [judged(fs_writable=[{str(tmp_path)!r}], policy_timeout=1) for _ in range(4)]
def spawn():
    for box in boxes:
        box.spawn(command)
def run(box):
    while True:
        box.run(command)
if {how == "atexit"}:
    atexit._clear()
    atexit.register(spawn)  # after the library's own
    import weakref
    judged().run(["true"])
else:
    for box in boxes:
        threading.Thread(target=run, args=[box], daemon=True).start()
    while not all(box.is_running for box in boxes):
        pass
os.set_blocking(end, True)
os.dup2(end, 0)
libc = ctypes.CDLL(None)
libc.__cxa_atexit(libc.getchar, None, None)
""")
