"""A Dask cluster as the runner of a stage: one at an address, or a local one for the stage. Needs the extra `dask`."""

import contextlib
import logging
import os
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import urlsplit

import dask
import distributed
import joblib
from distributed.scheduler import KilledWorker
from prefect import Task
from prefect.artifacts import create_link_artifact
from prefect.runtime import flow_run
from prefect_dask.task_runners import DaskTaskRunner

from flows.presentation import shown_if_possible
from flows.runners import Future, Runner, RunnerError, list_environment
from flows.worker_process import send_events_by_address, set_up_local_worker, set_up_worker
from flows.workers import describe_difference, list_installed
from tasks.errors import RegistryError, one_line
from tasks.settings import RunnerSettings
from tasks.storage.folders import read_copy
from tasks.storage.objects import ObjectStore
from tasks.storage.temporary import remove_leftovers

logger = logging.getLogger(__name__)

_CONNECT_SECONDS = 15
# Time in which a cluster gets its first worker, or another one after its last has died.
_WORKER_SECONDS = 60.0
# Time without another worker after which a cluster is no longer starting.
_STEADY_SECONDS = 3.0
# Deaths of a local cluster's workers after which Dask gives up the task that they ran; a cluster at an address has its
# own number, 3 by default.
_ALLOWED_FAILURES = 2
# Dask looks at the frames of all threads a hundred times a second to profile tasks. Before this version of Python that
# stops a process for good, sooner or later, whose threads start and end:
# https://github.com/python/cpython/issues/106883. Dask's scheduler restarts such a worker after five minutes.
_IS_PROFILED = sys.version_info >= (3, 11, 12)


class DaskCluster(Runner):
    """A Dask cluster.

    Args:
        settings: Settings of the runner.
        max_slots: Maximum number of tasks at the same time.
        api_url: Address of Prefect's API.
        folder: Folder that all workers must have, or whose store they must reach if it is a copy of one.
        inputs: Other files that all workers must have.

    Raises:
        RunnerError: There is no such cluster, or one of its workers has other versions, or does not reach the API, the
            folder or a file.
    """

    death = KilledWorker

    def __init__(
        self, settings: RunnerSettings, max_slots: int, api_url: str, folder: Path, inputs: Sequence[Path] = ()
    ) -> None:
        self._address = settings.address
        self._num_workers = min(max_slots, settings.workers or joblib.cpu_count())
        self._max_slots = max_slots
        self._api_url = api_url
        self._folder = folder.resolve()
        self._inputs = [str(path) for path in inputs]
        # Of a cluster at an address, workers may be on other machines.
        self.is_elsewhere = settings.address is not None
        # Two runs may be on one cluster, whose plugins have one name each.
        self._plugin = f"poster-genres {flow_run.get_id()}"
        self._stack = contextlib.ExitStack()
        self._lonely_since: float | None = None
        self._checked: set[str] = set()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._runner = self._connect(stack)
            self._client = cast(Any, self._runner.client)  # distributed has types for a part of it
            self._prepare_workers(stack)
            threads = self._client.nthreads()
            self.slots = self._count_slots(threads)
            self.processes_per_machine = max(Counter(urlsplit(address).hostname for address in threads).values())
            logger.info(
                "dask: %d workers on the cluster at %s, %d tasks at a time; dashboard: %s",
                len(threads),
                self._client.scheduler.address,
                self.slots,
                self._client.dashboard_link,
            )
            with shown_if_possible("the link to Dask's dashboard"):
                create_link_artifact(self._client.dashboard_link, link_text="Dask's dashboard", key="dask-dashboard")
            self._stack = stack.pop_all()
        return self

    def _connect(self, stack: contextlib.ExitStack) -> DaskTaskRunner:
        if self._address:
            runner = DaskTaskRunner(address=self._address, client_kwargs={"timeout": _CONNECT_SECONDS})
        else:
            stack.enter_context(dask.config.set({"distributed.scheduler.allowed-failures": _ALLOWED_FAILURES}))
            runner = DaskTaskRunner(
                cluster_kwargs={
                    "n_workers": self._num_workers,
                    "threads_per_worker": 1,
                    "host": "127.0.0.1",
                    "dashboard_address": "127.0.0.1:0",
                    # As without a cluster: Dask would end a process that takes more than its share of the memory.
                    "memory_limit": 0,
                    "env": {"DASK_LOGGING__DISTRIBUTED": "warning"},
                }
            )
        stack.enter_context(runner)
        try:
            client: Any = runner.client
            client.wait_for_workers(1, timeout=_WORKER_SECONDS)
            if self._address:
                wait_until_steady(lambda: len(client.nthreads()))
        # Of the last two kinds are those of an address that Dask does not take, and of tls:// without certificates.
        except (OSError, TimeoutError, ValueError, TypeError) as error:
            what = f"the Dask cluster at {self._address}" if self._address else "the local Dask cluster"
            raise RunnerError(
                f"{what} has no scheduler or no worker that answers ({one_line(error)}): start them, or choose "
                "runner.kind=threads"
            ) from error
        return runner

    def _prepare_workers(self, stack: contextlib.ExitStack) -> None:
        environment = list_environment(self._api_url)
        try:
            self._client.register_plugin(_SetUp(environment, is_local=not self._address), name=self._plugin)
        except (ImportError, AttributeError) as error:
            raise RunnerError(
                f"the workers of the Dask cluster can't import poster-genres ({error}): install it there, in the same "
                "version"
            ) from error
        # Else workers that join later would get what this run's needed.
        stack.callback(self._unregister_plugin)
        self._check_workers()

    def _check_workers(self, workers: Collection[str] | None = None) -> None:
        """Refuses workers that can't run the tasks; None: all of them.

        Raises:
            RunnerError: One can't; the message says why.
        """
        copy = read_copy(self._folder) if self.is_elsewhere else None
        with contextlib.ExitStack() as checking:
            if copy:
                place = {"store": copy.address}
            else:
                # A worker on another machine may have a folder of its own under this path.
                file = checking.enter_context(tempfile.NamedTemporaryFile(dir=self._folder, prefix=".shared-"))
                place = {"file": file.name}
            found = self._client.run(
                find_problem,
                self._api_url,
                list_installed(),
                inputs=self._inputs,
                **place,
                workers=None if workers is None else sorted(workers),
                on_error="return",
            )
        self._checked |= found.keys()
        for worker, problem in found.items():
            has_left = workers is not None and isinstance(problem, OSError)
            if problem and not has_left:
                raise RunnerError(
                    f"the worker {worker} of the Dask cluster can't be used: {problem}; mend that, or stop this worker"
                )

    def _unregister_plugin(self) -> None:
        # The scheduler, or a worker, may be gone.
        with contextlib.suppress(OSError, TimeoutError, ValueError):
            self._client.unregister_worker_plugin(self._plugin)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def submit(self, task: Task[Any, Any], parameters: dict[str, Any]) -> Future:
        return self._runner.submit(task, parameters)

    def check(self) -> None:
        if threads := self._count_threads():
            self._lonely_since = None
            if new := threads.keys() - self._checked:
                self._check_workers(new)
            if (slots := self._count_slots(threads)) != self.slots:
                logger.info("dask: %d workers, %d tasks at a time", len(threads), slots)
                self.slots = slots
            return
        now = time.monotonic()
        self._lonely_since = self._lonely_since or now
        if now > self._lonely_since + _WORKER_SECONDS:
            raise RunnerError(
                f"the Dask cluster has had no worker for {_WORKER_SECONDS:.0f} s: start some and run again, finished "
                "parts are kept"
            )

    def _count_slots(self, threads: Mapping[str, int]) -> int:
        return min(self._max_slots, max(1, sum(threads.values())))

    def _count_threads(self) -> dict[str, int]:
        """Returns the number of threads of each worker, by its address; none if there is no scheduler."""
        try:
            return dict(self._client.nthreads()) if self._client.status == "running" else {}
        except (OSError, TimeoutError):
            return {}


