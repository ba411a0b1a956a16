import hashlib
import os
import re
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tasks.checking import DamagedFileError
from tasks.dataset.records import encode_example, parse_example, read_images, write_records

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


@pytest.mark.parametrize(("open_files", "buffer_bytes"), [(0, 0), (0, 10**6), (2, 400), (2, 10**6)])
def test_shards_are_the_same_bytes_however_few_files_are_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_files: int, buffer_bytes: int
) -> None:
    films = [{**FILM, "imdb_id": n, "content": bytes([n]) * n, "shard": f"{n * 7 % 5}"} for n in range(40)]
    names = [str(number) for number in range(6)]
    for folder in ("all open", "few open"):
        (tmp_path / folder).mkdir()
    write_records(tmp_path / "all open", films, names)
    monkeypatch.setattr("tasks.dataset.records._OPEN_FILES", open_files)
    monkeypatch.setattr("tasks.dataset.records._BUFFER_BYTES", buffer_bytes)
    write_records(tmp_path / "few open", films, names)
    expected, found = (
        {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()} for folder in ("all open", "few open")
    )
    assert sorted(expected) == names
    assert found == expected


def test_more_shards_than_a_process_may_have_open_files(tmp_path: Path) -> None:
    names = [str(number) for number in range(200)]
    films = [{**FILM, "imdb_id": number, "shard": name} for number, name in enumerate(names)]
    num_open = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(num_open + 100, soft), hard))
    try:
        write_records(tmp_path, films, names)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert all((tmp_path / name).stat().st_size > 100 for name in names)


CONTENTS = {hashlib.sha256(content).hexdigest(): content for content in (b"x" * 50, b"y" * 50, b"z" * 50)}
X, Y, Z = CONTENTS


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """A shard in which the second and the third film show the same image."""
    films = [
        {**FILM, "imdb_id": number, "sha256": sha256, "content": CONTENTS[sha256], "shard": "a"}
        for number, sha256 in enumerate([X, Y, Y, Z])
    ]
    write_records(tmp_path, films, ["a"])
    return tmp_path / "a"


def test_wanted_images_are_read_once_in_order(shard: Path) -> None:
    assert list(read_images(shard, {Z, Y}).items()) == [(Y, CONTENTS[Y]), (Z, CONTENTS[Z])]


def cut(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:-1])


def flip_a_bit(shard: Path) -> None:
    content = bytearray(shard.read_bytes())
    content[content.index(b"yyyy")] ^= 1
    shard.write_bytes(content)


def write_others(shard: Path) -> None:
    write_records(shard.parent, [{**FILM, "sha256": Z, "content": CONTENTS[Z], "shard": "a"}], ["a"])


def write_other_records(shard: Path) -> None:
    with tf.io.TFRecordWriter(str(shard)) as writer:
        writer.write(tf.train.Example().SerializeToString())


def write_another_image(shard: Path) -> None:
    films = [{**FILM, "sha256": sha256, "content": CONTENTS[X], "shard": "a"} for sha256 in (Y, Z)]
    write_records(shard.parent, films, ["a"])


def empty(shard: Path) -> None:
    shard.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (Path.unlink, "is missing"),
        (cut, r"is damaged \(truncated record at"),
        (empty, r"is damaged \(2 of 2 images are missing"),
        (flip_a_bit, r"is damaged \(corrupted record at"),
        (write_others, r"is damaged \(1 of 2 images are missing"),
        (write_other_records, r"is damaged \("),
        (write_another_image, rf"is damaged \(the sha256 of an image is not {Y}"),
    ],
)
def test_a_missing_or_damaged_shard_is_seen(shard: Path, damage: Callable[[Path], None], problem: str) -> None:
    damage(shard)
    with pytest.raises(DamagedFileError) as error:
        read_images(shard, {Y, Z})
    message = str(error.value)
    assert re.match(f"{shard} {problem}", message)
    assert "\n" not in message
