"""Downloads in processes and on a Dask cluster: politeness over all of them, and what happens when one dies."""

import json
import logging
import multiprocessing
import os
import sys
from collections import Counter
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import distributed
import numpy as np
import pyarrow as pa
import pytest
from counting_server import count_requests
from dask_cluster import run_cluster
from failing_task import Film, fail_in_a_process
from prefect import Task, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from spread_downloads import NUM_POSTERS, SETTINGS, download, find_part, list_films

from flows.runners import Future, Runner, RunnerError
from flows.spreading import Spreading
from tasks.errors import StoreError
from tasks.posters import ledger
from tasks.progress import ProgressState, reporting_to
from tasks.settings import RunnerSettings
from tasks.work_report import WorkReport

PROCESSES = RunnerSettings(kind="processes", workers=2)


def read_log(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for path in (folder / "logs").iterdir() for line in path.read_text("utf-8").splitlines()]


def measure_rate(times: list[float], seconds: float = 1.0) -> float:
    """Returns the largest number of requests within some seconds."""
    ordered = np.sort(times)
    return float(np.max(np.searchsorted(ordered, ordered + seconds) - np.arange(len(ordered))))


def test_a_dask_cluster_keeps_to_the_limits_by_host(prefect_server: None, tmp_path: Path) -> None:
    """Two workers together. Log, progress and artifacts of the run have their lines, posters and rates."""
    settings = SETTINGS.model_copy(update={"requests_per_second_per_host": 20.0})
    seen: list[ProgressState] = []
    with count_requests() as server, run_cluster(tmp_path) as cluster, reporting_to(seen.append):
        server.seconds, server.with_clients = 0.1, True
        runner = RunnerSettings(kind="dask", address=cluster.address)
        counts, run_id = download(list_films(server), tmp_path, settings, runner)
        with distributed.Client(cluster.address, set_as_default=False) as client:
            are_profiled = client.run(lambda dask_worker: "profile" in dask_worker.periodic_callbacks)
    # Where Python has a bug by which it stops workers.
    assert list(are_profiled.values()) == [sys.version_info >= (3, 11, 12)] * 2
    assert counts.outcomes == {"new": NUM_POSTERS}
    assert len(server.clients) == 2
    assert server.max_connections <= 4
    # A quarter of a second's requests may be sent at once, by each process.
    assert 0 < measure_rate(server.times) <= 20 * 1.5
    assert [state.done for state in seen if state.stage == "posters"][-1] == NUM_POSTERS
    lines = [line for line in read_log(tmp_path) if line["part"]]
    assert {line["part"] for line in lines} == {f"part-{part:05d}" for part in range(4)}
    assert len({line["worker"] for line in lines}) == 2
    artifacts = read_artifacts(run_id)
    assert set(artifacts) == {"dask-dashboard", "workers-posters"}
    assert sum(row["images"] for row in json.loads(artifacts["workers-posters"])) == NUM_POSTERS


def read_artifacts(run_id: str) -> dict[str, str]:
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(flow_run_filter=of_run(run_id), limit=200)
    return {artifact.key: str(artifact.data) for artifact in found if artifact.key}


def of_run(run_id: str) -> FlowRunFilter:
    """Other tests have runs in this server, too."""
    return FlowRunFilter(id=FlowRunFilterId(any_=[UUID(run_id)]))


@pytest.mark.cluster
def test_a_part_is_tried_again_when_its_process_dies(prefect_server: None, tmp_path: Path) -> None:
    with count_requests() as server:
        server.kills[5] = 1
        counts, _ = download(list_films(server), tmp_path, SETTINGS, PROCESSES)
    assert counts.num_ok == NUM_POSTERS
    assert server.requests[5] == 2
    assert not multiprocessing.active_children()


