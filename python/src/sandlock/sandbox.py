"""A policy, and the runs of it."""

from __future__ import annotations

import copy
import dataclasses
import operator
import weakref
from typing import Any, Dict, Mapping, Optional, Sequence, Union

from ._command import Arg, check_name
from ._document import to_document
from ._native import Callback, Policy
from ._owned import Owned
from ._runs import Runs
from .events import PolicyFn
from .exceptions import PolicyError
from .grammar import parse_memory_size, parse_ports
from .pipeline import Stage
from .process import Process
from .result import ExitReason, Result
from .streams import StdioMode

__all__ = ["Sandbox", "Process", "StdioMode", "Result", "ExitReason", "parse_ports", "parse_memory_size"]

Path = Arg

_DEFAULT_MAX_OUTPUT = 64 << 20


@dataclasses.dataclass
class Sandbox(Runs):
    """What a command may do, and the way to run it. Everything is denied unless granted.

    The fields can be edited between runs; each run takes them as they are then. A wrong
    value is a :class:`PolicyError` of the run, with every fault at once. A field whose
    text says "not built yet" is refused when it is set.

    One object runs one command at a time; use several objects, from as many threads as
    you like, for more. As a context manager it kills what still runs at the end.
    """

    # ---- files
    fs_readable: Sequence[Path] = ()
    """Paths beneath which reading, listing and executing is allowed. Symbolic links in
    them are followed once, at the start. A path that does not exist then is an error of
    the start, but for /lib, /lib64, /bin and /sbin."""
    fs_writable: Sequence[Path] = ()
    """Paths beneath which also writing, creating and removing is allowed."""
    fs_executable: Optional[Sequence[Path]] = None
    """When given, only what lies beneath these paths can be executed. It has to be
    readable too, and so does its dynamic loader, which must lie beneath them as well."""
    fs_denied: Sequence[Path] = ()
    """Objects within what is granted that nothing may be done to, nor to what lies beneath
    them: opening, executing, making, renaming, linking, removing and changing them fails
    with EACCES, by whatever name they are reached. Of each path the last component may be
    missing. Calls that take a path take more time then: docs/files.md."""
    workdir: Optional[Path] = None
    """Not built yet."""
    cwd: Optional[Path] = None
    """Working directory of the command; without it, that of the host. One that does not
    exist is an error of the start."""
    chroot: Optional[Path] = None
    """Not built yet."""
    fs_mount: Mapping[Path, Path] = dataclasses.field(default_factory=dict)
    """Not built yet."""
    fs_mount_ro: Mapping[Path, Path] = dataclasses.field(default_factory=dict)
    """Not built yet."""
    fs_storage: Optional[Path] = None
    """Not built yet."""
    max_disk: Union[None, int, str] = None
    """Not built yet."""
    on_exit: Optional[str] = None
    """Not built yet."""
    on_error: Optional[str] = None
    """Not built yet."""
    unix_allow: Sequence[Path] = ()
    """Named unix sockets that may be connected and sent to, beside those beneath
    ``fs_writable``: sockets, or directories that hold some. The name of a socket is allowed
    too, so that its server may be started again. ``"/"`` is all. A path that does not exist is
    an error of the start. Without such a path and a writable one, no unix sockets but
    connected pairs can be made."""

    # ---- network
    net_allow: Sequence[str] = ()
    """What may be reached: ``[SCHEME://]TARGET[:PORT,…]``. The scheme is ``tcp``, ``udp`` or
    ``icmp`` (ping sockets; it has no ports), none is TCP and UDP. The target is an IPv4 or IPv6
    address (``[::1]`` before ports), a network as ``10.0.0.0/8``, or ``*`` or nothing for
    any; no ports or ``*`` are all. Without any rule there is no network at all: no network
    socket can be made.

    The target can be a host name as well: the start of a run resolves it, as the host's
    programs do, which may take time; what it has resolved to then may be reached, and is
    in the /etc/hosts that the command sees; a name that does not resolve is an error of the start. One that resolves to an address
    that is not of the public Internet is too, but ``localhost`` and ``*.localhost``."""
    net_allow_private_names: bool = False
    """Names in ``net_allow`` may resolve to any address."""
    net_deny: Sequence[str] = ()
    """What may not be reached, of what ``net_allow`` lets; without any ``net_allow``,
    everything else may, by TCP and UDP. The same form; the target can be ``private`` too,
    every address that is not of the public Internet, but no name."""
    net_allow_bind: Sequence[Union[int, str]] = ()
    """TCP ports that may be bound: ``N``, ``"a,b"``, ``"lo-hi"``, or ``"*"`` alone."""
    net_deny_bind: Sequence[Union[int, str]] = ()
    """TCP ports that may not be bound, all others may. Not together with
    ``net_allow_bind``."""
    port_remap: bool = False
    """TCP ports of the sandbox's own: one that may be bound and is taken on the host is bound
    all the same, and is another one there; ``ports()`` tells which."""
    http_allow: Sequence[str] = ()
    """Not built yet."""
    http_deny: Sequence[str] = ()
    """Not built yet."""
    http_ports: Sequence[int] = ()
    """Not built yet."""
    http_ca: Optional[Path] = None
    """Not built yet."""
    http_key: Optional[Path] = None
    """Not built yet."""
    http_inject_ca: Sequence[Path] = ()
    """Not built yet."""
    http_ca_out: Optional[Path] = None
    """Not built yet."""
    credentials: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Not built yet."""
    http_auth: Sequence[str] = ()
    """Not built yet."""

    # ---- limits
    max_memory: Union[None, int, str] = None
    """Bytes, an int or a size such as "256M", of anonymous and shared memory of all tasks
    together. Beyond it the process that holds most is killed, and the result says so.
    /proc/meminfo shows the limit."""
    max_processes: Union[int, str] = 64
    """Processes at a time, the command among them, threads not counted; a fork beyond it
    fails with EAGAIN. "unlimited": no limit, and then no task is traced, which a limit
    needs."""
    max_open_files: Optional[int] = None
    """RLIMIT_NOFILE, soft and hard, at least 1, never above the inherited limits."""
    max_cpu: Optional[int] = None
    """Percent of one core that all tasks together get, 1 to 100."""
    cpu_cores: Optional[Sequence[int]] = None
    """Cores that the command may run on, by number. One that does not exist is an error
    of the start."""
    num_cpus: Optional[int] = None
    """How many of the CPUs that it may run on the command sees, in /proc/cpuinfo too, and
    uses."""
    gpu_devices: Optional[Sequence[int]] = None
    """Indices of the NVIDIA devices that may be used; an empty list is every GPU, and
    /dev/dri. What the machine lacks is passed over."""
    term_grace: float = 0.0
    """Seconds between SIGTERM, which every task of the sandbox gets when the ``timeout`` of
    a run is over, and SIGKILL; 0 is SIGKILL at once. It ends earlier when the command does."""
    no_coredump: bool = False
    """No core dumps: RLIMIT_CORE 0."""
    max_output: Union[int, str] = _DEFAULT_MAX_OUTPUT
    """Captured bytes kept per stream, an int or a size such as "64M". The rest is read
    and dropped, and the result says so."""

    # ---- determinism
    random_seed: Optional[int] = None
    """Not built yet."""
    time_start: Any = None
    """Not built yet."""
    no_randomize_memory: bool = False
    """No address space layout randomisation: ADDR_NO_RANDOMIZE."""
    no_huge_pages: bool = False
    """No transparent huge pages: PR_SET_THP_DISABLE."""
    deterministic_dirs: bool = False
    """Not built yet."""

    # ---- environment, identity, system calls
    clean_env: bool = False
    """Keep only PATH, HOME, USER, TERM and LANG of the environment."""
    env: Union[Mapping[str, Arg], Mapping[bytes, Arg]] = dataclasses.field(default_factory=dict)
    """Variables to set, after ``clean_env``."""
    uid: Optional[int] = None
    """Not built yet."""
    gid: Optional[int] = None
    """Not built yet."""
    extra_deny_syscalls: Sequence[str] = ()
    """System calls, or the group ``sysv_ipc``, that fail with EPERM beside the default
    list. An unknown name is an error."""
    extra_allow_syscalls: Sequence[str] = ()
    """System calls of the default deny list, or the groups ``sysv_ipc`` and ``debug``,
    that are allowed. Those that would undo the sandbox are refused, with the reason."""
    allow_degraded: Sequence[Union[int, str]] = ()
    """Protections (:class:`Protection`, or their names) that may be missing here."""
    disable: Sequence[Union[int, str]] = ()
    """Protections that are off on every kernel."""

    # ---- of a run
    name: Optional[str] = None
    """Name of the run, at most 64 bytes, without ``/``; None makes one. Two live runs
    can't have the same."""
    policy_fn: Optional[PolicyFn] = None
    """``policy_fn(event, ctx)`` decides each :class:`SyscallEvent` before it happens. It
    returns None, False or 0 to allow; True or -1 to deny with EPERM; a positive number
    to deny with that errno; "audit" or -2 to allow and log. Anything else denies, and
    so does an exception, which :meth:`run` and :meth:`wait` raise as CallbackError when
    the run is over. It is called on a thread of the library, one event at a time."""
    policy_events: Optional[Sequence[str]] = None
    """The system calls that ``policy_fn`` is asked about: None is all that are built,
    which are execve, execveat, bind, connect, sendto, sendmsg and sendmmsg. "openat", for
    all opens, is asked about when it is named. What is not asked about runs at full speed;
    but with None calls that take a path make a short stop, so that ``ctx.deny_path`` works."""
    policy_timeout: float = 30.0
    """Seconds after which a ``policy_fn`` that has not answered has denied; 0 waits for
    ever."""
    record_execs: bool = False
    """Keep each exec that ``policy_fn`` is asked about, and what became of it, in
    ``Result.execs``."""
    record_denials: bool = False
    """Whether ``Result.denials`` holds what the kernel would refuse by itself, too: the library
    carries out, or looks at first, each call that takes a path, connect and bind of TCP, each
    exec, and what the system call filter refuses, which takes its time."""
    argv_safety: str = "strict"
    """What becomes of an exec that ``policy_fn`` judges and whose arguments can't be kept
    from changing afterwards: tracing is refused, or the policy allows the group ``debug``
    or writing beneath /proc. "strict": it fails with EPERM, and such a policy is an
    error. "landlock": ``policy_fn`` gets an event whose ``argv`` is None, and the file
    rules alone bound what runs."""
    init_fn: Any = None
    """Not built yet."""
    work_fn: Any = None
    """Not built yet."""
    no_supervisor: bool = False
    """Not built yet."""
    control_socket: bool = True
    """Not built yet, but for its default."""

    def __post_init__(self) -> None:
        if self.name is not None:
            check_name(self.name)
        self._owned = Owned()
        # What runs when this object goes is killed.
        weakref.finalize(self, self._owned.free).atexit = False
        weakref.finalize(self, self._owned.end)
        self._callback: Optional[Callback] = None
        self._built_from: Any = None

    # A copy, or what is pickled, is the policy, without the runs.

    def __getstate__(self) -> Dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__post_init__()

    def cmd(self, args: Sequence[Arg]) -> Stage:
        """A command for a pipeline, which runs under this policy when that is run."""
        return Stage(self, args)

    # ---- the policy ------------------------------------------------------

    def _ensure_native(self) -> Policy:
        """The built policy of the fields as they are, for whoever has claimed this object.
        PolicyError with every fault."""
        policy, fields = self._owned.policy, _fields(self)
        # The types too: True is not 1.
        if policy is None or policy.forked or (fields, tuple(map(type, fields))) != self._built_from:
            callback = Callback(self.policy_fn) if callable(self.policy_fn) else None
            document, faults = to_document(self)
            try:
                policy = Policy(document, callback)
            except PolicyError as e:
                raise PolicyError("\n".join([*faults, str(e)])) from None
            if faults:
                raise PolicyError("\n".join(faults))
            # Copies, since a list may be changed in place.
            self._built_from = (tuple(map(copy.copy, fields)), tuple(map(type, fields)))
            former, self._owned.policy, self._callback = self._owned.policy, policy, callback
            if former is not None:
                former.free()
        return policy


# What the built policy depends on.
_fields = operator.attrgetter(*(field.name for field in dataclasses.fields(Sandbox) if field.name != "name"))
