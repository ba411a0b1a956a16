import sys
from pathlib import Path

import pytest

from flows.dask_cluster import find_problem, wait_until_steady
from flows.runners import open_runner
from flows.workers import list_installed
from tasks.errors import SettingsError
from tasks.settings import RunnerSettings


def test_dask_without_its_extra_is_one_line(
    prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "flows.dask_cluster")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(SettingsError, match=r"needs prefect-dask: install it with pip install 'poster-genres\[dask\]'"),
        open_runner(RunnerSettings(kind="dask"), 2, tmp_path),
    ):
        pass


def test_a_worker_says_what_it_lacks(closed_port: int, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{closed_port}/api"
    (tmp_path / "of the run").touch()
    other = str(find_problem(address, list_installed(), f"{tmp_path}/of another"))
    assert other.startswith(f"it has no folder {tmp_path}: data_dir, or label's --to, must be one folder for all")
    place = f"{tmp_path}/of the run"
    missing = str(find_problem(address, list_installed(), place, inputs=[place, f"{tmp_path}/manifest.json"]))
    assert missing.startswith(f"it has no file {tmp_path}/manifest.json: label's model and local images must be at the")
    problem = str(find_problem(address, list_installed(), f"{tmp_path}/of the run"))
    assert f"does not reach Prefect's API at {address}" in problem
    assert "set PREFECT_API_URL" in problem


def test_a_worker_with_another_version_is_refused(closed_port: int) -> None:
    versions = list_installed() | {"keras": "2.0"}
    problem = str(find_problem(f"http://127.0.0.1:{closed_port}/api", versions))
    assert problem.startswith(f"it has keras {list_installed()['keras']}, but the run has keras 2.0, and another")


def test_a_cluster_that_is_starting_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.dask_cluster._STEADY_SECONDS", 0.3)
    joining = iter([1, 2, 3])
    wait_until_steady(lambda: next(joining, 4))
    assert next(joining, None) is None
    monkeypatch.setattr("flows.dask_cluster._WORKER_SECONDS", 0.5)
    endless = iter(range(1, 1000))
    wait_until_steady(lambda: next(endless))
    assert next(endless) < 1000
