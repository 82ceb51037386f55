"""Commands with a terminal of their own."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import termios
from subprocess import PIPE
from typing import Any, Callable

import pytest

from conftest import SOURCE, SYSTEM
from sandlock import Sandbox


def until(read: Callable[[], bytes], text: bytes) -> bytes:
    """What is read until there is the text."""
    seen = b""
    while text not in seen:
        data = read()
        assert data, (seen, text)
        seen += data
    return seen


def test_a_terminal_of_its_own(box: Sandbox) -> None:
    with box.popen(["sh", "-c", "test -t 0 && test -t 1 && test -t 2 && stty size; read x; echo got $x; exit 3"], pty=(30, 100)) as p:
        assert p.terminal and p.terminal.size == (30, 100) and p.stdin is p.stdout is p.stderr is None
        until(lambda: p.terminal.read(100), b"30 100")
        p.terminal.write(b"word\n")
        assert p.terminal.read().endswith(b"got word\r\n")  # to its end
        assert p.terminal.read(10) == b""
        assert p.wait().exit_code == 3
    assert p.terminal.closed
    with box.popen(["sh", "-c", "echo out; echo errs >&2"], stdout=PIPE, pty=True) as p:
        assert p.terminal and p.stdout and p.terminal.size == (24, 80)
        assert p.stdout.read() == b"out\n" and p.terminal.read() == b"errs\r\n"
        with pytest.raises(ValueError):
            p.communicate()
    with pytest.raises(ValueError):
        box.popen(["true"], stdin=PIPE, pty=True)
    # Nothing was left: a host's terminals are few.
    with pytest.raises(FileNotFoundError):
        box.popen(["no-such-command"], pty=True)


def test_signals_of_its_keys(box: Sandbox) -> None:
    for key, sig in (b"\x03", signal.SIGINT), (b"\x1c", signal.SIGQUIT):
        with box.popen(["sh", "-c", "echo ready; exec sleep 1000"], pty=True) as p:
            until(lambda: p.terminal.read(100), b"ready")
            p.terminal.write(key)
            assert p.wait().signal == sig
    with box.popen(["bash", "-c", "trap 'stty size; exit 4' WINCH; echo ready; while :; do read -t 0.2; done"], pty=True) as p:
        until(lambda: p.terminal.read(100), b"ready")
        p.terminal.size = (50, 132)
        until(lambda: p.terminal.read(100), b"50 132")
        assert p.wait().exit_code == 4
    with box.popen(["sh", "-c", "echo ready; exec sleep 1000"], pty=True) as p:
        until(lambda: p.terminal.read(100), b"ready")
        p.terminal.close()
        assert p.wait().signal == signal.SIGHUP


def test_job_control(box: Sandbox) -> None:
    box.env = {"PS1": "$ ", "HISTFILE": "", "INPUTRC": "/nowhere", "TERM": "dumb"}
    with box.popen(["bash", "--norc", "-i"], pty=True) as p:
        read = lambda: p.terminal.read(1000)  # noqa: E731
        until(read, b"$ ")
        p.terminal.write(b"sh -c 'echo job$((40 + 2)); exec sleep 1000'\n")
        until(read, b"job42\r\n")  # by itself, when its signals are its own
        p.terminal.write(b"\x1a")
        until(read, b"Stopped")
        p.terminal.write(b"fg\n")
        while os.tcgetpgrp(p.terminal.fileno()) == p.pid:
            pass  # it does not go on yet
        p.terminal.write(b"\x03")
        until(read, b"$ ")
        p.terminal.write(b"echo $?; exit 6\n")
        assert b"130" in p.terminal.read()
        assert p.wait().exit_code == 6


HOST = """
import sys, termios
from sandlock import Sandbox
box = Sandbox(fs_readable=%r, env={"PS1": "$ ", "HISTFILE": "", "INPUTRC": "/nowhere", "TERM": "dumb"})
before = termios.tcgetattr(0)
code = box.run_interactive(sys.argv[1:], pty=True)
print("code", code, "restored", termios.tcgetattr(0) == before, flush=True)
""" % SYSTEM


class OnTerminal:
    """A host program on a terminal whose other side is ours."""

    def __init__(self, *cmd: str) -> None:
        self.master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, b"\x1e\x00\x64\x00\x00\x00\x00\x00")  # 30, 100

        def own() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.host = subprocess.Popen([sys.executable, "-c", HOST, *cmd], stdin=slave, stdout=slave, stderr=slave,
                                     preexec_fn=own, env={**os.environ, "PYTHONPATH": str(SOURCE)})
        os.close(slave)

    def read(self) -> bytes:
        try:
            return os.read(self.master, 1000)
        except OSError as e:
            assert e.errno == errno.EIO
            return b""

    def end(self) -> bytes:
        seen = b""
        while data := self.read():
            seen += data
        assert self.host.wait() == 0
        os.close(self.master)
        return seen


def test_interactive() -> None:
    t = OnTerminal("bash", "--norc", "-i")
    until(t.read, b"$ ")
    os.write(t.master, b"stty size; sh -c 'echo job$((40 + 2)); exec sleep 1000'\n")
    until(t.read, b"job42\r\n")
    os.write(t.master, b"\x03")  # of which the host hears nothing
    until(t.read, b"$ ")
    fcntl.ioctl(t.master, termios.TIOCSWINSZ, b"\x32\x00\x84\x00\x00\x00\x00\x00")
    os.write(t.master, b"\nstty size\n")
    until(t.read, b"50 132")
    os.write(t.master, b"exit 7\n")
    assert b"code 7 restored True" in t.end()


def test_interactive_ends() -> None:
    """However it ends, all that was shown is there, and the terminal is as it was."""
    seen = OnTerminal("sh", "-c", "yes | head -c 300000").end()
    assert seen.count(b"y\r\n") == 150000
    assert b"code 0 restored True" in OnTerminal("echo", "short").end()
    assert b"code -1 restored True" in OnTerminal("sh", "-c", "kill -9 $$").end()
    assert b"code -1 restored True" in OnTerminal("no-such-command").end()
    t = OnTerminal("sh", "-c", "exec <&- >&- 2>&-; read x </dev/null; exit 3")
    assert b"code 3 restored True" in t.end()


def test_interactive_without_a_terminal(host: Any) -> None:
    done = host(f"""
from sandlock import Sandbox
print(Sandbox(fs_readable={SYSTEM!r}).run_interactive(["sh", "-c", "stty -echo; cat; exit 5"], pty=True))
""", input="a line\nno line")
    # Before it, perhaps, what was echoed until the command forbade it.
    assert done.stdout.replace("\r", "").endswith("a line\nno line5\n"), done
