"""Which shard a film is in, and which shards have to be written."""

import hashlib
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks import versions

# How to parse an example, in the words of tf.io: name -> (dtype, shape), None for a length that varies.
FEATURES: dict[str, tuple[str, list[int | None]]] = {
    "imdb_id": ("int64", []),
    "title": ("string", []),
    "year": ("int64", []),  # 0 where the title has none
    "score": ("float32", []),  # IMDB's, from 1 to 10; 0 where there is none
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
    """Returns the least power of two of shards of about `shard_bytes`, or less, that hold `num_bytes`.

    A power of two, so that growth changes the number seldom: when it changes, every shard is another.
    """
    return 1 << max(0, math.ceil(math.log2(max(1, num_bytes) / shard_bytes)))


def shard_of(imdb_id: int, count: int) -> int:
    """Returns the shard of a film, in [0, count), from a hash of its id alone: other films do not move it."""
    # Another hash than the poster parts', or the shards of a part would be few.
    digest = hashlib.blake2b(str(imdb_id).encode(), digest_size=8, person=b"shard").digest()
    return int.from_bytes(digest, "big") % count


def locate_films(imdb_ids: Iterable[int], splits: Iterable[str], shard_names: Iterable[str]) -> list[str]:
    """Returns for each film the name of the shard that holds it.

    Args:
        imdb_ids: Ids of the films.
        splits: Split of each film.
        shard_names: Names of all shards of the data set.
    """
    counts = Counter(name.split("-")[2] for name in shard_names)
    return [
        shard_name(split, shard_of(imdb_id, counts[split]), counts[split])
        for imdb_id, split in zip(imdb_ids, splits, strict=True)
    ]


def assign_shards(films: pd.DataFrame, shard_bytes: int) -> dict[str, pd.DataFrame]:
    """Returns by name the shards of a split data set with the films of each.

    Args:
        films: with `imdb_id`, `split` and `num_bytes` of the picture.
        shard_bytes: see `count_shards`.
    """
    shards: dict[str, pd.DataFrame] = {}
    for split, of_split in films.groupby("split"):
        count = count_shards(int(of_split["num_bytes"].sum()), shard_bytes)
        indices = of_split["imdb_id"].map(lambda imdb_id, count=count: shard_of(imdb_id, count))
        for index in range(count):
            shards[shard_name(str(split), index, count)] = of_split[indices == index]
    return shards


def fingerprint_films(films: pd.DataFrame, vocabulary: list[str]) -> str:
    """Returns a sha256 of all that goes into the records of films, hexadecimal."""
    digest = hashlib.sha256(json.dumps([versions.RECORDS, vocabulary]).encode())
    columns = [films[name].tolist() for name in ("imdb_id", "title", "year", "score", "genres", "sha256", "split")]
    for film in zip(*columns, strict=True):
        digest.update(repr([value.tolist() if isinstance(value, np.ndarray) else value for value in film]).encode())
    return digest.hexdigest()


def keep_shards(
    old: Path, new: Path, described: Mapping[str, Mapping[str, Any]], made_of: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Takes over the shards that would be written again just as they are.

    Args:
        old: the folder of the data set as it is.
        new: the folder to take them into.
        described: under `shards` in the old `dataset.json`.
        made_of: by name, `fingerprint_films` of the shards that are wanted.

    Returns:
        The shards taken over, as they are described.
    """
    kept = {}
    for name, wanted in made_of.items():
        if described.get(name, {}).get("made_of") == wanted and (old / name).exists():
            try:
                os.link(old / name, new / name)
            except OSError:  # a file system without hard links
                shutil.copy2(old / name, new / name)
            kept[name] = dict(described[name])
    return kept
