"""Downloads that kill every worker of a cluster, and a run that is killed while a cluster downloads for it."""

import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from counting_server import count_requests
from dask_cluster import run_cluster
from served import wait
from spread_downloads import NUM_POSTERS, SETTINGS, download, find_part, list_films

from flows.runners import RunnerError
from tasks.posters import ledger
from tasks.settings import RunnerSettings

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.cluster


def test_a_part_that_kills_every_worker_is_given_up(
    prefect_server: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    deadly = find_part(5)
    with (
        count_requests() as server,
        run_cluster(tmp_path, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="1") as cluster,
    ):
        server.kills[5] = 100
        runner = RunnerSettings(kind="dask", address=cluster.address)
        counts, _ = download(list_films(server), tmp_path, SETTINGS, runner)
        # On two workers each time: twice beside other parts, and once alone.
        assert server.requests[5] == 6
        assert f"part-{deadly:05d} is given up" in caplog.text
        rows = ledger.read_ledger(tmp_path / "posters").to_pylist()
        failed = {row["imdb_id"] for row in rows if row["reason"] == "worker died"}
        assert counts.failed == {"worker died": len(failed)}
        assert 5 in failed
        assert {find_part(number) for number in failed} == {deadly}
        server.kills.clear()
        again, _ = download(list_films(server), tmp_path, SETTINGS, runner)
    assert again.num_ok == NUM_POSTERS


def test_a_scheduler_that_is_killed_ends_the_run_in_a_line(
    prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.dask_cluster._WORKER_SECONDS", 10.0)
    with count_requests() as server, run_cluster(tmp_path) as cluster:
        server.seconds, server.with_clients = 1.0, True

        def kill() -> None:
            wait(lambda: len(server.clients) == 2)
            os.killpg(cluster.groups[0], signal.SIGKILL)

        threading.Thread(target=kill, daemon=True).start()
        runner = RunnerSettings(kind="dask", address=cluster.address)
        with pytest.raises(RunnerError, match="finished (pieces|parts) are kept"):
            download(list_films(server), tmp_path, SETTINGS, runner)


def test_a_worker_that_joins_gets_parts_and_one_that_leaves_takes_its_slot_along(
    prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("flows.spreading._CHECK_SECONDS", 0.5)
    with count_requests() as server, run_cluster(tmp_path, 1) as cluster:
        server.seconds, server.with_clients = 1.0, True

        def change_workers() -> None:
            wait(lambda: len(server.clients) == 1)
            cluster.start("worker")
            wait(lambda: len(server.clients) == 2, 120)
            os.killpg(cluster.groups[-1], signal.SIGKILL)

        changing = threading.Thread(target=change_workers, daemon=True)
        changing.start()
        runner = RunnerSettings(kind="dask", address=cluster.address)
        with caplog.at_level(logging.INFO, "flows.dask_cluster"):
            counts, _ = download(list_films(server), tmp_path, SETTINGS, runner)
        changing.join(10)
        assert not changing.is_alive()
        assert server.max_connections <= SETTINGS.connections
    assert counts.num_ok == NUM_POSTERS
    told = [message for message in caplog.messages if message.endswith("tasks at a time")]
    assert told[:2] == ["dask: 2 workers, 2 tasks at a time", "dask: 1 workers, 1 tasks at a time"]


SCRIPT = """
import sys
import threading
from pathlib import Path
import pyarrow as pa
from spread_downloads import SETTINGS, download
from tasks.settings import RunnerSettings
address, base_url, folder = sys.argv[1:]
films = pa.table({"imdb_id": range(200), "poster_url": [f"{base_url}/{number}.jpg" for number in range(200)]})
settings = SETTINGS.model_copy(update={"posters_per_part": 100})
download(films, Path(folder), settings, RunnerSettings(kind="dask", address=address))
"""


def test_a_cluster_stops_the_downloads_of_a_run_that_was_killed(tmp_path: Path) -> None:
    """Of some 100 posters a part: all of them would take its worker 50 seconds."""
    with count_requests() as server, run_cluster(tmp_path) as cluster:
        server.seconds, server.with_clients = 1.0, True
        with subprocess.Popen(
            [sys.executable, "-c", SCRIPT, cluster.address, server.base_url, str(tmp_path)],
            env={
                **os.environ,
                "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'support'}",
                "PREFECT_HOME": str(tmp_path / "driver"),
            },
            start_new_session=True,
        ) as process:
            wait(lambda: len(server.clients) == 2 or process.poll() is not None, 240)
            assert process.poll() is None
            assert len(cluster.list_busy_workers()) == 2
            os.killpg(process.pid, signal.SIGKILL)
        wait(lambda: not cluster.list_busy_workers() and not server.connections, 20)
        assert server.requests.total() < 100
