"""Each field of the policy has its effect, seen from inside."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
from typing import Any, Iterator, List, Tuple

import pytest

from conftest import INSIDE, SYSTEM
from sandlock import PolicyError, Protection, Sandbox, kernel_report, parse_memory_size, parse_ports


def python(box: Sandbox, program: str) -> str:
    r = box.run([INSIDE, "-c", program], text=True)
    assert r.success, r
    return str(r.stdout).strip()


def test_files(box: Sandbox, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    assert not box.run(["cat", file]).success
    box.fs_readable = [*SYSTEM, tmp_path]
    assert box.run(["cat", file]).stdout == b"x"
    assert not box.run(["sh", "-c", f"echo y > {file}"]).success
    box.fs_writable = [tmp_path]
    assert box.run(["sh", "-c", f"echo y > {file}; mkdir {tmp_path}/a; mv {file} {tmp_path}/a/b; ln {tmp_path}/a/b {tmp_path}/c"]).success
    assert (tmp_path / "c").read_text() == "y\n"


def test_executable(box: Sandbox, tmp_path: pathlib.Path) -> None:
    tool = tmp_path / "tool"
    tool.write_bytes(pathlib.Path("/bin/true").read_bytes())
    tool.chmod(0o755)
    box.fs_readable = [*SYSTEM, tmp_path]
    assert box.run([tool]).success
    box.fs_executable = ["/usr", "/bin", "/lib", "/lib64"]
    r = box.run([tool])
    assert not r.success and r.error is not None and "permission denied" in r.error
    assert box.run(["true"]).success
    box.fs_executable = []
    assert not box.run(["true"]).success


def test_missing_path_is_named(box: Sandbox) -> None:
    for field in "fs_readable", "fs_writable", "fs_executable":
        bad = Sandbox(fs_readable=SYSTEM)
        setattr(bad, field, ["/no/such/directory"])
        r = bad.run(["true"])
        assert not r.success and r.error is not None and "/no/such/directory" in r.error and field in r.error
    box.cwd = "/no/such/directory"
    r = box.run(["true"])
    assert r.error is not None and "/no/such/directory" in r.error


def test_nothing_is_granted_by_default() -> None:
    assert not Sandbox().run(["/bin/true"]).success


def test_cwd_and_environment(box: Sandbox, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box.cwd = tmp_path
    assert box.run(["pwd"]).stdout == os.fsencode(tmp_path) + b"\n"
    monkeypatch.setenv("SET_AFTER_LOAD", "1")
    assert b"SET_AFTER_LOAD=1" in box.run(["env"]).stdout
    box.env = {"A": "b=c", "PATH": "/usr/bin", b"RAW": b"\xff"}
    out = box.run(["env"]).stdout.split(b"\n")
    assert b"A=b=c" in out and b"PATH=/usr/bin" in out and b"RAW=\xff" in out
    box.clean_env = True
    names = {line.split(b"=")[0] for line in box.run(["env"]).stdout.split(b"\n") if line}
    assert names <= {b"PATH", b"HOME", b"USER", b"TERM", b"LANG", b"A", b"RAW", b"PWD", b"SHLVL", b"_"}


def test_limits(box: Sandbox) -> None:
    program = "import resource as r; print(r.getrlimit(r.RLIMIT_NOFILE), r.getrlimit(r.RLIMIT_CORE))"
    box.max_open_files, box.no_coredump = 50, True
    assert python(box, program) == "(50, 50) (0, 0)"
    box.max_open_files = 1 << 30  # never above the inherited ones
    import resource

    assert python(box, program).startswith(str(resource.getrlimit(resource.RLIMIT_NOFILE)))
    box.policy_fn = lambda event, ctx: None  # a listener takes a descriptor too
    box.max_open_files = 20
    assert python(box, program).startswith("(20, 20)")


def test_memory_and_cores(box: Sandbox) -> None:
    box.fs_readable = [*SYSTEM, "/proc"]
    box.no_huge_pages = True
    assert "THP_enabled:\t0" in python(box, "print(open('/proc/self/status').read())")
    assert python(box, "import os; print(os.sched_getaffinity(0))") == str(os.sched_getaffinity(0))
    core = min(os.sched_getaffinity(0))
    box.cpu_cores = [core]
    assert python(box, "import os; print(os.sched_getaffinity(0))") == str({core})
    box.cpu_cores = [8000]
    assert not box.run(["true"]).success
    box.cpu_cores = None
    box.no_randomize_memory = True
    stack = "print([l for l in open('/proc/self/maps') if 'stack' in l])"
    assert python(box, stack) == python(box, stack)


def test_syscalls(box: Sandbox) -> None:
    program = "import os\ntry: os.mkdir('/nowhere/x')\nexcept OSError as e: print(e.errno)"
    assert python(box, program) == "2"
    box.extra_deny_syscalls = ["mkdir", "mkdirat"]
    assert python(box, program) == "1"
    queue = "import ctypes; l=ctypes.CDLL(None, use_errno=True); print(l.msgget(0, 0o600), ctypes.get_errno())"
    assert python(box, queue) == "-1 1"
    box.extra_allow_syscalls = ["sysv_ipc"]
    assert python(box, f"{queue}; l.msgctl(l.msgget(0, 0o600), 0, None)").split()[0] != "-1"
    for field, value in [("extra_deny_syscalls", "no_such"), ("extra_allow_syscalls", "no_such"), ("extra_allow_syscalls", "mount")]:
        bad = Sandbox()
        setattr(bad, field, [value])
        with pytest.raises(PolicyError, match=value):
            bad.run(["true"])


CONNECT = """
import socket, sys
try:
    s = socket.socket()
    s.connect(("127.0.0.1", int(sys.argv[1])))
    s.sendall(b"hi")
    print("ok")
