"""Get lost splits back from the films of the champion and of the data set on disk, which were split alike.

Dealing the films anew would move films between the splits: a model would be tested on films that the champion was
trained on.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.checking import DamagedFileError, check_file
from tasks.dataset.description import read_description
from tasks.dataset.films import FILMS_FILE
from tasks.dataset.splits import SPLIT_COLUMNS, name_splits_file, read_splits, write_known_splits
from tasks.errors import DatasetError, one_line
from tasks.model_folder import ModelFolder
from tasks.settings import DatasetSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SplitsBackup:
    """Where splits can be found besides their own file.

    Attributes:
        champion: The champion, None if there is none.
        dataset_folder: Folder of the data set that the last run wrote; it need not exist.
    """

    champion: ModelFolder | None
    dataset_folder: Path

    def find(self, file_name: str) -> tuple[pd.DataFrame, list[Path]]:
        """Returns the films that were split with a seed and fractions, and the files that have them; empty if none.

        Args:
            file_name: Name of the splits' file, as `name_splits_file` returns it.
        """
        described = (self._describe_dataset(), self._describe_champion())
        found = [(path, _read(path, about)) for path, name, about in described if name == file_name and about]
        found = [(path, films) for path, films in found if not films.empty]
        if not found:
            return pd.DataFrame(columns=SPLIT_COLUMNS), []
        films = pd.concat([films for _, films in found])
        # The champion's take precedence.
        return films.drop_duplicates("imdb_id", keep="last"), [path for path, _ in found]

    def _describe_dataset(self) -> tuple[Path, str | None, dict[str, str]]:
        """Returns the path of the films, the name of the file of their splits, and the description of the path."""
        path = self.dataset_folder / FILMS_FILE
        description = read_description(self.dataset_folder)
        if not description.get("films"):  # none, or of an earlier version
            return path, None, {}
        settings = DatasetSettings.model_validate(description["settings"])
        return path, name_splits_file(settings, description["seed"]), description["films"]

    def _describe_champion(self) -> tuple[Path, str | None, dict[str, str]]:
        """Returns the same of the champion."""
        if not self.champion:
            return Path(), None, {}
        path = self.champion.films_path
        try:
            settings = json.loads(self.champion.settings_path.read_text("utf-8"))
            fractions = {name: settings["dataset"][name] for name in ("validation_fraction", "test_fraction")}
            name = name_splits_file(DatasetSettings(**fractions), settings["seed"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.info("%s can't be read (%s): no splits are restored", self.champion.settings_path, one_line(error))
            return path, None, {}
        return path, name, self.champion.read_manifest()["files"].get(FILMS_FILE, {})


def _read(path: Path, expected: Mapping[str, Any]) -> pd.DataFrame:
    """Returns the splits of a file that is as described, none of another."""
    try:
        check_file(path, expected)
        return read_splits(path)
    except DamagedFileError as error:
        # Whether that matters is known only to the caller; the stage that owns the file warns of it.
        logger.info("%s: no splits are restored from it", error)
        return pd.DataFrame(columns=SPLIT_COLUMNS)


def find_known_splits(path: Path, backup: SplitsBackup) -> pd.DataFrame:
    """Returns the content of a file of splits; if it is lost, it is written again from the backup, with one warning.

    Args:
        path: Path of the file, named by `name_splits_file`.
        backup: Where else splits may be.

    Returns:
        `imdb_id`, `sha256` and `split` of the films that earlier runs split; none in a first run.

    Raises:
        DatasetError: If the file is damaged and the splits are nowhere else.
    """
    is_missing = not path.exists()
    try:
        return read_splits(path)
    except DamagedFileError as error:
        problem = error.problem
    films, sources = backup.find(path.name)
    if films.empty and is_missing:
        return films
    if films.empty:
        raise DatasetError(
            f"{path} {problem}: expected the splits that earlier runs assigned, and no whole champion with the same "
            "seed and fractions has them. Restore the file from a backup; or remove it to split all films anew, which "
            "makes figures incomparable with those of earlier models"
        )
    write_known_splits(path, films, known=films.iloc[:0])
    logger.warning(
        "%s %s: the splits of %d films are restored from %s", path, problem, len(films), " and ".join(map(str, sources))
    )
    return read_splits(path)
