import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ledger_rows import make_row, write_ledger

from tasks.checking import DamagedFileError
from tasks.dataset.films import FILMS_SCHEMA
from tasks.errors import ReproductionError
from tasks.registry.kept_films import KeptFilms, compare_films, read_model_films

GENRES = ["Comedy", "Drama"]
CATALOG = {1: ["Comedy"], 2: ["Drama", "War"], 3: ["Comedy", "Drama"], 4: ["War"]}
SPLITS = {1: "train", 2: "validation", 3: "test", 4: "train"}
# The first model's films; the fourth has none of its genres.
ROWS = [
    {
        "imdb_id": imdb_id,
        "title": "Title",
        "year": 1999,
        "score": 5.0,
        "sha256": hashlib.sha256(b"poster %d" % imdb_id).hexdigest(),
        "split": SPLITS[imdb_id],
        "targets": [int(genre in CATALOG[imdb_id]) for genre in GENRES],
    }
    for imdb_id in (3, 1, 2, 4)
]


def write_catalog(path: Path, genres: dict[int, list[str]]) -> None:
    pq.write_table(pa.table({"imdb_id": list(genres), "genres": list(genres.values())}), path)


@pytest.fixture
def kept(tmp_path: Path) -> KeptFilms:
    """What was kept, with a film more than the model has."""
    write_catalog(tmp_path / "catalog.parquet", {5: ["Horror"], **CATALOG})
    posters = [make_row(imdb_id, b"poster %d" % imdb_id) for imdb_id in (1, 2, 3, 4, 5)]
    write_ledger(tmp_path / "posters", posters, num_parts=2)
    pd.DataFrame({"imdb_id": [5, *SPLITS], "sha256": "x", "split": ["test", *SPLITS.values()]}).to_parquet(
        tmp_path / "splits.parquet"
    )
    return KeptFilms(tmp_path / "catalog.parquet", True, tmp_path / "posters", tmp_path / "splits.parquet")


@pytest.fixture
def films(tmp_path: Path) -> pd.DataFrame:
    path = tmp_path / "films.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS, FILMS_SCHEMA), path)
    return read_model_films(path)


def compare(films: pd.DataFrame, kept: KeptFilms, min_posters: int = 2, **changes: Any) -> tuple[bool | None, str]:
    found = compare_films(films, GENRES, replace(kept, **changes), min_posters)
    assert found.stage == "data set"
    return found.equal, found.found


def test_equal_in_a_catalog_that_has_grown(films: pd.DataFrame, kept: KeptFilms) -> None:
    # Of genre War there would be two posters, which suffice, were the new film counted.
    write_catalog(kept.catalog_path, {5: ["War"], **CATALOG, 2: ["Drama"]})
    equal = (True, "4 films (2 train, 1 test, 1 validation), 2 genres")
    assert compare(films, kept) == equal
    assert compare(films, kept, same_catalog=False) == equal
    kept.splits_path.unlink()
    assert compare(films, kept) == equal


def test_another_image(films: pd.DataFrame, kept: KeptFilms) -> None:
    write_ledger(kept.posters_dir, [make_row(2, b"another")], num_parts=2)
    sha256 = hashlib.sha256(b"another").hexdigest()
    expected = hashlib.sha256(b"poster 2").hexdigest()
    assert compare(films, kept) == (False, f"1 films, first 2: its image is {sha256}, expected {expected}")


def test_another_split(films: pd.DataFrame, kept: KeptFilms) -> None:
    splits = pd.read_parquet(kept.splits_path)
    splits.loc[splits["imdb_id"] == 1, "split"] = "test"
    splits.to_parquet(kept.splits_path)
    assert compare(films, kept) == (False, "1 films, first 1: its split is test, expected train")
    kept.splits_path.write_bytes(b"PAR1")
    with pytest.raises(DamagedFileError):
        compare(films, kept)


@pytest.mark.parametrize(
    ("genres", "problem"),
    [
        ({**CATALOG, 1: ["Drama"]}, "film 1 has the genres Drama, expected Comedy"),
        ({**CATALOG, 4: ["Drama"]}, "film 4 has the genres Drama, expected none"),
        ({**CATALOG, 4: ["Comedy", "Drama"]}, "film 4 has the genres Comedy, Drama, expected none"),
        ({**CATALOG, 1: []}, "film 1 has the genres none, expected Comedy"),
        (CATALOG, "the genres are Comedy, Drama, War, expected Comedy, Drama"),
    ],
)
def test_other_genres(films: pd.DataFrame, kept: KeptFilms, genres: dict[int, list[str]], problem: str) -> None:
    write_catalog(kept.catalog_path, genres)
    assert compare(films, kept) == (False, problem)
    with pytest.raises(ReproductionError, match=f"the catalog has changed since: {problem}; run again with the"):
        compare(films, kept, same_catalog=False)


def test_films_without_a_known_split_are_compared_all_the_same(films: pd.DataFrame, kept: KeptFilms) -> None:
    splits = pd.read_parquet(kept.splits_path)
    splits[splits["imdb_id"] != 1].to_parquet(kept.splits_path)
    write_catalog(kept.catalog_path, {**CATALOG, 2: ["Drama"]})
    assert compare(films, kept)[0]
    write_catalog(kept.catalog_path, {**CATALOG, 1: ["Drama"]})
    assert compare(films, kept) == (False, "film 1 has the genres Drama, expected Comedy")


def test_films_that_are_gone(films: pd.DataFrame, kept: KeptFilms) -> None:
    failed = [make_row(imdb_id, None) for imdb_id in (2, 4)]
    kept_posters = [make_row(imdb_id, b"poster %d" % imdb_id) for imdb_id in (1, 3)]
    posters_dir = kept.posters_dir.with_name("others")
    write_ledger(posters_dir, [*failed, *kept_posters], num_parts=2)
    with pytest.raises(ReproductionError, match="2 of 4 films have no poster any more, 2 first: expected them in"):
        compare(films, kept, posters_dir=posters_dir)
    write_catalog(kept.catalog_path, {1: ["Comedy"]})
    with pytest.raises(ReproductionError, match="3 of 4 films are no longer in the catalog, 3 first"):
        compare(films, kept)
    kept.catalog_path.unlink()
    with pytest.raises(DamagedFileError, match=r"catalog.parquet is missing"):
        compare(films, kept)
