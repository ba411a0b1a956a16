"""A web server with a store that records its requests, and fails where it is told to."""

import functools
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class StubbornStore:
    """A store on loopback.

    Attributes:
        address: Its address.
        fetched: Paths of the files that were requested, without sizes (HEAD).
        broken: Ends of the paths whose answer is cut off in the middle.
        endless: Ends of the paths whose answer never ends and has no size.
    """

    address: str = ""
    fetched: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    endless: set[str] = field(default_factory=set)
    num_sent: int = 0


class _Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *args: Any, store: StubbornStore, **kwargs: Any) -> None:
        self.store = store
        super().__init__(*args, **kwargs)

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        if any(self.path.endswith(name) for name in self.store.endless):
            self.send_response(200)
            self.end_headers()
        else:
            super().do_HEAD()

    def do_GET(self) -> None:
        if self.headers.get("Range") is None:
            self.store.fetched.append(self.path)
        if any(self.path.endswith(name) for name in self.store.endless):
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"x" * 2**16)
                    self.store.num_sent += 2**16
            except OSError:
                return
        if any(self.path.endswith(name) for name in self.store.broken):
            self.send_response(200)
            self.send_header("Content-Length", "300")
            self.end_headers()
            self.wfile.write(b"half")
            self.close_connection = True
            return
        super().do_GET()


@contextmanager
def serve_stubbornly(folder: Path) -> Iterator[StubbornStore]:
    """Serves the store in a folder on 127.0.0.1 while the block runs."""
    store = StubbornStore()
    handler = functools.partial(_Handler, directory=str(folder), store=store)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    store.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
