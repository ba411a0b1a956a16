"""Serve the sample over HTTP on loopback, as a film site would."""

import contextlib
import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_POLL_SECONDS = 0.05  # how soon the server stops when told to


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open between posters

    def log_message(self, *args: Any) -> None:
        """A line a poster would drown the run's own log."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256  # as many clients may connect at once


@contextlib.contextmanager
def serve(folder: Path, port: int = 0) -> Iterator[str]:
    """Serves the files of `folder` on 127.0.0.1 while the block runs.

    Args:
        folder: what is served.
        port: taken if it is free, so that addresses stay the same from run to run; else, or for 0, any free one.

    Yields:
        The base address, `http://127.0.0.1:<port>`.
    """
    handler = functools.partial(_Handler, directory=str(folder))
    try:
        server = _Server(("127.0.0.1", port), handler)
    except OSError:
        server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), name="sample server", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
