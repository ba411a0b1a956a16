"""A process that downloads parts: orders in, what comes of them out, a line of JSON each. See `tasks.posters.workers`.

Processes, since the work on a poster (HTTP, hash, decoding) is a core's; and started by hand, not by `multiprocessing`,
whose children import the main program anew and outlive one that was killed.
"""

import json
import os
import queue
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tasks.posters.downloading import download
from tasks.posters.fetching import Fetched
from tasks.settings import PosterSettings

_SECONDS_BETWEEN_REPORTS = 0.5


def main() -> None:
    """Carries out orders until there are no more."""
    orders: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    while True:
        order = orders.get()
        reports = _Reports()
        settings = PosterSettings.model_validate(order["settings"])
        try:
            outcomes = download(Path(order["path"]), order["films"], settings, order["connections"], reports.count)
        except OSError as error:  # of the disk
            _say({"error": str(error)})
        else:
            reports.send()
            _say({"outcomes": outcomes})


class _Reports:
    """Tells now and then how many posters there are, and why there are none of others."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._last = time.monotonic()

    def count(self, fetched: Fetched) -> None:
        self._counts[fetched.reason or ""] += 1
        if time.monotonic() >= self._last + _SECONDS_BETWEEN_REPORTS:
            self.send()

    def send(self) -> None:
        _say({"counts": self._counts})
        self._counts.clear()
        self._last = time.monotonic()


def _listen(orders: "queue.SimpleQueue[dict[str, Any]]") -> None:
    for line in sys.stdin:
        orders.put(json.loads(line))
    # Whoever gave the orders has no more, or is gone: what is not finished is not to be.
    os._exit(0)


def _say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main()