except OSError as e: print(e.errno)
"""


def test_network(box: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as other:
        port, wrong = server.getsockname()[1], other.getsockname()[1]

        def connect(to: int) -> bytes:
            return bytes(box.run([INSIDE, "-c", CONNECT, str(to)]).stdout).strip()

        assert connect(port) == b"13"
        box.net_allow = [f"tcp://:{port}"]
        assert connect(port) == b"ok" and connect(wrong) == b"13"
        peer, _ = server.accept()
        with peer:
            assert peer.recv(10) == b"hi"
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()


REACH = """
import socket, sys
for kind, host, port in zip(*[iter(sys.argv[1:])] * 3):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        s = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        s.connect((host, int(port)))
        s.sendall(b"hi")
        print("ok")
    except OSError as e: print(e.errno)
"""


def reach(box: Sandbox, *where: Any) -> List[str]:
    """What becomes of connecting to each (protocol, host, port)."""
    r = box.run([INSIDE, "-c", REACH, *[str(part) for place in where for part in place]], text=True)
    assert r.success, r
    return list(r.stdout.split())


@pytest.fixture
def places() -> Iterator[List[Tuple[str, str, int]]]:
    """A TCP and a UDP port on 127.0.0.1 and 127.0.0.2."""
    with contextlib.ExitStack() as stack:
        found = []
        for host in "127.0.0.1", "127.0.0.2":
            tcp = stack.enter_context(socket.create_server((host, 0)))
            udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            udp.bind((host, 0))
            found += [("tcp", host, tcp.getsockname()[1]), ("udp", host, udp.getsockname()[1])]
        yield found


@pytest.mark.parametrize("allow, deny, want", [
    (["127.0.0.1"], [], "ok ok 13 13"), (["tcp://127.0.0.1"], [], "ok 13 13 13"), (["udp://127.0.0.0/8"], [], "13 ok 13 ok"),
    ([], ["private"], "13 13 13 13"), ([], ["127.0.0.2"], "ok ok 13 13"), (["127.0.0.0/8"], ["udp://127.0.0.1"], "ok 13 ok ok"),
    (["localhost"], [], "ok ok 13 13"), (["*"], ["private"], "13 13 13 13"), (["*"], [], "ok ok ok ok"), (["icmp://127.0.0.1"], [], "13 13 13 13"),
    ([], [], "13 13 13 13"), (["[::1]"], [], "13 13 13 13"), (["[::ffff:127.0.0.2]"], [], "13 13 ok ok"),
])
def test_addresses(box: Sandbox, places: List[Any], allow: List[str], deny: List[str], want: str) -> None:
    box.net_allow, box.net_deny = allow, deny
    assert reach(box, *places) == want.split()


def test_names_that_do_not_resolve(box: Sandbox) -> None:
    box.net_allow = ["tcp://name.invalid:80", "other.invalid"]
    result = box.run(["true"])
    assert not result.success and result.error and "name.invalid" in result.error and "other.invalid" in result.error


def test_names_are_pinned(box: Sandbox) -> None:
    """A program inside needs nothing else to use a name of a rule."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        name = "pinned.sandlock.localhost"
        box.net_allow = [f"tcp://{name}:{port}"]
        program = f"import socket; socket.create_connection(('{name}', {port})); print(open('/etc/hosts').readline().split())"
        assert python(box, program) == str(["127.0.0.1", name])
        box.net_allow = [f"tcp://127.0.0.1:{port}"]
        assert name not in python(box, "print(open('/etc/hosts').read())")


