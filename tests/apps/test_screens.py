"""Interactive programs at a terminal that tmux draws: each screen is the same with
``sandlock run -i`` as without, and so are the terminal's modes afterwards."""

from __future__ import annotations

import os
import pathlib
import queue
import re
import shutil
import subprocess
import threading
from typing import Callable, Dict, List, Optional, Tuple

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = str(ROOT / "build" / "sandlock")
# How long a screen may take: it fails the test, no more.
PATIENCE = 60

pytestmark = pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not installed")

# What is typed, and what the screen shows last when that is done, and not before; nothing:
# the next step waits for it. Of a screen after a ~ that is drawn in another order, no more. tmux's names of keys stand in
# a tuple.
Step = Tuple[object, str]


class Screen:
    """A tmux server of its own, whose only pane runs a command. It tells of each output, so
    a screen is looked at when there is something new."""

    def __init__(self, work: pathlib.Path, command: str) -> None:
        self._tmux = ["tmux", "-f", "/dev/null", "-S", str(work / "socket")]
        env = {"PATH": os.environ["PATH"], "HOME": str(work), "TERM": "screen", "LC_ALL": "C.UTF-8", "SHELL": "/bin/sh"}
        self._env = env
        (work / "start").write_text(f"trap : INT\ncd {work}/files\nstty -g > {work}/before\n{command}\necho over $?\nstty -g > {work}/after\necho done\nexec sleep 1000\n")
        self._client = subprocess.Popen([*self._tmux, "-C", "new-session", "-x", "80", "-y", "24", f"sh {work}/start"],
                                        env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._news: "queue.Queue[Optional[str]]" = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self._news.get(timeout=PATIENCE)  # the session is there

    def _read(self) -> None:
        assert self._client.stdout is not None
        for line in self._client.stdout:
            if line.startswith(("%session-changed", "%output", "%layout-change", "%window-pane-changed")):
                self._news.put(line)
        self._news.put(None)

    def ask(self, *args: str) -> str:
        return subprocess.run([*self._tmux, *args], env=self._env, check=True, stdout=subprocess.PIPE, text=True).stdout

    def until(self, good: Callable[[str], bool]) -> str:
        """The screen, once it is as wanted."""
        while True:
            screen = self.ask("capture-pane", "-p", "-e")
            if good(screen):
                return screen
            try:
                if self._news.get(timeout=PATIENCE) is None:
                    raise AssertionError(f"tmux has ended at\n{screen}")
            except queue.Empty:
                raise AssertionError(f"the screen stays\n{screen}") from None

    def type(self, keys: object) -> None:
        if isinstance(keys, str):
            self.ask("send-keys", "-l", keys)
        else:
            assert isinstance(keys, tuple)
            if keys[0] == "resize":
                self.ask("resize-window", "-x", keys[1], "-y", keys[2])
            else:
                self.ask("send-keys", *keys)

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], env=self._env, stderr=subprocess.DEVNULL)
        self._client.communicate()


SESSIONS: Dict[str, Tuple[str, List[Step]]] = {
    "bash": ("env PS1='[\\#]$ ' HISTFILE= bash --norc --noprofile", [
        ("", "[1]$"),
        ("echo $((6 * 7)); stty size\n", "[2]$"),
        ("sh -c 'echo fi\"\"rst; exec sleep 1000'\n", "\nfirst"),
        (("C-c",), "[3]$"),
        ("sh -c 'echo u\"\"p; exec sleep 1000'\n", "\nup"),
        (("C-z",), "[4]$"),
        ("jobs\n", "[5]$"),
        ("fg\n", "fg\nsh"),
        (("C-z",), "[6]$"),
        ("disown %1; clear\n", "[7]$"),
        ("echo lo\tng\b\b; cat\n", "; cat\nlo"),
        ("typed\n", "typed\ntyped"),
        (("C-d",), "[8]$"),
        (("Up",), "[8]$ echo lo"),
        (("C-a", "C-k"), "[8]$\n"),
        (("resize", "60", "20"), ""),
        ("stty size\n", "20 60\n[9]$"),
        ("exit 3\n", "done"),
    ]),
    "python": ("/usr/bin/python3 -I -q -c 'import code, sys; sys.ps1 = \"py> \"; code.interact(\"up\", exitmsg=\"bye\")'", [
        ("", "py>"),
        ("6 * 7\n", "42\npy>"),
        ("exec('print(\"lo\" + \"op\")\\nwhile True: pass')\n", "\nloop"),
        (("C-c",), "KeyboardInterrupt\npy>"),
        ("import sys; sys.stdin.isatty()\n", "True\npy>"),
        (("C-d",), "done"),
    ]),
    "less": ("less -X lines", [
        ("", "lines"),
        (" ", "line 46\n:"),
        ("/line 77\n", "line 99\n:"),
        ("G", "line 200\n(END)"),
        ("q", "done"),
    ]),
    "vim": ("vim -u NONE -N -n lines", [
        ("", "~line 23"),
        ("G", ""),
        (":echo 'at' line('.')\n", "at 200"),
        ("onew text", "~-- INSERT --"),
        (("Escape", ":", "w", "Enter"), "~written"),
        (":echo 'sa' . 'ved'\n", "saved"),
        ("gg:%s/line/row/\n", "~200 substitutions"),
        (":echo 're' . 'placed'\n", "replaced"),
        ("u:q!\n", "done"),
    ]),
}


