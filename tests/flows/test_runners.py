import sys
from pathlib import Path

import pytest

from flows.dask_cluster import find_problem
from flows.runners import open_runner
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
    assert f"it has no folder {tmp_path}/none" in str(find_problem(address, f"{tmp_path}/none"))
    problem = str(find_problem(address, str(tmp_path)))
    assert f"does not reach Prefect's API at {address}" in problem
    assert "set PREFECT_API_URL" in problem
