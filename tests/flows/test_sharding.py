"""The shards of a data set are written by workers that have nothing but the store, some of which die."""

from collections.abc import Callable
from pathlib import Path

import pytest
from deadly_runner import DeadlyRunner
from sharded_dataset import DATASET_SETTINGS, NUM_FILMS, write, write_catalog_and_posters

from flows.runners import RunnerError
from flows.sharding import choose_shard_writer
from tasks.dataset.description import list_stored_files
from tasks.errors import RepairedError
from tasks.posters import segments
from tasks.posters.ledger import read_ledger
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


def remove(path: Path) -> None:
    path.unlink()


def change_the_posters(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"poster", b"Poster"))


def change_what_no_reader_reads(path: Path) -> None:
    path.write_bytes(b"?" + path.read_bytes()[1:])


@pytest.mark.parametrize(
    ("damage", "problem", "are_posters_lost"),
    [
        (remove, "is missing", True),
        (change_the_posters, "is damaged", True),
        (change_what_no_reader_reads, "is damaged", False),
    ],
)
def test_a_damaged_segment_of_posters_is_repaired_and_the_stages_go_on(
    prefect_server: None,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], None],
    problem: str,
    are_posters_lost: bool,
) -> None:
    monkeypatch.setattr("flows.sharding.open_runner", lambda *_: DeadlyRunner(frozenset()))
    posters = StoredFolder(str(settings.data_store), settings.workspace.folder("posters"))
    for path in posters.folder.glob("*.parquet"):
        path.unlink()
    segments.copy_ledger(posters.folder)  # which is read from here, as in a run
    damaged = min(Path(str(settings.data_store), "posters").glob("*.parquet"))
    damage(damaged)
    with pytest.raises(RepairedError, match=f"{damaged.name} {problem}.*: what is whole was kept"):
        write(settings, choose_shard_writer(settings))
    num_posters = read_ledger(posters.folder).num_rows
    assert (num_posters < NUM_FILMS) == are_posters_lost
    # As the stage of the posters does when the stages run again.
    segments.copy_ledger(posters.folder)
    posters.commit(segments.list_stored_files(posters.folder))
    dataset = write(settings, choose_shard_writer(settings))
    assert sum(dataset.num_films.values()) == num_posters
