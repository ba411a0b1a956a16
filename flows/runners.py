"""Where the tasks of a stage run: threads of the flow's process, processes beside it, or a Dask cluster.

A stage opens one of Prefect's task runners itself, as a context manager, when it has work to spread. A flow's own
runner is fixed by its decorator, before a deployment's parameters arrive; `with_options` in a flow around it would add
a second flow run to each run, with the lock, the time limit and the notifications in one of the two. Opened here, the
settings are known, a run without work starts no cluster, and a pool of processes that broke is replaced within a stage.
"""

import contextlib
import multiprocessing
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import joblib
from prefect import Task
from prefect.client.orchestration import get_client
from prefect.futures import PrefectWrappedFuture
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

from flows.worker_process import set_up_process
from tasks.errors import PosterGenresError, SettingsError
from tasks.settings import RunnerSettings

Future = PrefectWrappedFuture[Any, Any]


class RunnerError(PosterGenresError):
    """The processes or the cluster that tasks run on can't be used."""

    exit_code = 1


class Runner(ABC):
    """Runs tasks; a context manager, whose end leaves no process that it started.

    Attributes:
        slots: Number of tasks that run at the same time, at least 1; `check` may change it.
        processes_per_machine: Number of processes on one machine, at most, that run them.
        is_remote: Whether they run in other processes than this one.
        is_elsewhere: Whether those may be on other machines.
        death: Exception of a task whose process died; an empty tuple where that can't be.
        dies_whole: Whether all tasks die when a process does, so that it has to be restarted.
    """

    slots: int
    processes_per_machine = 1
    is_remote = True
    is_elsewhere = False
    death: type[Exception] | tuple[()] = ()
    dies_whole = False

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @abstractmethod
    def submit(self, task: Task[Any, Any], parameters: dict[str, Any]) -> Future:
        """Starts a task as soon as there is a free slot."""

    def check(self) -> None:  # noqa: B027  (nothing to do for most)
        """Looks at the processes, to be called every few seconds: `slots` follows those that joined or left.

        Raises:
            RunnerError: No task can end any more, or a process that joined can't be used.
        """

    @property
    def is_broken(self) -> bool:
        """Whether a process has died, so that no task can start before `restart`."""
        return False

    def restart(self) -> None:  # noqa: B027
        """Replaces what is broken, when no task is running.

        Raises:
            RunnerError: What replaces it does not start, so that no task is to blame.
        """


class Threads(Runner):
    """Threads of this process.

    Args:
        slots: Number of threads.
    """

    is_remote = False

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=slots)

    def __enter__(self) -> Self:
        self._runner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.__exit__(kind, error, trace)

    def submit(self, task: Task[Any, Any], parameters: dict[str, Any]) -> Future:
        return self._runner.submit(task, parameters)


class Processes(Runner):
    """Processes of this machine, started when there are tasks for them.

    If one dies, Python gives up the others, too, with all their tasks: which of them is to blame is not known.

    Args:
        slots: Number of processes.
        api_url: Address of Prefect's API.
    """

    death = BrokenProcessPool
    dies_whole = True

    def __init__(self, slots: int, api_url: str) -> None:
        self.slots = self.processes_per_machine = slots
        self._environment = list_environment(api_url)
        self._others = set(multiprocessing.active_children())
        self._start()

    def _start(self) -> None:
        self._runner = ProcessPoolTaskRunner(
            max_workers=self.slots, initializer=set_up_process, initargs=(self._environment,)
        )
        self._runner.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind:  # else it would wait for their tasks
            for process in set(multiprocessing.active_children()) - self._others:
                process.kill()
        self._runner.__exit__(kind, error, trace)

    def submit(self, task: Task[Any, Any], parameters: dict[str, Any]) -> Future:
        return self._runner.submit(task, parameters)

    @property
    def is_broken(self) -> bool:
        executor: Any = self._runner._executor  # neither Prefect nor Python tells it
        return bool(executor._broken)

    def restart(self) -> None:
        self._runner.__exit__(None, None, None)
        self._start()
        executor: Any = self._runner._executor
        try:
            executor.submit(os.getpid).result()
        except BrokenProcessPool as error:
            raise RunnerError(
                "the worker processes end before their first task: see above for what they wrote, or choose "
                "runner.kind=threads"
            ) from error


@contextmanager
def open_runner(
    settings: RunnerSettings, max_slots: int, folder: Path, inputs: Sequence[Path] = ()
) -> Iterator[Runner]:
    """Opens the runner of a stage, within a flow.

    Args:
        settings: Settings of the runner.
        max_slots: Maximum number of tasks at the same time.
        folder: Folder that all processes must have, or whose store they must reach if it is a copy of one.
        inputs: Other files that all processes must have.

    Raises:
        SettingsError: The extra `dask` is not installed.
        RunnerError: The cluster can't be used.
    """
    if settings.kind == "threads":
        # One on each core; on a single core two, so that one downloads while the other waits for its slowest poster.
        with Threads(min(max_slots, max(2, joblib.cpu_count()))) as runner:
            yield runner
        return
    api_url = find_api_url()
    # Tasks get these settings in their context: without an address, a worker would start a server of its own.
    with temporary_settings({PREFECT_API_URL: api_url}), contextlib.ExitStack() as stack:
        if settings.kind == "processes":
            slots = min(max_slots, settings.workers or joblib.cpu_count())
            yield stack.enter_context(Processes(slots, api_url))
            return
        try:
            from flows.dask_cluster import DaskCluster
        except ModuleNotFoundError as error:
            if error.name not in ("prefect_dask", "distributed", "dask"):
                raise
            raise SettingsError(
                "runner.kind is dask, which needs prefect-dask: install it with pip install 'poster-genres[dask]', or "
                "choose runner.kind=threads"
            ) from error
        yield stack.enter_context(DaskCluster(settings, max_slots, api_url, folder, inputs))


def find_api_url() -> str:
    """Returns the address of Prefect's API; that of the temporary server if the run has started one."""
    with get_client(sync_client=True) as client:
        return str(client.api_url)


def list_environment(api_url: str) -> dict[str, str]:
    """Returns the environment variables that worker processes need.

    Args:
        api_url: Address of Prefect's API.
    """
    return {"PREFECT_API_URL": api_url, "PREFECT_SERVER_EPHEMERAL_ENABLED": "false"}
