"""subprocess.Popen over Sandbox.popen, under a policy that forbids as little as can be."""

from __future__ import annotations

import fcntl
import os
import subprocess
import threading
import time
import types
import warnings
from typing import Any, List

from sandlock import CommandError, Sandbox

TimeoutExpired = subprocess.TimeoutExpired
F_SETPIPE_SZ = 1031  # fcntl's, since Python 3.10
_environment = threading.Lock()


class Descriptor:
    """A descriptor that is not taken for a StdioMode."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def fileno(self) -> int:
        return self.fd


def stream(given: Any) -> Any:
    return Descriptor(given) if isinstance(given, int) and given >= 0 else given


def inheritable() -> List[int]:
    """What close_fds=False hands over."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > 2 and os.get_inheritable(int(name)):
                found.append(int(name))
        except OSError:
            pass
    return found


class Popen:
    """What has no counterpart raises NotImplementedError, but for what can't be told from
    outside: startupinfo, creationflags, restore_signals, which is always so, and
    start_new_session, which is always so too."""

    universal_newlines = property(lambda self: self.text_mode, lambda self, value: setattr(self, "text_mode", value))

    def __init__(
        self, args, bufsize=-1, executable=None, stdin=None, stdout=None, stderr=None, preexec_fn=None, close_fds=True,
        shell=False, cwd=None, env=None, universal_newlines=None, startupinfo=None, creationflags=0, restore_signals=True,
        start_new_session=False, pass_fds=(), *, user=None, group=None, extra_groups=None, encoding=None, errors=None,
        text=None, umask=-1, pipesize=-1, process_group=None,
    ):
        self._process = None
        self.stdin = self.stdout = self.stderr = self.pid = None
        self.args, self.encoding, self.errors = args, encoding, errors
        if bufsize is None:
            bufsize = -1
        if not isinstance(bufsize, int):
            raise TypeError("bufsize must be an integer")
        if startupinfo is not None or creationflags != 0:
            raise ValueError("only on Windows")
        if text is not None and universal_newlines is not None and bool(text) != bool(universal_newlines):
            raise subprocess.SubprocessError("text and universal_newlines disagree")
        if preexec_fn is not None or user is not None or group is not None or extra_groups is not None or umask != -1:
            raise NotImplementedError("preexec_fn, user, group, extra_groups, umask")
        if process_group:
            raise NotImplementedError("process_group, but for 0, which is always so")
        if pass_fds and not close_fds:
            warnings.warn("pass_fds overriding close_fds.", RuntimeWarning)
        self.text_mode = bool(encoding or errors or text or universal_newlines)
        if isinstance(args, (str, bytes)):
            args = [args]
        elif isinstance(args, os.PathLike):
            if shell:
                raise TypeError("path-like args is not allowed when shell is true")
            args = [args]
        else:
            args = list(args)
        if shell:
            args = [executable or "/bin/sh", "-c", *args]
        if bufsize == 1 and not self.text_mode:
            warnings.warn("line buffering (buffering=1) isn't supported in binary mode, the default buffer size will be used",
                          RuntimeWarning, stacklevel=2)
            bufsize = -1
        box = Sandbox(
            fs_readable=["/"], fs_writable=["/"], net_allow_bind=["*"], max_processes="unlimited", cwd=cwd,
            disable=["signal-scope", "abstract-unix-socket-scope", "net-tcp"],
        )
        with _environment:
            before = dict(os.environb)
            try:
                if env is not None:
                    pairs = {os.fsencode(key): os.fsencode(value) for key, value in env.items()}
                    if any(b"=" in key or b"\0" in key + value for key, value in pairs.items()):
                        raise ValueError("illegal environment variable")
                    os.environb.clear()
                    os.environb.update(pairs)
                p = self._process = box.popen(
                    args, stream(stdin), stream(stdout), stream(stderr), bufsize=bufsize, executable=executable,
                    text=self.text_mode or None, encoding=encoding, errors=errors,
                    pass_fds=pass_fds or (() if close_fds else inheritable()),
                )
            except CommandError as e:
                e.strerror = os.strerror(e.errno)
                raise
            finally:
                if env is not None:
                    os.environb.clear()
                    os.environb.update(before)
        self.stdin, self.stdout, self.stderr, self.pid = p.stdin, p.stdout, p.stderr, p.pid
        for file in p.stdin, p.stdout, p.stderr:
            if file is not None and pipesize > 0:
                fcntl.fcntl(file.fileno(), F_SETPIPE_SZ, pipesize)

    @property
    def returncode(self):
        return self._process.returncode if self._process else None

    @returncode.setter
    def returncode(self, value):
        self._process.returncode = value

    def poll(self):
        return self._process.poll()

    def wait(self, timeout=None):
        """subprocess's, which does not kill."""
        if self.returncode is None and not self._process._wait(None if timeout is None else time.monotonic() + timeout):
            raise TimeoutExpired(self.args, timeout)
        return self.returncode

    def communicate(self, input=None, timeout=None):
        p = self._process
        p.stdin, p.stdout, p.stderr = self.stdin, self.stdout, self.stderr
        return p.communicate(input, timeout)

    def send_signal(self, sig):
        self._process.send_signal(sig)

    def terminate(self):
        self._process.terminate()

    def kill(self):
        self._process.kill()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for file in self.stdout, self.stderr:
            if file:
                file.close()
        try:
            if self.stdin:
                self.stdin.close()
        finally:
            self.wait()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: returncode: {self.returncode} args: {self.args!r}>"

    __class_getitem__ = classmethod(types.GenericAlias)
