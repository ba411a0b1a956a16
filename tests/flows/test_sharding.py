"""The shards of a data set are written by workers that have nothing but the store, some of which die."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deadly_runner import DeadlyRunner
from ledger_rows import make_row, write_ledger

from flows.runners import RunnerError
from flows.sharding import choose_shard_writer
from tasks.catalog.cleaning import FILMS
from tasks.dataset.description import list_stored_files
from tasks.dataset.task import Dataset, write_dataset
from tasks.posters import segments
from tasks.settings import DatasetSettings, RunnerSettings, Settings
from tasks.storage.folders import StoredFolder

NUM_FILMS = 120


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Those of a run whose catalog is here, and whose posters are in its store."""
    settings = Settings(
        data_dir=tmp_path / "data",
        store=str(tmp_path / "store"),
        dataset=DatasetSettings(min_posters_per_genre=20, shard_bytes=20_000),
        runner=RunnerSettings(kind="dask", address="tcp://127.0.0.1:1"),
    )
    films = [
        {"imdb_id": number, "title": f"T{number}", "year": 1990, "score": 6.5, "poster_url": "u"}
        | {"genres": [["Drama"], ["Comedy"]][number % 2]}
        for number in range(NUM_FILMS)
    ]
    folder = settings.workspace.folder("catalog")
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(films, schema=FILMS), folder / "films.parquet")
    rows = [make_row(number, f"poster {number}".encode() * 50, "u", format="jpeg") for number in range(NUM_FILMS)]
    write_ledger(settings.workspace.folder("posters"), rows, num_parts=4)
    posters = StoredFolder(str(settings.data_store), settings.workspace.folder("posters"))
    posters.commit(segments.list_stored_files(posters.folder))
    return settings


def write(settings: Settings) -> Dataset:
    workspace = settings.workspace
    return write_dataset.fn(
        catalog_path=workspace.folder("catalog") / "films.parquet",
        posters_dir=workspace.folder("posters"),
        splits_dir=workspace.folder("splits"),
        folder=workspace.folder("shards"),
        settings=settings.dataset,
        seed=0,
        write_shards=choose_shard_writer(settings),
    )


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
        write(settings)
    assert not deadly & set(first.done)
    kept = list_written(settings)
    assert len(kept) == len(first.done) > 3

    monkeypatch.setattr("flows.sharding.open_runner", lambda *_: second)
    dataset = write(settings)
    shards = StoredFolder(str(settings.data_store), dataset.folder)
    assert shards.commit(list_stored_files(dataset.folder))
    written = list_written(settings)
    assert len(written) == len(kept) + 2 == len(dataset.shard_names)
    assert kept.items() <= written.items()
