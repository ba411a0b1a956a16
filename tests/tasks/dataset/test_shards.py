from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tasks.dataset.shards import count_shards, encode_example, parse_example, shard_name, write_shards

FILM = {
    "imdb_id": 114709,
    "title": "Götz (1955)",
    "year": 1955,
    "content": b"\xff\xd8poster",
    "format": "jpeg",
    "sha256": "ab" * 32,
    "genres": ["Drama", "Western"],
    "targets": [0, 1, 0],
    "split": "train",
}


def test_shard_name() -> None:
    assert shard_name("train", 0, 8) == "movie-posters-train-00000-of-00008.tfrecord"


@pytest.mark.parametrize(("num_bytes", "count"), [(0, 1), (1, 1), (100, 1), (101, 2), (1000, 10)])
def test_count_shards(num_bytes: int, count: int) -> None:
    assert count_shards(num_bytes, 100) == count


def test_example_round_trip() -> None:
    parsed = parse_example(encode_example(FILM))
    assert {name: np.asarray(tensor).tolist() for name, tensor in parsed.items()} == {
        "imdb_id": 114709,
        "title": "Götz (1955)".encode(),
        "year": 1955,
        "image/encoded": b"\xff\xd8poster",
        "image/format": b"jpeg",
        "image/sha256": b"ab" * 32,
        "genres": [b"Drama", b"Western"],
        "targets": [0, 1, 0],
    }


def test_example_without_year_or_label() -> None:
    parsed = parse_example(encode_example({**FILM, "year": None, "genres": [], "targets": [0, 0]}))
    assert (parsed["year"].numpy(), parsed["genres"].shape, parsed["targets"].numpy().tolist()) == (0, (0,), [0, 0])


def test_films_are_dealt_to_the_shards_of_their_split(tmp_path: Path) -> None:
    films = [{**FILM, "imdb_id": n, "split": "test" if n >= 5 else "train"} for n in range(7)]
    names = write_shards(tmp_path, films, {"train": 2, "validation": 1, "test": 1})
    found = {
        name: [int(parse_example(record)["imdb_id"]) for record in tf.data.TFRecordDataset(str(tmp_path / name))]
        for name in names
    }
    assert found == {
        "movie-posters-train-00000-of-00002.tfrecord": [0, 2, 4],
        "movie-posters-train-00001-of-00002.tfrecord": [1, 3],
        "movie-posters-validation-00000-of-00001.tfrecord": [],
        "movie-posters-test-00000-of-00001.tfrecord": [5, 6],
    }
