"""A pool of worker processes that download posters, one part at a time each."""

import json
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tasks.errors import DownloadError
from tasks.posters.hosts import HostsLeftAlone
from tasks.progress import Progress

logger = logging.getLogger(__name__)

_ROOT = Path(__file__).resolve().parents[2]
_STOP_SECONDS = 10
_TRIES = 2

_INTERRUPTED = "the download was interrupted: run again to go on where it was"

_Process = subprocess.Popen[str]

_open_pools: list["Pool"] = []


class Workers:
    """A pool of worker processes, shared by as many threads. A context manager: its end kills the processes.

    They also end when this process is killed, because that closes their standard input. A process that dies is
    replaced.

    Args:
        count: Number of processes.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._processes: list[_Process] = []
        self._idle: queue.SimpleQueue[_Process | None] = queue.SimpleQueue()
        self._left_alone = HostsLeftAlone()
        self._is_closed = False

    def __enter__(self) -> Self:
        for _ in range(self._count):
            self._idle.put(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._is_closed = True
        for process in self._processes:
            process.kill()
        for _ in self._processes:  # threads that wait for an idle one
            self._idle.put(None)
        for process in self._processes:
            # Also closes the pipes, whose remaining content is not needed.
            process.communicate(timeout=_STOP_SECONDS)

    def download(self, job: Mapping[str, Any], progress: Progress) -> dict[str, int]:
        """Runs `downloading.download_part` in the next idle process, and once more if that process dies.

        Args:
            job: Arguments of the function, JSON values, without its share and the hosts to leave alone.
            progress: Receives the counts while the process downloads.

        Returns:
            The number of posters with each outcome.

        Raises:
            DownloadError: If the download fails, or the process dies twice.
        """
        for _ in range(_TRIES):
            process = self._idle.get()
            if process is None or self._is_closed:
                self._idle.put(None)  # for the next one that waits
                raise DownloadError(_INTERRUPTED)
            # Hosts that other processes left alone in the meantime.
            complete = {**job, "share": 1 / self._count, "left_alone": self._left_alone.reasons}
            try:
                result = _run(process, complete, progress)
            finally:
                self._idle.put(self._replace(process) if process.poll() is not None else process)
            if result is not None:
                self._left_alone.add(result["left_alone"])
                return dict(result["outcomes"])
            exit_code = process.returncode
            logger.warning("posters: part-%05d: its process died, exit code %s", job["part"], exit_code)
        raise DownloadError(
            f"{_name(job)} could not be downloaded: its process died {_TRIES} times, exit code {exit_code}; "
            "run again to go on with the posters that are missing"
        )

    def _start(self) -> _Process:
        path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
        process = subprocess.Popen(
            # -P: a tasks.py or json.py in the working directory is not imported.
            [sys.executable, "-P", "-m", "tasks.posters.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": path},
            process_group=0,  # Ctrl-C interrupts this process only, which then kills them
        )
        self._processes.append(process)
        return process

    def _replace(self, process: _Process) -> _Process:
        with self._lock:
            if self._is_closed:
                self._idle.put(None)
                raise DownloadError(_INTERRUPTED)
            self._processes.remove(process)
            process.communicate()  # closes the pipes
            return self._start()


class Pool:
    """Worker processes, and the progress that their downloads count in.

    Args:
        workers: The processes.
        progress: Counts of all parts.
    """

    def __init__(self, workers: Workers, progress: Progress) -> None:
        self._workers = workers
        self._progress = progress

    def download(self, job: Mapping[str, Any]) -> dict[str, int]:
        """Downloads a part; see `Workers.download`."""
        return self._workers.download(job, self._progress)


@contextmanager
def open_pool(count: int, progress: Progress) -> Iterator[None]:
    """Gives the tasks of this process worker processes for their downloads, within the block.

    Args:
        count: Number of processes.
        progress: Counts of all parts.
    """
    with Workers(count) as workers:
        pool = Pool(workers, progress)
        _open_pools.append(pool)
        try:
            yield
        finally:
            _open_pools.remove(pool)


def find_pool() -> Pool:
    """Returns the pool that is open in this process.

    Raises:
        DownloadError: It is closed: a run that was interrupted begins no part.
    """
    if not _open_pools:
        raise DownloadError(_INTERRUPTED)
    return _open_pools[-1]


def _run(process: _Process, job: Mapping[str, Any], progress: Progress) -> dict[str, Any] | None:
    """Returns the result of a job; None if the process dies.

    Raises:
        DownloadError: The job fails.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        print(json.dumps(job), file=process.stdin, flush=True)
        for line in process.stdout:
            message = json.loads(line)
            if "counts" in message:
                progress.count(message["counts"])
            elif "result" in message:
                return dict(message["result"])
            else:
                raise DownloadError(
                    f"{_name(job)} could not be downloaded: {message['error']}; run again to go on with the rest"
                )
    except (BrokenPipeError, json.JSONDecodeError):
        pass  # the process died, maybe while it wrote a line
    process.kill()
    process.wait()
    return None


def _name(job: Mapping[str, Any]) -> str:
    return f"part-{job['part']:05d} of the posters"