# The shell is the host's here, and what it starts by $RUN is in a sandbox, or not. Nothing is
# typed before it is certain who has the terminal, and nothing that less or vim could miss.
JOBS: List[Step] = [
    ("", "[1]$"),
    ("$RUN sh -c 'trap \"kill \\$!; echo on; exit 3\" CONT; sleep 1000 & echo up; wait'\n", "\nup"),
    (("C-z",), "[2]$"),
    ("jobs\n", "[3]$"),
    ("fg; echo $?\n", "on\n3\n[4]$"),
    ("clear; stty -a | grep -o ' icanon '\n", " icanon\n[5]$"),
    ("clear; $RUN sh -c 'stty -echo; kill -TSTP $$; echo one'\n", "[6]$"),
    ("stty -a | grep -o ' echo '; fg\n", "one\n[7]$"),
    # A pipeline is one job, once all of it runs.
    ("clear; yes | $RUN sh -c 'read y; kill -TSTP 0; echo two'\n", "[8]$"),
    ("jobs -x ps -o stat= -p %1 | grep -c T\n", "1\n[9]$"),
    ("fg\n", "two\n[10]$"),
    # In the background until it needs the terminal.
    ("clear; $RUN sh -c 'kill -TSTP $$; stty sane; echo three'\n", "[11]$"),
    ("bg; wait %1 2> /dev/null; clear; echo back\n", "back\n[12]$"),
    ("fg\n", "three\n[13]$"),
    ("clear; $RUN sh -c 'stty sane; echo four' & wait %1 2> /dev/null; clear; echo back\n", "back\n[14]$"),
    ("fg\n", "four\n[15]$"),
    # A shell that suspends itself.
    ("clear; $RUN bash --norc --noprofile\n", "[1]$"),
    ("suspend\n", "[16]$"),
    ("fg\n", "profile\n[2]$"),
    ("echo in'side'\n", "inside\n[3]$"),
    ("exit\n", "[17]$"),
    ("exit 3\n", "done"),
]

# Where nobody could continue it, the signal of Ctrl-Z stops nothing.
SESSIONS["orphan"] = ("sh -c 'echo up; kill -TSTP 0; echo on'", [("", "on\nover 0\ndone")])


def ends(screen: str, what: str) -> bool:
    """Whether a screen shows something, without its colours and trailing blanks."""
    plain = "\n".join(line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", screen).splitlines())
    return what.strip(" ") in plain if not what.endswith("\n") else what.rstrip() + "\n" in plain


def play(work: pathlib.Path, command: str, steps: List[Step], wanted: Optional[List[str]] = None) -> List[str]:
    """The screens after each step; those wanted are waited for."""
    work.mkdir()
    (work / "files").mkdir()
    (work / "files" / "lines").write_text("".join(f"line {n}\n" for n in range(1, 201)))
    screen = Screen(work, command)
    seen: List[str] = []
    try:
        for i, (keys, shows) in enumerate(steps):
            if keys:
                screen.type(keys)
            if not shows:
                seen.append("")
                continue
            alike = wanted is None or shows[0] == "~"
            seen.append(screen.until(lambda now: ends(now, shows.lstrip("~")) and (alike or now == (wanted or [])[i])))
    except AssertionError as e:
        raise AssertionError(f"{e}\nafter {steps[len(seen)]}, and should be\n{wanted[len(seen)] if wanted else ''}") from None
    finally:
        screen.close()
    assert (work / "before").read_text() == (work / "after").read_text()
    return seen


@pytest.mark.parametrize("how", ["-i", "--pty"])
@pytest.mark.parametrize("name", SESSIONS)
def test_screens(name: str, how: str, tmp_path: pathlib.Path) -> None:
    command, steps = SESSIONS[name]
    if not shutil.which(command.split()[0] if name != "bash" else "bash"):
        pytest.skip(f"{name} is not installed")
    bare = play(tmp_path / "bare", command, steps)
    grants = "-p system -w . -r /dev/tty -w /dev/tty"
    play(tmp_path / "boxed", f"{TOOL} run {how} {grants} -- {command}", steps, bare)


HOST = """
import sys
from sandlock import Sandbox
box = Sandbox(fs_readable=["/usr", "/lib", "/lib64", "/bin", "/etc", "/dev/tty"], fs_writable=[".", "/dev/tty", "/dev/null"])
sys.exit(box.run_interactive(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def bare_jobs(tmp_path_factory: pytest.TempPathFactory) -> List[str]:
    return play(tmp_path_factory.mktemp("jobs") / "bare", shell("env"), JOBS)


def shell(run: str) -> str:
    return f"env RUN='{run}' PS1='[\\#]$ ' HISTFILE= bash --norc --noprofile"


@pytest.mark.parametrize("how", ["traced", "untraced", "python"])
def test_jobs(how: str, bare_jobs: List[str], tmp_path: pathlib.Path) -> None:
    """Ctrl-Z, fg and bg of the host's own shell."""
    (tmp_path / "host.py").write_text(HOST)
    grants = "-p system -w . -r /dev/tty -w /dev/tty"
    run = {
        "traced": f"{TOOL} run -i {grants} --",
        "untraced": f"{TOOL} run -i --max-processes unlimited {grants} --",
        "python": f"env PYTHONPATH={ROOT}/python/src /usr/bin/python3 {tmp_path}/host.py",
    }[how]
    play(tmp_path / "boxed", shell(run), JOBS, bare_jobs)
