"""Everything in a store, a real S3-compatible server, and the workers of a real Dask cluster that have nothing else."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from dask_cluster import Cluster, run_cluster
from served import wait
from spread_stages import kill_in_stage

from flows.runners import find_api_url
from flows.train import Run, train
from tasks.dataset.task import read_dataset
from tasks.errors import ConflictError, LockedError
from tasks.features.images import read_image_keys
from tasks.posters import ledger
from tasks.registry.stores import Store
from tasks.settings import EvaluationSettings, RunnerSettings, Settings
from tasks.storage.folders import StoredFolder
from tasks.storage.lease import leased
from tasks.storage.objects import ObjectStore

MakeSettings = Callable[[RunnerSettings, Path], Settings]

pytestmark = [pytest.mark.cluster, pytest.mark.backbone]


@pytest.fixture
def cluster(s3: str, tmp_path: Path) -> Iterator[Cluster]:
    """Two workers, in a folder of their own, with the address of the store's server in their environment."""
    folder = tmp_path / "workers"
    folder.mkdir()
    credentials = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    with run_cluster(folder, **credentials) as running:
        yield running


def store_settings(make_settings: MakeSettings, folder: Path, store: str, cluster: Cluster | None) -> Settings:
    """Settings of a machine whose data is in a store; it has the folder for its copies."""
    runner = RunnerSettings(kind="dask", address=cluster.address) if cluster else RunnerSettings()
    without_more = EvaluationSettings(baselines=(), label_error_folds=None)
    return make_settings(runner, folder).model_copy(update={"store": store, "evaluation": without_more})


RUN = """
import pathlib, sys
from flows.train import train
from tasks.settings import Settings
run = train(Settings.model_validate_json(pathlib.Path(sys.argv[1]).read_text()))
print("result", run.model.id, run.is_new, flush=True)
"""


def start_run(settings: Settings, folder: Path) -> subprocess.Popen[str]:
    """Starts a run in a process of its own, which writes its log to a file."""
    folder.mkdir(exist_ok=True)
    (folder / "settings.json").write_text(settings.model_dump_json())
    environment = {**os.environ, "PREFECT_API_URL": find_api_url()}
    with (folder / "log").open("w") as log:
        command = [sys.executable, "-c", RUN, str(folder / "settings.json")]
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, text=True)


def list_keys() -> list[str]:
    pages = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket="posters")
    return [found["Key"] for page in pages for found in page.get("Contents", [])]


def check_published(run: Run, store: str) -> None:
    champion = Store(f"{store}/artifacts").read_champion()
    assert champion is not None
    assert champion["id"] == run.model.id
    assert run.is_champion


def test_from_nothing_to_a_champion_with_everything_in_the_store(
    by_threads_fingerprint: str, make_settings: MakeSettings, s3: str, cluster: Cluster, tmp_path: Path
) -> None:
    settings = store_settings(make_settings, tmp_path / "driver", s3, cluster)
    run = train(settings)
    check_published(run, s3)
    data_dir = settings.data_dir
    assert read_dataset(data_dir / "shards").fingerprint == by_threads_fingerprint
    # Posters and features were never on the machine of the run, and nothing is left on that of the workers.
    assert not list((data_dir / "posters").glob("*.parquet"))
    assert not list((data_dir / "features").rglob("features-*.parquet"))
    assert not list(tmp_path.glob("workers/**/*.parquet"))

    # Another machine, which has nothing: the same model, and nothing is computed.
    other = train(store_settings(make_settings, tmp_path / "other", s3, None))
    assert (other.model.id, other.is_new) == (run.model.id, False)
    posters = [folder / "data" / "posters" for folder in (tmp_path / "driver", tmp_path / "other")]
    assert ledger.read_ledger(posters[0]).equals(ledger.read_ledger(posters[1]))

    # A third one, of which all is lost in the middle of its work, and whose work the store has.
    shutil.rmtree(tmp_path / "driver")
    again = train(store_settings(make_settings, tmp_path / "driver", s3, cluster))
    assert (again.model.id, again.is_new) == (run.model.id, False)


