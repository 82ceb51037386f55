"""port_remap: two sandboxes have one port."""

from __future__ import annotations

import contextlib
import socket
from typing import Iterator, List

import pytest

from conftest import INSIDE
from sandlock import Process, Sandbox, StdioMode

SERVER = """
import asyncio, http.server, socket, sys, threading, urllib.request
PORT = {port}

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"{word}")
    def log_message(self, *args): pass

def serve_http():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    assert server.server_port == PORT

async def serve_streams():
    async def handle(reader, writer):
        assert writer.get_extra_info("sockname")[1] == PORT
        writer.write(b"{word}"); await writer.drain(); writer.close()
    server = await asyncio.start_server(handle, "::1", PORT, family=socket.AF_INET6)
    reader, writer = await asyncio.open_connection("::1", PORT)
    assert writer.get_extra_info("peername")[1] == PORT
    print((await reader.read()).decode(), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    writer.close(); server.close()

serve_http()
print(urllib.request.urlopen(f"http://127.0.0.1:{{PORT}}/").read().decode(), flush=True)
asyncio.run(serve_streams())
"""


@contextlib.contextmanager
def serving(box: Sandbox, port: int, word: str) -> Iterator[Process]:
    process = box.popen([INSIDE, "-c", SERVER.format(port=port, word=word)], stdin=StdioMode.PIPED, stdout=StdioMode.PIPED, stderr=StdioMode.PIPED)
    with process:
        assert process.stdin and process.stdout and process.stderr
        heard = [process.stdout.readline().strip().decode() for _ in range(2)]
        assert heard == [word, word], process.stderr.read()
        yield process
        process.stdin.close()
        assert process.wait().success, process.stderr.read()
        assert process.ports() == {}


def own_ports(box: Sandbox, port: int) -> Sandbox:
    box.net_allow, box.net_allow_bind, box.port_remap = ["localhost"], [port], True
    return box


def fetch(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port)) as c:
        c.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return c.makefile("rb").read()


def test_two_have_one_port(box: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    other = Sandbox(fs_readable=box.fs_readable)
    with serving(own_ports(box, port), port, "first") as first, serving(own_ports(other, port), port, "second") as second:
        ports: List[int] = [p.ports().get(port, port) for p in (first, second)]
        assert ports[0] == port != ports[1]
        assert fetch(ports[0]).endswith(b"first") and fetch(ports[1]).endswith(b"second")
    assert box.ports() == other.ports() == {}


def test_without_it_one_has_it(box: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        program = f"import socket; socket.create_server(('127.0.0.1', {port}))"
        box.net_allow_bind = [port]
        refused = box.run([INSIDE, "-c", program])
        assert not refused.success and b"Address already in use" in refused.stderr
        box.port_remap = True
        assert box.run([INSIDE, "-c", program]).success


@pytest.mark.parametrize("bind", [[], ["*"]])
def test_it_gives_no_port(box: Sandbox, bind: List[str]) -> None:
    box.port_remap, box.net_allow_bind = True, bind
    program = "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); socket.create_connection(s.getsockname())"
    assert not box.run([INSIDE, "-c", program]).success


TABLE = """
import os, socket
listener = socket.create_server(("127.0.0.1", {port}))
client = socket.create_connection(listener.getsockname())
server, peer = listener.accept()
os.chdir("/proc/self/net")
for path in "/proc/net/tcp", "/proc/self/net/tcp", f"/proc/{{os.getpid()}}/net/tcp", "/proc/thread-self/net/tcp", "tcp":
    rows = [line.split() for line in open(path)][1:]
    port = "%04X" % {port}
    ours = {{row[9]: row[1:4] for row in rows if row[1].endswith(":" + port) or row[2].endswith(":" + port)}}
    inode = lambda s: str(os.fstat(s.fileno()).st_ino)
    local = f"0100007F:{{port}}"
    other = "0100007F:%04X" % peer[1]
    assert ours == {{inode(listener): [local, "00000000:0000", "0A"], inode(client): [other, local, "01"],
                    inode(server): [local, other, "01"]}}, (path, ours)
print(len(rows))
"""


def test_tables_agree(box: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        box.fs_readable = [*box.fs_readable, "/proc"]
        r = own_ports(box, port).run([INSIDE, "-c", TABLE.format(port=port)])
        assert r.success and int(r.stdout) >= 3, r
