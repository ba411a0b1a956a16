"""A poster server whose faults are selected by the path of a request."""

import contextlib
import gzip
import hashlib
import http.server
import io
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from PIL import Image


def encode(format: str, size: tuple[int, int] = (60, 80), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.effect_noise(size, 60).convert(mode).save(file, format)
    return file.getvalue()


def make_etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:8]}"'


@dataclass
class FaultyServer:
    """A running server.

    Attributes:
        base_url: Address of the server.
        poster: Bytes of the poster at every path, unless replaced.
        requests: Number of requests, by path.
        connections: Number of connections opened.
        not_modified: Number of responses with status 304.
        replaced: Bytes of the replaced posters, by path.
    """

    base_url: str
    poster: bytes
    requests: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    not_modified: int = 0
    replaced: dict[str, bytes] = field(default_factory=dict)

    def url(self, path: str) -> str:
        return f"{self.base_url}/{path}"

    def replace(self, path: str) -> None:
        """Replaces the poster at a path."""
        self.replaced[path] = encode("JPEG", (61, 81))

    @property
    def etag(self) -> str:
        return make_etag(self.poster)

    def poster_at(self, path: str) -> bytes:
        return self.replaced.get(path, self.poster)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: FaultyServer
    stop: threading.Event

    def setup(self) -> None:
        super().setup()
        self.state.connections += 1

    def log_message(self, *args: object) -> None:
        pass

    def handle(self) -> None:
        # The client may close the connection early: while it receives a body that is too large, for example.
        with contextlib.suppress(ConnectionError):
            super().handle()

    def send(self, body: bytes = b"", status: int = 200, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        fault = self.path.strip("/")
        poster = self.state.poster_at(fault)
        self.state.requests[fault] += 1
        first = self.state.requests[fault] == 1
        kind, _, number = fault.partition("-")
        if kind == "status" or (kind == "once" and first):
            self.send(b"no", int(number.partition("-")[0]))
        elif kind == "gone" and not first:
            self.send(b"no", 404)
        elif kind == "plain":
            self.send(poster)
        elif kind == "later" and first:
            self.send(b"no", 429, Retry_After=number)
        elif kind == "redirect":
            self.send(b"", 302, Location="/good")
        elif kind == "astray":
            self.send(b"", 302, Location="http://[x")
        elif kind == "loop":
            self.send(b"", 302, Location="/loop")
        elif kind == "html":
            self.send(b"<html>sign in</html>", Content_Type="image/jpeg")
        elif kind == "half":
            self.send(poster[: len(poster) // 2])
        elif kind == "empty":
            self.send(b"")
        elif kind == "gif":
            self.send(encode("GIF"))
        elif kind == "tiny":
            self.send(encode("PNG", (1, 1)))
        elif kind == "short":
            self.send(poster[:100], length=len(poster))
            self.close_connection = True
        elif kind == "hangup" or (kind == "cut" and first):
            self.close_connection = True
        elif kind == "long":
            self.send(b"\xff" * 200_000)
        elif kind == "unannounced":
            # No length and no end: only the limit stops it.
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                while not self.stop.is_set():
                    self.wfile.write(b"\xff" * 65536)
            self.close_connection = True
        elif kind == "drip":
            self.send_response(200)
            self.send_header("Content-Length", "90000")
            self.end_headers()
            self.drip(b"\xff")
        elif kind == "dripheaders":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            self.drip(b"a")
        elif kind == "oddheader":
            # Bytes that are no UTF-8: a client has them as surrogates.
            self.wfile.write(b'HTTP/1.1 200 OK\r\nETag: "\xff\xfe"\r\nLast-Modified: \xc3\x28\r\n')
            self.wfile.write(b"Content-Length: %d\r\n\r\n" % len(poster) + poster)
        elif kind == "bombed404":
            self.send(gzip.compress(bytes(50_000_000)), 404, Content_Encoding="gzip")
        elif kind == "hold" and first:
            self.stop.wait(20)
            self.close_connection = True
        elif kind == "inward":
            self.send(b"", 302, Location=f"http://127.0.0.2:{self.server.server_port}/good")
        elif kind == "silent":
            self.stop.wait(20)
            self.close_connection = True
        else:
            etag = make_etag(poster)
            if self.headers.get("If-None-Match") == etag:
                self.state.not_modified += 1
                self.send_response(304)
                self.end_headers()
                return
            self.send(poster, ETag=etag, Last_Modified="Sat, 21 Nov 2020 00:00:00 GMT")

    def drip(self, byte: bytes) -> None:
        with contextlib.suppress(OSError):
            while not self.stop.wait(0.05):
                self.wfile.write(byte)
                self.wfile.flush()
        self.close_connection = True


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    stop = threading.Event()
    state = FaultyServer("", encode("JPEG"))
    handler = type("BoundHandler", (Handler,), {"state": state, "stop": stop})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        served.daemon_threads = True
        served.block_on_close = False
        state.base_url = f"http://127.0.0.1:{served.server_port}"
        threading.Thread(target=served.serve_forever, args=(0.02,), daemon=True).start()
        yield state
        stop.set()
        served.shutdown()
