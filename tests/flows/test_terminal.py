import io
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL
from rich.console import Console

from flows.terminal import TerminalHandler

Log = Callable[..., str]
RETRIED = "Task run failed with exception: OSError() - Retry 1/3 will start 1 second(s) from now"


@pytest.fixture
def log() -> Iterator[Log]:
    """Logs a message by a logger of a name, and returns what the terminal shows of it."""
    output = io.StringIO()
    handler = TerminalHandler(Console(file=output, width=40))

    def log(name: str, level: int, message: str, *arguments: object, error: Exception | None = None) -> str:
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        try:
            logger.log(level, message, *arguments, exc_info=error)
        finally:
            logger.removeHandler(handler)
        shown = output.getvalue()
        output.seek(0)
        output.truncate()
        return shown

    yield log
    handler.close()


def test_lines_of_this_project_have_time_and_message(log: Log) -> None:
    line = "posters: part-00000, " + "a title of [bold] and :smile: " * 10
    time, _, message = log("tasks.posters.task", logging.INFO, line).partition(" ")
    assert message == f"{line}\n"  # of one line, whatever the width
    assert [len(part) for part in time.split(":")] == [2, 2, 2]


@pytest.mark.parametrize(
    ("name", "level", "message", "shown"),
    [
        ("flows.train", logging.WARNING, "it may be wrong", "warning: it may be wrong\n"),
        ("flows.train", logging.ERROR, "it is wrong", "error: it is wrong\n"),
        ("tasks", logging.INFO, "some words", "some words\n"),
        ("prefect.flow_runs", logging.WARNING, "no heartbeat", "warning: no heartbeat\n"),
        ("prefect.task_runs", logging.ERROR, "Crash detected! It was killed", "error: Crash detected! It was killed\n"),
        ("a.library", logging.WARNING, "connection lost", "warning: connection lost\n"),
        ("a.library", logging.ERROR, "Finished in state of fire", "error: Finished in state of fire\n"),
        ("prefect.flow_runs", logging.INFO, "Beginning flow run 'quirky-fox' for flow 'train'", ""),
        ("prefect.task_runs", logging.INFO, "Finished in state Completed()", ""),
        ("prefect", logging.INFO, "Starting temporary server on http://127.0.0.1:8100", ""),
        ("prefect.flow_runs", logging.ERROR, "Finished in state Failed('it is wrong')", ""),
        ("prefect.task_runs", logging.ERROR, "Encountered exception during execution: ValueError()", ""),
        ("prefect.task_runs", logging.ERROR, "Task run failed with exception: ValueError()", ""),
        ("prefect.task_runs", logging.INFO, RETRIED, f"{RETRIED}\n"),
        ("taskset", logging.INFO, "of another package", ""),
    ],
)
def test_of_other_lines_warnings_and_errors_are_shown(
    log: Log, name: str, level: int, message: str, shown: str
) -> None:
    logging.getLogger("a.library").setLevel(logging.NOTSET)
    assert log(name, level, message).partition(" ")[2] == shown


def test_tracebacks_are_shown(log: Log) -> None:
    try:
        raise OSError("the disk is gone")
    except OSError as error:
        lines = log("flows.notification", logging.ERROR, "not sent", error=error).splitlines()
    assert lines[0].endswith("error: not sent")
    assert lines[1].startswith("Traceback")
    assert lines[-1] == "OSError: the disk is gone"


def test_verbose_run_shows_prefects_lines(prefect_server: None, tmp_path: Path) -> None:
    """A run without it: `test_cli.py::test_mistake_found_during_a_run_ends_in_one_line_without_a_traceback`."""
    (tmp_path / "films.csv").write_text("imdbId,Title\n1,A\n")
    command = [sys.executable, "-m", "flows.cli", "run", "--catalog", "films.csv", "--verbose"]
    env = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert "Beginning flow run" in done.stderr
    assert "Finished in state Failed" in done.stderr
    assert any(line.startswith("poster-genres: films.csv") for line in done.stderr.splitlines())
