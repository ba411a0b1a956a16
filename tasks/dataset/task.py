"""The dataset stage."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.atomic import atomic_folder
from tasks.dataset.checking import is_whole
from tasks.dataset.description import (
    FILE_NAME,
    collect_inputs,
    describe_dataset,
    read_description,
    write_description,
)
from tasks.dataset.films import FILMS_FILE, join_films, write_films
from tasks.dataset.genres import choose_genres, count_genres, encode_genres
from tasks.dataset.known_splits import SPLIT_COLUMNS, name_splits_file, write_known_splits
from tasks.dataset.lists import map_categories
from tasks.dataset.lost_splits import SplitsBackup, find_known_splits
from tasks.dataset.shards import assign_shards, fingerprint_films, keep_shards
from tasks.dataset.splits import LEFT_OUT, split_films, split_with_held_out
from tasks.errors import DatasetError
from tasks.hashing import describe_file
from tasks.model_folder import ModelFolder
from tasks.posters import ledger
from tasks.progress import Progress
from tasks.settings import DatasetSettings

logger = logging.getLogger(__name__)

_ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class ShardPlan:
    """A shard that is to be written.

    Attributes:
        shard: Name of the shard.
        rows: Rows of its films, ascending.
        made_of: Fingerprint of all that its records hold.
    """

    shard: str
    rows: NDArray[np.intp]
    made_of: str

    @property
    def name(self) -> str:
        """Name in the log."""
        return self.shard.removesuffix(".tfrecord")

    @property
    def size(self) -> int:
        """Number of films."""
        return len(self.rows)


class ShardWriter(Protocol):
    """Writes shards."""

    def __call__(
        self, folder: Path, films: pd.DataFrame, shards: Sequence[ShardPlan], /
    ) -> Mapping[str, Mapping[str, Any]]:
        """Writes the shards of some films to a folder, or to a store.

        Returns:
            The `sha256` and `num_bytes` of those that are in a store alone, by name.
        """


@dataclass(frozen=True)
class Dataset:
    """A data set on disk.

    Attributes:
        folder: Folder of the shards, `dataset.json`, and `films.parquet` (schema `FILMS_SCHEMA`), whose films are
            joined with the features.
        genres: Genres, in the order of the targets.
        num_films: Number of films of each split.
        fingerprint: Fingerprint of the films, with their images and splits, and of the genres.
        shard_names: Names of the TFRecord files; none if it was written without them.
    """

    folder: Path
    genres: list[str]
    num_films: dict[str, int]
    fingerprint: str
    shard_names: tuple[str, ...] = ()

    @property
    def films_path(self) -> Path:
        return self.folder / FILMS_FILE


@task(name="write dataset", cache_policy=NO_CACHE)
def write_dataset(
    *,
    catalog_path: Path,
    posters_dir: Path,
    splits_dir: Path | None,
    folder: Path,
    settings: DatasetSettings,
    seed: int,
    with_shards: bool = True,
    models: Sequence[ModelFolder] = (),
    among: Dataset | None = None,
    num_held_out: int | None = None,
    write_shards: ShardWriter | None = None,
) -> Dataset:
    """Writes the data set of all films whose poster was downloaded; nothing, if it is whole and of the same inputs.

    Films keep the split that an earlier run assigned. Shards that are whole and whose films did not change are kept as
    they are.

    Args:
        catalog_path: Path of the catalog's `films.parquet`.
        posters_dir: Folder of the poster parts.
        splits_dir: Folder of the assigned splits, a file for each seed; None: the films are split as in a first run,
            and no split is recorded.
        folder: Folder of the data set.
        settings: Settings of the stage.
        seed: Seed of the random split.
        with_shards: Whether to write shards, from which features are extracted; training needs only their features.
        models: Published models from whose films lost splits are restored: the champion, then the newest.
        among: Data set whose films alone are taken; None: all films.
        num_held_out: Number of films that are the test split whatever the seed, see `split_with_held_out`; no
            split is recorded then. None: the test split is a fraction.
        write_shards: Function that writes shards into a store; None: they are written to the folder.

    Raises:
        DatasetError: If fewer than two genres, or too few posters, remain, or splits are lost.
    """
    films = join_films(catalog_path, posters_dir)
    if among:
        known_ids = pq.read_table(among.films_path, columns=["imdb_id"])["imdb_id"].to_numpy()
        films = films[films["imdb_id"].isin(known_ids)].reset_index(drop=True)
    if films.empty:
        raise DatasetError("no poster was downloaded: expected some to make a data set of")
    num_films = films["genres"].value_counts()
    genre_counts = count_genres(num_films.index.tolist(), num_films.tolist())
    genres = choose_genres(genre_counts, settings.min_posters_per_genre)
    films["targets"] = map_categories(films["genres"], lambda names: encode_genres([names], genres)[0].tolist())
    targets = np.array(films["targets"].cat.categories.tolist(), np.uint8)[films["targets"].cat.codes]
    without_label = targets.sum(axis=1) == 0
    num_posters, left_out = len(films), {}
    if settings.films_with_only_rare_genres == "drop":
        left_out["only rare genres"] = int(without_label.sum())
        films, targets = films.loc[~without_label].reset_index(drop=True), targets[~without_label]
    if num_held_out:
        films = films.assign(split=split_with_held_out(films, targets, num_held_out, settings=settings, seed=seed))
    else:
        films = _assign_splits(films, targets, splits_dir, settings, seed, SplitsBackup(models, folder))
    if num_in_conflict := len(targets) - len(films):
        left_out["image of another split"] = num_in_conflict
    shards = assign_shards(films, settings.shard_bytes) if with_shards else {}
    description = describe_dataset(
        films,
        genres=genres,
        genre_counts=genre_counts,
        num_films_without_label=int(without_label.sum()),
        shard_fingerprints={name: fingerprint_films(films.iloc[rows], genres) for name, rows in shards.items()},
        settings=settings,
        seed=seed,
    )
    previous = read_description(folder)
    if _is_current(description, previous) and is_whole(folder, previous, films):
        logger.info("dataset: unchanged, %s", description["num_films"])
        _complete_description(description, previous, folder)
    else:
        write = write_shards or partial(_write_shards, posters_dir=posters_dir)
        _write(folder, films, shards=shards, description=description, previous=previous, write_shards=write)
    dataset = read_dataset(folder)
    _check_sum(num_posters, sum(dataset.num_films.values()), left_out)
    return dataset


def _assign_splits(
    films: pd.DataFrame,
    targets: NDArray[np.uint8],
    splits_dir: Path | None,
    settings: DatasetSettings,
    seed: int,
    backup: SplitsBackup,
) -> pd.DataFrame:
    """Returns the films with their `split`, without those that belong to another split than their image."""
    if splits_dir is None:
        known = pd.DataFrame(columns=SPLIT_COLUMNS)
    else:
        known = find_known_splits(splits_dir, settings, seed, backup)
    films = films.assign(split=split_films(films, targets, known, settings=settings, seed=seed))
    films = films[films["split"] != LEFT_OUT].reset_index(drop=True)
    if splits_dir is not None:
        write_known_splits(splits_dir / name_splits_file(seed), films, known)
        num_known = int(films["imdb_id"].isin(known["imdb_id"]).sum())
        if num_known < len(films):
            new = films[~films["imdb_id"].isin(known["imdb_id"])]["split"].value_counts().to_dict()
            logger.info("split: %d films keep theirs, %d are new: %s", num_known, len(films) - num_known, new)
    return films


def _check_sum(num_posters: int, num_records: int, left_out: Mapping[str, int]) -> None:
    """Checks that each poster is a record or left out for a reason, and logs the sum."""
    num_left_out = sum(left_out.values())
    if num_posters != num_records + num_left_out:
        raise RuntimeError(f"{num_posters} posters became {num_records} records and {num_left_out} left out: a bug")
    logger.info("dataset: %d posters = %d records + %d left out: %s", num_posters, num_records, num_left_out, left_out)


def read_dataset(folder: Path) -> Dataset:
    """Returns the data set that `write_dataset` wrote to `folder`."""
    description = read_description(folder)
    return Dataset(
        folder=folder,
        genres=description["vocabulary"],
        num_films=description["num_films"],
        fingerprint=description["fingerprint"],
        shard_names=tuple(description["shards"]),
    )


def _is_current(description: Mapping[str, Any], previous: Mapping[str, Any]) -> bool:
    """Whether two described data sets have the same inputs; logs what changed."""
    if not previous:
        return False
    inputs, previous_inputs = collect_inputs(description), collect_inputs(previous)
    if inputs.fingerprint == previous_inputs.fingerprint:
        return True
    logger.info("dataset: inputs have changed: %s", inputs.describe_change(previous_inputs.values))
    return False


def _complete_description(description: Mapping[str, Any], previous: Mapping[str, Any], folder: Path) -> None:
    """Writes `dataset.json` of unchanged files again, if it lacks their sizes or is damaged."""
    complete = _describe_files(description, folder, previous["shards"])
    if complete != previous:
        if "films" in previous:
            logger.warning("%s is damaged: it is written again", folder / FILE_NAME)
        write_description(complete, folder)


def _describe_files(
    description: Mapping[str, Any], folder: Path, known: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Returns a description with the hashes and sizes of the files.

    Args:
        description: Content of `dataset.json` without them.
        folder: Folder of the data set.
        known: Descriptions of shards whose hashes are known.
    """
    shards = {}
    for name, shard in description["shards"].items():
        path, about = folder / name, known.get(name)
        if about is None:
            file = describe_file(path)
        else:
            # An earlier version did not write sizes.
            num_bytes = about["num_bytes"] if "num_bytes" in about else path.stat().st_size
            file = {"sha256": about["sha256"], "num_bytes": num_bytes}
        shards[name] = {**file, **shard}
    return {**description, "films": describe_file(folder / FILMS_FILE), "shards": shards}


