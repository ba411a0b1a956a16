"""What a task brings back from a worker process: its result, who did it, how long it took, and its log lines.

The journal and the terminal of a run are in the flow's process. A task in another one returns its lines, which are
logged there once more; Prefect's server gets them from the worker itself.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
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
_task_threads: set[int] = set()


@dataclass(frozen=True)
class LogLine:
    """A log record without what can't be sent to another process."""

    logger: str
    level: int
    message: str
    created: float
    part: str | None


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
    """Calls a function and reports on it."""
    start = time.monotonic()
    if _worker_name is None:
        return WorkReport(function(), None, time.monotonic() - start)
    handler = _Collector()
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    _task_threads.add(threading.get_ident())
    for logger in loggers:
        logger.addHandler(handler)
    try:
        value = function()
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        _task_threads.discard(threading.get_ident())
    return WorkReport(value, _worker_name, time.monotonic() - start, tuple(handler.lines))


class _Collector(logging.Handler):
    """Keeps the lines of one task: all but those of other tasks' threads."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[LogLine] = deque(maxlen=_MAX_LINES)
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread != self._thread and record.thread in _task_threads:
            return
        message = record.getMessage()
        if record.exc_info:
            message += f"\n{logging.Formatter().formatException(record.exc_info)}"
        part = getattr(record, "part", None)
        self.lines.append(LogLine(record.name, record.levelno, message, record.created, part))
