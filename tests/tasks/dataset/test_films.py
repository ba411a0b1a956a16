from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.dataset.films import FILMS_SCHEMA, join_films, write_films
from tasks.posters import ledger


def make_row(imdb_id: int, sha256: str | None) -> dict[str, object]:
    return {
        "imdb_id": imdb_id,
        "url": "u",
        "status": ledger.OK if sha256 else ledger.FAILED,
        "attempts": 1,
        "sha256": sha256,
        "num_bytes": sha256 and 7,
        "format": sha256 and "jpeg",
        "seconds": 0.0,
        "fetched_at": datetime(2026, 1, 1, tzinfo=UTC),
    }


def test_films_with_a_poster_are_in_the_order_of_the_parts(tmp_path: Path) -> None:
    films = [
        {"imdb_id": imdb_id, "title": f"T{imdb_id}", "year": year, "score": score, "genres": ["Drama"]}
        for imdb_id, year, score in [(1, 1990, 6.5), (2, None, None), (3, 2000, 5.0), (4, 2001, 4.0)]
    ]
    pq.write_table(pa.Table.from_pylist(films), tmp_path / "catalog.parquet")
    ledger.update_part(ledger.part_path(tmp_path / "posters", 0), [make_row(4, "d"), make_row(2, "b")])
    # Film 3 has no poster, and film 9 is not in the catalog any more.
    ledger.update_part(
        ledger.part_path(tmp_path / "posters", 1), [make_row(3, None), make_row(1, "a"), make_row(9, "e")]
    )
    joined = join_films(tmp_path / "catalog.parquet", tmp_path / "posters")
    assert joined[["imdb_id", "year", "score", "sha256"]].to_numpy().tolist() == [
        [2, 0, 0.0, "b"],
        [4, 2001, 4.0, "d"],
        [1, 1990, 6.5, "a"],
    ]
    assert joined["genres"].map(list).tolist() == [["Drama"]] * 3
    assert joined[["num_bytes", "format"]].drop_duplicates().to_numpy().tolist() == [[7, "jpeg"]]


def test_written_films_have_the_schema(tmp_path: Path) -> None:
    film = {"imdb_id": 1, "title": "T", "year": 0, "score": 0.0, "sha256": "a", "split": "test", "targets": [1, 0]}
    write_films(pd.DataFrame([{**film, "num_bytes": 7}]), tmp_path / "films.parquet")
    table = pq.read_table(tmp_path / "films.parquet")
    assert table.schema.equals(FILMS_SCHEMA)
    assert table.to_pylist() == [film]
