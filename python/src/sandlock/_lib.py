"""The shared library: found and loaded at first use, declared for ctypes.

Loading starts the Go runtime: some threads, some signal handlers, 1.6 GB of address
space. So importing the package does not load it. A child of ``os.fork()`` can't use
its parent's copy, whose threads it does not have; it loads a copy of its own.
"""

from __future__ import annotations

import ctypes
import os
import pathlib
import resource
import threading
from typing import Any, List, Optional

from .exceptions import SandlockError

NAME = "libsandlock.so.0"
# The Go runtime reserves address space when it starts and aborts the process when
# it can't have it.
LEAST_ADDRESS_SPACE = 2 << 30


class Event(ctypes.Structure):
    """sandlock_event_t."""

    _fields_ = [
        ("syscall", ctypes.c_char_p),
        ("category", ctypes.c_uint8),
        ("pid", ctypes.c_uint32),
        ("parent_pid", ctypes.c_uint32),
        ("host", ctypes.c_char_p),
        ("port", ctypes.c_uint16),
        ("denied", ctypes.c_bool),
        ("argv", ctypes.POINTER(ctypes.c_char_p)),
        ("argc", ctypes.c_uint32),
    ]


class File(ctypes.Structure):
    """sandlock_file_t."""

    _fields_ = [("fd", ctypes.c_int), ("number", ctypes.c_int)]


class Usage(ctypes.Structure):
    """sandlock_usage_t."""

    _fields_ = [
        ("user_us", ctypes.c_uint64),
        ("system_us", ctypes.c_uint64),
        ("wall_us", ctypes.c_uint64),
        ("max_rss", ctypes.c_uint64),
        ("processes", ctypes.c_uint64),
        ("limits", ctypes.c_uint32),
    ]


POLICY_CALLBACK = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.POINTER(Event), ctypes.c_void_p, ctypes.POINTER(ctypes.c_int32)
)
_pointer, _text, _int = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
_argv = ctypes.POINTER(ctypes.c_char_p)

# name: (result, arguments). A char * that the caller owns is a c_void_p here, so that
# ctypes does not turn it into bytes and lose the pointer.
_FUNCTIONS = {
    "sandlock_sandbox_builder_new": (_pointer, []),
    "sandlock_sandbox_builder_json": (_pointer, [_pointer, _text, ctypes.c_size_t]),
    "sandlock_sandbox_builder_policy_callback": (_pointer, [_pointer, POLICY_CALLBACK, _pointer, _pointer]),
    "sandlock_ctx_restrict_network": (None, [_pointer, _argv, ctypes.c_uint32]),
    "sandlock_ctx_grant_network": (None, [_pointer, _argv, ctypes.c_uint32]),
    "sandlock_ctx_restrict_max_memory": (None, [_pointer, ctypes.c_uint64]),
    "sandlock_ctx_restrict_max_processes": (None, [_pointer, ctypes.c_uint32]),
    "sandlock_ctx_restrict_pid_network": (None, [_pointer, ctypes.c_uint32, _argv, ctypes.c_uint32]),
    "sandlock_ctx_deny_path": (None, [_pointer, _text]),
    "sandlock_ctx_allow_path": (None, [_pointer, _text]),
    "sandlock_sandbox_build": (_pointer, [_pointer, ctypes.POINTER(_int), ctypes.POINTER(_pointer)]),
    "sandlock_sandbox_free": (None, [_pointer]),
    "sandlock_sandbox_explain": (_pointer, [_pointer]),
    "sandlock_confine": (_int, [_pointer]),
    "sandlock_spawn_files": (
        _pointer,
        [
            _pointer,
            _text,
            _text,
            _argv,
            ctypes.c_uint,
            ctypes.POINTER(File),
            ctypes.c_uint32,
            ctypes.c_uint32,
            ctypes.POINTER(_pointer),
        ],
    ),
    "sandlock_handle_execfd": (_int, [_pointer]),
    "sandlock_handle_executed": (_int, [_pointer]),
    "sandlock_handle_signal": (_int, [_pointer, _int]),
    "sandlock_handle_stepfd": (_int, [_pointer]),
    "sandlock_handle_step": (_int, [_pointer]),
    "sandlock_start": (_int, [_pointer]),
    "sandlock_handle_pid": (ctypes.c_int32, [_pointer]),
    "sandlock_handle_port_mappings": (_pointer, [_pointer]),
    "sandlock_handle_pollfd": (_int, [_pointer]),
    "sandlock_handle_kill": (_int, [_pointer]),
    "sandlock_handle_expire": (_int, [_pointer]),
    "sandlock_handle_pause": (_int, [_pointer]),
    "sandlock_handle_resume": (_int, [_pointer]),
    "sandlock_handle_result": (_int, [_pointer, ctypes.c_uint64, ctypes.POINTER(_pointer)]),
    "sandlock_handle_free": (None, [_pointer]),
    "sandlock_result_exit_code": (_int, [_pointer]),
    "sandlock_result_reason": (ctypes.c_uint32, [_pointer]),
    "sandlock_result_signal": (_int, [_pointer]),
    "sandlock_result_stdout_bytes": (_pointer, [_pointer, ctypes.POINTER(ctypes.c_size_t)]),
    "sandlock_result_stderr_bytes": (_pointer, [_pointer, ctypes.POINTER(ctypes.c_size_t)]),
    "sandlock_result_usage": (_int, [_pointer, ctypes.POINTER(Usage), ctypes.c_size_t]),
    "sandlock_result_truncated": (ctypes.c_uint32, [_pointer]),
    "sandlock_result_error": (_text, [_pointer]),
    "sandlock_result_log": (_text, [_pointer]),
    "sandlock_result_execs": (_text, [_pointer]),
    "sandlock_result_audit": (_text, [_pointer]),
    "sandlock_result_denials": (_text, [_pointer]),
    "sandlock_result_denials_dropped": (ctypes.c_uint64, [_pointer]),
    "sandlock_result_free": (None, [_pointer]),
    "sandlock_last_error": (_text, []),
    "sandlock_last_errno": (_int, []),
    "sandlock_string_free": (None, [_pointer]),
    "sandlock_version": (_text, []),
    "sandlock_callbacks_while": (None, [_pointer]),
    "sandlock_kernel_report": (_pointer, []),
    "sandlock_landlock_abi_version": (_int, []),
    "sandlock_min_landlock_abi": (_int, []),
    "sandlock_protection_min_abi": (ctypes.c_uint32, [ctypes.c_uint32]),
    "sandlock_syscall_nr": (ctypes.c_int64, [_text]),
}

