"""Measures the library beside its peers and prints median and p90 of each.

Peers take turns within a run, so that whatever drifts drifts for all. Targets
stand beside the numbers; nothing here fails on one.

    python3 bench/bench.py BUILD_DIRECTORY GO
"""

from __future__ import annotations

import collections
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any, Dict, List, Optional, Sequence, Tuple

from sandlock import Sandbox

Samples = Dict[str, List[float]]

SYSTEM = ["/usr", "/lib", "/lib64", "/bin", "/etc"]
TURNS = 5
TRUE = ["/bin/true"]


def collect(into: Samples, argv: Sequence[str]) -> None:
    parse(into, subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout)


def parse(into: Samples, text: str) -> None:
    for line in text.splitlines():
        name, value = line.rsplit(" ", 1)
        into[name].append(float(value))


def quantile(values: List[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


class Table:
    def __init__(self, title: str, note: str = "") -> None:
        print(f"\n{title}")
        if note:
            print(f"  {note}")
        print(f"  {'':34}{'median µs':>11}{'p90 µs':>11}{'n':>7}")

    def row(self, name: str, values: List[float], base: Optional[List[float]] = None,
            against: str = "", target: str = "") -> None:
        if not values:
            print(f"  {name:34}{'not available here':>22}")
            return
        median = quantile(values, 0.5)
        text = f"  {name:34}{median:11.3f}{quantile(values, 0.9):11.3f}{len(values):7}"
        if base:
            text += f"   {median / quantile(base, 0.5):.3f} times {against}"
        if target:
            text += f" (target: {target})"
        print(text)


def spawning(build: str) -> None:
    bwrap = shutil.which("bwrap")
    if bwrap and subprocess.run([bwrap, "--unshare-all", "--ro-bind", "/", "/", *TRUE], stderr=subprocess.DEVNULL).returncode:
        bwrap = None  # no user namespaces for this user
    small: Samples = collections.defaultdict(list)
    large: Samples = collections.defaultdict(list)
    for _ in range(TURNS):
        for samples, mib in (small, "0"), (large, "1024"):
            collect(samples, [f"{build}/spawn", "60", mib, *([bwrap] if bwrap else [])])
    for samples, where in (small, "a small host"), (large, "1 GiB resident in the host"):
        table = Table(f"spawn and wait of /bin/true, {where}",
                      "sandlock_run also collects the output; bubblewrap has the same read-only directories, no seccomp")
        bare = samples["posix_spawn"]
        table.row("posix_spawn", bare)
        table.row("sandlock_run", samples["sandlock_run"], bare, "posix_spawn", "at most 2.5, aiming at 2.0")
        table.row("bubblewrap", samples["bubblewrap"], bare, "posix_spawn")
    growth = quantile(large["sandlock_run"], 0.5) / quantile(small["sandlock_run"], 0.5) - 1
    print(f"  sandlock_run with 1 GiB resident: {100 * growth:+.1f} % (target: within 15 %)")


def shell(build: str) -> None:
    """The tool, from its start to its end, beside what a shell would start instead."""
    commands: Dict[str, List[str]] = {
        "/bin/true": TRUE,
        "an empty Go program": [f"{build}/empty"],
        "a Go program that starts it": [f"{build}/starts", *TRUE],
        "sandlock run": ["build/sandlock", "run", *(f"--fs-read={path}" for path in SYSTEM), "--", *TRUE],
        "sandlock run -p system": ["build/sandlock", "run", "-p", "system", "--", *TRUE],
    }
    bwrap = shutil.which("bwrap")
    if bwrap and not subprocess.run([bwrap, "--unshare-all", "--ro-bind", "/", "/", *TRUE], stderr=subprocess.DEVNULL).returncode:
        commands["bubblewrap"] = [bwrap, "--unshare-all", "--ro-bind", "/", "/", *TRUE]
    samples: Samples = collections.defaultdict(list)
    arguments = [word for name, command in commands.items() for word in [",", name, *command]][1:]
    for _ in range(TURNS):
        collect(samples, [f"{build}/shell", "60", *arguments])
    table = Table("from the shell's prompt, /bin/true")
    bare = samples["/bin/true"]
    for name in commands:  # nothing in Go can be faster than the one that only starts it
        target = "at most 4, and half of bubblewrap" if name == "sandlock run" else ""
        table.row(name, samples[name], None if name == "/bin/true" else bare, "/bin/true", target)


def python_runs() -> None:
    samples: Samples = collections.defaultdict(list)
    box = Sandbox(fs_readable=SYSTEM)
    for _ in range(300):
        start = time.perf_counter()
        subprocess.run(TRUE, capture_output=True, check=True)
        middle = time.perf_counter()
        result = box.run(TRUE)
        end = time.perf_counter()
        if not result.success:
            raise SystemExit(f"Sandbox.run: {result}")
        samples["subprocess"].append((middle - start) * 1e6)
        samples["sandbox"].append((end - middle) * 1e6)
    table = Table("/bin/true from Python, output captured")
    table.row("subprocess.run", samples["subprocess"])
    table.row("Sandbox.run", samples["sandbox"], samples["subprocess"], "subprocess.run", "at most 1.5")


def executing(build: str) -> None:
    """An exec inside, with and without a policy_fn, and with other tasks in the sandbox;
    and without one, followed by the least that C can do."""
    program, library = f"{build}/exec", os.path.realpath("libsandlock.so.0")
    readable = [*SYSTEM, program, library]
    box = Sandbox(fs_readable=readable, max_processes=1100)
    judged = Sandbox(fs_readable=readable, max_processes=1100, policy_fn=lambda event, ctx: None)
    samples: Samples = collections.defaultdict(list)
    for _ in range(TURNS):
        for tasks in "0", "10", "1000":
            for name, sandbox in ("none", box), ("python", judged):
                result = sandbox.run([program, f"{name}-{tasks}", "40", tasks])
                if not result.success:
                    raise SystemExit(f"exec in the sandbox: {result}")
                parse(samples, result.stdout.decode())
            collect(samples, [program, f"c-{tasks}", "40", tasks, library])
            collect(samples, [f"{build}/followed", program, f"least-{tasks}", "40", tasks])
    for tasks in "0", "10", "1000":
        table = Table(f"vfork, exec and wait of /bin/true in a sandbox with {tasks} other tasks")
        least = samples[f"none-{tasks}"]
        table.row("no policy_fn", least)
        for name, title, target in (("least", "followed by a bare C tracer", ""),
                                    ("c", "policy_fn in C", " (target: at most 25)"),
                                    ("python", "policy_fn in Python", " (target: at most 60)")):
            table.row(title, samples[f"{name}-{tasks}"], least, "without")
            more = quantile(samples[f"{name}-{tasks}"], 0.5) - quantile(least, 0.5)
            print(f"  {title}: {more:+.0f} µs{target}")


def limited(build: str) -> None:
    """What the limits make dearer, in a sandbox that is far from them."""
    program = f"{build}/limits"
    ways: Dict[str, Dict[str, Any]] = {
        "unlimited": {"max_processes": "unlimited"},
        "max_processes": {"max_processes": 64},
        "max_memory": {"max_processes": "unlimited", "max_memory": "1G"},
        "max_cpu": {"max_processes": "unlimited", "max_cpu": 100},
        "all of them": {"max_processes": 64, "max_memory": "1G", "max_cpu": 100},
    }
    boxes = {way: Sandbox(fs_readable=[*SYSTEM, program], **fields) for way, fields in ways.items()}
    samples: Samples = collections.defaultdict(list)
    for _ in range(TURNS):
        collect(samples, [program, "no sandbox", "200"])
        for way, box in boxes.items():
            result = box.run([program, way, "200"])
            if not result.success:
                raise SystemExit(f"limits in the sandbox, {way}: {result}")
            parse(samples, result.stdout.decode())
    for kind, title in (("fork", "a fork and wait of a child that does nothing"), ("thread", "a thread that does nothing"),
                        ("signal", "a signal to itself, handled"), ("map", "1 MiB mapped, touched and unmapped")):
        table = Table(title)
        for way in ("no sandbox", *ways):
            table.row(way, samples[f"{way}-{kind}"], samples[f"unlimited-{kind}"], "unlimited")


def making() -> None:
    """make -j2 of what examples/audit_build.py builds: without a sandbox, in one without
    limits, with limits, and with the default ones and a policy_fn."""
    sys.path.insert(0, "examples")
    import audit_build
    samples: Samples = collections.defaultdict(list)
    seen: List[object] = []
    make = ["make", "-j2", "-C", "tree"]
    with tempfile.TemporaryDirectory() as directory:
        work = pathlib.Path(directory)
        archive = audit_build.fetch(work)
        for turn in range(TURNS):
            for name in "bare", "unlimited", "limited", "judged":
                at = work / f"{name}-{turn}"
                audit_build.prepare(at, archive)
                box = audit_build.sandbox(at, archive, lambda event, ctx: seen.append(event))
                for step in audit_build.STEPS[:2]:
                    subprocess.run(step, cwd=at, env=audit_build.environment(at), check=True, stdout=subprocess.DEVNULL)
                if name != "judged":
                    box.policy_fn = None
                if name == "unlimited":
                    box.max_processes = "unlimited"
                elif name == "limited":
                    box.max_memory = "2G"
                start = time.perf_counter()
                if name == "bare":
                    subprocess.run(make, cwd=at, env=audit_build.environment(at), check=True, capture_output=True)
                elif not (result := box.run(make)).success:
                    raise SystemExit(f"make in the sandbox: {result}")
                samples[name].append((time.perf_counter() - start) * 1e6)
                shutil.rmtree(at)
    table = Table(f"make -j2 of tcc, {len(seen) // TURNS} execs that a policy_fn in Python sees")
    table.row("without a sandbox", samples["bare"])
    table.row("in a sandbox with policy_fn", samples["judged"], samples["bare"], "without", "at most 1.05")
    table.row("in a sandbox without limits", samples["unlimited"], samples["bare"], "without")
    table.row("with max_processes, max_memory", samples["limited"], samples["unlimited"], "no limits", "at most 1.05")


def interrupted(build: str) -> None:
    """Execs under a storm of signals whose handler does not restart system calls, with
    each way to supervise them; and what else each costs."""
    library = os.path.realpath("libsandlock.so.0")
    supervise = f"{build}/supervise"
    measured = {
        "no supervisor": [supervise, "bare"],
        "C, notifications": [supervise, "notify"],
        "C, followed to the exec stop": [f"{build}/followed"],
        "C, SECCOMP_RET_TRACE": [supervise, "trace"],
        "sandlock, policy_fn in C": [supervise, "sandlock", library],
    }
    ways = {
        **measured,
        "C, not WAIT_KILLABLE_RECV": [supervise, "interruptible"],
        "C, not SYNC_WAKE_UP": [supervise, "elsewhere"],
        "sandlock, policy_fn takes 1 ms": [supervise, "slow", library],
    }
    samples: Dict[str, Samples] = {way: collections.defaultdict(list) for way in ways}

    def turn(ways: Dict[str, List[str]], *work: str) -> None:
        for way, how in ways.items():
            collect(samples[way], [*how, f"{build}/storm", *work])

    for _ in range(TURNS):
        for rate in "1000", "10000", "40000":
            turn(ways, "exec", rate, "100", rate)
        turn(ways, "exec", "restart", "100", "10000", "restart")
        turn(ways, "exec", "beside", "60", "1000", "beside")
        turn(measured, "exec", "exec", "60", "0")
        turn(measured, "fork", "fork", "200")
        turn(measured, "signal", "signal", "1000")
        # In this session: what the scheduler gives the host is what they share, sched(7).
        burners = [subprocess.Popen([f"{build}/storm", "spin"]) for _ in range(os.cpu_count() or 1)]
        try:
            turn(ways, "exec", "busy", "60", "1000")
        finally:
            for burner in burners:
                burner.kill()
                burner.wait()
    columns = {"1000": "1 kHz", "10000": "10 kHz", "40000": "40 kHz", "restart": "SA_RESTART",
               "beside": "beside", "busy": "busy"}
    print("\nexecs of /bin/true that a signal of a timer interrupts (EINTR), %")
    print("  SA_RESTART: at 10 kHz, with a handler that has it; beside: at 1 kHz, while another task of the")
    print("  sandbox executes; busy: at 1 kHz, beside a task of the host's session that burns, for each CPU")
    print(f"  {'':34}" + "".join(f"{title:>11}" for title in columns.values()))
    for way in ways:
        shares = (100 * sum(n > 0 for n in samples[way][c]) / len(samples[way][c]) for c in columns)
        print(f"  {way:34}" + "".join(f"{share:11.1f}" for share in shares))
    for name, title in (
        ("exec-us", "vfork, exec and wait of /bin/true"),
        ("fork", "fork and wait of a child that does nothing"),
        ("signal", "a signal to itself, handled"),
    ):
        table = Table(title)
        for way in measured:
            table.row(way, samples[way][name], samples["no supervisor"][name], "without one")


def trapped(build: str, go: str) -> None:
    """One notification, received and answered, by this library's listener (a Go
    benchmark of it) and by the least that C can do."""
    samples: Samples = collections.defaultdict(list)
    subprocess.run([go, "test", "-tags", "landlocktsync", "-c", "-o", f"{build}/notify.test", "./core/internal/notify"], check=True)
    for _ in range(2 * TURNS):
        for kind in "continue", "errno":
            collect(samples, [f"{build}/trapped", kind, "20000"])
        out = subprocess.run([f"{build}/notify.test", "-test.run=^$", "-test.bench=Trapped", "-test.benchtime=20000x"],
                             check=True, stdout=subprocess.PIPE, text=True).stdout
        for kind, ns in re.findall(r"^BenchmarkTrapped/(\w+)(?:-\d+)?\s+\d+\s+([\d.]+) ns/op", out, re.M):
            samples[f"go-{kind.lower()}"].append(float(ns) / 1e3)
    table = Table("a trapped system call, mean of 20,000")
    for kind in "continue", "errno":
        bare = samples[f"trapped-{kind}"]
        table.row(f"bare C supervisor, {kind}", bare)
        table.row(f"sandlock's listener, {kind}", samples[f"go-{kind}"], bare, "the C supervisor", "at most 1.3")


def untrapped(build: str) -> None:
    samples: Samples = collections.defaultdict(list)
    box = Sandbox(fs_readable=[*SYSTEM, build])
    judged = Sandbox(fs_readable=[*SYSTEM, build], policy_fn=lambda event, ctx: False)
    program, calls = f"{build}/untrapped", "100000"
    for _ in range(TURNS):
        collect(samples, [program, "bare", calls])
        collect(samples, [program, "filter", calls, "filter"])
        for name, sandbox in ("sandbox", box), ("policy_fn", judged):
            result = sandbox.run([program, name, calls])
            if not result.success:
                raise SystemExit(f"untrapped in the sandbox: {result}")
            parse(samples, result.stdout.decode())
    table = Table("an untrapped system call, mean of 100,000")
    table.row("no filter", samples["bare"])
    least = samples["filter"]
    table.row("a filter that allows all", least)
    table.row("in a sandbox", samples["sandbox"], least, "the filter", "at most 1.03")
    table.row("in a sandbox with policy_fn", samples["policy_fn"], least, "the filter", "at most 1.03")


def connecting(build: str) -> None:
    """Connections that are closed at once, datagrams, and a transfer."""
    program = f"{build}/connect"
    with subprocess.Popen([program, "serve"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        ways: Dict[str, Dict[str, Any]] = {
            "a rule for the port": {"net_allow": [f"tcp://:{port}", "udp://*"]},
            "a rule for the address": {"net_allow": ["127.0.0.1"]},
            "policy_fn in Python": {"net_allow": ["127.0.0.1"], "policy_fn": lambda event, ctx: None},
        }
        boxes = {way: Sandbox(fs_readable=[*SYSTEM, program], **fields) for way, fields in ways.items()}
        samples: Samples = collections.defaultdict(list)
        for _ in range(TURNS):
            collect(samples, [program, "no sandbox", port, "500"])
            for way, box in boxes.items():
                result = box.run([program, way, port, "500"])
                if not result.success:
                    raise SystemExit(f"connect in the sandbox, {way}: {result}")
                parse(samples, result.stdout.decode())
        server.kill()
    for kind, title, targets in (
        ("", "connect and close on loopback", ("within 1.03", "at most 25 µs more", "")),
        ("-linger", "SO_LINGER set, which the library does", ("", "", "")),
        ("-udp", "a datagram on loopback", ("", "", "")),
        ("-bulk", "1 GiB from loopback", ("within 1.02", "within 1.02", "within 1.02")),
    ):
        table = Table(title)
        bare = samples[f"no sandbox{kind}"]
        table.row("no sandbox", bare)
        for way, target in zip(ways, targets):
            table.row(way, samples[f"{way}{kind}"], bare, "without", target)
            print(f"  {way}: {quantile(samples[f'{way}{kind}'], 0.5) - quantile(bare, 0.5):+.1f} µs")


def redis() -> None:
    """redis-benchmark on a server outside, and both in a sandbox of their own; each in a
    session of its own everywhere, which the scheduler looks at (sched(7))."""
    if not shutil.which("redis-benchmark"):
        print("\nredis-benchmark: not available here")
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serve = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--loglevel", "notice"]
    load = ["redis-benchmark", "-p", str(port), "-t", "set,get", "-n", "50000", "--csv"]
    samples: Samples = collections.defaultdict(list)
    client = Sandbox(fs_readable=SYSTEM, net_allow=["127.0.0.1"])
    ways: Dict[str, Tuple[Optional[Sandbox], Optional[Sandbox]]] = {
        "no sandbox": (None, None),
        "the client in a sandbox": (None, client),
        "each in a sandbox": (Sandbox(fs_readable=[*SYSTEM, "/proc", "/sys"], net_allow=["127.0.0.1"], net_allow_bind=[port]), client),
    }
    for _ in range(TURNS):
        for way, (server_box, client_box) in ways.items():
            server: Any = (subprocess.Popen(serve, stdout=subprocess.PIPE, text=True, start_new_session=True) if server_box is None
                           else server_box.popen(serve, stdout=subprocess.PIPE, text=True))
            said = ""
            while "eady to accept connections" not in said:
                line = server.stdout.readline()
                if not line:
                    raise SystemExit(f"redis-server, {way}: {said}")
                said += line
            out = (subprocess.run(load, check=True, stdout=subprocess.PIPE, text=True, start_new_session=True).stdout if client_box is None
                   else client_box.run(load, text=True).stdout)
            for kind, rate in re.findall(r'^"(SET|GET)","([\d.]+)"', out, re.M):
                samples[f"{way}-{kind}"].append(1e6 / float(rate))
            server.kill()
            server.communicate()
    for kind in "SET", "GET":
        table = Table(f"redis-benchmark {kind}, 50 connections: time for a request",
                      "over an address that a rule names; redis-server and redis-benchmark both on this machine")
        for way in ways:
            table.row(way, samples[f"{way}-{kind}"], None if way == "no sandbox" else samples[f"no sandbox-{kind}"], "without",
                      "" if way == "no sandbox" else "within 1.02")


def opening(build: str) -> None:
    """A file five directories down."""
    program, samples = f"{build}/opens", collections.defaultdict(list)
    with tempfile.TemporaryDirectory() as top:
        path = pathlib.Path(top, "a", "b", "file")
        path.parent.mkdir(parents=True)
        path.write_text("x")
        denied = pathlib.Path(top, "denied")
        denied.mkdir()
        ways: Dict[str, Dict[str, Any]] = {
            "in a sandbox": {},
            "and a policy_fn that may deny": {"policy_fn": lambda event, ctx: None},
            "one denial active": {"fs_denied": [denied]},
            "a rule for /proc": {"fs_readable": [*SYSTEM, top, program, "/proc"]},
            "openat judged in Python": {"policy_fn": lambda event, ctx: None, "policy_events": ["openat"]},
        }
        boxes = {way: Sandbox(**{"fs_readable": [*SYSTEM, top, program], **fields}) for way, fields in ways.items()}
        for _ in range(TURNS):
            collect(samples, [program, "no sandbox", "10000", str(path)])
            collect(samples, [program, "rules", "10000", str(path), top])
            for way, box in boxes.items():
                result = box.run([program, way, "10000" if way == "in a sandbox" else "1000", str(path)])
                if not result.success:
                    raise SystemExit(f"opens in the sandbox, {way}: {result}")
                parse(samples, result.stdout.decode())
    table = Table("open and close of a file")
    table.row("no sandbox", samples["no sandbox"])
    least = samples["rules"]
    table.row("the same rules, a filter", least)
    for way, target in zip(ways, ("at most 1.03", "", "at most 20 µs more", "", "")):
        table.row(way, samples[way], least, "the rules", target)
        print(f"  {way}: {quantile(samples[way], 0.5) - quantile(least, 0.5):+.1f} µs")


def main() -> None:
    build, go = os.path.abspath(sys.argv[1]), sys.argv[2]
    spawning(build)
    shell(build)
    python_runs()
    executing(build)
    limited(build)
    making()
    interrupted(build)
    trapped(build, go)
    untrapped(build)
    opening(build)
    connecting(build)
    redis()


if __name__ == "__main__":
    main()
