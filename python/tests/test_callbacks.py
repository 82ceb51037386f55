"""What a policy_fn may do, under every Python that is found."""

from __future__ import annotations

from conftest import run_hosts


def test_while_other_threads_are_busy() -> None:
    """In pure Python: each entry into it has to wait for the GIL."""
    run_hosts("""
def busy():
    n = 0
    while not stop.is_set():
        n += 1
stop = threading.Event()
threads = [threading.Thread(target=busy) for _ in range(4)]
for thread in threads:
    thread.start()
seen = []
box = judged(lambda event, ctx: seen.append(event.argv) or event.argv[-1] == "no")
for i in range(5):
    r = box.run(["sh", "-c", f"/bin/echo {i}; /bin/echo no; echo $?"])
    assert r.stdout == b"%d\\n126\\n" % i, r
    assert [argv[-1] for argv in seen[1:]] == [str(i), "no"], seen
    seen.clear()
box.spawn(FOREVER)
box.kill()
assert box.wait().reason.name == "KILLED"
assert box.run(FOREVER, timeout=0.01).reason.name == "TIMEOUT"
stop.set()
for thread in threads:
    thread.join()
""")


def test_exceptions_deny_and_the_first_is_raised() -> None:
    run_hosts("""
class Base(BaseException): pass
class Falsy(Exception):
    def __bool__(self): return False
class Mute(Exception):
    def __str__(self): raise ValueError("no text")
    __repr__ = __str__
def deep():
    deep()
def chained():
    try:
        1 / 0
    except ZeroDivisionError as e:
        raise OSError("chained") from e
class Answer:
    def __getattribute__(self, name): raise RuntimeError(name)
    def __eq__(self, other): raise RuntimeError("eq")
    def __bool__(self): raise RuntimeError("bool")
    __hash__ = None
def throw(error):
    raise error
ways = {
    "ValueError": lambda: throw(ValueError("no")), "KeyboardInterrupt": lambda: throw(KeyboardInterrupt()),
    "SystemExit": lambda: sys.exit(3), "GeneratorExit": lambda: throw(GeneratorExit()),
    "StopIteration": lambda: throw(StopIteration()), "MemoryError": lambda: throw(MemoryError()),
    "Base": lambda: throw(Base("base")), "Falsy": lambda: throw(Falsy()), "Mute": lambda: throw(Mute()),
    "RecursionError": deep, "OSError": chained, "TypeError": lambda: len(5),
    "RuntimeError": Answer,  # which raises when it is looked at
    "UnicodeEncodeError": lambda: throw(UnicodeEncodeError("utf-8", "\\udcff", 0, 1, "no")),
}
for name, way in ways.items():
    def judge(event, ctx):
        if event.argv[-1] == "first":
            return way()
        elif event.argv[-1] == "second":
            raise IndexError("second")
    box = judged(judge)
    for run in "run", "wait":
        try:
            command = ["sh", "-c", "/bin/echo first; /bin/echo second; /bin/echo third"]
            if run == "run":
                box.run(command)
            else:
                box.spawn(command)
                box.wait()
            raise AssertionError(name)
        except CallbackError as e:
            assert type(e.__cause__).__name__ == name, (name, e.__cause__)
            assert name in str(e), str(e)
    assert box.run(["true"]).success and not box.is_running
""")


def test_the_library_within_a_callback() -> None:
    run_hosts("""
done = []
def refused(call, text):
    try:
        call()
    except RuntimeError as e:
        assert text in str(e), e
        return
    raise AssertionError(text)
def judge(event, ctx):
    inner = judged(lambda event, ctx: event.argv[-1] == "no")
    assert inner.run(["sh", "-c", "/bin/echo no; echo $?"]).stdout == b"126\\n"
    inner.spawn(FOREVER)
    inner.kill()
    assert inner.wait().reason.name == "KILLED"
    refused(box.wait, "waits")
    refused(lambda: box.run(["true"]), "already running")
    refused(lambda: box.create(["true"]), "already running")
    assert box.is_running and box.pid
    done.append(event.argv[-1])
box = judged(judge)
assert box.run(["/bin/echo", "ran"]).stdout == b"ran\\n" and done == ["ran"]
box.spawn(["/bin/echo", "ran"])
# Nor when nobody else waits, yet.
while len(done) < 2:
    pass
assert box.wait().stdout == b"ran\\n"
def end(event, ctx):
    box.kill()
box.policy_fn = end
assert box.run(FOREVER).reason.name == "KILLED"
""")