_lock = threading.Lock()
_loaded: Any = None
_path: Optional[str] = None
# How many forks lie between the first import and here: objects of another
# generation belong to another process.
generation = 0


def _after_fork_in_child() -> None:
    global _lock, _loaded, generation
    _lock = threading.Lock()
    _loaded = None
    generation += 1


os.register_at_fork(after_in_child=_after_fork_in_child)


def _candidates() -> List[str]:
    here = pathlib.Path(__file__).resolve().parent
    return [str(here / NAME), str(here.parents[2] / NAME), NAME]


def _open(path: str) -> Any:
    return ctypes.CDLL(path, mode=os.RTLD_LOCAL | os.RTLD_NOW)


def _open_first() -> Any:
    global _path
    failures = []
    for path in _candidates():
        if "/" in path and not os.path.exists(path):
            continue
        try:
            lib = _open(path)
        except OSError as e:
            failures.append(str(e))
            continue
        _path = path
        return lib
    raise SandlockError(f"{NAME} can't be loaded: " + ("; ".join(failures) or "it was not found; build it with make"))


def _mapped() -> Optional[str]:
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        return next((line.split(None, 5)[5].strip() for line in maps if line.rstrip().endswith(NAME)), None)


def _open_copy() -> Any:
    """A second copy: the same file under another inode, which the dynamic linker
    takes for another library."""
    source = _path if _path is not None and "/" in _path else _mapped()
    if source is None:
        raise SandlockError(f"{NAME}: the file that was loaded before os.fork() is not known")
    fd = os.memfd_create("libsandlock", os.MFD_CLOEXEC)
    try:
        with open(source, "rb") as original:
            data = original.read()
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view):]
        # The dynamic linker knows what is loaded by its name, too, and a child's child may
        # have the number once more.
        return _open(f"/proc/self/{'./' * generation}fd/{fd}")
    finally:
        os.close(fd)


def _check_address_space() -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY and soft < LEAST_ADDRESS_SPACE:
        raise SandlockError(
            f"RLIMIT_AS is {soft} bytes: the library needs {LEAST_ADDRESS_SPACE} bytes of address space"
        )


def lib() -> Any:
    """The library, loaded if it is not yet."""
    global _loaded
    if _loaded is not None:
        return _loaded
    with _lock:
        if _loaded is None:
            _check_address_space()
            # The parent's is there when another thread was just loading it, too.
            opened = _open_copy() if generation > 0 and (_path is not None or _mapped()) else _open_first()
            for name, (result, arguments) in _FUNCTIONS.items():
                function = getattr(opened, name)
                function.restype, function.argtypes = result, arguments
            # From the interpreter's end on a policy_fn can't be called: to try it ends the
            # calling thread, and soon the process.
            opened.sandlock_callbacks_while(ctypes.cast(ctypes.pythonapi.Py_IsInitialized, _pointer))
            _loaded = opened
    return _loaded


def last_error() -> str:
    """Why the calling thread's latest call failed."""
    text: bytes = lib().sandlock_last_error()
    return text.decode("utf-8", "replace")


def last_errno() -> int:
    """The errno behind that, or 0."""
    return int(lib().sandlock_last_errno())


def take_string(pointer: Optional[int]) -> str:
    """The text behind a char * that we own, which is freed."""
    if not pointer:
        return ""
    try:
        return ctypes.string_at(pointer).decode("utf-8", "replace")
    finally:
        lib().sandlock_string_free(pointer)