@pytest.mark.cluster
def test_a_part_that_kills_every_process_is_given_up_and_asked_for_by_the_next_run(
    prefect_server: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    deadly = find_part(5)
    with count_requests() as server:
        server.kills[5] = 100
        with caplog.at_level(logging.WARNING):
            counts, run_id = download(list_films(server), tmp_path, SETTINGS, PROCESSES)
        assert f"part-{deadly:05d} is given up" in caplog.text
        rows = ledger.read_ledger(tmp_path / "posters").to_pylist()
        assert counts.failed == {"worker died": sum(row["status"] == "failed" for row in rows)}
        assert 5 in {row["imdb_id"] for row in rows if row["reason"] == "worker died"}
        assert {find_part(row["imdb_id"]) for row in rows if row["status"] == "failed"} == {deadly}
        server.kills.clear()
        again, _ = download(list_films(server), tmp_path, SETTINGS, RunnerSettings())
    assert again.num_ok == NUM_POSTERS
    with get_client(sync_client=True) as client:
        states = Counter(run.state.name for run in client.read_task_runs(flow_run_filter=of_run(run_id), limit=200))
    assert states["Completed"] == 3
    # Or unknown, if its process died before the server had heard of it.
    assert states["Crashed"] <= 1
    assert "keeps a task as running" not in caplog.text


class Pool(Runner):
    """A pool of one process, which breaks in the first tasks, and when it is idle after any other.

    Args:
        num_deaths: Number of tasks that it breaks in.
    """

    slots = 1
    death = BrokenProcessPool
    dies_whole = True

    def __init__(self, num_deaths: int) -> None:
        self.num_deaths = num_deaths
        self._is_broken = False

    def __exit__(self, *_: object) -> None: ...

    def submit(self, task: Task[Any, Any], parameters: dict[str, Any]) -> Future:  # noqa: ARG002
        future: futures.Future[WorkReport[str]] = futures.Future()
        self.num_deaths -= 1
        if self.num_deaths >= 0 or self._is_broken:
            future.set_exception(BrokenProcessPool())
        else:
            future.set_result(WorkReport("done", None, 0.0))
        self._is_broken = True
        return cast(Future, future)

    @property
    def is_broken(self) -> bool:
        return self._is_broken

    def restart(self) -> None:
        self._is_broken = False


@task
def show(name: str) -> None: ...


def test_what_a_failed_task_logged_in_its_process_is_in_the_journal(prefect_server: None, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="the store of part-00001 is gone"):
        fail_in_a_process(tmp_path, PROCESSES)
    (line,) = (line for line in read_log(tmp_path) if line["message"] == "part-00001 begins")
    assert line["worker"].startswith("process ")


class Growing(Runner):
    """A runner without processes, whose slots change at each look, and whose tasks end at the second and later ones.

    Attributes:
        found: Number of running tasks at each look.
    """

    slots = 1

    def __init__(self, slots: list[int]) -> None:
        self._next, self._running = iter(slots), list[futures.Future[WorkReport[str]]]()
        self.found: list[int] = []

    def __exit__(self, *_: object) -> None: ...

    def submit(self, task: Task[Any, Any], parameters: dict[str, Any]) -> Future:  # noqa: ARG002
        self._running.append(futures.Future())
        return cast(Future, self._running[-1])

    def check(self) -> None:
        self.found.append(len(self._running))
        self.slots = next(self._next, self.slots)
        if len(self.found) > 1:
            ended, self._running = self._running, []
            for future in ended:
                future.set_result(WorkReport("done", None, 0.0))


@pytest.mark.parametrize(
    ("has_shares", "found"),
    # With shares, the first task has all of a limit until it ends.
    [(False, [1, 3, 3, 2, 2, 1]), (True, [1, 1, 3, 2, 2, 2, 1])],
)
def test_the_tasks_follow_the_slots(monkeypatch: pytest.MonkeyPatch, has_shares: bool, found: list[int]) -> None:
    monkeypatch.setattr("flows.spreading._CHECK_SECONDS", 0.02)
    runner = Growing([3, 3, 2])
    pieces = [Film(str(number)) for number in range(sum(found) - found[0])]
    spreading = Spreading[Film]("posters", runner, show, lambda piece: {"name": piece.name}, has_shares=has_shares)
    assert len(list(spreading.run(pieces))) == len(pieces)
    assert runner.found == found


def test_a_dashboard_without_a_server_is_a_warning(
    closed_port: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not within a flow, whose own client is used for artifacts, too, and reaches its server."""
    report = WorkReport("done", "worker 1", 1.0)
    monkeypatch.setattr(Pool, "submit", lambda *_: _end_with(report))
    gone = {PREFECT_API_URL: f"http://127.0.0.1:{closed_port}/api", PREFECT_CLIENT_MAX_RETRIES: 0}
    with temporary_settings(gone), caplog.at_level(logging.WARNING, "flows"):
        assert spread(Pool(0), 1) == [("0", "done")]
    assert "Prefect's server does not answer, the dashboard lacks the work of the worker processes" in caplog.text


def _end_with(report: WorkReport[str]) -> Future:
    future: futures.Future[WorkReport[str]] = futures.Future()
    future.set_result(report)
    return cast(Future, future)


def spread(pool: Pool, num_pieces: int) -> list[tuple[str, str | None]]:
    pieces = [Film(str(number)) for number in range(num_pieces)]
    spreading = Spreading[Film]("posters", pool, show, lambda piece: {"name": piece.name})
    return [(piece.name, value) for piece, value in spreading.run(pieces)]


def test_a_pool_that_never_starts_ends_the_run() -> None:
    pool = Pool(100)
    with pytest.raises(RunnerError, match="posters: the worker processes died 5 times and no piece was done"):
        spread(pool, 8)
    assert pool.num_deaths == 95


def test_a_piece_is_not_blamed_for_a_pool_that_broke_while_it_was_idle() -> None:
    assert spread(Pool(2), 2) == [("1", "done"), ("0", "done")]


def test_a_pool_whose_processes_can_not_start_is_one_error_and_blames_no_part(
    prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.runners.set_up_process", os._exit)  # given the environment, it raises TypeError
    films = pa.table({"imdb_id": [1], "poster_url": ["http://127.0.0.1/1.jpg"]})
    with pytest.raises(RunnerError, match="the worker processes end before their first task"):
        download(films, tmp_path, SETTINGS, PROCESSES)
    assert ledger.read_ledger(tmp_path / "posters").num_rows == 0
    assert not multiprocessing.active_children()
