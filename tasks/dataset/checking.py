"""Whether the files of the data set and of the splits are still those that were written."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from tasks.checking import DamagedFileError, FileCheck, check_file, parquet_damage
from tasks.dataset.description import FILE_NAME, read_description, remove_shard
from tasks.dataset.films import FILMS_FILE, make_table
from tasks.dataset.known_splits import name_splits_file, read_splits
from tasks.dataset.lost_splits import SplitsBackup, find_known_splits
from tasks.dataset.shards import is_stored
from tasks.errors import DatasetError
from tasks.settings import DatasetSettings

logger = logging.getLogger(__name__)


def is_whole(folder: Path, description: Mapping[str, Any], films: pd.DataFrame) -> bool:
    """Whether the files of a data set are those that its `dataset.json` describes.

    Shards are compared by their size, their bytes are checked where they are read. An earlier version did not write
    sizes: its shards are compared by their hashes, and its `films.parquet` with the films.

    Args:
        folder: Folder of the data set.
        description: Content of its `dataset.json`.
        films: Films that `films.parquet` is to have; a warning tells that it has not.
    """
    try:
        if expected := description.get("films"):
            check_file(folder / FILMS_FILE, expected)
        else:
            _compare_films(folder / FILMS_FILE, films)
    except DamagedFileError as error:
        logger.warning("%s: it is written again", error)
        return False
    for name, about in description["shards"].items():
        if is_stored(folder / name, about):
            continue
        try:
            check_file(folder / name, about, with_hash="num_bytes" not in about)
        except DamagedFileError:
            return False  # `keep_shards` warns of this shard, and of others
    return True


def _compare_films(path: Path, films: pd.DataFrame) -> None:
    if not path.is_file():
        raise DamagedFileError(path, "is missing")
    with parquet_damage(path):
        is_same = pq.read_table(path).equals(make_table(films))
    if not is_same:
        raise DamagedFileError(path, "is damaged (its films are others than those of the data set)")


def check_dataset(folder: Path) -> list[FileCheck]:
    """Compares every file of a data set with its description, and removes those that are damaged.

    `write_dataset` then writes these again, or all of them where `dataset.json` is damaged. Without a data set there is
    nothing to check.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return []
    description = read_description(folder)
    if not description:
        path.unlink()
        return [FileCheck(path, "removed", "it is damaged or of another version: the next run writes all again")]
    checks = [FileCheck(path, "whole")]
    for name, about in [(FILMS_FILE, description.get("films")), *description["shards"].items()]:
        if about is None:
            checks.append(FileCheck(folder / name, "unchecked", "an earlier version wrote it without a hash"))
            continue
        if is_stored(folder / name, about):
            checks.append(FileCheck.of_stored(folder / name))
            continue
        try:
            check_file(folder / name, about)
        except DamagedFileError as error:
            remove_shard(folder / name)
            checks.append(FileCheck(folder / name, "removed", f"{error}: the next run writes it again"))
        else:
            checks.append(FileCheck(folder / name, "whole"))
    return checks


def check_splits(splits_dir: Path, settings: DatasetSettings, backup: SplitsBackup) -> list[FileCheck]:
    """Reads every file of splits; one that is damaged is restored from the backup where that has its splits.

    Otherwise it stays as it is: without it, films would move between the splits. A damaged file of an earlier version
    is removed once its splits are in the file of its seed.
    """
    checks = []
    for path in sorted(splits_dir.glob("seed-*.parquet")):
        try:
            read_splits(path)
        except DamagedFileError as damage:
            checks.append(_restore_splits(path, damage, settings, backup))
        else:
            checks.append(FileCheck(path, "whole"))
    return checks


def _restore_splits(path: Path, damage: DamagedFileError, settings: DatasetSettings, backup: SplitsBackup) -> FileCheck:
    seed = int(path.stem.split("-")[1])
    try:
        find_known_splits(path.parent, settings, seed, backup)
    except DatasetError as error:
        return FileCheck(path, "damaged", str(error))
    if path.name != name_splits_file(seed):
        path.unlink()
        return FileCheck(path, "removed", f"{damage}: the splits are in {name_splits_file(seed)}")
    return FileCheck(path, "mended", f"{damage}: restored from the films of an earlier run")
