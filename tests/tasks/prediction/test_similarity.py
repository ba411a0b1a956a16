"""An index that is written as the export writes it, searched by hand."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.export.index import make_schema
from tasks.prediction import similarity
from tasks.prediction.images import ImageResult
from tasks.prediction.similarity import find_similar


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Seven films in row groups of three; the embedding of film i is at an angle of i tenths of a right angle."""
    path = tmp_path / "index.parquet"
    angles = np.arange(7) * np.pi / 20
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float16)
    schema = make_schema(2)
    columns = [
        pa.array(range(100, 107)),
        pa.array([f"Film {film}" for film in range(7)]),
        pa.array([1990, 0, 1992, 1993, 1994, 1995, 1996], pa.int16()),
        pa.array([["Drama"]] * 7),
        pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 2),
    ]
    pq.write_table(pa.table(columns, schema), path, row_group_size=3)
    return path


def test_nearest_films_of_each_query(index: Path) -> None:
    first, last = find_similar(index, np.array([[1, 0], [0, 1]], np.float32), 2)
    assert [film["imdb_id"] for film in first] == [100, 101]
    assert [film["imdb_id"] for film in last] == [106, 105]
    assert first[0] == {
        "imdb_id": 100,
        "title": "Film 0",
        "year": 1990,
        "genres": ["Drama"],
        "similarity": pytest.approx(1, abs=1e-3),
    }
    assert first[1]["year"] is None
    assert first[1]["similarity"] == pytest.approx(np.cos(np.pi / 20), abs=1e-3)


def test_more_than_there_are(index: Path) -> None:
    (found,) = find_similar(index, np.array([[1, 0]], np.float32), 50)
    assert [film["imdb_id"] for film in found] == list(range(100, 107))


def test_the_index_is_read_once_for_many_images(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []

    def count(path: Path, queries: np.ndarray, num_nearest: int) -> list[list[dict[str, object]]]:
        reads.append(len(queries))
        return find_similar(path, queries, num_nearest)

    monkeypatch.setattr(similarity, "find_similar", count)
    vector = np.array([0, 1], np.float32)
    images = [ImageResult("broken", error="no image"), *(ImageResult(str(number), vector) for number in range(300))]
    found = list(similarity._search(index, iter(images), 1))
    assert reads == [300]
    assert (found[0].image, found[0].result, found[0].error) == ("broken", None, "no image")
    assert [image.result[0]["imdb_id"] for image in found[1:] if image.result] == [106] * 300
    assert list(similarity._search(index, iter(images[:1]), 1)) == found[:1]
