"""The tool at a terminal: what it does there, and what it leaves."""

from __future__ import annotations

import fcntl
import os
import pathlib
import signal
import subprocess
import termios
from typing import Any, Iterator, Tuple

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = str(ROOT / "build" / "sandlock")


@pytest.fixture
def terminal() -> Iterator[Tuple[int, int]]:
    ours, theirs = os.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def start(terminal: Tuple[int, int], *argv: str, **options: Any) -> "subprocess.Popen[bytes]":
    """Starts a command as the terminal's foreground job."""
    theirs = terminal[1]

    def take() -> None:
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    return subprocess.Popen(argv, stdin=theirs, stdout=options.pop("stdout", theirs), stderr=theirs, preexec_fn=take, **options)


def read_until(fd: int, *what: bytes) -> None:
    """Reads until all of it has come, in that order."""
    seen = b""
    for part in what:
        while part not in seen:
            seen += os.read(fd, 4096)
        seen = seen[seen.index(part) + len(part):]


RUDE = ["sh", "-c", "stty -echo -icanon; echo ready; exec sleep 1000"]


@pytest.mark.parametrize("how", ["-i", "--pty"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_leaves_the_terminal_as_it_was(terminal: Tuple[int, int], number: int, how: str) -> None:
    before = termios.tcgetattr(terminal[1])
    tool = start(terminal, TOOL, "run", how, "-p", "system", "--", *RUDE)
    read_until(terminal[0], b"ready")
    assert termios.tcgetattr(terminal[1]) != before
    tool.send_signal(number)
    # Go can't die of SIGQUIT without a dump.
    assert tool.wait() == (128 + number if number == signal.SIGQUIT else -number)
    assert termios.tcgetattr(terminal[1]) == before


def test_the_terminal_is_out_of_reach(terminal: Tuple[int, int]) -> None:
    """With --pty what the command has is another terminal; with -i it is the same."""
    ours = os.ttyname(terminal[1])
    for how, same in ("-i", True), ("--pty", False):
        tool = start(terminal, TOOL, "run", how, "-p", "system", "--", "sh", "-c", "readlink /proc/$$/fd/0; echo end")
        shown = b""
        while b"end" not in shown:
            shown += os.read(terminal[0], 4096)
        assert tool.wait() == 0
        assert (ours.encode() in shown.split()) is same, (how, shown)


def test_a_terminal_that_takes_nothing_more(terminal: Tuple[int, int]) -> None:
    """Nobody reads it, and the command has written more than it holds."""
    before = termios.tcgetattr(terminal[1])
    tool = start(terminal, TOOL, "run", "--pty", "-p", "system", "--", "sh", "-c", "echo ready; exec yes")
    read_until(terminal[0], b"ready", b"y\r\ny\r\n")  # and there is always more
    full = os.open(os.ttyname(terminal[1]), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(full, b"more\n")
    os.close(full)
    tool.send_signal(signal.SIGTERM)
    assert tool.wait() == -signal.SIGTERM
    assert termios.tcgetattr(terminal[1]) == before


def test_a_pty_without_a_terminal() -> None:
    ran = subprocess.run([TOOL, "run", "--pty", "-p", "system", "--", "sh", "-c", "test -t 0 && test -t 1 && cat; exit 4"],
                         input=b"typed\n", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert (ran.returncode, ran.stderr) == (4, b"")
    assert ran.stdout.count(b"typed\r\n") == 2  # its echo, and cat's


def test_the_command_is_the_foreground_job(terminal: Tuple[int, int]) -> None:
    tool = start(terminal, TOOL, "run", "-i", "-p", "system", "--", "sh", "-c", "trap 'echo caught; exit 5' INT; echo ready; read line")
    read_until(terminal[0], b"ready")
    os.write(terminal[0], b"\x03")
    read_until(terminal[0], b"caught")
    assert tool.wait() == 5


def test_job_control(terminal: Tuple[int, int]) -> None:
    """The shell inside stops a job with Ctrl-Z and continues it."""
    tool = start(terminal, TOOL, "run", "-i", "-p", "system", "--", "bash", "--norc", "--noediting", "-i",
                 env={**os.environ, "PS1": "prompt> ", "LC_ALL": "C", "HISTFILE": ""})
    read_until(terminal[0], b"prompt> ")
    os.write(terminal[0], b"sh -c 'echo u\"\"p; exec sleep 1000'\n")
    read_until(terminal[0], b"up\r\n")  # by then the shell has given it the terminal
    os.write(terminal[0], b"\x1a")
    read_until(terminal[0], b"Stopped", b"prompt> ")
    os.write(terminal[0], b"disown %1; exit 6\n")
    assert tool.wait() == 6


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_sandbox_ends_with_the_tool(terminal: Tuple[int, int], number: int) -> None:
    script = "trap '' INT TERM; (trap '' INT TERM; sleep 1000) & echo ready; sleep 1000"
    tool = start(terminal, TOOL, "run", "-p", "system", "--", "sh", "-c", script, stdout=subprocess.PIPE)
    assert tool.stdout is not None and tool.stdout.readline() == b"ready\n"
    if number == signal.SIGINT:
        os.write(terminal[0], b"\x03")
    else:
        tool.send_signal(number)
    assert tool.wait() == -number
    assert tool.stdout.read() == b""  # the end of the file: nobody holds the pipe any more
    tool.stdout.close()


def test_a_pipeline_keeps_the_terminal(terminal: Tuple[int, int]) -> None:
    """The command does not take the terminal from its neighbours."""
    job = start(terminal, "sh", "-c", f"{TOOL} run -p system -- echo text | (cat; read line </dev/tty; echo got $line)")
    read_until(terminal[0], b"text")
    os.write(terminal[0], b"word\n")
    read_until(terminal[0], b"got word")
    assert job.wait() == 0
