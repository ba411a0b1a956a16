"""The shards of a data set: which films each holds, and which can be kept."""

import hashlib
import json
import logging
import math
import os
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks import versions
from tasks.checking import DamagedFileError, check_file
from tasks.posters.ledger import assign_part
from tasks.storage.folders import find_stored

logger = logging.getLogger(__name__)

# Whose values are objects at a time.
_ROWS_AT_ONCE = 10_000

# How tf.io parses an example: name -> (dtype, shape), None for a variable length.
FEATURES: dict[str, tuple[str, list[int | None]]] = {
    "imdb_id": ("int64", []),
    "title": ("string", []),
    "year": ("int64", []),  # 0 where the title has none
    "score": ("float32", []),  # IMDB's, from 1 to 10; 0 where there is none
    "image/encoded": ("string", []),
    "image/format": ("string", []),  # jpeg or png
    "image/sha256": ("string", []),  # hexadecimal
    "genres": ("string", [None]),  # all genres of the film, those that the data set drops too
    "targets": ("int64", [None]),  # 0 or 1 for each genre of the data set
}


def shard_name(split: str, index: int, count: int) -> str:
    """Returns `movie-posters-train-00000-of-00008.tfrecord` and the like."""
    return f"movie-posters-{split}-{index:05d}-of-{count:05d}.tfrecord"


def count_shards(num_bytes: int, shard_bytes: int) -> int:
    """Returns the least power of two of shards of about `shard_bytes`, or less, that hold `num_bytes`.

    A power of two, so that growth changes the number seldom: when it changes, every shard is written again.
    """
    return 1 << max(0, math.ceil(math.log2(max(1, num_bytes) / shard_bytes)))


def shard_of(imdb_id: int, count: int) -> int:
    """Returns the shard of a film, in [0, count), from a hash of its id alone: other films do not move it."""
    # The hash of the poster parts: both numbers are powers of two, so that a shard has the films of few parts, and can
    # be written by a worker that reads these alone.
    return assign_part(imdb_id, count)


def list_parts_of_shard(name: str, num_parts: int) -> list[int]:
    """Returns the numbers of the poster parts whose films may be in a shard, ascending.

    Args:
        name: Name of the shard.
        num_parts: Number of poster parts, a power of two.
    """
    index, count = (int(number) for number in re.findall(r"\d{5,}", name)[-2:])
    step = min(count, num_parts)
    return list(range(index % step, num_parts, step))


def locate_films(imdb_ids: NDArray[np.int64], splits: pa.Array, shard_names: Sequence[str]) -> NDArray[np.int64]:
    """Returns for each film which of the shards holds it, shape `(num_films,)`, in [0, len(shard_names)).

    Args:
        imdb_ids: Ids of the films.
        splits: Split of each film, strings, which may be dictionary-encoded.
        shard_names: Names of all shards of the data set.
    """
    numbers = {name: number for number, name in enumerate(shard_names)}
    located = np.empty(len(imdb_ids), np.int64)
    for split, count in Counter(name.split("-")[2] for name in shard_names).items():
        of_split = np.array([numbers[shard_name(split, index, count)] for index in range(count)])
        rows = np.flatnonzero(pc.equal(splits, split))
        located[rows] = of_split[_find_shards(imdb_ids[rows], count)]
    return located


def _find_shards(imdb_ids: NDArray[np.int64], count: int) -> NDArray[np.int32]:
    """Returns the number of the shard of each film of a split, in [0, count)."""
    return np.fromiter((shard_of(int(imdb_id), count) for imdb_id in imdb_ids), np.int32, len(imdb_ids))


def assign_shards(films: pd.DataFrame, shard_bytes: int) -> dict[str, NDArray[np.intp]]:
    """Returns the rows of the films of each shard, ascending, by the shard's name.

    Args:
        films: Table with `imdb_id`, `split`, and `num_bytes` of the image.
        shard_bytes: Image bytes of a shard; see `count_shards`.
    """
    shards: dict[str, NDArray[np.intp]] = {}
    for split in sorted(films["split"].unique()):
        rows = np.flatnonzero(films["split"] == split)
        count = count_shards(int(films["num_bytes"].to_numpy()[rows].sum()), shard_bytes)
        indices = _find_shards(films["imdb_id"].to_numpy()[rows], count)
        rows = rows[np.argsort(indices, kind="stable")]
        bounds = np.cumsum(np.bincount(indices, minlength=count))[:-1]
        names = (shard_name(split, index, count) for index in range(count))
        shards |= dict(zip(names, np.split(rows, bounds), strict=True))
    return shards


def fingerprint_films(films: pd.DataFrame, genres: list[str]) -> str:
    """Returns a sha256 of everything that the records of films hold, hexadecimal."""
    digest = hashlib.sha256(json.dumps([versions.RECORDS, genres]).encode())
    for start in range(0, len(films), _ROWS_AT_ONCE):
        some = films.iloc[start : start + _ROWS_AT_ONCE]
        columns = {
            name: some[name].tolist() for name in ("imdb_id", "title", "year", "score", "genres", "sha256", "split")
        }
        columns["genres"] = [list(names) for names in columns["genres"]]
        for film in zip(*columns.values(), strict=True):
            digest.update(repr(list(film)).encode())
    return digest.hexdigest()


def keep_shards(
    *,
    source: Path,
    target: Path,
    described: Mapping[str, Mapping[str, Any]],
    fingerprints: Mapping[str, str],
) -> dict[str, dict[str, Any]]:
    """Links the unchanged shards of a data set into the folder of its next version.

    A shard that is missing or damaged, which its size and hash tell, is not kept; a warning names it. One that is in a
    store alone is kept there.

    Args:
        source: Folder of the present data set.
        target: Folder of the next one.
        described: The present shards, as `dataset.json` describes them.
        fingerprints: `fingerprint_films` of each shard of the next data set, by name.

    Returns:
        The descriptions of the kept shards, by name.
    """
    kept = {}
    for name, fingerprint in fingerprints.items():
        about = described.get(name, {})
        if about.get("made_of") != fingerprint:
            continue
        if is_stored(source / name, about):
            kept[name] = dict(about)
            continue
        try:
            check_file(source / name, about)
        except DamagedFileError as error:
            logger.warning("%s: it is written again", error)
            continue
        try:
            os.link(source / name, target / name)
        except OSError:  # a file system without hard links
            shutil.copy2(source / name, target / name)
        kept[name] = dict(about)
    return kept


def is_stored(path: Path, about: Mapping[str, Any]) -> bool:
    """Returns whether a file of a data set is not here, but in the store, as `dataset.json` describes it."""
    file = find_stored(path)
    return file is not None and file.sha256 == about.get("sha256")
