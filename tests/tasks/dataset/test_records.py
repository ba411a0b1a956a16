import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tasks.dataset.records import encode_example, parse_example, read_images, write_records
from tasks.errors import DatasetError

FILM = {
    "imdb_id": 114709,
    "title": "Götz (1955)",
    "year": 1955,
    "score": 7.5,
    "content": b"\xff\xd8poster",
    "format": "jpeg",
    "sha256": "ab" * 32,
    "genres": ["Drama", "Western"],
    "targets": [0, 1, 0],
}


def test_example_round_trip() -> None:
    parsed = parse_example(encode_example(FILM))
    assert {name: np.asarray(tensor).tolist() for name, tensor in parsed.items()} == {
        "imdb_id": 114709,
        "title": "Götz (1955)".encode(),
        "year": 1955,
        "score": 7.5,
        "image/encoded": b"\xff\xd8poster",
        "image/format": b"jpeg",
        "image/sha256": b"ab" * 32,
        "genres": [b"Drama", b"Western"],
        "targets": [0, 1, 0],
    }


def test_example_without_year_score_or_label() -> None:
    parsed = parse_example(encode_example({**FILM, "year": None, "score": None, "genres": [], "targets": [0, 0]}))
    assert (parsed["year"].numpy(), parsed["score"].numpy()) == (0, 0)
    assert (parsed["genres"].shape, parsed["targets"].numpy().tolist()) == ((0,), [0, 0])


def test_films_are_written_to_their_shards_in_order(tmp_path: Path) -> None:
    films = [{**FILM, "imdb_id": n, "shard": "b" if n % 2 else "a"} for n in range(5)]
    write_records(tmp_path, films, ["a", "b", "c"])
    found = {
        path.name: [int(parse_example(record)["imdb_id"]) for record in tf.data.TFRecordDataset(str(path))]
        for path in tmp_path.iterdir()
    }
    assert found == {"a": [0, 2, 4], "b": [1, 3], "c": []}


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """A shard in which the second and the third film show the same image."""
    films = [
        {**FILM, "imdb_id": number, "sha256": sha256, "content": sha256.encode() * 50, "shard": "a"}
        for number, sha256 in enumerate(["x", "y", "y", "z"])
    ]
    write_records(tmp_path, films, ["a"])
    return tmp_path / "a"


def test_wanted_images_are_read_once_in_order(shard: Path) -> None:
    assert list(read_images(shard, {"z", "y"}).items()) == [("y", b"y" * 50), ("z", b"z" * 50)]


def cut(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:-1])


def flip_a_bit(shard: Path) -> None:
    content = bytearray(shard.read_bytes())
    content[content.index(b"yyyy")] ^= 1
    shard.write_bytes(content)


def write_others(shard: Path) -> None:
    write_records(shard.parent, [{**FILM, "sha256": "z", "shard": "a"}], ["a"])


def write_other_records(shard: Path) -> None:
    with tf.io.TFRecordWriter(str(shard)) as writer:
        writer.write(tf.train.Example().SerializeToString())


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (Path.unlink, "is missing"),
        (cut, r"is damaged \("),
        (flip_a_bit, r"is damaged \("),
        (write_others, "is damaged: 1 of 2 images are missing"),
        (write_other_records, r"is damaged \("),
    ],
)
def test_a_missing_or_damaged_shard_is_an_error_with_advice(
    shard: Path, damage: Callable[[Path], None], problem: str
) -> None:
    damage(shard)
    with pytest.raises(DatasetError) as error:
        read_images(shard, {"y", "z"})
    message = str(error.value)
    assert re.match(f"{shard} {problem}", message)
    assert message.endswith(f"; remove {shard.parent}/dataset.json and run again to write the shards")
    assert "\n" not in message
