"""Shards are written with nothing but a store, as on other machines, and are those that are written to a folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ledger_rows import make_row, write_ledger

from tasks.catalog.cleaning import FILMS
from tasks.dataset.checking import check_dataset
from tasks.dataset.description import list_stored_files, read_description
from tasks.dataset.staging import StoredShardPlan, describe_shard, write_stored_shard
from tasks.dataset.task import Dataset, ShardPlan, write_dataset
from tasks.errors import DatasetError
from tasks.posters import ledger, segments
from tasks.settings import DatasetSettings
from tasks.storage.folders import StoredFolder, fetch_stored
from tasks.storage.objects import ObjectStore

SETTINGS = DatasetSettings(min_posters_per_genre=20, shard_bytes=10_000)
NUM_FILMS = 120


@pytest.fixture(params=[1, 16])
def work(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Films, and their posters in a store alone, in fewer or more parts than there are shards."""
    films = [
        {"imdb_id": number, "title": f"T{number}", "year": 1990 + number % 3, "score": 6.5, "poster_url": "u"}
        | {"genres": [["Drama"], ["Comedy"], ["Comedy", "Drama"]][number % 3]}
        for number in range(NUM_FILMS)
    ]
    pq.write_table(pa.Table.from_pylist(films, schema=FILMS), tmp_path / "films.parquet")
    rows = [make_row(number, f"poster {number}".encode() * 50, "u", format="jpeg") for number in range(NUM_FILMS)]
    write_ledger(tmp_path / "posters", rows, num_parts=request.param)
    posters = StoredFolder(str(tmp_path / "store"), tmp_path / "posters")
    posters.commit(segments.list_stored_files(posters.folder))
    for path in posters.folder.glob("*.parquet"):
        path.unlink()
    return tmp_path


class Writer:
    """Writes shards as workers do, one after the other; each plan travels as JSON."""

    def __init__(self, work: Path, name: str) -> None:
        address = str(work / "store")
        self.posters, self.shards = StoredFolder(address, work / "posters"), StoredFolder(address, work / name)
        self.written: list[str] = []

    def __call__(self, _: Path, films: pd.DataFrame, shards: Sequence[ShardPlan]) -> Mapping[str, Mapping[str, Any]]:
        described = {}
        for shard in shards:
            present = ledger.list_names(self.posters.folder)
            plan = describe_shard(shard, films, self.posters, self.shards, present)
            result = write_stored_shard(StoredShardPlan.model_validate_json(plan.model_dump_json()))
            self.shards.adopt(result.files)
            described |= {name: file.describe() for name, file in result.files.items()}
            self.written.append(shard.shard)
        return described


def write(work: Path, name: str, writer: Writer | None = None, settings: DatasetSettings = SETTINGS) -> Dataset:
    return write_dataset.fn(
        catalog_path=work / "films.parquet",
        posters_dir=work / "posters",
        splits_dir=work / "splits",
        folder=work / name,
        settings=settings,
        seed=0,
        write_shards=writer,
    )


def test_workers_write_the_same_shards(work: Path) -> None:
    here = write(work, "here")
    elsewhere = write(work, "elsewhere/shards", Writer(work, "elsewhere/shards"))
    assert len(here.shard_names) > 3
    assert read_description(elsewhere.folder) == read_description(here.folder)
    assert not list(elsewhere.folder.glob("*.tfrecord"))
    for name in elsewhere.shard_names:
        fetch_stored(elsewhere.folder / name)
        assert (elsewhere.folder / name).read_bytes() == (here.folder / name).read_bytes()


def test_shards_in_the_store_alone_are_whole_and_kept(work: Path) -> None:
    writer = Writer(work, "shards")
    first = write(work, "shards", writer)
    writer.shards.commit(list_stored_files(first.folder))
    num_written = len(writer.written)
    assert write(work, "shards", writer) == first
    assert len(writer.written) == num_written
    assert {check.state for check in check_dataset(first.folder)} == {"whole", "unchecked"}
    # One film less: the shard that had it is written, the others stay where they are.
    films = pq.read_table(work / "films.parquet")
    pq.write_table(films.slice(1), work / "films.parquet")
    second = write(work, "shards", writer)
    assert len(writer.written) == num_written + 1
    assert writer.shards.commit(list_stored_files(second.folder))
    assert not list(second.folder.glob("*.tfrecord"))


def test_posters_that_are_not_in_the_store_are_an_error(work: Path) -> None:
    writer = Writer(work, "shards")
    films = pd.DataFrame(
        {"imdb_id": [0, 999], "title": "T", "year": 1990, "score": 6.5, "format": "jpeg", "sha256": "s"}
        | {"genres": [("Drama",)] * 2, "targets": [(1,)] * 2, "split": "train"}
    )
    plan = ShardPlan("movie-posters-train-00000-of-00001.tfrecord", films.index.to_numpy(), "made of")
    with pytest.raises(DatasetError, match="1 posters of movie-posters-train-00000-of-00001 are not in the store: run"):
        writer(work, films, [plan])
    assert ObjectStore(str(work / "store")).list_names("shards") == []
