"""TFRecord shards of `tf.train.Example`: the data set as others can read it."""

import contextlib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

# How to parse an example, in the words of tf.io: name -> (dtype, shape), None for a length that varies.
FEATURES: dict[str, tuple[str, list[int | None]]] = {
    "imdb_id": ("int64", []),
    "title": ("string", []),
    "year": ("int64", []),  # 0 where the title has none
    "image/encoded": ("string", []),
    "image/format": ("string", []),  # jpeg or png
    "image/sha256": ("string", []),  # hexadecimal
    "genres": ("string", [None]),  # all of the film's, those that are not in the vocabulary too
    "targets": ("int64", [None]),  # 0 or 1 for each genre of the vocabulary
}


def shard_name(split: str, index: int, count: int) -> str:
    """Returns `movie-posters-train-00000-of-00008.tfrecord` and the like."""
    return f"movie-posters-{split}-{index:05d}-of-{count:05d}.tfrecord"


def count_shards(num_bytes: int, shard_bytes: int) -> int:
    """Returns how many shards of about `shard_bytes` hold `num_bytes`; at least one."""
    return max(1, math.ceil(num_bytes / shard_bytes))


def encode_example(film: Mapping[str, Any]) -> bytes:
    """Returns a film with its poster as a serialised `tf.train.Example` with the features of `FEATURES`."""

    def integers(*values: int) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    def strings(*values: str | bytes) -> tf.train.Feature:
        encoded = [value.encode() if isinstance(value, str) else value for value in values]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=encoded))

    features = {
        "imdb_id": integers(film["imdb_id"]),
        "title": strings(film["title"]),
        "year": integers(film["year"] or 0),
        "image/encoded": strings(film["content"]),
        "image/format": strings(film["format"]),
        "image/sha256": strings(film["sha256"]),
        "genres": strings(*film["genres"]),
        "targets": integers(*film["targets"]),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    # Protocol buffers keep a map in no set order unless told to; the same film must give the same bytes.
    return bytes(example.SerializeToString(deterministic=True))


def parse_example(serialised: tf.Tensor) -> dict[str, tf.Tensor]:
    """Parses what `encode_example` made; shapes and dtypes as in `FEATURES`."""
    spec = {
        name: tf.io.FixedLenFeature([], dtype)
        if shape == []
        else tf.io.FixedLenSequenceFeature([], dtype, allow_missing=True)
        for name, (dtype, shape) in FEATURES.items()
    }
    return dict(tf.io.parse_single_example(serialised, spec))


def write_shards(folder: Path, films: Iterable[Mapping[str, Any]], num_shards: Mapping[str, int]) -> list[str]:
    """Writes films to the shards of their splits, in turn, as they come: memory does not grow with their number.

    Args:
        folder: exists; the shards are written in it.
        films: with the keys that `encode_example` reads and `split`.
        num_shards: of each split.

    Returns:
        The names of the shards, in order of split and index.
    """
    names = {split: [shard_name(split, index, count) for index in range(count)] for split, count in num_shards.items()}
    with contextlib.ExitStack() as stack:
        writers = {
            split: [stack.enter_context(tf.io.TFRecordWriter(str(folder / name))) for name in shard_names]
            for split, shard_names in names.items()
        }
        written = dict.fromkeys(names, 0)
        for film in films:
            split = film["split"]
            writers[split][written[split] % num_shards[split]].write(encode_example(film))
            written[split] += 1
    return [name for shard_names in names.values() for name in shard_names]
