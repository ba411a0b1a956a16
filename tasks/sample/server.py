"""Serve files over HTTP on loopback."""

import contextlib
import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_POLL_SECONDS = 0.05  # maximum delay of a shutdown


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open between posters

    def log_message(self, *args: Any) -> None:
        """Logs nothing: a line a poster would bury the run's own log."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256  # connections not yet accepted; the default of 5 refuses a burst


@contextlib.contextmanager
def serve(folder: Path, port: int = 0) -> Iterator[str]:
    """Serves the files of `folder` on 127.0.0.1 while the block runs.

    Args:
        folder: Folder whose files are served.
        port: Preferred port, with which addresses stay the same from run to run; any free port if it is taken, or 0.

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