def _write(
    folder: Path,
    films: pd.DataFrame,
    *,
    shards: Mapping[str, NDArray[np.intp]],
    description: Mapping[str, Any],
    previous: Mapping[str, Any],
    write_shards: ShardWriter,
) -> None:
    """Writes the data set in place of the previous one, whose unchanged shards are kept."""
    with atomic_folder(folder) as new:
        wanted = {name: shard["made_of"] for name, shard in description["shards"].items()}
        described = previous.get("shards", {})
        kept = keep_shards(source=folder, target=new, described=described, fingerprints=wanted)
        stored: Mapping[str, Any] = {}
        if changed := [ShardPlan(name, rows, wanted[name]) for name, rows in shards.items() if name not in kept]:
            stored = write_shards(new, films, changed)
        write_films(films, new / FILMS_FILE)
        write_description(_describe_files(description, new, {**kept, **stored}), new)
    logger.info(
        "dataset: %s films, %d genres (%s); shards: %d written, %d kept; dropped genres: %s; %d films with only rare "
        "genres: %s",
        description["num_films"],
        len(description["vocabulary"]),
        ", ".join(description["vocabulary"]),
        len(shards) - len(kept),
        len(kept),
        description["dropped_genres"] or "none",
        description["num_films_without_label"],
        description["settings"]["films_with_only_rare_genres"],
    )