def test_bind(box: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    program = f"import socket; socket.create_server(('127.0.0.1', {port})); print('ok')"
    assert not box.run([INSIDE, "-c", program]).success
    for rule in port, str(port), f"{port}-{port}", f"1,{port}", "*":
        box.net_allow_bind = [rule]
        assert python(box, program) == "ok", rule
    box.net_allow_bind = [port + 1 if port < 65535 else 1]
    assert not box.run([INSIDE, "-c", program]).success


def test_deny_bind(box: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = one.getsockname()[1], two.getsockname()[1]
    program = f"""
import socket
for port in {ports[0]}, {ports[1]}, 0:
    try:
        s = socket.socket(); s.bind(("127.0.0.1", port)); s.listen(); print("ok")
    except OSError as e: print(e.errno)
"""
    box.net_deny_bind = [ports[1]]
    assert python(box, program).split() == ["ok", "13", "ok"]
    seen: List[Any] = []
    box.net_deny_bind, box.net_allow_bind = [], ["*"]
    box.policy_fn = lambda event, ctx: seen.append(event) or (98 if event.port == ports[0] else None) if event.syscall == "bind" else None
    assert python(box, program).split() == ["98", "ok", "ok"]
    assert [(e.category, e.host, e.port) for e in seen] == [("network", "127.0.0.1", p) for p in (*ports, 0)]


@pytest.mark.parametrize("rule", ["9-8", "x", "1,,2", "65536", "-1", ["*", 80]])
def test_bad_bind_rules(rule: Any) -> None:
    with pytest.raises(PolicyError, match="--net-allow-bind"):
        Sandbox(net_allow_bind=rule if isinstance(rule, list) else [rule]).run(["true"])


@pytest.mark.parametrize("field, value", [
    ("workdir", "/x"), ("chroot", "/x"), ("fs_mount", {"/a": "/b"}), ("fs_storage", "/x"), ("max_disk", "1G"),
    ("http_allow", ["GET a/*"]), ("random_seed", 1), ("time_start", 0), ("deterministic_dirs", True),
    ("uid", 1), ("no_supervisor", True), ("init_fn", print),
    ("work_fn", print), ("on_exit", "keep"), ("credentials", {"a": "env:B"}),
])
def test_what_is_not_built_yet_is_refused(field: str, value: object) -> None:
    bad = Sandbox()
    setattr(bad, field, value)
    with pytest.raises(PolicyError, match="not built yet"):
        bad.run(["true"])


def test_protections() -> None:
    every = [p for p in Protection if p is not Protection.FS_REFER]
    assert Sandbox(fs_readable=SYSTEM, disable=every).run(["true"]).success
    assert Sandbox(fs_readable=SYSTEM, disable=["net-tcp"], allow_degraded=["fs-refer", 1]).run(["true"]).success
    for bad in [Protection.FS_REFER], [77], ["no-such"]:
        with pytest.raises(PolicyError):
            Sandbox(disable=bad).run(["true"])


def test_kernel_report() -> None:
    report = kernel_report()
    assert report["sandbox_ready"] and set(report["protections"]) >= {"fs-refer", "signal-scope"}
    assert report["not_enforced_yet"] == ["max_disk"]


@pytest.mark.parametrize("text, size", [(5, 5), ("5", 5), ("1k", 1024), (" 1.5 M ", 1572864), ("0.3K", 307), ("2G", 2 << 30), ("1T", 1 << 40)])
def test_sizes(text: Any, size: int) -> None:
    assert parse_memory_size(text) == size


@pytest.mark.parametrize("text", ["", "K", "1.K", "-1", "1KB", "1e3", "18446744073709551616", "99999999T", None, True, -1])
def test_bad_sizes(text: Any) -> None:
    with pytest.raises(ValueError):
        parse_memory_size(text)


def test_ports() -> None:
    assert parse_ports([80, "443", "8000-8002", "1, 80"]) == [1, 80, 443, 8000, 8001, 8002]
    assert parse_ports([]) == []
    for bad in "a", "9-8", "65536", "1,,2", "", "-1", True:
        with pytest.raises(ValueError):
            parse_ports([bad])
