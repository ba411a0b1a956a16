"""What a worker process does before its first task: no import of Prefect comes first, which reads the environment."""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Mapping
from typing import Any

from tasks.work_report import become_worker


def set_up_process(environment: Mapping[str, str]) -> None:
    """Sets up a process of `runner.kind=processes`.

    It ends when its parent is killed, which the processes of `concurrent.futures` do not.

    Args:
        environment: Environment variables that tasks need.
    """
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    set_up_local_worker(f"process {os.getpid()}", environment)


def set_up_local_worker(
    name: str, environment: Mapping[str, str], is_wanted: Callable[[], bool] = lambda: True
) -> None:
    """Sets up a worker process that the run has started: the run prints its lines, and ends it after Ctrl-C.

    Args:
        name: Name of the worker.
        environment: Environment variables that tasks need.
        is_wanted: As in `work_report.become_worker`.
    """
    set_up_worker(name, environment, is_wanted)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    import prefect.main  # noqa: F401  (sets up Prefect's logging)
    from prefect.logging.handlers import PrefectConsoleHandler

    loggers = [logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    for logger in loggers:
        for handler in list(logger.handlers):
            if isinstance(handler, PrefectConsoleHandler):
                logger.removeHandler(handler)
    # Else Python, or absl, would put one there.
    logging.getLogger().addHandler(logging.NullHandler())


def set_up_worker(name: str, environment: Mapping[str, str], is_wanted: Callable[[], bool] = lambda: True) -> None:
    """Sets up a worker process, wherever it was started.

    Args:
        name: Name of the worker.
        environment: Environment variables that tasks need.
        is_wanted: As in `work_report.become_worker`.
    """
    os.environ.update(environment)
    become_worker(name, is_wanted)


def send_events_by_address() -> None:
    """Makes the states of tasks reach the Prefect server of their own run, where a worker serves several runs.

    A task has its run's settings in its context, by which calls and log lines get to the right server. But Prefect
    keeps one sender of events, by which a server learns of states, for the whole process: that of the first run's.
    """
    from prefect.events.clients import PrefectEventsClient
    from prefect.events.worker import EventsWorker, emit_events_to_cloud
    from prefect.settings import PREFECT_API_URL

    def find_sender(cls: type[EventsWorker], client_type: Any = None) -> EventsWorker:
        if client_type or emit_events_to_cloud():  # whose sender is known by its address
            sender: EventsWorker = find_any(cls, client_type)
            return sender
        return super(EventsWorker, cls).instance(PrefectEventsClient, (("api_url", PREFECT_API_URL.value()),))

    find_any: Any = EventsWorker.instance.__func__  # type: ignore[attr-defined]
    if find_any.__name__ != find_sender.__name__:  # a later run's set-up
        EventsWorker.instance = classmethod(find_sender)  # type: ignore[method-assign, assignment]


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)
