from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.dataset.films import FILMS_SCHEMA
from tasks.dataset.task import Dataset
from tasks.features.cache import write_features
from tasks.features.joining import join_features
from tasks.training.examples import read_examples

# Film 3 and film 5, of other splits, show the same image.
FILMS = [(1, "a", "train"), (2, "b", "test"), (3, "c", "train"), (4, "d", "validation"), (5, "c", "test")]
VECTORS = {name: np.full(5, number, np.float32) for number, name in enumerate("abcd")}


def test_a_row_is_a_film_with_the_features_of_its_image(tmp_path: Path) -> None:
    ids, hashes, splits = zip(*FILMS, strict=True)
    films = {
        "imdb_id": list(ids),
        "title": ["T"] * 5,
        "year": [1990 + imdb_id for imdb_id in ids],
        "score": [0.5 * imdb_id for imdb_id in ids],
        "sha256": list(hashes),
        "split": list(splits),
        "targets": [[imdb_id % 2, 1] for imdb_id in ids],
    }
    pq.write_table(pa.table(films, schema=FILMS_SCHEMA), tmp_path / "films.parquet")
    dataset, features = Dataset(tmp_path, ["Odd", "All"], {}, "fingerprint"), tmp_path / "features"
    write_features(features, list(VECTORS), np.stack(list(VECTORS.values())))
    join_features(dataset, features)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for split in ("train", "validation", "test"):
        examples = read_examples(dataset, features, split)
        expected = [(imdb_id, name) for imdb_id, name, film_split in FILMS if film_split == split]
        assert examples.films["imdb_id"].tolist() == [imdb_id for imdb_id, _ in expected]
        np.testing.assert_array_equal(examples.features.read(), [VECTORS[name] for _, name in expected])
        np.testing.assert_array_equal(examples.genre_targets, [[imdb_id % 2, 1] for imdb_id, _ in expected])
        np.testing.assert_array_equal(examples.films["year"], [1990 + imdb_id for imdb_id, _ in expected])
        np.testing.assert_array_equal(examples.films["score"], [0.5 * imdb_id for imdb_id, _ in expected])
        assert len(examples) == len(expected)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
