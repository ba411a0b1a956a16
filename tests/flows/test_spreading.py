"""Downloads in processes and on a Dask cluster: politeness over all of them, and what happens when one dies."""

import json
import logging
import multiprocessing
from collections import Counter
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from counting_server import count_requests
from dask_cluster import run_cluster
from prefect import Task, task
from prefect.client.orchestration import get_client
from spread_downloads import NUM_POSTERS, SETTINGS, download, find_part, list_films

from flows.runners import Future, Runner, RunnerError
from flows.spreading import Spreading
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
        found = client.read_artifacts(limit=200)
    return {
        artifact.key: str(artifact.data) for artifact in found if artifact.key and str(artifact.flow_run_id) == run_id
    }


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
        states = Counter(run.state.name for run in client.read_task_runs(limit=200) if str(run.flow_run_id) == run_id)
    assert states["Crashed"] == 1


@dataclass(frozen=True)
class Film:
    name: str
    size: int = 1


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
