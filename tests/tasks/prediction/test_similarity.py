"""An index that is written as the export writes it, searched by hand."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.export.index import make_schema
from tasks.prediction import similarity
from tasks.prediction.images import ImageResult
from tasks.prediction.similarity import find_similar


def write_index(path: Path, vectors: np.ndarray, years: list[int], row_group_size: int) -> None:
    num_films, size = vectors.shape
    columns = [
        pa.array(range(100, 100 + num_films)),
        pa.array([f"Film {film}" for film in range(num_films)]),
        pa.array(years, pa.int16()),
        pa.array([["Drama"]] * num_films),
        pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float16).ravel()), size),
    ]
    pq.write_table(
        pa.table(columns, make_schema(size)),
        path,
        row_group_size=row_group_size,
        compression="none",
        use_dictionary=False,
    )


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Seven films in row groups of three; the embedding of film i is at an angle of i tenths of a right angle."""
    path = tmp_path / "index.parquet"
    angles = np.arange(7) * np.pi / 20
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    write_index(path, vectors, [1990, 0, 1992, 1993, 1994, 1995, 1996], row_group_size=3)
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


SEARCH = """
import sys, numpy as np, pyarrow as pa
from pathlib import Path
from tasks.prediction.similarity import find_similar
((nearest,),) = find_similar(Path(sys.argv[1]), np.load(sys.argv[2]), 1)
print(nearest["imdb_id"], pa.default_memory_pool().max_memory())
"""


def test_memory_does_not_grow_with_the_index(tmp_path: Path) -> None:
    path, num_films = tmp_path / "index.parquet", 100_000
    vectors = np.random.default_rng(0).normal(size=(num_films, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    write_index(path, vectors, [1999] * num_films, row_group_size=4096)
    np.save(tmp_path / "query.npy", vectors[5:6])
    # In a process of its own: a pool remembers the most that it ever held.
    command = [sys.executable, "-c", SEARCH, str(path), str(tmp_path / "query.npy")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    nearest, num_bytes = map(int, done.stdout.split())
    assert nearest == 105
    assert 500_000 < num_bytes < num_films * 64 * 2 / 4  # a quarter of its embeddings
