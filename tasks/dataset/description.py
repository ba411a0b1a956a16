"""`dataset.json`: the description of a data set and of its inputs."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from tasks import versions
from tasks.atomic import write_text
from tasks.dataset.films import FILMS_FILE
from tasks.dataset.shards import FEATURES, fingerprint_films
from tasks.dataset.splits import SPLITS
from tasks.errors import one_line
from tasks.fingerprints import Inputs
from tasks.settings import DatasetSettings
from tasks.storage.folders import StoredFile, remove_stored

logger = logging.getLogger(__name__)

FILE_NAME = "dataset.json"


class _File(BaseModel):
    """A file of the data set."""

    sha256: str
    num_bytes: int | None = None  # earlier versions did not write it


class _Shard(_File):
    made_of: str


class _Description(BaseModel):
    """The entries that are read."""

    model_config = ConfigDict(strict=True)

    version: int
    fingerprint: str
    seed: int
    settings: dict[str, Any]
    dropped_genres: dict[str, int]
    num_films_without_label: int
    shards: dict[str, _Shard]
    films: _File | None = None  # earlier versions did not write it


def describe_dataset(
    films: pd.DataFrame,
    *,
    genres: list[str],
    genre_counts: Mapping[str, int],
    num_films_without_label: int,
    shard_fingerprints: Mapping[str, str],
    settings: DatasetSettings,
    seed: int,
) -> dict[str, Any]:
    """Returns the content of `dataset.json`, but for the hashes and sizes of the files.

    Args:
        films: Films of the data set, with their `split`, and their `targets`, a categorical column.
        genres: Genres of the data set, in the order of the targets.
        genre_counts: Number of films of each genre, before rare genres were dropped.
        num_films_without_label: Number of films with only rare genres, whether they were dropped or not.
        shard_fingerprints: Fingerprint of the films of each shard.
        settings: Settings of the stage.
        seed: Seed of the random split.
    """
    return {
        "version": versions.RECORDS,
        "fingerprint": fingerprint_films(films, genres),
        "seed": seed,
        "settings": settings.model_dump(mode="json"),
        "vocabulary": genres,
        "dropped_genres": {name: count for name, count in genre_counts.items() if name not in genres},
        "num_films_without_label": num_films_without_label,
        "num_films": {split: int((films["split"] == split).sum()) for split in SPLITS},
        "num_films_by_genre": _count_by_genre(films, genres),
        "features": {name: {"dtype": dtype, "shape": shape} for name, (dtype, shape) in FEATURES.items()},
        "shards": {name: {"made_of": fingerprint} for name, fingerprint in shard_fingerprints.items()},
    }


def collect_inputs(description: Mapping[str, Any]) -> Inputs:
    """Returns the inputs of a described data set: equal inputs, equal files.

    Read from the description itself, so that data sets of earlier versions have them, too. The rest of a description
    follows from these.
    """
    names = ("version", "seed", "settings", "fingerprint", "dropped_genres", "num_films_without_label")
    shards = sorted([name, shard["made_of"]] for name, shard in description["shards"].items())
    return Inputs({**{name: description[name] for name in names}, "shards": shards})


def read_description(folder: Path) -> dict[str, Any]:
    """Returns the content of `dataset.json`; an empty dict if there is none of this version that can be read."""
    path = folder / FILE_NAME
    try:
        description: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if description.get("version") != versions.RECORDS:
            logger.info("%s was written by another version: the data set is written again", path)
            return {}
        _Description.model_validate(description)
    except FileNotFoundError:
        return {}
    except ValidationError as error:
        (first, *_) = error.errors()
        place = ".".join(map(str, first["loc"]))
        logger.warning("%s is damaged (%s: %s): the data set is written again", path, place, first["msg"])
        return {}
    except (ValueError, AttributeError, RecursionError) as error:
        logger.warning("%s is damaged (%s): the data set is written again", path, one_line(error))
        return {}
    return description


def write_description(description: Mapping[str, Any], folder: Path) -> None:
    """Writes `dataset.json`."""
    write_text(folder / FILE_NAME, json.dumps(description, indent=2, ensure_ascii=False) + "\n")


def list_stored_files(folder: Path) -> dict[str, StoredFile | None]:
    """Returns the files of a data set, by name, with the descriptions of those that have one, for a store."""
    description = read_description(folder)
    if not description:
        return {}
    described = {FILMS_FILE: description.get("films"), **description["shards"]}
    files = {
        name: StoredFile(sha256=about["sha256"], num_bytes=about["num_bytes"])
        if about and "num_bytes" in about
        else None
        for name, about in described.items()
    }
    return {FILE_NAME: None, **files}


def remove_shard(path: Path) -> None:
    """Removes a damaged shard, and its entry in `dataset.json`: `write_dataset` then writes this shard alone again."""
    description = read_description(path.parent)
    if description.get("shards", {}).pop(path.name, None):
        write_description(description, path.parent)
    remove_stored(path)


def _count_by_genre(films: pd.DataFrame, genres: list[str]) -> dict[str, dict[str, int]]:
    targets = np.array(films["targets"].cat.categories.tolist())
    codes = films["targets"].cat.codes.to_numpy()
    counts = {
        split: np.bincount(codes[(films["split"] == split).to_numpy()], minlength=len(targets)) @ targets
        for split in SPLITS
    }
    return {genre: {split: int(counts[split][column]) for split in SPLITS} for column, genre in enumerate(genres)}
