from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.dataset.task import INDEX, Dataset
from tasks.features.cache import append_features
from tasks.training.examples import read_examples

# Film 3 and film 5, of other splits, show the same picture.
FILMS = [(1, "a", "train"), (2, "b", "test"), (3, "c", "train"), (4, "d", "validation"), (5, "c", "test")]
VECTORS = {name: np.full(5, number, np.float32) for number, name in enumerate("abcd")}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    ids, hashes, splits = zip(*FILMS, strict=True)
    targets = pa.array([[imdb_id % 2, 1] for imdb_id in ids], pa.list_(pa.uint8()))
    table = {"imdb_id": list(ids), "sha256": list(hashes), "split": list(splits), "targets": targets}
    of_films = {"title": ["T"] * 5, "year": [1990 + imdb_id for imdb_id in ids], "score": [0.5 * i for i in ids]}
    pq.write_table(pa.table({**table, **of_films}, schema=INDEX), tmp_path / "films.parquet")
    return Dataset(tmp_path, ["Odd", "All"], {}, "fingerprint")


@pytest.fixture
def features(tmp_path: Path) -> Path:
    folder = tmp_path / "features"
    append_features(folder / "part-00000.parquet", ["d", "x", "c"], np.stack([VECTORS[name] for name in "dac"]))
    append_features(folder / "part-00001.parquet", ["b", "a"], np.stack([VECTORS[name] for name in "ba"]))
    return folder


def test_films_get_the_features_of_their_posters(dataset: Dataset, features: Path) -> None:
    for split in ("train", "validation", "test"):
        examples = read_examples(dataset, features, split)
        expected = [(imdb_id, name) for imdb_id, name, film_split in FILMS if film_split == split]
        assert examples.films["imdb_id"].tolist() == [imdb_id for imdb_id, _ in expected]
        np.testing.assert_array_equal(examples.features.read(), [VECTORS[name] for _, name in expected])
        np.testing.assert_array_equal(examples.genre_targets, [[imdb_id % 2, 1] for imdb_id, _ in expected])
        np.testing.assert_array_equal(examples.films["year"], [1990 + imdb_id for imdb_id, _ in expected])
        np.testing.assert_array_equal(examples.films["score"], [0.5 * imdb_id for imdb_id, _ in expected])
        assert len(examples) == len(expected)


def test_the_join_is_kept_for_its_data_set_alone(dataset: Dataset, features: Path) -> None:
    kept = read_examples(dataset, features, "train").features.path
    before = kept.stat().st_mtime_ns
    assert read_examples(dataset, features, "test").features.path.parent == kept.parent
    assert kept.stat().st_mtime_ns == before
    other = Dataset(dataset.folder, dataset.vocabulary, {}, "another")
    assert read_examples(other, features, "train").features.path.parent != kept.parent
    assert not kept.parent.exists()


def test_missing_features_are_named_and_nothing_is_left(dataset: Dataset, features: Path) -> None:
    (features / "part-00001.parquet").unlink()
    with pytest.raises(KeyError, match="2 images have no features.*a among them"):
        read_examples(dataset, features, "train")
    assert [path.name for path in features.iterdir()] == ["part-00000.parquet"]
