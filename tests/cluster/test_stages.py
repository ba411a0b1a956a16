"""Downloads and features on other runners: equal to those of threads, also when workers are killed meanwhile."""

import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dask_cluster import Cluster, run_cluster
from spread_stages import Made, kill_in_stage, make_features

from flows.runners import RunnerError
from tasks.settings import RunnerSettings, Settings

MakeSettings = Callable[[RunnerSettings, Path], Settings]

pytestmark = [pytest.mark.cluster, pytest.mark.backbone]

PROCESSES = RunnerSettings(kind="processes", workers=2)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with run_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


def list_own_processes() -> list[int]:
    return [process.pid for process in multiprocessing.active_children() if process.pid]


def test_processes_make_the_same(by_threads: Made, make_settings: MakeSettings, tmp_path: Path) -> None:
    make_features(make_settings(PROCESSES, tmp_path)).check_equal(by_threads)
    assert not multiprocessing.active_children()


def test_a_local_dask_cluster_makes_the_same(by_threads: Made, make_settings: MakeSettings, tmp_path: Path) -> None:
    runner = RunnerSettings(kind="dask", workers=2)
    make_features(make_settings(runner, tmp_path)).check_equal(by_threads)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("stage", ["posters", "features"])
def test_a_dask_worker_killed_in_a_stage_changes_nothing(
    by_threads: Made, make_settings: MakeSettings, cluster: Cluster, tmp_path: Path, stage: str
) -> None:
    runner = RunnerSettings(kind="dask", address=cluster.address)
    with kill_in_stage(stage, cluster.list_busy_workers):
        make_features(make_settings(runner, tmp_path)).check_equal(by_threads)


@pytest.mark.parametrize("stage", ["posters", "features"])
def test_a_process_killed_in_a_stage_changes_nothing(
    by_threads: Made, make_settings: MakeSettings, tmp_path: Path, stage: str
) -> None:
    with kill_in_stage(stage, list_own_processes):
        make_features(make_settings(PROCESSES, tmp_path)).check_equal(by_threads)
    assert not multiprocessing.active_children()


def test_a_cluster_that_does_not_answer_is_one_line(
    prefect_server: None, make_settings: MakeSettings, tmp_path: Path, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.dask_cluster._CONNECT_SECONDS", 1)
    runner = RunnerSettings(kind="dask", address=f"tcp://127.0.0.1:{closed_port}")
    with pytest.raises(RunnerError, match=r"the Dask cluster at tcp://127.0.0.1:\d+ has no scheduler or no worker"):
        make_features(make_settings(runner, tmp_path))
