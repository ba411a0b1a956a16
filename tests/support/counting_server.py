"""A server of posters that counts connections and requests, and can kill the process that requests one of them."""

import contextlib
import http.server
import io
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image


def draw(number: int) -> bytes:
    """Returns a poster of its own for each number."""
    file = io.BytesIO()
    Image.new("RGB", (60, 80), (number % 256, number // 256 % 256, 77)).save(file, "JPEG")
    return file.getvalue()


@dataclass
class CountingServer:
    """A running server, which has a poster at `/<number>.jpg`.

    Attributes:
        base_url: Address of the server.
        seconds: Time before each answer.
        kills: How often a request for a poster kills the process that sent it, by number.
        times: Times of the requests.
        requests: Number of requests, by number.
        clients: Process ids of the clients; looked up if `kills` is not empty or `with_clients` is set.
        max_connections: Largest number of connections that were open at the same time.
    """

    base_url: str = ""
    seconds: float = 0.0
    with_clients: bool = False
    kills: Counter[int] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)
    requests: Counter[int] = field(default_factory=Counter)
    clients: set[int] = field(default_factory=set)
    max_connections: int = 0
    connections: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def url(self, number: int) -> str:
        return f"{self.base_url}/{number}.jpg"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: CountingServer

    def setup(self) -> None:
        super().setup()
        with self.state.lock:
            self.state.connections += 1
            self.state.max_connections = max(self.state.max_connections, self.state.connections)

    def finish(self) -> None:
        with self.state.lock:
            self.state.connections -= 1
        with contextlib.suppress(OSError):
            super().finish()

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            super().handle()

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        number, state = int(Path(self.path).stem), self.state
        with state.lock:
            state.times.append(time.monotonic())
            state.requests[number] += 1
            is_deadly = state.kills[number] > 0
            state.kills[number] -= is_deadly
        if is_deadly or state.with_clients:
            client = find_client(self.client_address[1], self.server.server_address[1])
            state.clients.add(client)
            if is_deadly:
                os.kill(client, signal.SIGKILL)
        time.sleep(state.seconds)
        poster = draw(number)
        self.send_response(200)
        self.send_header("Content-Length", str(len(poster)))
        self.end_headers()
        self.wfile.write(poster)


def find_client(port: int, server_port: int) -> int:
    """Returns the id of the process that has a connection from a port of this machine to another one.

    A port may have connections to several others, of different processes.
    """
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ends = [([int(end.rpartition(":")[2], 16) for end in row[1:3]], row[9]) for row in rows]
    (inode,) = (inode for end, inode in ends if end == [port, server_port] and inode != "0")
    for path in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if path.readlink().name == f"socket:[{inode}]":
                return int(path.parts[2])
    raise AssertionError(f"no process has the connection from port {port}")


@contextmanager
def count_requests() -> Iterator[CountingServer]:
    """Runs a server on a free port of loopback."""
    state = CountingServer()
    handler = type("BoundHandler", (_Handler,), {"state": state})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        served.daemon_threads = True
        served.block_on_close = False
        state.base_url = f"http://127.0.0.1:{served.server_port}"
        threading.Thread(target=served.serve_forever, args=(0.02,), daemon=True).start()
        yield state
        served.shutdown()
