"""A worker process that downloads parts. See `tasks.posters.workers`.

It reads jobs from standard input and writes messages to standard output, one JSON object a line. A job has the
arguments of `downloading.download_part`. Messages have one key: `counts` (progress of the job), `result` (what the
function returned) or `error` (the job failed).

Processes, since the work on a poster (HTTP, hash, decoding) occupies a core; and not those of `multiprocessing`, whose
children import the main program again and outlive a killed parent.
"""

import json
import os
import queue
import sys
import threading
import time
from collections import Counter
from typing import Any

from tasks.errors import describe_os_error
from tasks.posters.downloading import download_part
from tasks.posters.fetching import Fetched

_SECONDS_BETWEEN_COUNTS = 0.5


def main() -> None:
    """Runs jobs until standard input ends."""
    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read_jobs, args=(jobs,), daemon=True).start()
    while True:
        job = jobs.get()
        counter = _Counter()
        try:
            result = download_part(**job, on_fetched=counter.add)
        except OSError as error:  # a full disk, for example; a poster's failure is an outcome
            _write_message({"error": describe_os_error(error)})
        else:
            counter.send()
            _write_message({"result": result})


class _Counter:
    """Counts posters by reason of failure ("" for success), and sends the counts at intervals."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._last = time.monotonic()

    def add(self, fetched: Fetched) -> None:
        self._counts[fetched.reason or ""] += 1
        if time.monotonic() >= self._last + _SECONDS_BETWEEN_COUNTS:
            self.send()

    def send(self) -> None:
        _write_message({"counts": self._counts})
        self._counts.clear()
        self._last = time.monotonic()


def _read_jobs(jobs: "queue.SimpleQueue[dict[str, Any]]") -> None:
    for line in sys.stdin:
        jobs.put(json.loads(line))
    # The parent process closed the pipe or was killed: an unfinished job is abandoned.
    os._exit(0)


def _write_message(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main()
