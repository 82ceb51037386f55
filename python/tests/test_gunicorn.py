"""A prefork server: gunicorn, whose master has used the library before it forks."""

from __future__ import annotations

import concurrent.futures
import http.client
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
from typing import Dict, List, Set, Tuple

import pytest

from conftest import HERE, SOURCE, SYSTEM

pytest.importorskip("gunicorn")

APPLICATION = f"""
import os
from sandlock import Sandbox

def judge(event, ctx):
    return "no" in event.argv
def sandbox():
    return Sandbox(fs_readable={SYSTEM!r}, policy_fn=judge)

first = sandbox()
assert first.run(["true"]).success
master = sandbox()  # runs for as long as the master lives
master.spawn(["sleep", "1000"])
kept = []

def application(environ, start_response):
    word = environ["PATH_INFO"][1:]
    if word == "keep":
        box = sandbox()
        box.spawn(["sleep", "1000"])
        kept.append(box)
        text = str(box.pid)
    elif word == "master":
        text = str(master.is_running)
    else:
        box = first if environ.get("wsgi.multithread") is False else sandbox()
        text = box.run(["sh", "-c", f"/bin/echo {{word}}; /bin/echo no; echo $?"], text=True).stdout
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{{os.getpid()}} {{text}}".encode()]
"""


class Server:
    def __init__(self, directory: pathlib.Path, *options: str) -> None:
        (directory / "application.py").write_text(APPLICATION)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(128)
            self.port = listener.getsockname()[1]
            pid_file = directory / "pid"
            # Everything that it starts is gone when reap.py has returned.
            command = [sys.executable, HERE / "reap.py", "300", sys.executable, "-m", "gunicorn", "--preload", "--workers", "3",
                       "--bind", f"fd://{listener.fileno()}", "--pid", pid_file, "--log-level", "critical",
                       "--graceful-timeout", "60", "--timeout", "120", *options, "application:application"]
            self.process = subprocess.Popen(
                command, cwd=directory, env={**os.environ, "PYTHONPATH": f"{SOURCE}:{directory}", "HOME": str(directory)},
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, pass_fds=[listener.fileno()])
        self.get("up")  # waits in the backlog until a worker is there
        self.master = int(pid_file.read_text())

    def get(self, path: str) -> Tuple[int, str]:
        """The worker that answered, and what."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", "/" + path)
            worker, text = connection.getresponse().read().decode().split(" ", 1)
        finally:
            connection.close()
        return int(worker), text

    def ask(self, number: int) -> int:
        worker, text = self.get(str(number))
        assert text == f"{number}\n126\n", text
        return worker

    def workers(self, but: Set[int]) -> Set[int]:
        """Those that answer: three that are none of the others."""
        seen: Set[int] = set()
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            while len(seen) < 3:
                seen |= set(pool.map(self.ask, range(12))) - but
        return seen


def gone(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(120_000))


def run(server: Server) -> None:
    first = server.workers(set())
    assert server.master not in first

    # What each worker runs goes with it, however it goes; the others go on.
    kept: Dict[int, List[int]] = {worker: [] for worker in first}
    while not all(kept.values()):
        worker, pid = server.get("keep")
        kept[worker].append(os.pidfd_open(int(pid)))
    victim = min(first)
    os.kill(victim, signal.SIGKILL)
    assert all(map(gone, kept.pop(victim)))
    second = server.workers({victim})
    assert not any(select.select(sum(kept.values(), []), [], [], 0))

    os.kill(server.master, signal.SIGHUP)  # graceful restart of all workers
    third = server.workers(first | second)
    assert all(map(gone, sum(kept.values(), [])))

    _, pid = server.get("keep")
    last = os.pidfd_open(int(pid))
    assert server.get("master")[1] == "False"  # it is not the workers'
    os.kill(server.master, signal.SIGTERM)
    output, _ = server.process.communicate()
    assert (server.process.returncode, output) == (0, ""), output
    assert gone(last) and not third & first


@pytest.mark.parametrize("options", [[], ["--worker-class", "gthread", "--threads", "4"]], ids=["sync", "threads"])
def test_gunicorn(options: List[str], tmp_path: pathlib.Path) -> None:
    server = Server(tmp_path, *options)
    try:
        run(server)
    finally:
        if server.process.poll() is None:
            os.kill(server.master, signal.SIGTERM)
            server.process.communicate()