class _SetUp(distributed.WorkerPlugin):
    """Prepares each worker of the cluster, those that join later, too."""

    def __init__(self, environment: dict[str, str], *, is_local: bool) -> None:
        self._environment = environment
        self._set_up = set_up_local_worker if is_local else set_up_worker

    def setup(self, worker: distributed.Worker) -> None:
        if not _IS_PROFILED and (profiling := worker.periodic_callbacks.pop("profile", None)):
            profiling.stop()
        self._set_up(worker.address, self._environment, is_task_wanted)
        send_events_by_address()
        remove_leftovers()


def is_task_wanted() -> bool:
    """Returns whether the scheduler still wants the task of the calling thread: not if its client has gone."""
    worker = distributed.get_worker()
    task = worker.state.tasks.get(worker.get_current_task())
    return task is not None and task.state == "executing"


def wait_until_steady(count: Callable[[], int]) -> None:
    """Waits until no worker joins or leaves for some seconds, as of a cluster that is still starting.

    Args:
        count: Function that returns the number of workers.
    """
    started = since = time.monotonic()
    known = 0
    while True:
        number, now = count(), time.monotonic()
        if number != known:
            known, since = number, now
        if now >= min(since + _STEADY_SECONDS, started + _WORKER_SECONDS):
            return
        time.sleep(0.1)


def find_problem(
    api_url: str,
    versions: Mapping[str, str],
    file: str | None = None,
    store: str | None = None,
    inputs: Sequence[str] = (),
) -> str | None:
    """Returns why this process can't run tasks; None if it can.

    Args:
        api_url: Address of Prefect's API.
        versions: What `list_installed` returned in the run's process.
        file: Path of a file in the folder of the data; None: they are in a store.
        store: Address of the store.
        inputs: Paths of other files that tasks read.
    """
    if difference := describe_difference(versions):
        here, there = difference
        return f"it has {here}, but the run has {there}, and another version makes another model"
    if file and not os.path.exists(file):  # noqa: PTH110  (plain values, as they were sent)
        return (
            f"it has no folder {Path(file).parent}: data_dir, or label's --to, must be one folder for all workers, or "
            "the data be kept in a store (setting store)"
        )
    for path in inputs:
        if not os.path.exists(path):  # noqa: PTH110
            return (
                f"it has no file {path}: label's model and local images must be at the same path for all workers (a "
                "shared disk)"
            )
    if store:
        try:
            ObjectStore(store).read("posters.json")
        except RegistryError as error:
            return f"it does not reach the store ({error})"
    try:
        with urllib.request.urlopen(f"{api_url}/health", timeout=10):
            return None
    except urllib.error.HTTPError:
        return None  # it answers
    except OSError as error:
        return (
            f"it does not reach Prefect's API at {api_url} ({error}): set PREFECT_API_URL, for the run, to the address "
            "of a server that all workers reach"
        )
