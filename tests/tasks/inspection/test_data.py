import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ledger_rows import make_row, write_ledger
from small_dataset import write_small_dataset

from tasks import versions
from tasks.errors import DatasetError
from tasks.inspection.data import inspect_dataset, inspect_posters
from tasks.workspace import Workspace


def write_catalog(folder: Path, imdb_ids: list[int]) -> None:
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"imdb_id": imdb_ids}), folder / "films.parquet")


def describe(folder: Path, num_films: dict[str, int]) -> None:
    description = {
        "version": versions.RECORDS,
        "fingerprint": "f",
        "seed": 0,
        "settings": {"films_with_only_rare_genres": "drop"},
        "vocabulary": ["a", "b"],
        "dropped_genres": {"War": 3},
        "num_films_without_label": 2,
        "num_films": num_films,
        "shards": {},
    }
    (folder / "dataset.json").write_text(json.dumps(description))


def test_posters_are_those_of_the_films_of_the_catalog(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    write_catalog(workspace.folder("catalog"), [1, 2, 3, 4, 5, 6])
    rows = [
        make_row(1, b"one", width=200, height=300),
        make_row(2, b"four", width=100, height=150),
        *(make_row(imdb_id, None) for imdb_id in (3, 4)),
        make_row(5, None, reason="timeout"),
        make_row(9, b"not in the catalog any more", width=1, height=1),
    ]
    write_ledger(workspace.folder("posters"), rows, num_parts=2)
    posters = inspect_posters(workspace)
    assert (posters.num_films, posters.num_downloaded, posters.num_missing) == (6, 2, 1)
    assert posters.failures == {"http 404": 2, "timeout": 1}
    assert sorted(posters.images.to_numpy().tolist()) == [[100, 150, 4], [200, 300, 3]]


def test_nothing_was_downloaded_yet(tmp_path: Path) -> None:
    write_catalog(Workspace(tmp_path).folder("catalog"), [1, 2])
    posters = inspect_posters(Workspace(tmp_path))
    assert (posters.num_downloaded, posters.failures, posters.num_missing) == (0, {}, 2)
    assert inspect_dataset(tmp_path / "shards") is None


def test_figures_of_the_data_set(tmp_path: Path) -> None:
    # Films 0-15: train 0-7, validation 8-11, test 12-15; half of them have each genre.
    dataset = write_small_dataset(tmp_path, 16)
    describe(tmp_path, dataset.num_films)
    films = pq.read_table(tmp_path / "films.parquet").to_pylist()
    films[1]["sha256"] = films[0]["sha256"]
    films[15]["sha256"] = films[8]["sha256"]
    pq.write_table(pa.Table.from_pylist(films), tmp_path / "films.parquet")
    figures = inspect_dataset(tmp_path)
    assert figures is not None
    assert [genre.num_films for genre in figures.balance] == [{"train": 4, "validation": 2, "test": 2}] * 2
    assert [genre.deviation for genre in figures.balance] == [0, 0]
    assert [poster.titles for poster in figures.shared_posters] == [["Film 8", "Film 15"], ["Film 0", "Film 1"]]
    assert figures.num_crossing == 1
    assert (figures.dropped_genres, figures.num_films_without_genre, figures.without_genre) == ({"War": 3}, 2, "drop")


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more"])
def test_a_damaged_file_is_named_with_its_remedy(tmp_path: Path, content: bytes) -> None:
    workspace = Workspace(tmp_path)
    with pytest.raises(DatasetError, match=r"no catalog in .*expected the data_dir of earlier runs"):
        inspect_posters(workspace)
    write_catalog(workspace.folder("catalog"), [1])
    (workspace.folder("catalog") / "films.parquet").write_bytes(content)
    with pytest.raises(DatasetError, match=r"catalog/films.parquet is damaged .*poster-genres run"):
        inspect_posters(workspace)
    write_small_dataset(tmp_path / "shards", 16)
    describe(tmp_path / "shards", {})
    (tmp_path / "shards" / "films.parquet").write_bytes(content)
    with pytest.raises(DatasetError, match=r"shards/films.parquet is damaged .*poster-genres run"):
        inspect_dataset(tmp_path / "shards")
