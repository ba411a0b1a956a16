"""What a task brings back from a worker process: its result, who did it, how long it took, and its log lines.

The journal and the terminal of a run are in the flow's process. A task in another one returns its lines, which are
logged there once more; Prefect's server gets them from the worker itself.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

# The newest lines of a task are kept. A part or a shard logs a few.
_MAX_LINES = 200
_LOGGERS = ("flows", "tasks")

Value = TypeVar("Value")


def _always() -> bool:
    return True


_worker_name: str | None = None
_is_wanted: Callable[[], bool] = _always
# Of an exception that a task raised: what it had logged before. Python sends it along to another process.
_FAILED_WORK = "_failed_work"


@dataclass(frozen=True)
class LogLine:
    """A log record without what can't be sent to another process; a traceback is text."""

    logger: str
    level: int
    message: str
    created: float
    part: str | None
    traceback: str | None = None


@dataclass(frozen=True)
class WorkReport(Generic[Value]):
    """What became of a task.

    Attributes:
        value: Its result.
        worker: Name of the worker process; None in the flow's own process.
        seconds: Duration.
        lines: The lines that it logged, if it ran in a worker process.
    """

    value: Value
    worker: str | None
    seconds: float
    lines: tuple[LogLine, ...] = ()

    def log_again(self) -> None:
        """Logs the lines in this process: to its journal and terminal, but not to Prefect's server, which has them."""
        for line in self.lines:
            record = logging.makeLogRecord(
                {
                    "name": line.logger,
                    "levelno": line.level,
                    "levelname": logging.getLevelName(line.level),
                    "msg": line.message,
                    "exc_text": line.traceback,
                    "created": line.created,
                    "part": line.part,
                    "worker": self.worker,
                    "send_to_api": False,
                }
            )
            logging.getLogger(line.logger).handle(record)


def become_worker(name: str, is_wanted: Callable[[], bool] = _always) -> None:
    """Makes this process a worker, whose tasks return their log lines.

    Args:
        name: Name of the worker.
        is_wanted: Function that a task's thread calls: whether the run still waits for the task.
    """
    global _worker_name, _is_wanted
    _worker_name, _is_wanted = name, is_wanted


def check_wanted() -> None:
    """Ends the task of the calling thread if its run has ended, so that it does not work beside the next run.

    Raises:
        InterruptedError: It has.
    """
    if not _is_wanted():
        raise InterruptedError("the run that waited for this task has ended")


def report_work(function: Callable[[], Value]) -> WorkReport[Value]:
    """Calls a function and reports on it. An exception takes the lines along, see `log_failed_work`."""
    start = time.monotonic()
    if _worker_name is None:
        return WorkReport(function(), None, time.monotonic() - start)
    with _collecting() as lines:
        try:
            value = function()
        except Exception as error:
            vars(error)[_FAILED_WORK] = WorkReport(None, _worker_name, time.monotonic() - start, tuple(lines))
            raise
    return WorkReport(value, _worker_name, time.monotonic() - start, tuple(lines))


def log_failed_work(error: BaseException) -> None:
    """Logs what a task of a worker process had logged before it raised an exception."""
    report = vars(error).pop(_FAILED_WORK, None)
    if isinstance(report, WorkReport):
        report.log_again()


@contextmanager
def _collecting() -> Iterator[deque[LogLine]]:
    """Yields the lines that are logged during the block, which is one task."""
    lines: deque[LogLine] = deque(maxlen=_MAX_LINES)
    thread = threading.get_ident()
    with _change:
        _collector.lines = {**_collector.lines, thread: lines}
    for name in _LOGGERS:
        logging.getLogger(name).addHandler(_collector)  # which does nothing if it is there
    try:
        yield lines
    finally:
        with _change:
            _collector.lines = {other: kept for other, kept in _collector.lines.items() if other != thread}


class _Collector(logging.Handler):
    """Keeps the lines of the tasks of this process, by their threads.

    Those of other threads, such as the ones that a task starts, are the oldest task's: each line is one task's alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[int | None, deque[LogLine]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        tasks = self.lines  # which another thread may replace
        lines = tasks.get(record.thread)
        if lines is None:
            lines = next(iter(tasks.values()), None)
        if lines is not None:
            lines.append(_describe(record))


def _describe(record: logging.LogRecord) -> LogLine:
    # Of a redacted record, the traceback is there already, without the secrets of addresses.
    traceback = record.exc_text
    if record.exc_info and not traceback:
        traceback = logging.Formatter().formatException(record.exc_info)
    part = getattr(record, "part", None)
    return LogLine(record.name, record.levelno, record.getMessage(), record.created, part, traceback)


_collector = _Collector()
_change = threading.Lock()
