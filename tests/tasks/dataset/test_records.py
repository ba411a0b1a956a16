from pathlib import Path

import numpy as np
import tensorflow as tf

from tasks.dataset.records import encode_example, parse_example, write_records

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
