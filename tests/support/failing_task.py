"""A task that logs a line and fails in a worker process, which can import this module."""

import logging
from dataclasses import dataclass
from pathlib import Path

from prefect import flow, task

from flows.journal import journal
from flows.runners import open_runner
from flows.spreading import Spreading
from tasks.errors import StoreError
from tasks.settings import RunnerSettings
from tasks.work_report import WorkReport, report_work


@dataclass(frozen=True)
class Film:
    """A piece of a stage."""

    name: str
    size: int = 1


@task
def log_and_fail(name: str) -> WorkReport[None]:
    def work() -> None:
        logging.getLogger("tasks.posters.task").info("%s begins", name)
        raise StoreError(f"the store of {name} is gone")

    return report_work(work)


@flow
def fail_in_a_process(folder: Path, settings: RunnerSettings) -> None:
    """Runs the task, with the journal in `folder/logs`."""
    with journal(folder / "logs"), open_runner(settings, 1, folder) as runner:
        pieces = [Film("part-00001")]
        list(Spreading[Film]("posters", runner, log_and_fail, lambda piece: {"name": piece.name}).run(pieces))
