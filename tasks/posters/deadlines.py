"""A total deadline for an HTTP exchange.

`requests` bounds the wait for each read from the socket, not for all of them: a server that sends a byte now and then
holds a thread for ever, in the headers as well as in the body. Here a watchdog shuts the socket down when the time is
up, which ends whatever read the thread is in.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import urllib3.connection
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool

_TICK_SECONDS = 0.1


class _Exchange:
    """One exchange under way: its deadline, and the connection it is on."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.connection: urllib3.connection.HTTPConnection | None = None

    def shut_down(self) -> None:
        sock = self.connection and self.connection.sock
        if sock:
            # Shut, not closed: closing would free the descriptor under the thread that reads from it.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


_current = threading.local()


def _note(connection: urllib3.connection.HTTPConnection) -> None:
    """Tells the calling thread's exchange, if it is watched, which connection it is on."""
    exchange = getattr(_current, "exchange", None)
    if exchange:
        exchange.connection = connection


class _HTTPConnection(urllib3.connection.HTTPConnection):
    def request(self, *args: Any, **kwargs: Any) -> None:
        _note(self)
        super().request(*args, **kwargs)


class _HTTPSConnection(urllib3.connection.HTTPSConnection):
    def request(self, *args: Any, **kwargs: Any) -> None:
        _note(self)
        super().request(*args, **kwargs)


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


_POOLS = {"http": _HTTPPool, "https": _HTTPSPool}


class DeadlineAdapter(HTTPAdapter):
    """A transport whose exchanges a `Watchdog` can end. Mount it on a session."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class Watchdog:
    """Ends the exchanges of any number of threads at their deadlines. A context manager: its thread ends with it."""

    def __init__(self) -> None:
        self._exchanges: set[_Exchange] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="download watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    @contextlib.contextmanager
    def watch(self, deadline: float) -> Iterator[None]:
        """Bounds what the calling thread does over sessions with a `DeadlineAdapter` inside the block.

        Args:
            deadline: on the clock of `time.monotonic()`. Past it the read under way fails within 0.2 s, as for a
                connection that broke.
        """
        exchange = _Exchange(deadline)
        _current.exchange = exchange
        with self._lock:
            self._exchanges.add(exchange)
        try:
            yield
        finally:
            with self._lock:
                self._exchanges.remove(exchange)
            _current.exchange = None

    def _run(self) -> None:
        while not self._stop.wait(_TICK_SECONDS):
            now = time.monotonic()
            with self._lock:
                for exchange in self._exchanges:
                    if exchange.deadline < now:
                        exchange.shut_down()
