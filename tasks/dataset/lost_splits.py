"""Get lost splits back from the films of published models and of the data set on disk, which were split alike.

Dealing the films anew would move films between the splits: a model would be tested on films that the champion was
trained on.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.checking import DamagedFileError, check_file
from tasks.dataset.description import read_description
from tasks.dataset.films import FILMS_FILE
from tasks.dataset.known_splits import (
    SPLIT_COLUMNS,
    merge_splits,
    name_earlier_splits_file,
    name_splits_file,
    read_splits,
    write_known_splits,
)
from tasks.errors import DatasetError, RegistryError, one_line
from tasks.model_folder import ModelFolder
from tasks.settings import DatasetSettings

logger = logging.getLogger(__name__)

_NOTHING = pd.DataFrame(columns=SPLIT_COLUMNS)


@dataclass(frozen=True)
class SplitsBackup:
    """Where splits can be found besides their own file.

    Attributes:
        models: Published models, those of more weight first: the champion, then the newest.
        dataset_folder: Folder of the data set that the last run wrote; it need not exist.
    """

    models: Sequence[ModelFolder]
    dataset_folder: Path

    def read_models(self, seed: int, models: Sequence[ModelFolder]) -> Iterator[tuple[Path, pd.DataFrame]]:
        """Yields path and splits of the models' films that were split with a seed, of the models that are whole."""
        for model in models:
            if expected := _describe_model(model, seed):
                yield model.films_path, _read_described(model.films_path, expected)

    def read_dataset(self, seed: int) -> Iterator[tuple[Path, pd.DataFrame]]:
        """Yields the same of the data set on disk."""
        description = read_description(self.dataset_folder)
        # An earlier version did not describe `films`.
        if description.get("films") and description["seed"] == seed:
            path = self.dataset_folder / FILMS_FILE
            yield path, _read_described(path, description["films"])


def find_known_splits(splits_dir: Path, settings: DatasetSettings, seed: int, backup: SplitsBackup) -> pd.DataFrame:
    """Returns the splits that earlier runs assigned with a seed; those that are lost are restored, with one warning.

    Films that the file of splits lacks and that the first model of the backup has, such as a champion that another
    machine made, have the split that they have there. If the file is lost, all models are read. Where two sources
    differ, the file counts more than the champion, and the champion more than all others.

    Args:
        splits_dir: Folder of the files of splits.
        settings: Settings with the fractions by which version 0.1 named the file, which is then taken over.
        seed: Seed of the split. Splits of another seed are independent of these.
        backup: Where else splits may be.

    Returns:
        What `read_splits` returns; without rows in a first run.

    Raises:
        DatasetError: If a file is damaged and the splits are nowhere else.
    """
    path = splits_dir / name_splits_file(seed)
    earlier_path = splits_dir / name_earlier_splits_file(settings, seed)
    try:
        written, problem = read_splits(path), ""
    except DamagedFileError as error:
        written, problem = _NOTHING, error.problem
    known, used = _merge_sources(written, _list_sources(earlier_path, seed, backup, is_lost=bool(problem)))
    if problem and known.empty:
        files = [file for file in (path, *splits_dir.glob(f"seed-{seed}-*.parquet")) if file.exists()]
        if not files:
            return known
        raise DatasetError(
            f"{files[0]} {problem if files[0] == path else 'is damaged'}: expected the splits that earlier runs "
            "assigned, and no whole model with the same seed has them. Restore the file from a backup; or remove it to "
            "split all films anew, which makes figures incomparable with those of earlier models"
        )
    if known is not written:
        write_known_splits(path, known, written)
    if problem and used != [earlier_path]:
        restored = f"the splits of {known['imdb_id'].nunique()} films are restored from {' and '.join(map(str, used))}"
        logger.warning("%s %s: %s", path, problem, restored)
    return known


def _list_sources(
    earlier_path: Path, seed: int, backup: SplitsBackup, *, is_lost: bool
) -> Iterator[tuple[Path, pd.DataFrame]]:
    """Yields the sources besides the file of splits, those of more weight first."""
    if not is_lost:
        yield from backup.read_models(seed, backup.models[:1])
        return
    if earlier_path.exists():
        yield earlier_path, _read(earlier_path)
    yield from backup.read_models(seed, backup.models[:1])
    for path in sorted(earlier_path.parent.glob(f"seed-{seed}-*.parquet")):
        if path != earlier_path:  # of other fractions
            yield path, _read(path)
    yield from backup.read_dataset(seed)
    yield from backup.read_models(seed, backup.models[1:])


def _merge_sources(
    known: pd.DataFrame, sources: Iterator[tuple[Path, pd.DataFrame]]
) -> tuple[pd.DataFrame, list[Path]]:
    """Returns the splits with those of the sources, and the paths of the sources that added any."""
    used = []
    for path, films in sources:
        merged = merge_splits(known, films)
        if len(merged) > len(known):
            used.append(path)
            known = merged
    return known, used


def _describe_model(model: ModelFolder, seed: int) -> Mapping[str, Any]:
    """Returns the description of a model's films; an empty one if it was made with another seed or can't be read."""
    try:
        settings = json.loads(model.settings_path.read_text("utf-8"))
        if settings["seed"] == seed:
            return dict(model.read_manifest()["files"].get(FILMS_FILE, {}))
    except (OSError, ValueError, KeyError, TypeError, RegistryError) as error:
        logger.info("%s can't be read (%s): no splits are restored from it", model.settings_path, one_line(error))
    return {}


def _read_described(path: Path, expected: Mapping[str, Any]) -> pd.DataFrame:
    """Returns the splits of a file that is as described, none of another."""
    try:
        check_file(path, expected)
    except DamagedFileError as error:
        # Whether that matters is known only to the caller; the stage that owns the file warns of it.
        logger.info("%s: no splits are restored from it", error)
        return _NOTHING
    return _read(path)


def _read(path: Path) -> pd.DataFrame:
    try:
        return read_splits(path)
    except DamagedFileError as error:
        logger.info("%s: no splits are restored from it", error)
        return _NOTHING
