"""A run's log as JSON lines, beside Prefect's own: `data/logs/<time>-<name of the run>.jsonl`."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect.runtime import flow_run
from pythonjsonlogger.json import JsonFormatter

from tasks.errors import PosterGenresError
from tasks.web.addresses import redact

# This project's, and Prefect's about the states of runs, including retries.
_LOGGERS = ("flows", "tasks", "prefect.flow_runs", "prefect.task_runs")
# The names of this project's loggers contain the stage: `tasks.posters.task`.
_FIELDS = ("levelname", "name", "stage", "part", "worker", "task_run_name", "message", "exc_info")


class _Stamp(logging.Filter):
    """Adds the stage and, if any, part and worker to each record."""

    def filter(self, record: logging.LogRecord) -> bool:
        parent, _, rest = record.name.partition(".")
        record.stage = rest.partition(".")[0] if parent == "tasks" else None
        for name in ("part", "worker", "task_run_name"):
            if not hasattr(record, name):
                setattr(record, name, None)
        return True


class _Formatter(JsonFormatter):
    """Formats tracebacks without the secrets of addresses."""

    def formatException(self, exc_info: Any) -> str:  # noqa: N802
        return redact(str(super().formatException(exc_info)))


@contextmanager
def journal(folder: Path) -> Iterator[Path]:
    """Writes the log of the block to a file; yields its path.

    A line is an object with `timestamp`, `level`, `logger`, `run`, `run_id`, `stage`, `part`, `worker` (the process,
    if another one logged it), `task`, `message`, and `exc_info` of an exception; missing values are null.

    Args:
        folder: Folder of the logs; created if it does not exist.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name, run_id = flow_run.get_name(), flow_run.get_id()
    path = folder / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{name}.jsonl"
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.addFilter(_Stamp())
    handler.setFormatter(
        _Formatter(
            _FIELDS,
            timestamp=True,
            rename_fields={"levelname": "level", "name": "logger", "task_run_name": "task"},
            static_fields={"run": name, "run_id": run_id},
            json_ensure_ascii=False,
        )
    )
    loggers = [logging.getLogger(logger) for logger in _LOGGERS]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield path
    except BaseException as error:
        # Prefect logs it, too, but only after this block.
        expected = isinstance(error, PosterGenresError)
        trace = None if expected else (type(error), error, error.__traceback__)
        words = f"failed: {type(error).__name__}: {redact(str(error))}"
        handler.handle(loggers[0].makeRecord(__name__, logging.ERROR, __file__, 0, words, (), trace))
        raise
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        handler.close()
