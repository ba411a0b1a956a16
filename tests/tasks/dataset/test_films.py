import subprocess
import sys
from pathlib import Path

import films_memory
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ledger_rows import make_row, write_ledger

from tasks.dataset.films import FILMS_SCHEMA, join_films, write_films


def test_films_with_a_poster_are_in_the_order_of_the_parts(tmp_path: Path) -> None:
    films = [
        {"imdb_id": imdb_id, "title": f"T{imdb_id}", "year": year, "score": score, "genres": ["Drama"]}
        for imdb_id, year, score in [(1, 1990, 6.5), (2, None, None), (3, 2000, 5.0), (4, 2001, 4.0)]
    ]
    pq.write_table(pa.Table.from_pylist(films), tmp_path / "catalog.parquet")
    # Film 3 has no poster, and film 9 is not in the catalog any more.
    images = {4: b"d", 2: b"b", 3: None, 1: b"a", 9: b"e"}
    rows = [make_row(imdb_id, content, sha256=content and content.decode()) for imdb_id, content in images.items()]
    write_ledger(tmp_path / "posters", [{**row, "num_bytes": 7, "format": "jpeg"} for row in rows], num_parts=4)
    joined = join_films(tmp_path / "catalog.parquet", tmp_path / "posters")
    assert joined[["imdb_id", "year", "score", "sha256"]].to_numpy().tolist() == [
        [2, 0, 0.0, "b"],
        [1, 1990, 6.5, "a"],
        [4, 2001, 4.0, "d"],
    ]
    assert joined["genres"].map(list).tolist() == [["Drama"]] * 3
    assert joined[["num_bytes", "format"]].drop_duplicates().to_numpy().tolist() == [[7, "jpeg"]]


def test_written_films_have_the_schema(tmp_path: Path) -> None:
    film = {"imdb_id": 1, "title": "T", "year": 0, "score": 0.0, "sha256": "a", "split": "test", "targets": [1, 0]}
    write_films(pd.DataFrame([{**film, "num_bytes": 7}]), tmp_path / "films.parquet")
    table = pq.read_table(tmp_path / "films.parquet")
    assert table.schema.equals(FILMS_SCHEMA)
    assert table.to_pylist() == [film]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of the memory is that of Linux")
def test_a_film_more_is_some_hundred_bytes_more_at_the_peak(tmp_path: Path) -> None:
    command = [sys.executable, films_memory.__file__, str(tmp_path), "100000"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    # 580 as measured; with a dict for each film at once, 1,005.
    assert float(done.stdout.split()[-1]) < 800