def _write_shards(
    folder: Path, films: pd.DataFrame, shards: Sequence[ShardPlan], posters_dir: Path
) -> dict[str, dict[str, Any]]:
    """Writes shards to a folder; none of them is in a store alone."""
    # TensorFlow takes seconds to import, and is not needed where nothing changed.
    from tasks.dataset.records import write_records

    names = [shard.shard for shard in shards]
    shard_of_row = np.full(len(films), -1, np.int32)
    for number, shard in enumerate(shards):
        shard_of_row[shard.rows] = number
    rows = np.flatnonzero(shard_of_row >= 0)
    progress = Progress("dataset", len(rows), "records")

    def iterate_records() -> Iterator[dict[str, Any]]:
        # A dict for a film only while it is written: those of all films take more memory than the rest of the stage.
        found = iterate_films(films, rows)
        num_films = 0
        for imdb_id, content in ledger.iterate_posters(posters_dir, films["imdb_id"].to_numpy()[rows]):
            # Both are in the order of the ledger.
            row, film = next(pair for pair in found if pair[1]["imdb_id"] == imdb_id)
            yield {**film, "shard": names[shard_of_row[row]], "content": content}
            num_films += 1
        if num_films < len(rows):
            raise DatasetError(
                f"{len(rows) - num_films} posters of the ledger in {posters_dir} are not in its files: run again, "
                "to download them again"
            )

    with progress:
        write_records(folder, progress.track(iterate_records()), names)
    return {}


def iterate_films(films: pd.DataFrame, rows: NDArray[np.intp]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields number and columns of some rows."""
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows[start : start + _ROWS_AT_ONCE]
        yield from zip(some.tolist(), films.iloc[some].to_dict("records"), strict=True)
