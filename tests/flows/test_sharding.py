"""The shards of a data set are written by workers that have nothing but the store, some of which die."""

from pathlib import Path

import pytest
from deadly_runner import DeadlyRunner
from sharded_dataset import DATASET_SETTINGS, write, write_catalog_and_posters

from flows.runners import RunnerError
from flows.sharding import choose_shard_writer
from tasks.dataset.description import list_stored_files
from tasks.posters import segments
from tasks.settings import RunnerSettings, Settings
from tasks.storage.folders import StoredFolder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Those of a run whose catalog is here, and whose posters are in its store."""
    settings = Settings(
        data_dir=tmp_path / "data",
        store=str(tmp_path / "store"),
        dataset=DATASET_SETTINGS,
        runner=RunnerSettings(kind="dask", address="tcp://127.0.0.1:1"),
    )
    write_catalog_and_posters(settings)
    posters = StoredFolder(str(settings.data_store), settings.workspace.folder("posters"))
    posters.commit(segments.list_stored_files(posters.folder))
    return settings


def list_written(settings: Settings) -> dict[str, int]:
    """Returns the time at which each shard in the store was written, by name of the object."""
    return {path.name: path.stat().st_mtime_ns for path in Path(str(settings.data_store), "shards").glob("*.tfrecord")}


def test_shards_that_kill_every_worker_are_named_and_the_next_run_writes_these_alone(
    prefect_server: None, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadly = frozenset({"movie-posters-train-00000-of-00004", "movie-posters-train-00002-of-00004"})
    first, second = DeadlyRunner(deadly), DeadlyRunner(frozenset())
    monkeypatch.setattr("flows.sharding.open_runner", lambda *_: first)
    with pytest.raises(RunnerError, match="train-00000-of-00004, movie-posters-train-00002-of-00004 can't be written"):
        write(settings, choose_shard_writer(settings))
    assert not deadly & set(first.done)
    kept = list_written(settings)
    assert len(kept) == len(first.done) > 3

    monkeypatch.setattr("flows.sharding.open_runner", lambda *_: second)
    dataset = write(settings, choose_shard_writer(settings))
    shards = StoredFolder(str(settings.data_store), dataset.folder)
    assert shards.commit(list_stored_files(dataset.folder))
    written = list_written(settings)
    assert len(written) == len(kept) + 2 == len(dataset.shard_names)
    assert kept.items() <= written.items()