@pytest.mark.parametrize("stage", ["posters", "features"])
def test_a_worker_killed_in_a_stage_changes_nothing(
    by_threads_fingerprint: str, make_settings: MakeSettings, s3: str, cluster: Cluster, tmp_path: Path, stage: str
) -> None:
    settings = store_settings(make_settings, tmp_path / "driver", s3, cluster)
    with kill_in_stage(stage, cluster.list_busy_workers):
        run = train(settings)
    check_published(run, s3)
    assert read_dataset(settings.data_dir / "shards").fingerprint == by_threads_fingerprint
    (folder,) = (path for path in (settings.data_dir / "features").iterdir() if path.is_dir())
    assert len(read_image_keys(folder))


def test_of_two_runs_at_once_the_second_waits_or_stops(
    make_settings: MakeSettings, s3: str, prefect_server: None, tmp_path: Path
) -> None:
    first, second, third = (
        store_settings(make_settings, tmp_path / name, s3, None) for name in ("first", "second", "third")
    )
    elsewhere = leased(ObjectStore(f"{s3}/data"), "a run elsewhere", seconds_between_signs=0.5)
    with elsewhere, pytest.raises(LockedError, match="is in use by a run elsewhere"):
        train(second)
    drivers = [
        start_run(settings.model_copy(update={"wait_seconds": 600}), tmp_path / name)
        for name, settings in (("first", first), ("third", third))
    ]
    logs = [tmp_path / name / "log" for name in ("first", "third")]
    assert [driver.wait(500) for driver in drivers] == [0, 0], "".join(log.read_text() for log in logs)
    # One of them made the model, and the other found it.
    results = [log.read_text().splitlines()[-1].split() for log in logs]
    assert sorted(result[2] for result in results) == ["False", "True"]
    assert len({result[1] for result in results}) == 1
    champion = Store(f"{s3}/artifacts").read_champion()
    assert champion is not None
    assert Store(f"{s3}/artifacts").list_ids() == [champion["id"]] == [results[0][1]]


def test_what_a_stale_run_would_commit_is_refused(
    make_settings: MakeSettings, s3: str, prefect_server: None, tmp_path: Path
) -> None:
    settings = store_settings(make_settings, tmp_path / "first", s3, None)
    train(settings)
    stale = StoredFolder(f"{s3}/data", tmp_path / "stale" / "splits")
    stale.pull()
    current = StoredFolder(f"{s3}/data", settings.data_dir / "splits")
    (current.folder / "new.parquet").write_bytes(b"of a later run")
    current.commit(dict.fromkeys(current.list_files()))
    (stale.folder / "stale.parquet").write_bytes(b"of a stale run")
    with pytest.raises(ConflictError, match=r"splits\.json was changed by another run meanwhile"):
        stale.commit(dict.fromkeys(stale.list_files()))
    assert not [key for key in list_keys() if "stale" in key]


def test_a_killed_run_goes_on_on_another_machine(
    make_settings: MakeSettings, s3: str, cluster: Cluster, prefect_server: None, tmp_path: Path
) -> None:
    """SIGKILL in the middle of the downloads, before anything is committed: the parts that were done are not again."""
    settings = store_settings(make_settings, tmp_path / "killed", s3, cluster)
    driver = start_run(settings, tmp_path / "killed")
    wait(lambda: any("posters/results" in key for key in list_keys()) or driver.poll() is not None, 240)
    driver.kill()
    driver.wait()
    done = {key for key in list_keys() if "posters/results" in key}
    assert done
    run = train(store_settings(make_settings, tmp_path / "next", s3, cluster).model_copy(update={"wait_seconds": 120}))
    check_published(run, s3)
    assert done <= set(list_keys())
